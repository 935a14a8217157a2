package metrics

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
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

// Counters add everything up. They are metrics as well.
type Counters struct {
	seconds *prometheus.HistogramVec

	mu  sync.Mutex
	sum Summary
}

// NewCounters returns counters at zero.
func NewCounters() *Counters {
	return &Counters{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ltxfs_store_operation_seconds",
		Help: "What the store takes for an operation, attempts and all of the body included: ok, missing if there was no such file, " +
			"error, or canceled if nobody waited for it any more.",
		Buckets: Seconds,
	}, []string{"operation", "outcome"})}
}

// Seconds are the buckets of histograms of times, from what memory takes to what a deadline
// allows.
var Seconds = prometheus.ExponentialBucketsRange(100e-6, 100, 13)

// add counts one operation that has ended, with err or well.
func (c *Counters) add(op Op, t Totals, err error) {
	outcome := "ok"
	switch {
	case errors.Is(err, os.ErrNotExist):
		outcome = "missing"
	case errors.Is(err, context.Canceled): // of which the store knows nothing
		outcome = "canceled"
	case err != nil:
		outcome = "error"
	}
	c.seconds.WithLabelValues(op.String(), outcome).Observe(t.Took.Seconds())
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := &c.sum[op]
	sum.Count++
	sum.Files += t.Files
	sum.Bytes += t.Bytes
	sum.Took += t.Took
	switch outcome {
	case "missing":
		sum.Missing++
	case "error":
		sum.Errors++
	}
}

var bytesDesc = prometheus.NewDesc("ltxfs_store_bytes_total",
	"Bytes of files that were read from the store or written to it.", []string{"operation"}, nil)

// Describe implements prometheus.Collector.
func (c *Counters) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *Counters) Collect(ch chan<- prometheus.Metric) {
	c.seconds.Collect(ch)
	sum := c.Snapshot()
	for _, op := range []Op{Read, Write} {
		ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.CounterValue, float64(sum[op].Bytes), op.String())
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
