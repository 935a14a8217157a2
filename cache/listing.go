package cache

import (
	"context"
	"fmt"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
)

// maxListings bounds how many listings of a level run at a time. The second is
// for callers whom the first, begun too long ago or before an Invalidate, is of
// no use.
//
// Where each file costs a request, there is no second one: the first finds out
// what it would ask for once more.
const maxListings = 2

func (x *Index) maxListings() int {
	if x.opts.ExactTimes {
		return 1
	}
	return maxListings
}

// maxFiles bounds the files of a level. A replica has some ten thousand; a store
// that lists without end must not fill the memory.
const maxFiles = 2_000_000

// listing is one listing of a level, which many callers may wait for.
type listing struct {
	began time.Time
	seq   uint64

	done chan struct{} // closed when it lands; the result is set before
	snap *Snapshot
	err  error
}

// Level returns the files of a level, from a listing that began less than the
// freshness interval ago, with all own changes. If there is none, it lists the
// level, once for all that ask meanwhile. A caller whose ctx is done leaves it
// running for the others. An error is given to those who waited, and what was
// known before isn't given in its place.
func (x *Index) Level(ctx context.Context, level int) (*Snapshot, error) {
	if err := replica.CheckLevel(level); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		s, l, useful, err := x.levelOrListing(ctx, level)
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if useful {
			return l.snap, l.err
		}
	}
}

// levelOrListing returns the level if it is fresh, and else a listing to wait
// for: a useful one gives the result, another one stands in the way.
func (x *Index) levelOrListing(ctx context.Context, level int) (s *Snapshot, l *listing, useful bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, nil, false, errClosed
	}
	now := x.opts.Now()
	lv := &x.levels[level]
	if x.fresh(lv, now) {
		return lv.merge(), nil, false, nil
	}
	if l := lv.listing; l != nil && x.recent(lv, now, l.began, l.seq) {
		return nil, l, true, nil
	}
	if lv.running >= x.maxListings() {
		return nil, lv.listing, false, nil
	}
	return nil, x.list(ctx, level, now), true, nil
}

// list begins a listing. Index.mu is held.
func (x *Index) list(ctx context.Context, level int, now time.Time) *listing {
	lv := &x.levels[level]
	l := &listing{began: now, seq: x.launch(), done: make(chan struct{})}
	lv.listing = l
	lv.running++
	lv.fold(level)
	prev, known := lv.base, lv.hints()
	detach(x.root, ctx, x.opts.ListTimeout,
		func(ctx context.Context) (columns, error) { return x.readLevel(ctx, level, prev, known) },
		func(c columns, err error) {
			took := x.landListing(level, l, c, err)
			// Not under the lock: a log may be slow.
			if err != nil {
				x.opts.Logger.Debug("list", "ltx_level", level, "took", took, "error", err)
				return
			}
			x.opts.Logger.Debug("list", "ltx_level", level, "took", took, "files", len(c.min))
		})
	return l
}

// readLevel lists a level. prev is what it was before, if that is known, and known
// has times that are better than the listing's.
func (x *Index) readLevel(ctx context.Context, level int, prev *Snapshot, known *hints) (columns, error) {
	it, err := x.client.LTXFiles(ctx, level, 0, x.metadata)
	if err != nil {
		return columns{}, err
	}
	build := newBuilder(prev)
	if x.exact {
		err = x.addExact(ctx, level, it, build, known)
	} else {
		err = eachFile(it, func(f replica.File) error {
			if err := build.add(f); err != nil {
				return err
			}
			build.better(known)
			return nil
		})
	}
	if err == nil {
		err = it.Err()
	}
	if closeErr := it.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		// A listing cut short without a word would be files lost to sight.
		err = ctx.Err()
	}
	if err != nil {
		if x.exact {
			x.keepPartial(level, build)
		}
		return columns{}, err
	}
	return build.finish(), nil
}

// eachFile calls fn for each file of a listing, until it returns an error.
func eachFile(it ltx.FileIterator, fn func(replica.File) error) error {
	versions, _ := it.(replica.VersionIterator)
	for n := 0; it.Next(); n++ {
		if n == maxFiles {
			return fmt.Errorf("the store lists more than %d files", maxFiles)
		}
		info := it.Item()
		f := replica.File{MinTXID: info.MinTXID, MaxTXID: info.MaxTXID, Size: info.Size, ModTime: info.CreatedAt}
		if versions != nil {
			f.Version = versions.Version()
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// landListing makes what a listing found the level's base, unless a later one
// was faster, and wakes those who wait. It returns how long the listing took.
func (x *Index) landListing(level int, l *listing, c columns, err error) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(l.done)
	x.land(l.seq)
	lv := &x.levels[level]
	lv.running--
	if lv.listing == l {
		lv.listing = nil
	}
	took := x.opts.Now().Sub(l.began)
	if err != nil {
		l.err = fmt.Errorf("list level %d: %w", level, err)
		return took
	}
	if lv.base == nil || lv.base.seq < l.seq {
		s := &Snapshot{level: level, began: l.began, seq: l.seq, columns: c}
		lv.own.supersede(s, x.opts.Settle)
		lv.base, lv.times = s, times{}
	}
	l.snap = lv.merge()
	return took
}
