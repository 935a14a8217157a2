package index

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// requireFrom fails the test unless the listings since the last call began with those min TXIDs.
func (s *store) requireFrom(t tester, want ...int) {
	t.Helper()
	require.Equal(t, want, s.from)
	s.from = nil
}

// A listing asks for what is new, and for all of it once what it has is too old, or wrong.
func TestRefreshNew(t *testing.T) {
	const all = time.Hour
	files := numbered(3 * blockFiles)
	n := len(files)
	s := newStore(files...)
	x, clock := newIndex(t, s, Options{RefreshAll: all, Sorted: true})
	require.Equal(t, files, listLevel(t, x))
	s.requireFrom(t, 0)

	refresh := func() []replica.File {
		clock.advance(freshness)
		return listLevel(t, x)
	}
	files = append(files, file(n+1, n+5))
	s.write(files[n])
	require.Equal(t, files, refresh())
	s.requireFrom(t, n)

	// Others' deletions and late files don't show.
	s.delete(5, 5)
	s.write(file(5, 8))
	require.Equal(t, files, refresh())
	require.Equal(t, files, refresh())
	s.requireFrom(t, n+1, n+1)
	_, _, err := x.Find(t.Context(), name(5, 5))
	require.NoError(t, err)

	// Own changes do.
	x.Remove(name(6, 6))
	s.delete(6, 6)
	x.Put(file(7, 9))
	s.write(file(7, 9))
	own := append(append([]replica.File{}, files[:5]...), files[6], file(7, 9))
	own = append(own, files[7:]...)
	require.Equal(t, own, refresh())
	require.Equal(t, own, refresh())
	s.requireFrom(t, n+1, n+1)

	whole := append(append([]replica.File{}, files[:4]...), file(5, 8), files[6], file(7, 9))
	whole = append(whole, files[7:]...)
	clock.advance(all)
	require.Equal(t, whole, listLevel(t, x))
	s.requireFrom(t, 0)
	refresh()
	s.requireFrom(t, n+1)
	x.Invalidate(2)
	require.Equal(t, whole, listLevel(t, x))
	require.Equal(t, whole, refresh())
	s.requireFrom(t, 0, n+1)
}

// If the last file isn't there any more, or is another one, all is listed: the replica may have begun anew.
func TestRefreshNewWithoutTheLast(t *testing.T) {
	const n = 3 * blockFiles
	for what, change := range map[string]func(s *store){
		"deleted":       func(s *store) { s.delete(n, n) },
		"written again": func(s *store) { s.write(fileOf(n, n, 7)) },
		"begun anew": func(s *store) {
			clear(s.files)
			for i := range 2 * n {
				s.write(fileOf(i+1, i+1, 7))
			}
		},
		"begun anew, with less": func(s *store) {
			clear(s.files)
			s.write(fileOf(1, 1, 7))
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStore(numbered(n)...)
			x, clock := newIndex(t, s, Options{RefreshAll: time.Hour, Sorted: true})
			listLevel(t, x)
			s.delete(5, 5)
			change(s)
			clock.advance(freshness)
			want := slices.SortedFunc(maps.Values(s.files), compareNames)
			require.Equal(t, want, listLevel(t, x))
			s.requireFrom(t, 0, n, 0)
		})
	}
}

// Nothing is shown of a listing that turns out to have to be made anew, and who waits for it gets the other.
func TestRefreshNewWithoutTheLastGrowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(numbered(3 * blockFiles)...)
		x, clock := newIndex(t, s, Options{RefreshAll: time.Hour, Sorted: true})
		listLevel(t, x)
		clear(s.files)
		const n = 6*blockFiles + 10
		for i := range n {
			s.write(fileOf(i+1, i+1, 7))
		}
		gate := make(chan struct{})
		s.onFile = func(_ context.Context, i int) error {
			if i == 2*blockFiles {
				<-gate
			}
			return nil
		}
		clock.advance(freshness)
		began := later(func() error {
			_, g, err := x.Begin(t.Context(), 2)
			require.Equal(t, n, len(shown(t, g)))
			return err
		})
		pending(t, began)
		require.Nil(t, x.levels[2].listing.found)
		close(gate)
		require.NoError(t, arrived(t, began))
		s.requireFrom(t, 0, 3*blockFiles, 0)
	})
}

