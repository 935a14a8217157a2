package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// errDisordered is the error of a listing of which a part was given before another order showed: the same
// files might come again.
var errDisordered = errors.New("the store doesn't list in the order of names: list again")

// Growing is the files of a level while it is being listed: those that were found so far, with own changes from
// before it was asked for. One goroutine at a time may use it.
type Growing struct {
	x     *Index
	l     *listing
	own   map[replica.Name]*change
	found *Snapshot
	added []replica.File // own files that aren't found, once all are
	whole bool
}

// Begin is Level, which doesn't wait for the end of a listing, if the store lists in order: then
// there is no snapshot.
func (x *Index) Begin(ctx context.Context, level int) (*Snapshot, *Growing, error) {
	return x.level(ctx, level, true)
}

// grow shows the whole blocks that a listing has found.
func (x *Index) grow(level int, l *listing, b *builder) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch lv := &x.levels[level]; {
	case b.unsorted:
		lv.disordered, l.disordered, l.found = true, true, nil
	case !x.opts.Sorted || lv.disordered || x.store.Properties().Unordered || len(b.blocks) == 0:
		return
	default:
		l.found = &Snapshot{level: level, began: l.began, seq: l.seq, files: b.files}
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

// watch returns what a listing has found so far, or what is closed when there is more.
func (x *Index) watch(level int, l *listing) (*Growing, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	lv := &x.levels[level]
	if l.found == nil || lv.base.seq > l.seq { // a later listing may have taken own changes for settled
		return nil, l.grown
	}
	return &Growing{x: x, l: l, own: maps.Clone(lv.own.changes), found: l.found}, nil
}

// Len is the number of files so far. It is that of all once Reach has returned without reaching one.
func (g *Growing) Len() int { return g.found.Len() + len(g.added) }

// Has reports whether it is known what the i-th file is, or that there are no more.
func (g *Growing) Has(i int) bool { return i < g.Len() || g.whole }

// At returns the i-th file. There is none in the place of one that was deleted.
func (g *Growing) At(i int) (f replica.File, exists bool) {
	if n := g.found.Len(); i >= n {
		return g.added[i-n], true
	}
	f = g.found.At(i)
	if c := g.own[f.Name]; c != nil && c.outlives(g.said(f, true), g.x.opts.Settle) {
		return c.file, c.exists
	}
	return f, true
}

// said is what the listing says of a file.
func (g *Growing) said(f replica.File, exists bool) answer {
	return answer{f, exists, g.l.began, g.l.seq}
}

// Age is how long before now the listing began.
func (g *Growing) Age(now time.Time) time.Duration { return now.Sub(g.l.began) }

// Reach waits until there is an i-th file, or none more. Its error is the listing's, of which what was found before comes first.
func (g *Growing) Reach(ctx context.Context, i int) error {
	for !g.Has(i) {
		g.x.mu.Lock()
		l, found, all, grown := g.l, g.l.found, g.l.all, g.l.grown
		disordered, err := l.disordered, l.err
		g.x.mu.Unlock()
		switch {
		case disordered:
			return errDisordered
		case all != nil:
			g.end(all)
		case found.Len() > g.found.Len():
			g.found = found
		case err != nil:
			return err
		default:
			select {
			case <-grown:
			case <-l.done:
			case <-ctx.Done():
				return fmt.Errorf("list level %d: %w", g.found.level, context.Cause(ctx))
			}
		}
	}
	return nil
}

// end takes what a listing has found in the end.
func (g *Growing) end(all *Snapshot) {
	g.found, g.whole = all, true
	for name, c := range g.own {
		if _, ok := all.Search(name); !ok && c.exists && c.outlives(g.said(replica.File{}, false), g.x.opts.Settle) {
			g.added = append(g.added, c.file)
		}
	}
	slices.SortFunc(g.added, func(a, b replica.File) int { return a.Compare(b.Name) })
}
