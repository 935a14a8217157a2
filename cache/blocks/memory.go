package blocks

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// maxBudget is the largest budget. Its blocks are as many as the heap should hold
// the tables of.
const maxBudget = 1 << 40

// Budget is one limit in bytes for everything that holds content in memory:
// cached blocks, reads in flight, upload buffers. At the limit Acquire waits,
// first come, first served; it doesn't fail.
//
// A Cache, which holds memory for as long as there is room, gives it back when someone
// waits for it.
type Budget struct {
	size    int64
	free    *semaphore.Weighted // whose queue is the order of arrival
	used    atomic.Int64
	waiting atomic.Int64 // bytes, of the calls of Acquire that wait

	// reclaimer, if set, releases at least n bytes if it can, and returns how many
	// it released.
	reclaimer atomic.Pointer[func(n int64) int64]
}

// NewBudget returns a budget of that many bytes, of at least one and at most
// 1 TiB.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.resize(min(max(bytes, 1), maxBudget))
	return b
}

// resize sets the size of a budget that nothing uses yet.
func (b *Budget) resize(bytes int64) {
	b.size, b.free = bytes, semaphore.NewWeighted(bytes)
}

// Size is the whole budget.
func (b *Budget) Size() int64 { return b.size }

// Used is what has been acquired and not yet released.
func (b *Budget) Used() int64 { return b.used.Load() }

// Acquire takes n bytes. While there aren't as many, it has cached blocks
// evicted, and then waits for others to release theirs, until ctx is done. To
// hold some bytes while waiting for more can end in a deadlock: acquire what is
// needed in one call. More than the whole budget is os.ErrInvalid.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	if n < 0 || n > b.size {
		return fmt.Errorf("acquire %d bytes of a memory budget of %d: %w", n, b.size, os.ErrInvalid)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if n == 0 || b.tryAcquire(n) {
		b.reclaim() // for whoever began to wait meanwhile, and counted on these bytes
		return nil
	}
	// It says that it waits before it reclaims: who makes memory reclaimable
	// after the reclaimer has looked then sees that someone waits.
	b.waiting.Add(n)
	b.reclaim()
	err := b.free.Acquire(ctx, n)
	if err == nil {
		b.used.Add(n)
	}
	b.waiting.Add(-n)
	if err != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Release gives back n bytes.
func (b *Budget) Release(n int64) {
	b.used.Add(-n)
	b.free.Release(n)
}

// tryAcquire takes n bytes if they are free. It neither waits, nor reclaims, nor
// overtakes who waits.
func (b *Budget) tryAcquire(n int64) bool {
	ok := !b.contended() && b.free.TryAcquire(n)
	if ok {
		b.used.Add(n)
	}
	return ok
}

// contended tells whether someone waits in Acquire.
func (b *Budget) contended() bool { return b.waiting.Load() > 0 }

// reclaim has memory given back until there is enough for all who wait, or until none
// is left to give. The Cache calls it, too, once memory has become reclaimable while the
// budget is contended. The reclaimer's lock must not be held.
func (b *Budget) reclaim() {
	for b.contended() {
		missing := b.waiting.Load() - (b.size - b.used.Load())
		r := b.reclaimer.Load()
		if missing <= 0 || r == nil || (*r)(missing) == 0 {
			return
		}
	}
}

// setReclaimer sets the reclaimer; nil is none.
func (b *Budget) setReclaimer(r func(n int64) int64) {
	if r == nil {
		b.reclaimer.Store(nil)
		return
	}
	b.reclaimer.Store(&r)
}

// maxHeapArena is how much of Go's heap an arena takes at most, where it can't
// have address space of its own.
const maxHeapArena = 64 << 20

// arena is the memory of all blocks: slots of one size in one stretch of address
// space as large as the budget. The system backs with memory only what is
// written to, and gets it back when a slot is dropped. Outside Go's heap, the
// blocks neither make the garbage collector wait for twice their size nor leave
// it garbage.
//
// It knows nothing of the budget. Cache.mu guards it.
type arena struct {
	slotSize int
	slots    int
	bytes    []byte
	free     []int // slots that were used before, the last vacated last
	unused   int   // from this slot on, none was ever used
	retired  bool
}

// newArena makes an arena of that many slots, or of as many as the limit on
// address space allows.
func newArena(slotSize, slots int) *arena {
	mem, err := mapMemory(slotSize * slots)
	for err != nil && slots > 1 && slots > maxHeapArena/slotSize {
		slots /= 2
		mem, err = mapMemory(slotSize * slots)
	}
	if err != nil {
		mem = make([]byte, slotSize*slots)
	}
	return &arena{slotSize: slotSize, slots: slots, bytes: mem}
}

// used is the number of slots that are taken.
func (a *arena) used() int { return a.unused - len(a.free) }

// mem is the memory of n bytes from the beginning of a slot on.
func (a *arena) mem(slot, n int) []byte {
	from := slot * a.slotSize
	return a.bytes[from : from+n : from+n]
}

// take returns a free slot, the last vacated if there is one. There is always one for
// a block that is paid for.
func (a *arena) take() int {
	if last := len(a.free) - 1; last >= 0 {
		slot := a.free[last]
		a.free = a.free[:last]
		return slot
	}
	a.unused++
	return a.unused - 1
}

// vacate makes a slot free, to be taken again at once.
func (a *arena) vacate(slot int) { a.free = append(a.free, slot) }

// drop makes a slot free, and gives its memory back to the system.
func (a *arena) drop(slot int) {
	dropMemory(a.bytes, slot*a.slotSize, (slot+1)*a.slotSize)
	a.vacate(slot)
	a.unmap()
}

// retire gives everything back once the last slot is dropped.
func (a *arena) retire() {
	a.retired = true
	a.unmap()
}

func (a *arena) unmap() {
	if a.retired && a.used() == 0 && a.bytes != nil {
		unmapMemory(a.bytes)
		a.bytes = nil
	}
}
