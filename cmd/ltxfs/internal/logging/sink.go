package logging

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
)

const (
	// maxQueued is how much a Queue holds back for a writer that stalls.
	maxQueued = 1 << 20

	// maxKept is how much a Sink keeps for the file that may come.
	maxKept = 1 << 20
)

// Queue is a writer that never blocks: whoever reads a log may stop, and a
// request must not wait for it. What it is given it writes from a goroutine, in
// order; lines for which there is no room are counted and dropped.
type Queue struct {
	w      io.Writer
	format string // of the line that tells of lost ones

	mu   sync.Mutex
	buf  []byte
	lost int           // lines dropped after those in buf
	idle chan struct{} // closed once all is written; nil if nobody writes
	err  error         // of the last write that failed
}

// NewQueue makes a Queue for w. format is that of the log.
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
		batch, lost := q.buf, q.lost
		q.buf, q.lost = nil, 0
		q.mu.Unlock()
		if lost > 0 {
			batch = append(batch, q.lostLine(lost)...)
		}
		_, err := q.w.Write(batch)
		q.mu.Lock()
		if err != nil {
			q.err = err
		}
	}
	close(q.idle)
	q.idle = nil
}

// lostLine is the log line that stands for n others.
func (q *Queue) lostLine(n int) []byte {
	var line bytes.Buffer
	text := fmt.Sprintf("%d log lines were lost: the log isn't read", n)
	if n == 1 {
		text = "1 log line was lost: the log isn't read"
	}
	log, err := New(&line, "warn", q.format)
	if err != nil {
		return []byte(text + "\n")
	}
	log.Warn(text)
	return line.Bytes()
}

// Flush waits until all that was written before has reached the writer, at most
// until ctx is done. An error is the writer's, or that of ctx.
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

// Sink is where a log goes: first to one queue, and from Switch on to another,
// which gets all that was written before, too.
type Sink struct {
	mu   sync.Mutex
	out  *Queue
	kept []byte
	keep bool
}

// NewSink makes a Sink that writes to out at first.
func NewSink(out *Queue) *Sink { return &Sink{out: out, keep: true} }

// Write implements io.Writer. It never blocks.
func (s *Sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keep && len(s.kept)+len(p) <= maxKept {
		s.kept = append(s.kept, p...)
	}
	return s.out.Write(p)
}

// Switch has the Sink write to w from now on, beginning with what it has
// written so far. A w that stalls is no error, and lines wait for it as usual.
func (s *Sink) Switch(ctx context.Context, w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := NewQueue(w, s.out.format)
	if len(s.kept) > 0 {
		next.Write(s.kept)
	}
	if err := next.Flush(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	s.out, s.kept, s.keep = next, nil, false
	return nil
}

// Settle tells that there will be no Switch, so that nothing need be kept.
func (s *Sink) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.keep = nil, false
}

// Flush is Queue.Flush.
func (s *Sink) Flush(ctx context.Context) error {
	s.mu.Lock()
	out := s.out
	s.mu.Unlock()
	return out.Flush(ctx)
}
