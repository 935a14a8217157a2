package metrics

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Op is a kind of operation.
type Op int

// The operations that are told apart.
const (
	List   Op = iota // a listing, to the end of the loop
	Stat             // StatLTXFile
	Exact            // StatLTXFile with ExactTime
	Read             // a body, from opening to its end or Close
	Local            // OpenLocal; what the kernel then reads, nobody tells
	Write            // WriteLTXFile
	Delete           // DeleteLTXFiles
	numOps
)

var opNames = [numOps]string{"list", "stat", "exact", "read", "local", "write", "delete"}

// String is the operation's name: "list", "stat", "exact", "read", "local",
// "write" or "delete".
func (op Op) String() string { return opNames[op] }

// Counters add everything up.
type Counters struct {
	mu  sync.Mutex
	sum Summary
}

// NewCounters returns counters at zero.
func NewCounters() *Counters { return &Counters{} }

// add counts one operation that has ended, with err or well.
func (c *Counters) add(op Op, t Totals, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := &c.sum[op]
	sum.Count++
	sum.Files += t.Files
	sum.Bytes += t.Bytes
	sum.Took += t.Took
	switch {
	case errors.Is(err, os.ErrNotExist):
		sum.Missing++
	case err != nil && !errors.Is(err, context.Canceled): // of which the store knows nothing
		sum.Errors++
	}
}

// Totals are all operations of one kind.
type Totals struct {
	Count   int64         // operations, those that failed included
	Missing int64         // those that found no such file, which is no failure
	Errors  int64         // those that failed, unless nobody waited for them any more
	Files   int64         // that were listed, were to be deleted, or 1 an operation
	Bytes   int64         // of content that was read or written, once if it was sent again
	Took    time.Duration // the store's time, of all together, which may have run side by side
}

// Summary is what Counters have counted up to a moment, by operation.
type Summary [numOps]Totals

// Snapshot returns what was counted so far.
func (c *Counters) Snapshot() Summary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum
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
