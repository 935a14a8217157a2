//go:build !race

package blocks

import (
	"os"
	"syscall"
)

var pageSize = os.Getpagesize()

// mapMemory returns n zero bytes of address space, which take up memory only
// where they are written to. It fails where there is a limit on address space.
func mapMemory(n int) ([]byte, error) {
	p, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	// A huge page would take up 2 MiB for the first byte that is written. If
	// this kernel has no huge pages, the call fails, and that is fine.
	_ = syscall.Madvise(p, syscall.MADV_NOHUGEPAGE)
	return p, nil
}

// dropMemory gives the whole pages in p[from:to] back to the system. They read as
// zeros afterwards.
func dropMemory(p []byte, from, to int) {
	from = (from + pageSize - 1) / pageSize * pageSize
	to = to / pageSize * pageSize
	if from < to {
		// Advice that isn't taken costs memory, and nothing else.
		_ = syscall.Madvise(p[from:to], syscall.MADV_DONTNEED)
	}
}

// unmapMemory gives back what mapMemory returned.
func unmapMemory(p []byte) {
	// The one error is that p came from the heap, and then it's garbage.
	_ = syscall.Munmap(p)
}
