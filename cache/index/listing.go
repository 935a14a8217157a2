package index

import (
	"context"
	"fmt"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// maxListings bounds how many listings of a level run at a time. The second serves
// callers for whom the first is too old: it began before an Invalidate, or too long
// ago.
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

// listing is one listing of a level, which many callers may wait for.
type listing struct {
	began time.Time
	seq   uint64
	from  ltx.TXID // of its first file; 0 if it is of the whole level

	// What it has found so far, unless it turned out to be in another order. grown is closed, and
	// replaced, when there is more. Index.mu guards these, and the result.
	found      *Snapshot
	grown      chan struct{}
	disordered bool

	done chan struct{} // closed when it lands; the result is set before
	snap *Snapshot
	all  *Snapshot // without own changes
	err  error
}

// Level returns the files of a level, from a listing that began less than the
// freshness interval ago, with all own changes. If there is none, it lists the
// level, once for all that ask meanwhile. A caller whose ctx is done leaves it
// running for the others. An error is given to those who waited, and what was
// known before isn't given in its place.
func (x *Index) Level(ctx context.Context, level int) (*Snapshot, error) {
	s, _, err := x.level(ctx, level, false)
	return s, err
}

// level is Level, or with growing Begin.
func (x *Index) level(ctx context.Context, level int, growing bool) (*Snapshot, *Growing, error) {
	if err := replica.CheckLevel(level); err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	for {
		s, l, useful, err := x.levelOrListing(ctx, level)
		if s != nil || err != nil {
			return s, nil, err
		}
		g, err := x.wait(ctx, level, l, growing && useful)
		if g != nil || err != nil {
			return nil, g, err
		}
		if useful {
			return l.snap, nil, l.err
		}
	}
}

// wait waits for a listing, with growing only until it has found some files.
func (x *Index) wait(ctx context.Context, level int, l *listing, growing bool) (*Growing, error) {
	for {
		var grown <-chan struct{}
		if growing {
			var g *Growing
			if g, grown = x.watch(level, l); g != nil {
				return g, nil
			}
		}
		select {
		case <-grown:
		case <-l.done:
			return nil, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("list level %d: %w", level, context.Cause(ctx))
		}
	}
}

// levelOrListing returns the level if it is fresh, and else a listing to wait
// for: a useful one gives the result, another one stands in the way.
func (x *Index) levelOrListing(ctx context.Context, level int) (s *Snapshot, l *listing, useful bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	lv := &x.levels[level]
	l = lv.listing
	switch {
	case x.closed:
		return nil, nil, false, errClosed
	case x.recent(lv, lv.base.began, lv.base.seq):
		return lv.merge(x.opts.Memory), nil, false, nil
	case l != nil && x.recent(lv, l.began, l.seq):
		return nil, l, true, nil
	case lv.running >= x.maxListings():
		return nil, l, false, nil
	}
	return nil, x.list(ctx, level), true, nil
}

// list begins a listing. Index.mu is held.
func (x *Index) list(ctx context.Context, level int) *listing {
	lv := &x.levels[level]
	l := &listing{began: x.opts.Now(), seq: x.launch(), grown: make(chan struct{}), done: make(chan struct{})}
	lv.listing = l
	lv.running++
	before, last := lv.merge(x.opts.Memory), lv.whole.file
	l.from = x.refreshFrom(lv)
	flight.Go(ctx, x.requests, x.opts.ListTimeout, flight.Work[*Snapshot]{
		Run: func(ctx context.Context) (*Snapshot, error) { return x.readLevel(ctx, level, l, before, last) },
		Land: func(s *Snapshot, err error) {
			took := x.landListing(level, l, s, err)
			// Not under the lock: a log may be slow.
			if err != nil {
				x.opts.Logger.Debug("list", "ltx_level", level, "took", took, "error", err)
				return
			}
			x.opts.Logger.Debug("list", "ltx_level", level, "took", took, "files", s.Len())
		},
	})
	return l
}

// refreshFrom is where the next listing of a level begins: with the last file, or with 0 if all is to be listed.
func (x *Index) refreshFrom(lv *levelIndex) ltx.TXID {
	w := lv.whole
	if x.opts.RefreshAll == 0 || !x.opts.Sorted || lv.disordered || x.store.Properties().Unordered {
		return 0
	}
	if w.exists && w.file.MinTXID > 1 && w.seq > lv.invalid && x.opts.Now().Sub(w.began) < x.opts.RefreshAll {
		return w.file.MinTXID
	}
	return 0
}

// readLevel lists a level. before is what was known of it when the listing began, and last the file with which it
// begins, unless it is of the whole level.
func (x *Index) readLevel(ctx context.Context, level int, l *listing, before *Snapshot, last replica.File) (*Snapshot, error) {
	b := newBuilder(before, x.opts.Memory)
	b.begin(l.from)
	sound := l.from == 0
	whole := false
	defer func() {
		if x.opts.ExactTimes && !whole {
			x.keep(level, l, b)
		}
	}()
	opts := replica.ListOptions{From: l.from, AnyOrder: true, ExactTimes: x.opts.ExactTimes, Known: before.known}
	if x.opts.Stray != nil {
		opts.Stray = func(base string) { x.opts.Stray(level, base) }
	}
	for f, err := range x.store.LTXFiles(ctx, level, opts) {
		blocks := len(b.blocks)
		if err == nil {
			err = b.add(f)
		}
		if err != nil {
			return nil, err
		}
		sound = sound || f.Name == last.Name && f.Version == last.Version
		if sound && len(b.blocks) > blocks {
			x.grow(level, l, b)
		}
	}
	if err := ctx.Err(); err != nil {
		// A listing cut short without a word would be files lost to sight.
		return nil, err
	}
	whole = true
	if !sound {
		// If the last file is gone, or another, so may be those before it.
		l.from = 0
		return x.readLevel(ctx, level, l, before, last)
	}
	x.grow(level, l, b)
	s := &Snapshot{level: level, began: l.began, seq: l.seq, files: b.finish()}
	if s.SameFiles(before) {
		s.files = before.files // which others hold as well
	}
	return s, nil
}

// keep keeps the exact times that a listing found before it failed, so that the next
// one comes further.
func (x *Index) keep(level int, l *listing, b *builder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	lv := &x.levels[level]
	if lv.base.seq > l.seq || b.Len() == 0 {
		return
	}
	// How far it came is what it found, and the rest as before.
	rest, ok := lv.base.Search(b.last)
	if ok {
		rest++
	}
	b.appendRange(&lv.base.files, rest, lv.base.Len())
	lv.base = &Snapshot{level: level, began: l.began, files: b.finish()}
	lv.own.dirty = true
}

// sawWhole notes what a listing found, so that the next one can go on from there.
func (lv *levelIndex) sawWhole(l *listing, s *Snapshot) {
	if l.from == 0 {
		lv.whole = answer{began: l.began, seq: l.seq}
	}
	if n := s.Len(); n > 0 {
		lv.whole.file, lv.whole.exists = s.At(n-1), true
	}
}

// landListing makes what a listing found the level's base, unless a later one
// was faster, and wakes those who wait. It returns how long the listing took.
func (x *Index) landListing(level int, l *listing, s *Snapshot, err error) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(l.done)
	delete(x.flights, l.seq)
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
	lv.disordered = l.disordered
	if lv.base.seq < l.seq {
		lv.own.supersede(s, x.opts.Settle)
		lv.base = s
		lv.sawWhole(l, s)
	}
	l.all, l.snap = s, lv.merge(x.opts.Memory)
	return took
}
