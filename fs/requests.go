package fs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/replica/metrics"
)

// stuckAfter is longer than any deadline of a request that publishes nothing.
const stuckAfter = 3 * time.Minute

// requests are the kernel's: what is counted of them, which are under way, and the access
// log.
type requests struct {
	log    *slog.Logger
	logged atomic.Bool // each request is logged

	seconds       *prometheus.HistogramVec
	errors        *prometheus.CounterVec
	read, written prometheus.Counter

	mu       sync.Mutex
	underWay map[*request]struct{}
}

// request is one of the kernel.
type request struct {
	op     string
	cancel <-chan struct{} // tells it from all others under way
	began  time.Time
	took   prometheus.Observer

	bytes int   // that were read or written
	off   int64 // of these, or of what was asked for
	size  int

	after func() // is called once it is done
	file  string // if it is logged
	trace blocks.Trace
}

func newRequests(log *slog.Logger) *requests {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &requests{
		log: log, underWay: map[*request]struct{}{},
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ltxfs_fuse_request_seconds", Help: "Time that requests of the kernel took, up to the answer.", Buckets: metrics.Seconds,
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ltxfs_fuse_errors_total", Help: "Requests of the kernel that were answered with an error.",
		}, []string{"operation", "errno"}),
		read:    counter("ltxfs_fuse_read_bytes_total", "Bytes of files that the kernel was given. What it reads itself, by passthrough, it doesn't tell."),
		written: counter("ltxfs_fuse_written_bytes_total", "Bytes of files that the kernel gave."),
	}
}

func (r *requests) begin(op string, cancel <-chan struct{}) *request {
	req := &request{op: op, cancel: cancel, began: time.Now(), took: r.seconds.WithLabelValues(op)}
	r.mu.Lock()
	r.underWay[req] = struct{}{}
	r.mu.Unlock()
	return req
}

func (r *requests) end(req *request, status fuse.Status) {
	took := time.Since(req.began)
	r.mu.Lock()
	delete(r.underWay, req)
	r.mu.Unlock()
	req.took.Observe(took.Seconds())
	name := ""
	if !status.Ok() {
		name = errnoName(syscall.Errno(status))
		r.errors.WithLabelValues(req.op, name).Inc()
	}
	if req.file == "" {
		return
	}
	attrs := []any{"op", req.op, "file", req.file, "took", took}
	if req.size > 0 {
		attrs = append(attrs, "offset", req.off, "size", req.size, "bytes", req.bytes)
	}
	if n := req.trace.Blocks.Load(); n > 0 {
		attrs = append(attrs, "blocks", n, "fetched", req.trace.Missed.Load())
	}
	if name != "" {
		attrs = append(attrs, "errno", name)
	}
	r.log.Info("access", attrs...)
}

func errnoName(e syscall.Errno) string {
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return fmt.Sprint(int(e))
}

// traced has the blocks that are read within ctx, a request's, noted in that, if it is logged.
func (r *requests) traced(ctx context.Context) context.Context {
	if !r.logged.Load() {
		return ctx
	}
	if req := r.of(ctx); req != nil {
		return blocks.Traced(ctx, &req.trace)
	}
	return ctx
}

// after has something done once go-fuse has done all that it does for a request.
func (r *requests) after(ctx context.Context, do func()) {
	if req := r.of(ctx); req != nil {
		req.after = do
		return
	}
	do()
}

// of is the request of a context, if it is one's.
func (r *requests) of(ctx context.Context) *request {
	of, ok := ctx.(*fuse.Context)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for req := range r.underWay {
		if req.cancel == of.Cancel {
			return req
		}
	}
	return nil
}

// healthy returns an error if a request is under way that should have ended by a deadline.
func (r *requests) healthy() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for req := range r.underWay {
		if took := time.Since(req.began); took > stuckAfter && !publishes[req.op] {
			return fmt.Errorf("a request of the kernel, %s, has been under way for %v", req.op, took.Round(time.Second))
		}
	}
	return nil
}

// publishes are the operations that may take as long as a large file takes: that publish, or
// wait for one that does.
var publishes = map[string]bool{"FLUSH": true, "FSYNC": true, "RENAME": true, "UNLINK": true, "RELEASE": true}
