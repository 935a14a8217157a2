package flight

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Key is what Locks are by. Compare orders keys as cmp.Compare does.
type Key[K any] interface {
	comparable
	Compare(K) int
}

// Locks are one lock for each key. The zero value is ready for use.
type Locks[K Key[K]] struct {
	mu    sync.Mutex
	locks map[K]*lock
}

type lock struct {
	sem   *semaphore.Weighted
	users int // who hold it or wait for it
}

// Lock takes the locks of all keys, in an order that no other caller can
// contradict, and returns how to give them back, once.
func (l *Locks[K]) Lock(ctx context.Context, keys ...K) (unlock func(), err error) {
	keys = slices.SortedFunc(slices.Values(keys), K.Compare)
	keys = slices.Compact(keys)
	for i, key := range keys {
		if err := l.join(key).sem.Acquire(ctx, 1); err != nil {
			l.leave(key)
			l.unlock(keys[:i])
			return nil, fmt.Errorf("wait for others who use %v: %w", key, err)
		}
	}
	return func() { l.unlock(keys) }, nil
}

func (l *Locks[K]) join(key K) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks == nil {
		l.locks = map[K]*lock{}
	}
	k := l.locks[key]
	if k == nil {
		k = &lock{sem: semaphore.NewWeighted(1)}
		l.locks[key] = k
	}
	k.users++
	return k
}

func (l *Locks[K]) unlock(keys []K) {
	for _, key := range keys {
		l.mu.Lock()
		k := l.locks[key]
		l.mu.Unlock()
		k.sem.Release(1)
		l.leave(key)
	}
}

func (l *Locks[K]) leave(key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.locks[key]
	if k.users--; k.users == 0 {
		delete(l.locks, key)
	}
}
