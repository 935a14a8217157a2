package index

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// growingFiles are more than two blocks.
const growingFiles = 2*blockFiles + 100

// newGrowing is an index of a store that has numbered files, and lists them up to one of the third block until it may go on.
func newGrowing(t *testing.T, opts Options) (x *Index, s *store, goOn func(error)) {
	s = newStore(numbered(growingFiles)...)
	gate := make(chan error, 1)
	s.onFile = func(ctx context.Context, i int) error {
		if i != growingFiles-1 {
			return nil
		}
		select {
		case err := <-gate:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	opts.Sorted = true
	x, _ = newIndex(t, s, opts)
	return x, s, func(err error) { gate <- err }
}

func mustBegin(t tester, x *Index) *Growing {
	t.Helper()
	s, g, err := x.Begin(context.Background(), 2)
	require.NoError(t, err)
	require.Nil(t, s)
	return g
}

// shown are the files of a level that grows, to its end.
func shown(t tester, g *Growing) (files []replica.File) {
	t.Helper()
	for i := 0; ; i++ {
		require.NoError(t, g.Reach(context.Background(), i))
		if i >= g.Len() {
			return files
		}
		if f, exists := g.At(i); exists {
			files = append(files, f)
		}
	}
}

func later(f func() error) <-chan error {
	c := make(chan error, 1)
	go func() { c <- f() }()
	synctest.Wait()
	return c
}

// A level can be read before it is listed to its end, and many read one listing.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, s, goOn := newGrowing(t, Options{})
		g, other := mustBegin(t, x), mustBegin(t, x)
		require.GreaterOrEqual(t, g.Len(), blockFiles)
		require.NoError(t, g.Reach(t.Context(), 2*blockFiles-1))
		require.Equal(t, 2*blockFiles, g.Len())
		f, exists := g.At(0)
		require.True(t, exists)
		require.Equal(t, fileOf(1, 1, 1), f)

		ctx, cancel := context.WithCancel(t.Context())
		waiting := later(func() error { return g.Reach(ctx, 2*blockFiles) })
		pending(t, waiting)
		cancel()
		require.ErrorIs(t, arrived(t, waiting), context.Canceled)
		level := levelLater(t.Context(), x)
		pending(t, level)

		goOn(nil)
		require.Equal(t, numbered(growingFiles), shown(t, g))
		require.Equal(t, numbered(growingFiles), shown(t, other))
		require.Equal(t, numbered(growingFiles), filesOf(arrived(t, level).s))
		snapshot, g, err := x.Begin(t.Context(), 2)
		require.NoError(t, err)
		require.Nil(t, g)
		require.Equal(t, growingFiles, snapshot.Len())
		requireCounts(t, s, 1, 0)
	})
}

// Who has read a part gets the error in the place where it is, and nobody gets a shorter level.
func TestBeginErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, s, goOn := newGrowing(t, Options{})
		g := mustBegin(t, x)
		require.NoError(t, g.Reach(t.Context(), 2*blockFiles-1))
		goOn(errors.New("broken"))
		require.ErrorContains(t, g.Reach(t.Context(), 2*blockFiles), "broken")
		require.NoError(t, g.Reach(t.Context(), 2*blockFiles-1), "which is known")
		requireCounts(t, s, 1, 0)

		goOnAll, onFile := make(chan struct{}), s.onFile
		s.onFile = func(_ context.Context, i int) error {
			switch i {
			case blockFiles + 1:
				<-goOnAll
			case growingFiles - 1:
				return errors.New("broken")
			}
			return nil
		}
		g = mustBegin(t, x)
		require.Equal(t, blockFiles, g.Len())
		close(goOnAll)
		synctest.Wait()
		require.NoError(t, g.Reach(t.Context(), 2*blockFiles-1), "which was found before the error")
		require.ErrorContains(t, g.Reach(t.Context(), 2*blockFiles), "broken")

		s.onFile = onFile
		g = mustBegin(t, x)
		waiting := later(func() error { return g.Reach(t.Context(), 2*blockFiles) })
		x.Close()
		require.Error(t, arrived(t, waiting))

		s = newStore(numbered(growingFiles)...)
		s.onList = func(context.Context) error { return errors.New("refused") }
		x, _ = newIndex(t, s, Options{Sorted: true})
		_, _, err := x.Begin(t.Context(), 2)
		require.ErrorContains(t, err, "refused")
	})
}

// Own changes show at once, and are what the listing of the end makes of them.
func TestBeginOwnChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	synctest.Test(t, func(t *testing.T) {
		for i := range 20 {
			x, s, goOn := newGrowing(t, Options{Settle: time.Duration(i%2) * time.Hour})
			change := func() {
				for range random.IntN(20) {
					n := 1 + random.IntN(growingFiles+50)
					f := fileOf(n, n, 5000+random.IntN(3))
					if random.IntN(2) == 0 {
						x.Remove(f.Name)
						continue
					}
					x.Put(f)
				}
			}
			change() // before the listing begins, which says otherwise
			level := levelLater(t.Context(), x)
			change() // and after
			g := mustBegin(t, x)
			goOn(nil)
			want := filesOf(arrived(t, level).s)
			got := shown(t, g)
			slices.SortFunc(got, compareNames)
			require.Equal(t, want, got)
			requireCounts(t, s, 1, 0)
		}
	})
}

