package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// maxQueued is how much a Queue holds back for a writer that stalls.
const maxQueued = 1 << 20

// Patience is how long to wait, at the end, for whoever reads a log or standard
// error.
const Patience = 2 * time.Second

// Queue is a writer that never blocks: whoever reads a log may stop, and a
// request must not wait for it. What it is given it writes from a goroutine, in
// order; lines for which there is no room are counted and dropped.
type Queue struct {
	format string // of the line that tells of lost ones

	mu     sync.Mutex
	w      io.Writer
	before []io.Closer // the writers before, of which one may be written to
	buf    []byte
	lost   int           // lines dropped after those in buf
	idle   chan struct{} // closed once all is written; nil if nobody writes
	err    error         // of the last write
}

// NewQueue makes a Queue for w, in which a log of a format is written.
func NewQueue(w io.Writer, format string) *Queue { return &Queue{w: w, format: format} }

// Write implements io.Writer. It doesn't fail.
func (q *Queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	// After a lost line all are lost until the notice has its place.
	if q.lost > 0 || len(q.buf)+len(p) > maxQueued {
		q.lost += max(bytes.Count(p, []byte("\n")), 1)
	} else {
		q.buf = append(q.buf, p...)
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.drain()
	}
	return len(p), nil
}

// drain writes until nothing is left.
func (q *Queue) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.buf) > 0 || q.lost > 0 {
		batch := bytes.NewBuffer(q.buf)
		if q.lost > 0 {
			q.noteLost(batch)
		}
		q.buf, q.lost = nil, 0
		w := q.w
		q.mu.Unlock()
		_, err := w.Write(batch.Bytes())
		q.mu.Lock()
		q.err = err
		q.closeBefore()
	}
	close(q.idle)
	q.idle = nil
}

// Switch has all go to w that isn't being written yet. The writer before is closed once what
// is being written has got there.
func (q *Queue) Switch(w io.WriteCloser) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c, ok := q.w.(io.Closer); ok {
		q.before = append(q.before, c)
	}
	q.w = w
	if q.idle == nil {
		q.closeBefore()
	}
}

// closeBefore closes the writers that nothing is written to any more. Queue.mu is held.
func (q *Queue) closeBefore() {
	for _, c := range q.before {
		if err := c.Close(); err != nil {
			q.err = err
		}
	}
	q.before = nil
}

// Err is why what was written last hasn't reached the writer, or nil.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// noteLost logs how many lines were lost.
func (q *Queue) noteLost(w io.Writer) {
	lines := "lines were"
	if q.lost == 1 {
		lines = "line was"
	}
	if log, err := New(w, slog.LevelWarn, q.format); err == nil {
		log.Warn(fmt.Sprintf("%d log %s lost: the log isn't read", q.lost, lines))
	}
}

// Flush waits until all that was written before has reached the writer, at most
// until ctx is done. The error is the writer's, or ctx.Err().
func (q *Queue) Flush(ctx context.Context) error {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Flush flushes queues, unless nobody reads what they write: then it gives up after
// Patience, with context.DeadlineExceeded.
func Flush(queues ...*Queue) error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	var errs []error
	for _, q := range queues {
		errs = append(errs, q.Flush(ctx))
	}
	return errors.Join(errs...)
}
