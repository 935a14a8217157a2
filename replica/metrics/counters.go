package metrics

import (
	"errors"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Counters are Hooks that add everything up, without a lock. A nil one can't be
// used; NewCounters makes one.
type Counters struct {
	ops [numOps]struct{ count, missing, errors, files, bytes, nanoseconds atomic.Int64 }
}

// NewCounters returns counters at zero.
func NewCounters() *Counters { return &Counters{} }

// Done implements Hooks.
func (c *Counters) Done(e Event) {
	if e.Op < 0 || e.Op >= numOps {
		return
	}
	op := &c.ops[e.Op]
	op.count.Add(1)
	op.files.Add(e.Files)
	op.bytes.Add(e.Bytes)
	op.nanoseconds.Add(int64(e.Took))
	switch {
	case e.Err == nil:
	case errors.Is(e.Err, os.ErrNotExist):
		op.missing.Add(1)
	default:
		op.errors.Add(1)
	}
}

// Totals are all operations of one kind.
type Totals struct {
	Count   int64         // operations, those that failed included
	Missing int64         // those that found no such file, which is no failure
	Errors  int64         // those that failed
	Files   int64         // see Event.Files
	Bytes   int64         // see Event.Bytes
	Took    time.Duration // all operations together, which may have run side by side
}

// Summary is what Counters have counted up to a moment, by operation. What ends
// just then may be in one number and not yet in another.
type Summary [numOps]Totals

// Snapshot returns what was counted so far.
func (c *Counters) Snapshot() Summary {
	var s Summary
	for i := range c.ops {
		op := &c.ops[i]
		s[i] = Totals{
			Count: op.count.Load(), Missing: op.missing.Load(), Errors: op.errors.Load(),
			Files: op.files.Load(), Bytes: op.bytes.Load(), Took: time.Duration(op.nanoseconds.Load()),
		}
	}
	return s
}

// Of returns the totals of one kind of operation.
func (s Summary) Of(op Op) Totals {
	if op < 0 || op >= numOps {
		return Totals{}
	}
	return s[op]
}

// LogValue implements slog.LogValuer: a group for each kind of operation that
// there was, of what isn't zero in it.
func (s Summary) LogValue() slog.Value {
	var groups []slog.Attr
	for op, t := range s {
		if t.Count > 0 {
			groups = append(groups, slog.Attr{Key: Op(op).String(), Value: t.LogValue()})
		}
	}
	return slog.GroupValue(groups...)
}

// LogValue implements slog.LogValuer.
func (t Totals) LogValue() slog.Value {
	attrs := []slog.Attr{slog.Int64("count", t.Count)}
	for _, n := range []struct {
		key   string
		value int64
	}{{"files", t.Files}, {"bytes", t.Bytes}, {"missing", t.Missing}, {"errors", t.Errors}} {
		if n.value != 0 {
			attrs = append(attrs, slog.Int64(n.key, n.value))
		}
	}
	return slog.GroupValue(append(attrs, slog.Duration("took", t.Took))...)
}
