package s3

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

// nameLocks make writes and deletions of one key wait for each other: a write
// that is being verified must find what it wrote. A deletion of everything waits
// for all writes, and they for it.
type nameLocks struct {
	mu    sync.Mutex
	names map[string]*nameLock
	all   *semaphore.Weighted // made by the first user
}

type nameLock struct {
	sem   *semaphore.Weighted
	users int
}

// everyone is the weight of who must be alone.
const everyone = 1 << 30

func (l *nameLocks) whole() *semaphore.Weighted {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = semaphore.NewWeighted(everyone)
	}
	return l.all
}

// lockAll waits until nobody holds a key, and keeps others from it.
func (l *nameLocks) lockAll(ctx context.Context) (unlock func(), err error) {
	all := l.whole()
	if err := all.Acquire(ctx, everyone); err != nil {
		return nil, err
	}
	return func() { all.Release(everyone) }, nil
}

// lock takes keys, in an order that no other caller can contradict.
func (l *nameLocks) lock(ctx context.Context, keys ...string) (unlock func(), err error) {
	all := l.whole()
	if err := all.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	held := 0
	unlock = func() {
		for _, key := range keys[:held] {
			l.unlock(key)
		}
		all.Release(1)
	}
	for _, key := range keys {
		if err := l.lockOne(ctx, key); err != nil {
			unlock()
			return nil, err
		}
		held++
	}
	return unlock, nil
}

func (l *nameLocks) lockOne(ctx context.Context, key string) error {
	l.mu.Lock()
	if l.names == nil {
		l.names = map[string]*nameLock{}
	}
	n := l.names[key]
	if n == nil {
		n = &nameLock{sem: semaphore.NewWeighted(1)}
		l.names[key] = n
	}
	n.users++
	l.mu.Unlock()
	if err := n.sem.Acquire(ctx, 1); err != nil {
		l.leave(key, n)
		return err
	}
	return nil
}

func (l *nameLocks) unlock(key string) {
	l.mu.Lock()
	n := l.names[key]
	l.mu.Unlock()
	n.sem.Release(1)
	l.leave(key, n)
}

func (l *nameLocks) leave(key string, n *nameLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.users--; n.users == 0 {
		delete(l.names, key)
	}
}
