package service

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Go begins to collect garbage harder at a limit of heapLimit, in bytes, or of heapRoom
// above what was alive after the last collection, if that is more. What ltxfs uses
// beyond the budget is to stay below 64 MiB; but a limit that the live heap comes close
// to makes Go do nothing but collect, and the index of a large level, which the budget
// pays for, is on the heap.
const (
	heapLimit = 48 << 20
	heapRoom  = 32 << 20
)

// followHeap sets the limit, now and after each collection.
func followHeap() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetMemoryLimit(max(heapLimit, int64(live[0].Value.Uint64())+heapRoom))
	// What nobody holds is gone after the next one. It has to be larger than what Go
	// allocates together.
	runtime.AddCleanup(new([64]byte), func(struct{}) { followHeap() }, struct{}{})
}
