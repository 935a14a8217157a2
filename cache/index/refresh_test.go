package index

import (
	"errors"
	"testing"
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
	x, clock := newIndex(t, s, Options{RefreshAll: all})
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
	rewritten := fileOf(n+1, n+5, 7)
	s.write(rewritten)
	files[n] = rewritten
	require.Equal(t, files, refresh(), "the last one is asked for again")
	s.requireFrom(t, n+1)

	// Others' deletions and late files don't show.
	s.delete(5, 5)
	s.write(file(5, 8))
	s.delete(n+1, n+5)
	require.Equal(t, files[:n], refresh())
	require.Equal(t, files[:n], refresh())
	s.requireFrom(t, n+1, n)
	_, _, err := x.Find(t.Context(), name(5, 5))
	require.NoError(t, err)

	// Own changes do.
	x.Remove(name(6, 6))
	s.delete(6, 6)
	x.Put(file(7, 9))
	s.write(file(7, 9))
	own := append(append([]replica.File{}, files[:5]...), files[6], file(7, 9))
	own = append(own, files[7:n]...)
	require.Equal(t, own, refresh())
	require.Equal(t, own, refresh())
	s.requireFrom(t, n, n)

	whole := append(append([]replica.File{}, files[:4]...), file(5, 8), files[6], file(7, 9))
	whole = append(whole, files[7:n]...)
	clock.advance(all)
	require.Equal(t, whole, listLevel(t, x))
	s.requireFrom(t, 0)
	refresh()
	s.requireFrom(t, n)
	x.Invalidate(2)
	require.Equal(t, whole, listLevel(t, x))
	require.Equal(t, whole, refresh())
	s.requireFrom(t, 0, n)
}

// An empty level has nothing that something would come after, and what fails changes nothing.
func TestRefreshNewErrors(t *testing.T) {
	s := newStore()
	x, clock := newIndex(t, s, Options{RefreshAll: time.Hour})
	require.Empty(t, listLevel(t, x))
	clock.advance(freshness)
	s.write(file(1, 1))
	require.Len(t, listLevel(t, x), 1)
	s.requireFrom(t, 0, 0)

	clock.advance(freshness)
	s.write(file(2, 2))
	s.endErr = errors.New("broken")
	_, err := x.Level(t.Context(), 2)
	require.ErrorContains(t, err, "broken")
	s.endErr = nil
	require.Len(t, listLevel(t, x), 2)
	s.requireFrom(t, 1, 1)
}

// Exact times that were found before a failure are kept with those of the files before.
func TestRefreshNewExactTimes(t *testing.T) {
	s := newUploadStore(numbered(5)...)
	x, clock := newIndex(t, s, Options{RefreshAll: time.Hour, ExactTimes: true})
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
