package mock

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// LTXFiles lists the files of a level as the store shows them when it is called.
// With useMetadata, each file costs one OpHead.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := replica.CheckLevel(level); err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	if err := c.begin(ctx, OpList, nil); err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	it := &iterator{client: c, ctx: ctx, level: level, useMetadata: useMetadata}
	for key, o := range c.shown {
		if key.Level == level && key.MinTXID >= seek {
			it.entries = append(it.entries, entry{key, o})
		}
	}
	slices.SortFunc(it.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.key.MinTXID, b.key.MinTXID), cmp.Compare(a.key.MaxTXID, b.key.MaxTXID))
	})
	c.openIterators++
	return it, nil
}

var _ replica.VersionIterator = (*iterator)(nil)

type entry struct {
	key    Key
	object *object
}

// iterator lists files. It is not for use by many goroutines at once.
type iterator struct {
	client      *ReplicaClient
	ctx         context.Context
	level       int
	useMetadata bool
	entries     []entry // not reached yet
	ended       bool

	version replica.Version
	item    *ltx.FileInfo
	err     error
}

func (it *iterator) Next() bool {
	it.item, it.version = nil, ""
	if it.ended {
		return false
	}
	ok, err := it.next()
	if err != nil {
		it.err = fmt.Errorf("list level %d: %w", it.level, err)
	}
	if !ok {
		it.end()
	}
	return ok
}

func (it *iterator) next() (bool, error) {
	c := it.client
	for len(it.entries) > 0 {
		e := it.entries[0]
		it.entries = it.entries[1:]
		if err := c.begin(it.ctx, OpNext, &e.key); err != nil {
			return false, err
		}
		if it.useMetadata {
			if err := c.begin(it.ctx, OpHead, &e.key); err != nil {
				return false, err
			}
		}
		c.mu.Lock()
		_, there := c.shown[e.key]
		f := c.file(e.key, e.object)
		c.mu.Unlock()
		if !there {
			continue // it vanished
		}
		if it.useMetadata {
			f.ModTime = e.object.created
		}
		it.item, it.version = f.Info(), f.Version
		return true, nil
	}
	return false, it.ctx.Err()
}

func (it *iterator) Item() *ltx.FileInfo      { return it.item }
func (it *iterator) Version() replica.Version { return it.version }
func (it *iterator) Err() error               { return it.err }

func (it *iterator) Close() error {
	it.item, it.version = nil, ""
	it.end()
	return it.err
}

func (it *iterator) end() {
	if it.ended {
		return
	}
	it.ended, it.entries = true, nil
	it.client.mu.Lock()
	defer it.client.mu.Unlock()
	it.client.openIterators--
}