// A store that turns out to list in another order isn't read before the listing's end again.
func TestBeginOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, s, goOn := newGrowing(t, Options{})
		s.mangle = func(files []replica.File) []replica.File {
			return append(files[1:], files[0])
		}
		g := mustBegin(t, x)
		goOn(nil)
		require.ErrorIs(t, g.Reach(t.Context(), 2*blockFiles), errDisordered)
		require.Equal(t, numbered(growingFiles), listLevel(t, x))

		x.Invalidate(2)
		began := later(func() error {
			snapshot, g, err := x.Begin(t.Context(), 2)
			require.Nil(t, g)
			require.Equal(t, growingFiles, snapshot.Len())
			return err
		})
		pending(t, began)
		s.mangle = nil // which is seen by the next
		goOn(nil)
		require.NoError(t, arrived(t, began))

		for range 2 {
			x.Invalidate(2)
			level := levelLater(t.Context(), x)
			pending(t, level)
			goOn(nil)
			require.NoError(t, arrived(t, level).err)
		}
		x.levels[5].disordered = true
		x.Invalidate(2)
		g = mustBegin(t, x)
		goOn(nil)
		require.Equal(t, numbered(growingFiles), shown(t, g), "once it was in order, whatever other levels are")
	})
}

// Of a store that is known to have no order, no part of any level is given.
func TestBeginUnordered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, s, goOn := newGrowing(t, Options{})
		s.unordered = true
		began := later(func() error {
			_, g, err := x.Begin(t.Context(), 2)
			require.Nil(t, g)
			return err
		})
		pending(t, began)
		goOn(nil)
		require.NoError(t, arrived(t, began))
	})
}

// A listing that is late shows nothing that was deleted before it was read, though a later one, which has landed, has the
// deletion forgotten.
func TestBeginLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(numbered(growingFiles)...)
		var late atomic.Bool
		goOn := make(chan struct{})
		s.onList = func(context.Context) error {
			if !late.Swap(true) {
				<-goOn
			}
			return nil
		}
		x, clock := newIndex(t, s, Options{Sorted: true})
		level := levelLater(t.Context(), x)
		s.delete(1, 1)
		x.Remove(name(1, 1))
		began := later(func() error {
			snapshot, g, err := x.Begin(t.Context(), 2)
			require.Nil(t, g)
			require.Equal(t, numbered(growingFiles)[1:], filesOf(snapshot))
			return err
		})
		clock.advance(freshness)
		require.Equal(t, numbered(growingFiles)[1:], listLevel(t, x))
		pending(t, began)
		close(goOn)
		require.NoError(t, arrived(t, began))
		require.NoError(t, arrived(t, level).err)
	})
}

// Two listings of a level that are both out of order are both seen to be.
func TestBeginTwiceOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, s, goOn := newGrowing(t, Options{})
		s.mangle = func(files []replica.File) []replica.File { return append(files[1:], files[0]) }
		g := mustBegin(t, x)
		s.mangle = func(files []replica.File) []replica.File {
			slices.Reverse(files)
			return files
		}
		x.Invalidate(2)
		level := levelLater(t.Context(), x)
		require.NoError(t, g.Reach(t.Context(), 2*blockFiles-1))
		goOn(nil)
		goOn(nil)
		require.Equal(t, numbered(growingFiles), filesOf(arrived(t, level).s))
		require.ErrorIs(t, g.Reach(t.Context(), 2*blockFiles), errDisordered)
	})
}

// Each of many that come one after the other has a listing of its own, if none may be given twice.
func TestBeginWithoutFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, s, goOn := newGrowing(t, Options{Freshness: time.Nanosecond})
		x.opts.Freshness = 0
		for range 3 {
			g := mustBegin(t, x)
			goOn(nil)
			require.Len(t, shown(t, g), growingFiles)
			requireCounts(t, s, 1, 0)
		}
	})
}

// Stores of which nobody says that they list in order are waited for, and so is a level that isn't a block.
func TestBeginWaits(t *testing.T) {
	for _, opts := range []Options{{}, {Sorted: true}} {
		s := newStore(numbered(blockFiles - 1)...)
		if !opts.Sorted {
			s = newStore(numbered(growingFiles)...)
		}
		x, _ := newIndex(t, s, opts)
		snapshot, g, err := x.Begin(t.Context(), 2)
		require.NoError(t, err)
		require.Nil(t, g)
		require.Len(t, s.files, snapshot.Len())
	}
}

// What a listing has found so far answers for names, and the store for others.
func TestFindWhileListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, s, goOn := newGrowing(t, Options{})
		g := mustBegin(t, x)
		require.NoError(t, g.Reach(t.Context(), 2*blockFiles-1))
		f, _ := find(t, x, 7, 7)
		require.Equal(t, fileOf(7, 7, 7), *f)
		f, _ = find(t, x, 7, 8)
		require.Nil(t, f)
		requireCounts(t, s, 1, 0)
		find(t, x, growingFiles, growingFiles)
		requireCounts(t, s, 0, 1)
		x.Invalidate(2)
		find(t, x, 7, 7)
		requireCounts(t, s, 0, 1)
		goOn(nil)
		shown(t, g)
	})
}
