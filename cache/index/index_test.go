package index

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

const freshness = 10 * time.Second

func newIndex(t *testing.T, store replica.Store, opts Options) (*Index, *clock) {
	c := newClock()
	opts.Now = c.Now
	if opts.Freshness == 0 {
		opts.Freshness = freshness
	}
	x := New(store, opts)
	t.Cleanup(x.Close)
	return x, c
}

// listLevel lists level 2.
func listLevel(t tester, x *Index) []replica.File {
	t.Helper()
	s, err := x.Level(context.Background(), 2)
	require.NoError(t, err)
	return filesOf(s)
}

// find finds a file of level 2, or none.
func find(t tester, x *Index, min, max int) (*replica.File, time.Duration) {
	t.Helper()
	f, validFor, err := x.Find(context.Background(), name(min, max))
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist)
		return nil, validFor
	}
	return &f, validFor
}

func TestLevelIsListedOnceWithinTheInterval(t *testing.T) {
	s := newStore(file(1, 1), file(2, 3))
	x, clock := newIndex(t, s, Options{})
	first, err := x.Level(t.Context(), 2)
	require.NoError(t, err)
	require.Equal(t, []replica.File{file(1, 1), file(2, 3)}, filesOf(first))
	s.write(file(4, 4))
	clock.advance(freshness - 1)
	again, err := x.Level(t.Context(), 2)
	require.NoError(t, err)
	require.Same(t, first, again)
	require.Equal(t, freshness-1, again.Age(clock.Now()))
	requireCounts(t, s, 1, 0)
	clock.advance(1)
	require.Len(t, listLevel(t, x), 3)
	requireCounts(t, s, 1, 0)
	require.Equal(t, 2, first.Len())
}

func TestListingsThatAreOdd(t *testing.T) {
	for name, mangle := range map[string]func([]replica.File) []replica.File{
		"unsorted": func(f []replica.File) []replica.File { slices.Reverse(f); return f },
		"twice":    func(f []replica.File) []replica.File { return append([]replica.File{fileOf(2, 2, 9)}, f...) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(file(1, 1), file(2, 2), file(2, 3))
			s.mangle = mangle
			x, _ := newIndex(t, s, Options{})
			require.Equal(t, []replica.File{file(1, 1), file(2, 2), file(2, 3)}, listLevel(t, x))
		})
	}
}

func TestFailedListings(t *testing.T) {
	broken := errors.New("broken")
	for kind, prepare := range map[string]func(*store){
		"begin": func(s *store) { s.onList = func(context.Context) error { return broken } },
		"end":   func(s *store) { s.endErr = broken },
		"panic": func(s *store) { s.onList = func(context.Context) error { panic("broken") } },
	} {
		t.Run(kind, func(t *testing.T) {
			s := newStore(file(1, 1))
			x, clock := newIndex(t, s, Options{})
			listLevel(t, x)
			clock.advance(freshness)
			prepare(s)
			_, err := x.Level(t.Context(), 2)
			require.ErrorContains(t, err, "list level 2: ")
			require.ErrorContains(t, err, "broken")
			f, _ := find(t, x, 1, 1)
			require.Equal(t, file(1, 1), *f, "a stat needs no listing")
			requireCounts(t, s, 2, 1)
			s.onList, s.endErr = nil, nil
			require.Len(t, listLevel(t, x), 1)
		})
	}
}

