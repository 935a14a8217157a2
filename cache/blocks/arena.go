package blocks

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
