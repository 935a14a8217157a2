package s3

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// take takes locks that must be free.
func take(t *testing.T, l *nameLocks, keys ...string) (unlock func()) {
	t.Helper()
	unlock, err := l.lock(within(t, 5*time.Second), keys...)
	require.NoError(t, err)
	return unlock
}

// requireHeld fails the test if one of the locks is free.
func requireHeld(t *testing.T, lock func(ctx context.Context) (func(), error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := lock(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func requireNoEntries(t *testing.T, l *nameLocks) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Empty(t, l.names)
}

func TestLocksByName(t *testing.T) {
	var l nameLocks
	unlock := take(t, &l, "b", "a", "b")
	requireHeld(t, func(ctx context.Context) (func(), error) { return l.lock(ctx, "a") })
	requireHeld(t, func(ctx context.Context) (func(), error) { return l.lock(ctx, "c", "b") })
	other := take(t, &l, "c") // those who waited in vain hold nothing
	unlock()
	take(t, &l, "a", "b")()
	other()
	take(t, &l)()
	requireNoEntries(t, &l)
}

func TestLocksAll(t *testing.T) {
	var l nameLocks
	unlock := take(t, &l, "a")
	requireHeld(t, l.lockAll)
	unlock()
	unlockAll, err := l.lockAll(t.Context())
	require.NoError(t, err)
	requireHeld(t, func(ctx context.Context) (func(), error) { return l.lock(ctx, "a") })
	requireHeld(t, l.lockAll)
	unlockAll()
	take(t, &l, "a")()
	requireNoEntries(t, &l)
}

func TestLocksContext(t *testing.T) {
	var l nameLocks
	defer take(t, &l, "a")()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := l.lock(ctx, "0", "a", "b")
		done <- err
	}()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.names["a"].users == 2
	}, 5*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Len(t, l.names, 1, "only the one that is held")
}

// Many who take many, in any order, exclude each other and come to an end.
func TestLocksNoDeadlock(t *testing.T) {
	var l nameLocks
	var inside [4]atomic.Int32
	var wg sync.WaitGroup
	ctx := within(t, 20*time.Second)
	for worker := range 8 {
		rng := rand.New(rand.NewPCG(1, uint64(worker)))
		wg.Go(func() {
			for i := range 200 {
				if worker == 0 && i%20 == 0 {
					unlock, err := l.lockAll(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					for k := range inside {
						if inside[k].Load() != 0 {
							t.Error("not alone")
						}
					}
					unlock()
					continue
				}
				var keys []string
				picked := rng.Perm(len(inside))[:1+rng.IntN(3)]
				for _, k := range picked {
					keys = append(keys, strconv.Itoa(k))
				}
				unlock, err := l.lock(ctx, keys...)
				if err != nil {
					t.Error(err)
					return
				}
				for _, k := range picked {
					if inside[k].Add(1) != 1 {
						t.Error("two hold a lock")
					}
				}
				for _, k := range picked {
					inside[k].Add(-1)
				}
				unlock()
			}
		})
	}
	wg.Wait()
	requireNoEntries(t, &l)
}
