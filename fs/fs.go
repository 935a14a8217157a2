// Package fs is the mounted tree: FUSE nodes over a replica's store, the caches
// and the staged files. It holds no code of a store and no format.
//
// A name in a level directory is one of two things. A published file is one
// version of one file of the replica and never changes; another version is
// another inode. A staged file is what a tool writes, under whatever name it
// chose, until it is published: at a rename to an LTX name, at fsync, or at
// close. See package staging.
package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
)

// deadlines are those of what the kernel asks for. A request ends within its own
// even if the store never answers. To publish a file may take longer by its size.
type deadlines struct {
	read, stat, list, delete, publish, space time.Duration
	open                                     time.Duration // of a state, which may take several requests one after the other
}

var defaultDeadlines = deadlines{
	read:    30 * time.Second,
	stat:    30 * time.Second,
	list:    60 * time.Second,
	delete:  60 * time.Second,
	publish: 5 * time.Minute,
	space:   2 * time.Second,
	open:    2 * time.Minute,
}

// errClosed ends what still runs when a mount closes.
var errClosed = fmt.Errorf("the mount is closed: %w", os.ErrClosed)

// mount is what all trees below one mountpoint share.
type mount struct {
	opts    Options
	log     *slog.Logger
	within  deadlines
	started time.Time
	budget  *blocks.Budget
	writing *blocks.Part // of the budget, for publications and checks
	blocks  *blocks.Cache
	share   *blocks.Share // of the budget, for the indexes and inodes
	calls   *flight.Group // of the stores
	inodes  *inodeLimiter
	maps    *database.Maps
	trees   []*tree

	directWrites bool // the kernel takes its own pages away from what is written past them
}

func newMount(opts Options, within deadlines) *mount {
	budget := blocks.NewBudget(opts.CacheSize)
	m := &mount{
		opts:    opts,
		log:     opts.Logger,
		within:  within,
		started: time.Now(),
		budget:  budget,
		blocks:  blocks.New(budget, blocks.Options{FetchTimeout: within.read}),
		calls:   flight.NewGroup(),
	}
	m.writing = blocks.NewPart(budget)
	m.share = blocks.NewShare(budget, opts.Heap)
	m.inodes = newInodeLimiter(m.share, budget.Size())
	m.maps = database.NewMaps(budget.Size(), m.share)
	for i, t := range opts.Trees {
		m.trees = append(m.trees, newTree(m, i, t))
	}
	return m
}

// check returns an error unless a mount can have these trees.
func (o Options) check() error {
	names, ids := map[string]bool{}, map[string]bool{}
	for _, t := range o.Trees {
		switch {
		case o.ReadWrite && t.Staging == nil:
			return fmt.Errorf("replica %s: a mount that can write needs a staging directory", t.ID)
		case t.Name == "" && len(o.Trees) > 1, t.Name == ".", t.Name == "..", strings.Contains(t.Name, "/"):
			return fmt.Errorf("replica %s: %q can't be its directory's name", t.ID, t.Name)
		case names[t.Name] || ids[t.ID]:
			return fmt.Errorf("replica %s in %q: given twice", t.ID, t.Name)
		}
		names[t.Name], ids[t.ID] = true, true
	}
	if len(o.Trees) == 0 {
		return errors.New("no replica to mount")
	}
	return nil
}

// close ends what runs for the mount.
func (m *mount) close() {
	for _, t := range m.trees {
		t.staged.Close()
	}
	m.inodes.close()
	m.calls.Close(errClosed)
	for _, t := range m.trees {
		if t.states != nil {
			t.states.Close()
		}
		t.index.Close()
	}
	m.share.Close()
	m.blocks.Close()
}