func TestBadLevelsAndNames(t *testing.T) {
	s := newStore()
	x, _ := newIndex(t, s, Options{})
	for _, level := range []int{-1, 10} {
		_, err := x.Level(t.Context(), level)
		require.ErrorIs(t, err, os.ErrInvalid)
		bad := replica.Name{Level: level, MinTXID: 1, MaxTXID: 1}
		_, _, err = x.Find(t.Context(), bad)
		require.ErrorIs(t, err, os.ErrInvalid)
		_, err = x.FindNow(t.Context(), bad)
		require.ErrorIs(t, err, os.ErrInvalid)
		x.Put(replica.File{Name: bad})
		x.Remove(bad)
		x.Invalidate(level)
	}
	f, validFor := find(t, x, 2, 1)
	require.Nil(t, f)
	require.Equal(t, freshness, validFor)
	_, err := x.FindNow(t.Context(), name(2, 1))
	require.ErrorIs(t, err, os.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = x.Level(ctx, 2)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = x.Find(ctx, name(1, 1))
	require.ErrorIs(t, err, context.Canceled)
	requireCounts(t, s, 0, 0)
}

func TestFindFromAListing(t *testing.T) {
	s := newStore(file(1, 1))
	x, clock := newIndex(t, s, Options{})
	listLevel(t, x)
	f, validFor := find(t, x, 1, 1)
	require.Equal(t, file(1, 1), *f)
	require.Equal(t, freshness, validFor)
	clock.advance(3 * time.Second)
	f, validFor = find(t, x, 1, 2)
	require.Nil(t, f)
	require.Equal(t, freshness-3*time.Second, validFor)
	requireCounts(t, s, 1, 0)
	clock.advance(freshness)
	find(t, x, 1, 2)
	requireCounts(t, s, 0, 1)
}

func TestFindByStat(t *testing.T) {
	s := newStore(file(1, 1))
	x, clock := newIndex(t, s, Options{})
	f, validFor := find(t, x, 1, 1)
	require.Equal(t, file(1, 1), *f)
	require.Equal(t, freshness, validFor)
	f, validFor = find(t, x, 2, 2)
	require.Nil(t, f)
	require.Equal(t, freshness, validFor)
	requireCounts(t, s, 0, 2)
	listLevel(t, x)
	find(t, x, 1, 1)
	requireCounts(t, s, 1, 0)
	clock.advance(freshness)
	s.onStat = func(context.Context) error { return replica.ErrReplaced }
	_, validFor, err := x.Find(t.Context(), name(1, 1))
	require.ErrorIs(t, err, replica.ErrReplaced)
	require.EqualError(t, err, "stat level 2 0000000000000001-0000000000000001.ltx: "+replica.ErrReplaced.Error())
	require.Zero(t, validFor)
}

// A name is asked for several times in a row, also one that isn't there.
func TestAStatAnswersWhileItIsFresh(t *testing.T) {
	s := newStore(file(1, 1))
	x, clock := newIndex(t, s, Options{})
	for range 3 {
		f, _ := find(t, x, 1, 1)
		require.Equal(t, file(1, 1), *f)
		f, _ = find(t, x, 2, 2)
		require.Nil(t, f)
	}
	requireCounts(t, s, 0, 2)
	s.write(file(2, 2))
	clock.advance(freshness - 1)
	f, validFor := find(t, x, 2, 2)
	require.Nil(t, f)
	require.Equal(t, time.Duration(1), validFor)
	requireCounts(t, s, 0, 0)
	clock.advance(1)
	f, _ = find(t, x, 2, 2)
	require.Equal(t, file(2, 2), *f)
	requireCounts(t, s, 0, 1)

	x.Invalidate(2)
	find(t, x, 2, 2)
	requireCounts(t, s, 0, 1)

	// An own change is newer, and what made an error is asked again.
	x.Remove(name(2, 2))
	f, _ = find(t, x, 2, 2)
	require.Nil(t, f)
	s.onStat = func(context.Context) error { return replica.ErrUnavailable }
	for range 2 {
		_, _, err := x.Find(t.Context(), name(5, 5))
		require.ErrorIs(t, err, replica.ErrUnavailable)
	}
	requireCounts(t, s, 0, 2)
}

// FindNow asks about one name, and leaves the rest as fresh as it is, unless it
// learns that it isn't.
func TestFindNow(t *testing.T) {
	s := newStore(file(1, 1), file(2, 2))
	x, _ := newIndex(t, s, Options{})
	listLevel(t, x)
	findNow := func(n int) (replica.File, error) {
		t.Helper()
		return x.FindNow(t.Context(), name(n, n))
	}
	f, err := findNow(1)
	require.NoError(t, err)
	require.Equal(t, file(1, 1), f)
	_, err = findNow(3)
	require.ErrorIs(t, err, os.ErrNotExist)
	requireCounts(t, s, 1, 2)
	listLevel(t, x)
	find(t, x, 2, 2)
	find(t, x, 3, 3)
	requireCounts(t, s, 0, 0)

	x.Put(file(4, 4)) // which the store doesn't have yet, but no answer is newer than the question
	_, err = findNow(4)
	require.ErrorIs(t, err, os.ErrNotExist)
	requireCounts(t, s, 0, 1)
	s.write(file(4, 4))
	listLevel(t, x)
	requireCounts(t, s, 1, 0)

	s.write(file(3, 3))
	find(t, x, 3, 3)
	requireCounts(t, s, 0, 0)
	f, err = findNow(3)
	require.NoError(t, err)
	require.Equal(t, file(3, 3), f)
	requireCounts(t, s, 0, 1)
	require.Len(t, listLevel(t, x), 4)
	requireCounts(t, s, 1, 0)

	s.onStat = func(context.Context) error { return replica.ErrUnavailable }
	_, err = findNow(1)
	require.ErrorIs(t, err, replica.ErrUnavailable)
	listLevel(t, x)
	requireCounts(t, s, 0, 1)
	_, err = x.FindNow(canceled(), name(1, 1))
	require.ErrorIs(t, err, context.Canceled)
	x.Close()
	_, err = findNow(1)
	require.ErrorIs(t, err, os.ErrClosed)
}

// A FindNow that fails takes nothing from what is known.
func TestFindNowThatFails(t *testing.T) {
	s := newStore(file(1, 1))
	x, _ := newIndex(t, s, Options{})
	find(t, x, 1, 1)
	s.onStat = func(context.Context) error { return replica.ErrUnavailable }
	for range 2 {
		_, err := x.FindNow(t.Context(), name(1, 1))
		require.ErrorIs(t, err, replica.ErrUnavailable)
	}
	f, validFor := find(t, x, 1, 1)
	require.Equal(t, file(1, 1), *f)
	require.Equal(t, freshness, validFor)
	requireCounts(t, s, 0, 3)
	x.Invalidate(2)
	_, _, err := x.Find(t.Context(), name(1, 1))
	require.ErrorIs(t, err, replica.ErrUnavailable)
	_, _, err = x.Find(t.Context(), name(1, 1))
	require.ErrorIs(t, err, replica.ErrUnavailable)
	requireCounts(t, s, 0, 2)
}

func TestOwnChangesShowAtOnce(t *testing.T) {
	s := newStore(file(1, 1), file(2, 2))
	x, clock := newIndex(t, s, Options{})
	listLevel(t, x)
	clock.advance(time.Second)

	x.Remove(name(1, 1))
	x.Put(fileOf(2, 2, 7))
	x.Put(file(3, 3))
	f, validFor := find(t, x, 1, 1)
	require.Nil(t, f)
	require.Equal(t, freshness, validFor)
	f, _ = find(t, x, 2, 2)
	require.Equal(t, fileOf(2, 2, 7), *f)
	require.Equal(t, []replica.File{fileOf(2, 2, 7), file(3, 3)}, listLevel(t, x))
	first, err := x.Level(t.Context(), 2)
	require.NoError(t, err)
	again, err := x.Level(t.Context(), 2)
	require.NoError(t, err)
	require.Same(t, first, again)
	requireCounts(t, s, 1, 0)

	// A name that changes more than once.
	x.Put(file(1, 1))
	x.Remove(name(1, 1))
	x.Put(fileOf(1, 1, 8))
	require.Equal(t, []replica.File{fileOf(1, 1, 8), fileOf(2, 2, 7), file(3, 3)}, listLevel(t, x))
	requireCounts(t, s, 0, 0)

	// The store was never told, and the next listing counts.
	clock.advance(freshness)
	require.Equal(t, []replica.File{file(1, 1), file(2, 2)}, listLevel(t, x))
	f, _ = find(t, x, 3, 3)
	require.Nil(t, f)
	requireCounts(t, s, 1, 0)
}

func TestOwnChangesBeforeAnyListing(t *testing.T) {
	s := newStore(file(1, 1))
	x, clock := newIndex(t, s, Options{})
	x.Put(file(5, 5))
	f, validFor := find(t, x, 5, 5)
	require.Equal(t, file(5, 5), *f)
	require.Equal(t, freshness, validFor)
	clock.advance(4 * time.Second)
	_, validFor = find(t, x, 5, 5)
	require.Equal(t, freshness-4*time.Second, validFor)
	requireCounts(t, s, 0, 0)
	// It isn't the truth for ever: another writer may have deleted it.
	clock.advance(freshness)
	f, _ = find(t, x, 5, 5)
	require.Nil(t, f)
	requireCounts(t, s, 0, 1)
}

func TestInvalidate(t *testing.T) {
	s := newStore(file(1, 1))
	x, _ := newIndex(t, s, Options{})
	listLevel(t, x)
	x.Put(file(2, 2))
	s.write(file(3, 3))
	x.Invalidate(2)
	f, _ := find(t, x, 2, 2)
	require.Nil(t, f)
	f, _ = find(t, x, 3, 3)
	require.NotNil(t, f)
	requireCounts(t, s, 1, 2)
	require.Equal(t, []replica.File{file(1, 1), file(3, 3)}, listLevel(t, x))
	listLevel(t, x)
	requireCounts(t, s, 1, 0)
}
