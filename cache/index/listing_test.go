package index

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// levelLater lists in a goroutine.
func levelLater(ctx context.Context, x *Index) <-chan levelResult {
	c := make(chan levelResult, 1)
	go func() {
		s, err := x.Level(ctx, 2)
		c <- levelResult{s, err}
	}()
	synctest.Wait()
	return c
}

type levelResult struct {
	s   *Snapshot
	err error
}

type findResult struct {
	file     replica.File
	validFor time.Duration
	err      error
}

func pending[T any](t tester, c <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-c:
		require.Fail(t, "came too early", "%v", v)
	default:
	}
}

func arrived[T any](t tester, c <-chan T) T {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-c:
		return v
	default:
		require.Fail(t, "has not come")
		panic("unreachable")
	}
}

func TestOneListingForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(file(1, 1))
		gate := make(chan struct{})
		s.onList = func(ctx context.Context) error { <-gate; return ctx.Err() }
		x, _ := newIndex(t, s, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		first := levelLater(ctx, x)
		second, third := levelLater(t.Context(), x), levelLater(t.Context(), x)
		cancel()
		require.ErrorIs(t, arrived(t, first).err, context.Canceled)
		pending(t, second)
		x.Put(file(2, 2)) // after the listing saw the level
		x.Remove(name(1, 1))
		close(gate)
		a, b := arrived(t, second), arrived(t, third)
		require.NoError(t, a.err)
		require.Same(t, a.s, b.s)
		require.Equal(t, []replica.File{file(2, 2)}, filesOf(a.s))
		requireCounts(t, s, 1, 0)
	})
}

// gates makes every request of its kind wait for its own gate, in order.
func gates(n int) (wait func(context.Context) error, open []chan struct{}) {
	for range n {
		open = append(open, make(chan struct{}))
	}
	queue := make(chan chan struct{}, n)
	for _, g := range open {
		queue <- g
	}
	return func(ctx context.Context) error {
		select {
		case <-<-queue:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, open
}

func TestAListingFromBeforeAnInvalidateIsNotJoined(t *testing.T) {
	for _, firstEnds := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newStore(file(1, 1))
			wait, open := gates(2)
			s.onList = wait
			x, _ := newIndex(t, s, Options{})
			early := levelLater(t.Context(), x)
			s.write(file(2, 2))
			x.Invalidate(2)
			late := levelLater(t.Context(), x)
			requireCounts(t, s, 2, 0)
			if firstEnds {
				close(open[0])
				require.Equal(t, 1, arrived(t, early).s.Len())
				pending(t, late)
				close(open[1])
			} else {
				close(open[1])
				require.Equal(t, 2, arrived(t, late).s.Len())
				close(open[0])
				require.Equal(t, 2, arrived(t, early).s.Len(), "the later listing is known by then")
			}
			if firstEnds {
				require.Equal(t, 2, arrived(t, late).s.Len())
			}
			require.Len(t, listLevel(t, x), 2)
			requireCounts(t, s, 0, 0)
		})
	}
}

func TestASlowListingIsNotJoinedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(file(1, 1))
		wait, open := gates(3)
		s.onList = wait
		x, clock := newIndex(t, s, Options{})
		one := levelLater(t.Context(), x)
		clock.advance(freshness)
		two := levelLater(t.Context(), x)
		requireCounts(t, s, 2, 0)
		// No more than two at a time: the third waits for its turn.
		clock.advance(freshness)
		ctx, cancel := context.WithCancel(t.Context())
		three, four := levelLater(t.Context(), x), levelLater(ctx, x)
		cancel()
		require.ErrorIs(t, arrived(t, four).err, context.Canceled)
		requireCounts(t, s, 0, 0)
		close(open[1])
		require.NoError(t, arrived(t, two).err)
		requireCounts(t, s, 1, 0)
		pending(t, three)
		close(open[2])
		require.NoError(t, arrived(t, three).err)
		close(open[0])
		require.NoError(t, arrived(t, one).err)
		find(t, x, 1, 1)
		requireCounts(t, s, 0, 0)
	})
}

func TestOneStatForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(file(1, 1))
		wait, open := gates(2)
		s.onStat = wait
		x, clock := newIndex(t, s, Options{})
		findLater := func(ctx context.Context) <-chan findResult {
			c := make(chan findResult, 1)
			go func() {
				f, validFor, err := x.Find(ctx, name(1, 1))
				c <- findResult{f, validFor, err}
			}()
			synctest.Wait()
			return c
		}
		ctx, cancel := context.WithCancel(t.Context())
		one, two, three := findLater(ctx), findLater(t.Context()), findLater(t.Context())
		requireCounts(t, s, 0, 1)
		cancel()
		require.ErrorIs(t, arrived(t, one).err, context.Canceled)
		clock.advance(time.Second)
		close(open[0])
		want := findResult{file: file(1, 1), validFor: freshness - time.Second}
		require.Equal(t, want, arrived(t, two))
		require.Equal(t, want, arrived(t, three))

		// What happens while a stat runs is newer than what it saw.
		clock.advance(freshness)
		four := findLater(t.Context())
		x.Put(fileOf(1, 1, 5))
		x.Invalidate(2)
		clock.advance(time.Second)
		close(open[1])
		require.Equal(t, findResult{file: fileOf(1, 1, 5), validFor: freshness - time.Second}, arrived(t, four))
		requireCounts(t, s, 0, 1)
	})
}

func TestRequestsHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(file(1, 1))
		gate := make(chan struct{})
		s.onList = func(context.Context) error { <-gate; return nil } // whatever its context
		s.onStat = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		x, _ := newIndex(t, s, Options{})
		begin := time.Now()
		_, err := x.Level(t.Context(), 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, defaultListTimeout, time.Since(begin))
		begin = time.Now()
		_, _, err = x.Find(t.Context(), name(1, 1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, defaultStatTimeout, time.Since(begin))
		close(gate)
		synctest.Wait()
		s.onList = nil
		require.Len(t, listLevel(t, x), 1)
	})
}

// A client that stops at its context's end and says nothing has not listed the
// level.
func TestAListingCutShortInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(file(1, 1))
		s.onList = func(ctx context.Context) error { <-ctx.Done(); return nil }
		x, _ := newIndex(t, s, Options{ListTimeout: time.Second})
		_, err := x.Level(t.Context(), 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = x.readLevel(canceled(), 2, &listing{}, &Snapshot{}, replica.File{})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestCloseEndsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.onList = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		x, _ := newIndex(t, s, Options{})
		c := levelLater(t.Context(), x)
		x.Close()
		require.ErrorIs(t, arrived(t, c).err, os.ErrClosed)
		_, err := x.Level(t.Context(), 2)
		require.ErrorIs(t, err, os.ErrClosed)
		_, _, err = x.Find(t.Context(), name(1, 1))
		require.ErrorIs(t, err, os.ErrClosed)
	})
}
