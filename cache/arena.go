package cache

import "math/bits"

// maxScan bounds the search for adjacent slots in a large arena.
const maxScan = 8192

// maxHeapArena is how much of Go's heap an arena takes at most, where it can't
// have address space of its own.
const maxHeapArena = 64 << 20

// arena is the memory of all blocks: slots of one size in one stretch of address
// space as large as the budget. The system backs with memory only what is
// written to, and gets it back when a slot is dropped. Outside Go's heap, the
// blocks neither make the garbage collector wait for twice their size nor leave
// it garbage.
//
// It knows nothing of the budget. Blocks.mu guards it.
type arena struct {
	slotSize int
	bytes    []byte
	owners   []*block // by slot; nil for a free one
	free     []uint64 // the free slots, one bit each
	used     int
	cursor   int   // where the search for adjacent slots begins
	freed    []int // slots vacated since the last dropFreed
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
	a := &arena{
		slotSize: slotSize,
		bytes:    mem,
		owners:   make([]*block, slots),
		free:     make([]uint64, (slots+63)/64),
	}
	for slot := range slots {
		a.free[slot/64] |= 1 << (slot % 64)
	}
	return a
}

func (a *arena) slots() int { return len(a.owners) }

// mem is the memory of n bytes from the beginning of a slot on.
func (a *arena) mem(slot, n int) []byte { return a.span(slot*a.slotSize, slot*a.slotSize+n) }

func (a *arena) span(from, to int) []byte { return a.bytes[from:to:to] }

// take gives a free slot to a block.
func (a *arena) take(slot int, blk *block) {
	a.owners[slot] = blk
	a.free[slot/64] &^= 1 << (slot % 64)
	a.used++
}

// vacate makes a slot free. dropFreed must follow, before or after others are
// taken.
func (a *arena) vacate(slot int) {
	a.owners[slot] = nil
	a.free[slot/64] |= 1 << (slot % 64)
	a.used--
	a.freed = append(a.freed, slot)
}

// dropFreed gives the memory of the slots that were vacated, and not taken
// again, back to the system.
func (a *arena) dropFreed() {
	for _, slot := range a.freed {
		if a.owners[slot] == nil {
			dropMemory(a.bytes, slot*a.slotSize, (slot+1)*a.slotSize)
		}
	}
	a.freed = a.freed[:0]
	a.unmap()
}

// retire gives everything back once the last slot is vacated.
func (a *arena) retire() {
	a.retired = true
	a.unmap()
}

func (a *arena) unmap() {
	if a.retired && a.used == 0 && a.bytes != nil {
		unmapMemory(a.bytes)
		a.bytes = nil
	}
}

// place finds free slots for want blocks, of which there must be as many, and
// returns the first of n adjacent ones. n is less than want only if pinned
// blocks are in the way everywhere. Other blocks that are in the way are moved:
// a cache that has been full for a while has its free slots here and there, and
// one more copy in memory costs far less than one more request to the store.
func (a *arena) place(want int) (first, n int) {
	if want == 1 {
		first, n = a.freeSlot(-1, -1), 1
	} else {
		first, n = a.window(want)
		a.clear(first, n)
	}
	a.cursor = first + n
	return first, n
}

// window finds n adjacent slots that are free or can be made so: want of them,
// with as few blocks to move as it comes across, or the most there are.
func (a *arena) window(want int) (first, n int) {
	total := len(a.owners)
	best := -1 // most free slots in a window of the wanted size so far
	scanned := 0
	for _, part := range [2][2]int{{a.cursor, total}, {0, min(a.cursor+want-1, total)}} {
		usable, free := 0, 0
		for i := part[0]; i < part[1]; i++ {
			if scanned++; scanned > maxScan && n > 0 {
				return first, n
			}
			switch owner := a.owners[i]; {
			case owner == nil:
				free++
			case !owner.movable():
				usable, free = 0, 0
				continue
			}
			if usable++; usable > want {
				usable--
				if a.owners[i-want] == nil {
					free--
				}
			}
			if usable > n || usable == want && free > best {
				first, n = i-usable+1, usable
			}
			if usable == want {
				best = max(best, free)
				if free == want {
					return first, n
				}
			}
		}
	}
	return first, n
}

// clear moves what is in a window out of it.
func (a *arena) clear(first, n int) {
	for slot := first; slot < first+n; slot++ {
		blk := a.owners[slot]
		if blk == nil {
			continue
		}
		to := a.freeSlot(first, first+n)
		copy(a.mem(to, blk.size), a.mem(slot, blk.size))
		a.take(to, blk)
		blk.slot = to
		a.vacate(slot)
	}
}

// freeSlot returns a free slot outside [from, to). There must be one.
func (a *arena) freeSlot(from, to int) int {
	for i, word := range a.free {
		for ; word != 0; word &= word - 1 {
			slot := i*64 + bits.TrailingZeros64(word)
			if slot < from || slot >= to {
				return slot
			}
		}
	}
	panic("cache: no free slot for a block that is paid for")
}
