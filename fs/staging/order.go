package staging

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

const (
	// checkFrom is how much of a file is written when its check begins, in bytes.
	// Less is checked in no time later.
	checkFrom = 1 << 20

	// maxChecks is how many checks run beside writers at most, and no more than half
	// of the memory is enough for: the other half is for publications.
	maxChecks = 4

	// checkWithin is the deadline of a check. What is written for longer is checked
	// once it is whole.
	checkWithin = time.Hour
)

func checksOf(m Memory) *semaphore.Weighted {
	return semaphore.NewWeighted(min(maxChecks, m.Size()/2/publishMemory))
}

// order is whether a file is written in order, and the check that this lets run beside
// the writer.
type order struct {
	mu    sync.Mutex // taken before Files.mu
	bytes int64      // that were written in order since the file was empty; -1 if any weren't
	check *check     // of all of them, if any
}

// WriteAt writes to the file, which the caller has open as f, unless it is published.
func (s *File) WriteAt(ctx context.Context, f *os.File, p []byte, off int64) (n int, err error) {
	err = s.change(ctx, func() error {
		var err error
		n, err = f.WriteAt(p, off)
		s.wrote(off, n)
		return err
	})
	return n, err
}

// wrote notes n bytes that were written at off.
func (s *File) wrote(off int64, n int) {
	o := &s.order
	o.mu.Lock()
	defer o.mu.Unlock()
	if off != o.bytes {
		o.restart(-1)
		return
	}
	before := o.bytes
	o.bytes += int64(n)
	switch {
	case o.check != nil:
		o.check.set(func() { o.check.written = o.bytes })
	case before < checkFrom && o.bytes >= checkFrom:
		o.check = s.checkAlong(o.bytes)
	}
}

// reorder notes that the file was changed otherwise: it is empty now, with 0, or, with
// -1, not written in order.
func (s *File) reorder(bytes int64) {
	s.order.mu.Lock()
	defer s.order.mu.Unlock()
	s.order.restart(bytes)
}

// letGo ends the check and waits until it has let go of the file, whose room on disk
// would else be taken a while longer.
func (s *File) letGo(ctx context.Context) {
	s.order.mu.Lock()
	c := s.order.check
	s.order.restart(-1)
	s.order.mu.Unlock()
	if c == nil {
		return
	}
	ctx, cancel := flight.Within(ctx, s.files.opts.Write)
	defer cancel()
	select {
	case <-c.ended:
	case <-ctx.Done():
	}
}

// restart ends the check, and sets bytes. mu is held.
func (o *order) restart(bytes int64) {
	if o.bytes = bytes; o.check != nil {
		o.check.cancel(errDisorder)
		o.check = nil
	}
}

// checkAlong begins a check beside the writer, of whose bytes the first are written. It
// is nil if there are enough of them.
func (s *File) checkAlong(written int64) *check {
	t := s.files
	if !t.checks.TryAcquire(1) {
		return nil
	}
	f, err := s.Open()
	if err != nil {
		t.checks.Release(1)
		return nil
	}
	c := t.newCheck(f, written)
	c.ended = make(chan struct{})
	c.cancel = flight.Go(context.Background(), t.opts.Calls, checkWithin, flight.Work[ltx.Header]{
		Run: func(ctx context.Context) (ltx.Header, error) {
			if err := t.opts.Memory.Acquire(ctx, publishMemory); err != nil {
				return ltx.Header{}, err
			}
			defer t.opts.Memory.Release(publishMemory)
			return c.verify(ctx, ltxfile.BufferSize)
		},
		Land: func(h ltx.Header, err error) {
			c.header, c.err = h, err
			close(c.done)
		},
		Over: func() {
			s.Release()
			t.checks.Release(1)
			close(c.ended)
		},
	})
	return c
}

// checked is the check that ran beside the writer, once it has come to an end of which
// there is no doubt; nil if there is none. Nobody writes any more.
func (s *File) checked(ctx context.Context, size int64) (*check, error) {
	o := &s.order
	o.mu.Lock()
	c := o.check
	o.check = nil
	switch {
	case c == nil:
	case o.bytes != size:
		c.cancel(errDisorder)
		c = nil
	default:
		c.set(func() { c.whole = true })
	}
	o.mu.Unlock()
	if c == nil {
		return nil, nil
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if c.err != nil && !errors.Is(c.err, ltxfile.ErrInvalid) {
		return nil, nil
	}
	return c, nil
}
