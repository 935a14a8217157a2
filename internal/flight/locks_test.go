package flight

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

type lockKey int

func (k lockKey) Compare(other lockKey) int { return cmp.Compare(k, other) }

// later locks in a goroutine, and returns where the result comes.
func later(ctx context.Context, l *Locks[lockKey], keys ...lockKey) <-chan func() {
	c := make(chan func(), 1)
	go func() {
		unlock, err := l.Lock(ctx, keys...)
		if err != nil {
			close(c)
			return
		}
		c <- unlock
	}()
	synctest.Wait()
	return c
}

func TestLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks[lockKey]
		unlock, err := l.Lock(t.Context(), 2, 1, 2)
		require.NoError(t, err)
		one, three := later(t.Context(), &l, 1), later(t.Context(), &l, 3)
		require.Empty(t, one)
		require.Len(t, three, 1)
		unlock()
		synctest.Wait()
		require.Len(t, one, 1)
		(<-one)()
		(<-three)()
		require.Empty(t, l.locks)

		none, err := l.Lock(t.Context())
		require.NoError(t, err)
		none()
		require.Empty(t, l.locks)
	})
}

// Who comes first is served first.
func TestLocksServeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks[lockKey]
		unlock, err := l.Lock(t.Context(), 1)
		require.NoError(t, err)
		var queue []<-chan func()
		for range 5 {
			queue = append(queue, later(t.Context(), &l, 1))
		}
		for i := range queue {
			unlock()
			synctest.Wait()
			require.Len(t, queue[i], 1)
			for _, c := range queue[i+1:] {
				require.Empty(t, c)
			}
			unlock = <-queue[i]
		}
		unlock()
		require.Empty(t, l.locks)
	})
}

// Whoever stops waiting has taken nothing and leaves nothing behind.
func TestLocksOfWhoStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks[lockKey]
		unlock, err := l.Lock(t.Context(), 2)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.Lock(ctx, 3, 2, 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "wait for others who use 2: context deadline exceeded")
		require.Len(t, l.locks, 1)
		one, err := l.Lock(t.Context(), 1, 3)
		require.NoError(t, err)
		one()
		unlock()
		require.Empty(t, l.locks)

		_, err = l.Lock(ctx, 7)
		require.ErrorIs(t, err, context.DeadlineExceeded, "it is free, but ctx is done")
		require.Empty(t, l.locks)
	})
}

// Everybody wants several in any order: no deadlock, and nobody beside another.
func TestLocksHammer(t *testing.T) {
	var l Locks[lockKey]
	var held [4]int // the race detector sees two at once as well
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 500 {
				a, b := lockKey(r.IntN(4)), lockKey(r.IntN(4))
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(100))*time.Microsecond)
				if r.IntN(2) == 0 {
					ctx = context.Background()
				}
				if unlock, err := l.Lock(ctx, a, b); err == nil {
					held[a]++
					require.Equal(t, 1, held[a])
					held[a]--
					unlock()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	require.Empty(t, l.locks)
}