// What a look-up finds to be otherwise than it is listed has the next listing be of all; what comes after the last file doesn't.
func TestRefreshNewAfterFind(t *testing.T) {
	const n = 10
	for what, tt := range map[string]struct {
		change   func(s *store)
		min, max int
		from     int
	}{
		"deleted":       {func(s *store) { s.delete(5, 5) }, 5, 5, 0},
		"written again": {func(s *store) { s.write(fileOf(5, 5, 7)) }, 5, 5, 0},
		"late":          {func(s *store) { s.write(file(5, 8)) }, 5, 8, 0},
		"new":           {func(s *store) { s.write(file(n+1, n+1)) }, n + 1, n + 1, n},
		"as it was":     {func(*store) {}, 5, 5, n},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStore(numbered(n)...)
			x, clock := newIndex(t, s, Options{RefreshAll: time.Hour, Sorted: true})
			listLevel(t, x)
			clock.advance(freshness)
			tt.change(s)
			for range 3 {
				find(t, x, tt.min, tt.max)
			}
			requireCounts(t, s, 1, 1)
			require.Equal(t, slices.SortedFunc(maps.Values(s.files), compareNames), listLevel(t, x))
			s.requireFrom(t, 0, tt.from)
		})
	}
}

// Where a level was listed in another order, it isn't asked for what comes after a file, until it was in order; nor is any of
// a store that lists so.
func TestRefreshNewWithoutOrder(t *testing.T) {
	s := newStore(numbered(10)...)
	s.mangle = func(files []replica.File) []replica.File {
		slices.Reverse(files)
		return files
	}
	x, clock := newIndex(t, s, Options{RefreshAll: time.Hour, Sorted: true})
	for range 3 {
		require.Equal(t, numbered(10), listLevel(t, x))
		clock.advance(freshness)
	}
	s.requireFrom(t, 0, 0, 0)
	s.mangle = nil
	for range 2 {
		require.Equal(t, numbered(10), listLevel(t, x))
		clock.advance(freshness)
	}
	s.requireFrom(t, 0, 10)
	s.unordered = true // in other levels, or in what it sorts
	listLevel(t, x)
	s.requireFrom(t, 0)
}

// A level that is as it was shares its files with the one before.
func TestRefreshUnchanged(t *testing.T) {
	for _, refreshAll := range []time.Duration{0, time.Hour} {
		s := newStore(numbered(2*blockFiles + 100)...)
		x, clock := newIndex(t, s, Options{RefreshAll: refreshAll, Sorted: true})
		refresh := func() *Snapshot {
			clock.advance(freshness)
			snapshot, err := x.Level(t.Context(), 2)
			require.NoError(t, err)
			return snapshot
		}
		first, second := refresh(), refresh()
		require.NotSame(t, first, second)
		require.Zero(t, second.Age(clock.Now()))
		require.True(t, second.SameFiles(first))
		require.Same(t, &first.blocks[0], &second.blocks[0])
		for _, change := range []func(){
			func() { s.write(fileOf(2*blockFiles+100, 2*blockFiles+100, 7)) },
			func() { s.write(fileOf(3*blockFiles, 3*blockFiles, 7)) },
			func() { s.delete(3*blockFiles, 3*blockFiles) },
		} {
			change()
			third := refresh()
			require.False(t, third.SameFiles(second))
			second = third
		}
	}
}

// An empty level, and one whose last file begins with the first transaction, have nothing that something would come after, and
// what fails changes nothing.
func TestRefreshNewErrors(t *testing.T) {
	s := newStore()
	x, clock := newIndex(t, s, Options{RefreshAll: time.Hour, Sorted: true})
	require.Empty(t, listLevel(t, x))
	for i := range 2 {
		clock.advance(freshness)
		s.write(file(1, i+1))
		require.Len(t, listLevel(t, x), i+1)
	}
	clock.advance(freshness)
	s.write(file(2, 2))
	require.Len(t, listLevel(t, x), 3)
	s.requireFrom(t, 0, 0, 0, 0)

	clock.advance(freshness)
	s.write(file(3, 3))
	s.endErr = errors.New("broken")
	_, err := x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "broken")
	s.endErr = nil
	require.Len(t, listLevel(t, x), 4)
	s.requireFrom(t, 2, 2)
}

// Exact times that were found before a failure are kept with those of the files before.
func TestRefreshNewExactTimes(t *testing.T) {
	s := newUploadStore(numbered(5)...)
	x, clock := newIndex(t, s, Options{RefreshAll: time.Hour, Sorted: true, ExactTimes: true})
	require.Len(t, listLevel(t, x), 5)
	s.requireAsked(t, 1, 2, 3, 4, 5)
	s.write(fileOf(6, 6, 6))
	clock.advance(freshness)
	s.endErr = errors.New("broken")
	_, err := x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "broken")
	s.requireAsked(t, 6)
	s.endErr = nil
	require.Equal(t, numbered(6), listLevel(t, x))
	s.requireAsked(t)
	s.requireFrom(t, 0, 5, 5)
}
