package blocks

import (
	"context"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBudgetAccounts(t *testing.T) {
	b := NewBudget(10)
	ctx := context.Background()
	require.Equal(t, int64(10), b.Size())
	require.NoError(t, b.Acquire(ctx, 4))
	require.NoError(t, b.Acquire(ctx, 0))
	require.NoError(t, b.Acquire(ctx, 6))
	require.Equal(t, int64(10), b.Used())
	b.Release(10)
	b.Release(0)
	require.Zero(t, b.Used())
}

func TestBudgetRefusesWhatItNeverHas(t *testing.T) {
	b := NewBudget(10)
	require.ErrorIs(t, b.Acquire(context.Background(), 11), os.ErrInvalid)
	require.ErrorIs(t, b.Acquire(context.Background(), -1), os.ErrInvalid)
	require.Zero(t, b.Used())
	require.Panics(t, func() { b.Release(1) })
	require.Equal(t, int64(1), NewBudget(0).Size())
	require.Equal(t, int64(maxBudget), NewBudget(math.MaxInt64).Size())
}

func TestBudgetRefusesACancelledCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := NewBudget(10)
	require.ErrorIs(t, b.Acquire(ctx, 1), context.Canceled)
	require.Zero(t, b.Used())
}

// acquired starts Acquire in a goroutine and returns where its result comes.
func acquired(ctx context.Context, b *Budget, n int64) <-chan error {
	done := make(chan error, 1)
	go func() { done <- b.Acquire(ctx, n) }()
	synctest.Wait()
	return done
}

// tester is a testing.T or a rapid.T.
type tester interface {
	require.TestingT
	Helper()
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

func TestBudgetServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := NewBudget(10)
		require.NoError(t, b.Acquire(ctx, 8))
		large := acquired(ctx, b, 6)
		small := acquired(ctx, b, 1)
		pending(t, large)
		pending(t, small) // there is room for it, but it may not overtake
		require.False(t, b.tryAcquire(1))
		b.Release(3)
		pending(t, large)
		b.Release(1)
		require.NoError(t, arrived(t, large))
		pending(t, small)
		b.Release(4)
		require.NoError(t, arrived(t, small))
		require.Equal(t, int64(7), b.Used())
		require.False(t, b.contended())
	})
}

func TestBudgetForgetsACancelledContender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10)
		require.NoError(t, b.Acquire(t.Context(), 8))
		ctx, cancel := context.WithCancel(t.Context())
		large := acquired(ctx, b, 6)
		small := acquired(t.Context(), b, 2)
		pending(t, small)
		cancel()
		require.ErrorIs(t, arrived(t, large), context.Canceled)
		require.NoError(t, arrived(t, small))
		require.Equal(t, int64(10), b.Used())
	})
}

func TestBudgetGivesBackWhatCameTooLate(t *testing.T) {
	// Granted and cancelled at once: whichever Acquire sees, the sum holds.
	for range 200 {
		b := NewBudget(1)
		require.NoError(t, b.Acquire(context.Background(), 1))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- b.Acquire(ctx, 1) }()
		for !b.contended() {
		}
		var wg sync.WaitGroup
		wg.Go(cancel)
		wg.Go(func() { b.Release(1) })
		wg.Wait()
		if err := <-done; err == nil {
			b.Release(1)
		}
		require.Zero(t, b.Used())
	}
}

func TestBudgetReclaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10)
		cached := int64(10)
		var asked []int64
		reclaimer := func(n int64) int64 {
			asked = append(asked, n)
			n = min(n, cached)
			cached -= n
			b.Release(n)
			return n
		}
		b.setReclaimer(reclaimer)
		require.NoError(t, b.Acquire(t.Context(), 10))
		require.NoError(t, b.Acquire(t.Context(), 4))
		require.Equal(t, []int64{4}, asked)
		require.NoError(t, b.Acquire(t.Context(), 6))
		require.Equal(t, []int64{4, 6}, asked)

		// Nothing to reclaim now, and again something later.
		late := acquired(t.Context(), b, 3)
		pending(t, late)
		cached = 3
		b.reclaim()
		require.NoError(t, arrived(t, late))

		b.setReclaimer(nil)
		asked = nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.Acquire(ctx, 1), context.DeadlineExceeded)
		require.Empty(t, asked)
	})
}

// The budget against a list: whoever is first in the queue and fits is served,
// and nobody else.
func TestBudgetProperty(t *testing.T) {
	// As a plain TB: rapid asks a T for its deadline, which a bubble hasn't.
	synctest.Test(t, func(t *testing.T) { rapid.Check(struct{ testing.TB }{t}, budgetProperty) })
}

func budgetProperty(t *rapid.T) {
	type call struct {
		n      int64
		cancel context.CancelFunc
		done   <-chan error
	}
	const size = 20
	b := NewBudget(size)
	var queue []call
	var held []int64
	used := int64(0)
	serve := func() {
		for len(queue) > 0 && queue[0].n <= size-used {
			require.NoError(t, arrived(t, queue[0].done))
			queue[0].cancel()
			used += queue[0].n
			held = append(held, queue[0].n)
			queue = queue[1:]
		}
		for _, c := range queue {
			pending(t, c.done)
		}
		require.Equal(t, used, b.Used())
	}
	defer func() {
		for _, c := range queue {
			c.cancel()
		}
		synctest.Wait()
	}()
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		switch op := rapid.IntRange(0, 2).Draw(t, "op"); {
		case op == 0 || len(held) == 0 && len(queue) == 0:
			c := call{n: rapid.Int64Range(1, size).Draw(t, "n")}
			var ctx context.Context
			ctx, c.cancel = context.WithCancel(context.Background())
			c.done = acquired(ctx, b, c.n)
			queue = append(queue, c)
		case op == 1 && len(held) > 0:
			i := rapid.IntRange(0, len(held)-1).Draw(t, "release")
			b.Release(held[i])
			used -= held[i]
			held = slices.Delete(held, i, i+1)
		case len(queue) > 0:
			i := rapid.IntRange(0, len(queue)-1).Draw(t, "cancel")
			queue[i].cancel()
			require.ErrorIs(t, arrived(t, queue[i].done), context.Canceled)
			queue = slices.Delete(queue, i, i+1)
		}
		serve()
	}
}
