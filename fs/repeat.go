package fs

import (
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	// lateAfter is after how long a read has failed late.
	lateAfter = time.Second

	// repeatWithin is how soon after a read that has failed the kernel asks once
	// more, with time for a busy machine. A program that tries again later has
	// the store asked.
	repeatWithin = 250 * time.Millisecond
)

// maxLateFailures bounds what is remembered of reads that have failed. The kernel
// has fewer under way.
const maxLateFailures = 1024

// lateFailures are the reads that have failed just now after a long wait, as they
// do when the store hangs. The kernel, when its read ahead fails, asks once more
// for what a program waits for: without them, that would wait for its deadline a
// second time. Where there is no read ahead, with O_DIRECT, they don't count.
type lateFailures struct {
	count  atomic.Int64 // to be read without the lock: it is nearly always 0
	mu     sync.Mutex
	recent []lateFailure // the oldest first
}

type lateFailure struct {
	file     replica.File // without its time
	off, end int64
	at       time.Time
	errno    syscall.Errno
}

// add notes a read that began at a time and failed now, unless it did so quickly.
func (l *lateFailures) add(f replica.File, off, end int64, began time.Time, e syscall.Errno) {
	now := time.Now()
	if now.Sub(began) < lateAfter || e == syscall.ESTALE {
		return
	}
	f.ModTime = time.Time{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(now)
	if len(l.recent) < maxLateFailures {
		l.recent = append(l.recent, lateFailure{f, off, end, now, e})
	}
	l.count.Store(int64(len(l.recent)))
}

// of returns with what a read at an offset has failed just now, or 0.
func (l *lateFailures) of(f replica.File, off int64) syscall.Errno {
	if l.count.Load() == 0 {
		return 0
	}
	f.ModTime = time.Time{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(time.Now())
	for _, r := range l.recent {
		if r.file == f && r.off <= off && off < r.end {
			return r.errno
		}
	}
	return 0
}

// prune forgets what is too long ago. The lock is held.
func (l *lateFailures) prune(now time.Time) {
	l.recent = slices.DeleteFunc(l.recent, func(r lateFailure) bool { return now.Sub(r.at) > repeatWithin })
	l.count.Store(int64(len(l.recent)))
}
