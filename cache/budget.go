package cache

import (
	"container/list"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// Budget is one limit in bytes for everything that holds content in memory:
// cached blocks, reads in flight, upload buffers. At the limit Acquire waits,
// first come, first served; it doesn't fail.
//
// Whoever caches for as long as there is room registers a reclaimer, which the
// budget asks to give memory back when someone waits for it.
type Budget struct {
	size int64

	// contenders is the length of the queue, to be read without the lock: it
	// is what a holder of reclaimable memory asks after each release.
	contenders atomic.Int64

	mu         sync.Mutex
	used       int64
	queue      list.List // of *contender, in the order of arrival
	reclaimers map[int]func(n int64) int64
	reclaimer  int // the key of the last reclaimer
}

// contender is a call of Acquire that waits.
type contender struct {
	n       int64
	granted chan struct{}
}

// MaxBudget is the largest budget: the tables of an arena of that size are as
// much as the heap should hold.
const MaxBudget = 1 << 40

// NewBudget returns a budget of that many bytes, of at least one and at most
// MaxBudget.
func NewBudget(bytes int64) *Budget {
	return &Budget{size: min(max(bytes, 1), MaxBudget), reclaimers: map[int]func(int64) int64{}}
}

// Size is the whole budget.
func (b *Budget) Size() int64 { return b.size }

// Used is what has been acquired and not yet released.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Acquire takes n bytes. While there aren't as many, it has cached blocks
// evicted, and then waits for others to release theirs, until ctx is done. To
// hold some bytes while waiting for more can end in a deadlock: acquire what is
// needed in one call.
//
// More than the whole budget can never be had and is os.ErrInvalid.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	if n < 0 || n > b.size {
		return fmt.Errorf("acquire %d bytes of a memory budget of %d: %w", n, b.size, os.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if n == 0 || b.acquireUpTo(1, n) == 1 {
		return nil
	}

	// The contender queues before it reclaims: who makes memory reclaimable
	// after the reclaimers have looked then sees that someone waits.
	c := &contender{n: n, granted: make(chan struct{})}
	b.mu.Lock()
	e := b.queue.PushBack(c)
	b.contenders.Add(1)
	b.grant()
	b.mu.Unlock()
	b.reclaim()

	select {
	case <-c.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	select {
	case <-c.granted:
		// Both at once: it has the bytes, so it must give them back.
		b.release(n)
	default:
		b.queue.Remove(e)
		b.contenders.Add(-1)
		b.grant()
	}
	b.mu.Unlock()
	// The next in the queue may be content with what this one wasn't.
	b.reclaim()
	return ctx.Err()
}

// Release gives back n bytes.
func (b *Budget) Release(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.release(n)
}

func (b *Budget) release(n int64) {
	if n < 0 || n > b.used {
		panic(fmt.Sprintf("cache: release of %d bytes where %d are in use", n, b.used))
	}
	b.used -= n
	b.grant()
}

// grant serves the queue as far as the free bytes go. It stops at the first
// that doesn't fit, or large requests would wait for ever behind small ones.
func (b *Budget) grant() {
	for e := b.queue.Front(); e != nil; e = b.queue.Front() {
		c := e.Value.(*contender)
		if c.n > b.size-b.used {
			return
		}
		b.used += c.n
		b.queue.Remove(e)
		b.contenders.Add(-1)
		close(c.granted)
	}
}

// acquireUpTo takes as many units as there are free bytes for, n at most, and
// returns their number. It neither waits, nor reclaims, nor overtakes the queue.
func (b *Budget) acquireUpTo(n int, unit int64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.queue.Len() > 0 {
		return 0
	}
	n = int(min(int64(n), (b.size-b.used)/unit))
	b.used += int64(n) * unit
	return n
}

// contended tells whether someone waits in Acquire.
func (b *Budget) contended() bool { return b.contenders.Load() > 0 }

// reclaim has memory given back until the queue is served or there is no more.
// A holder calls it, too, once memory has become reclaimable while the budget is
// contended. Neither the budget's lock nor a reclaimer's may be held.
func (b *Budget) reclaim() {
	for b.contended() {
		b.mu.Lock()
		front := b.queue.Front()
		if front == nil {
			b.mu.Unlock()
			return
		}
		missing := front.Value.(*contender).n - (b.size - b.used)
		reclaimers := make([]func(int64) int64, 0, len(b.reclaimers))
		for _, r := range b.reclaimers {
			reclaimers = append(reclaimers, r)
		}
		b.mu.Unlock()

		var freed int64
		for _, r := range reclaimers {
			if freed < missing {
				freed += r(missing - freed)
			}
		}
		if freed == 0 {
			return
		}
	}
}

// register adds a function that releases at least n bytes if it can and returns
// how many it released. It returns a function that takes it out again.
func (b *Budget) register(reclaimer func(n int64) int64) (unregister func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reclaimer++
	id := b.reclaimer
	b.reclaimers[id] = reclaimer
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.reclaimers, id)
	}
}
