package blocks

import (
	"context"
	"errors"
	"slices"
	"time"
)

const (
	// lateAfter is after how long a read has failed late.
	lateAfter = time.Second

	// repeatWithin is how soon after a read that has failed the kernel asks once
	// more, with time for a busy machine. A program that tries again later has
	// the store asked.
	repeatWithin = 250 * time.Millisecond

	// maxLateFailures bounds what is remembered of reads that have failed. The
	// kernel has fewer under way.
	maxLateFailures = 1024
)

// lateFailure is a read that has failed just now after a long wait, as one does when
// the store hangs. The kernel, when its read ahead fails, asks once more for what a
// program waits for: without this, that would wait for its deadline a second time.
// With O_DIRECT there is no read ahead, and so no repetition.
type lateFailure struct {
	key      key
	off, end int64
	at       time.Time
	err      error
}

// failedAt notes a read that began at a time and failed now, unless it did so
// quickly. A caller who has left says nothing about the store, and a version that is
// gone is worth a look at once.
func (c *Cache) failedAt(h *Handle, off, end int64, began time.Time, err error) {
	now := time.Now()
	if h.Direct || now.Sub(began) < lateAfter || isGone(err) || errors.Is(err, context.Canceled) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLateFailures(now)
	if len(c.late) < maxLateFailures {
		c.late = append(c.late, lateFailure{h.key, off, end, now, err})
	}
}

// lateFailureAt returns the error of a read at off that has just failed late, or nil.
// Cache.mu is held.
func (c *Cache) lateFailureAt(h *Handle, off int64) error {
	if h.Direct || len(c.late) == 0 {
		return nil
	}
	c.forgetLateFailures(time.Now())
	for _, l := range c.late {
		if l.key == h.key && l.off <= off && off < l.end {
			return l.err
		}
	}
	return nil
}

// forgetLateFailures forgets what is too long ago. Cache.mu is held.
func (c *Cache) forgetLateFailures(now time.Time) {
	c.late = slices.DeleteFunc(c.late, func(l lateFailure) bool { return now.Sub(l.at) > repeatWithin })
}
