package service

import "runtime/debug"

// heapLimit is where Go begins to collect garbage harder, in bytes, without an index
// worth counting. With the program itself, of which some 16 MiB are resident, what ltxfs uses
// beyond the budget, which is mostly not on the heap, is to stay below 64 MiB.
const heapLimit = 44 << 20

// limitHeap sets that limit for an index and inodes that need so many bytes more. With a
// limit that the live heap comes close to, Go would do nothing but collect.
func limitHeap(held int64) { debug.SetMemoryLimit(heapLimit + held) }
