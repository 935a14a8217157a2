// Package replicas opens the stores of the replicas that a mount's settings name, with
// the limits that they set, and says what to do if that fails.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/metrics"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// Opener opens replicas, which share its limits and connections. Its methods may be called
// from many goroutines.
type Opener struct {
	cfg       *settings.Mount
	counters  *metrics.Counters
	bandwidth *limit.Bandwidth
	pool      *s3.Pool

	mu       sync.Mutex
	inFlight map[limited]*limit.InFlight
	opened   []*Opened
	closed   bool
}

// limited is what has a limit on operations under way of its own: an endpoint, so that one
// that hangs holds up no other.
type limited struct {
	operations int
	endpoint   string // "" for all disks, and for AWS
}

// Opened is a replica that is ready for use.
type Opened struct {
	// Store counts what is asked of the store, and keeps to the limits.
	Store replica.Store

	// Layout is the replica's, as given or as found.
	Layout replica.Layout

	close func() error
}

// store is what the stores have in common beyond replica.Store.
type store interface {
	replica.Store
	Init(ctx context.Context) error
	Layout() replica.Layout
	SetLogger(logger *slog.Logger)
}

// NewOpener returns an opener with the limits that the settings have.
func NewOpener(cfg *settings.Mount) *Opener {
	return &Opener{
		cfg: cfg, counters: metrics.NewCounters(), pool: s3.NewPool(), inFlight: map[limited]*limit.InFlight{},
		bandwidth: limit.NewBandwidth(int64(cfg.LimitRead), int64(cfg.LimitWrite)),
	}
}

// Open makes the store and has it look at the replica, which takes no more than
// three requests in S3. Its errors have exit codes, and say what to do.
func (o *Opener) Open(ctx context.Context, source *settings.Source, log *slog.Logger) (*Opened, error) {
	opened := &Opened{close: func() error { return nil }}
	var inner store
	if source.OnDisk() {
		inner = file.New(source.Path, o.cfg.Layout)
	} else {
		s, err := o.pool.New(*source.S3)
		if err != nil {
			return nil, exitcode.Errorf(exitcode.Usage, "open replica %s: %w", source.Name(), err)
		}
		inner, opened.close = s, s.Close
	}
	inner.SetLogger(log)
	if err := inner.Init(ctx); err != nil {
		if cerr := opened.close(); cerr != nil {
			log.Debug("can't close the store", "error", cerr)
		}
		return nil, explain(ctx, source, err)
	}
	opened.Layout = inner.Layout()
	key := limited{operations: inner.Properties().Requests}
	if o.cfg.MaxRequests != nil {
		key.operations = *o.cfg.MaxRequests
	}
	if !source.OnDisk() {
		key.endpoint = source.S3.Endpoint
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, errors.Join(fmt.Errorf("open replica %s: %w", source.Name(), os.ErrClosed), opened.close())
	}
	if o.inFlight[key] == nil {
		o.inFlight[key] = limit.NewInFlight(key.operations)
	}
	// Counted is what the store is asked; the limits are for what reaches it, so
	// that one who waits for bandwidth holds a place all the while.
	counted := metrics.New(inner, o.counters)
	opened.Store = o.inFlight[key].Around(o.bandwidth.Around(counted))
	o.opened = append(o.opened, opened)
	return opened, nil
}

// Collectors are what is counted of the stores.
func (o *Opener) Collectors() []prometheus.Collector {
	return append(o.pool.Collectors(), o.counters)
}

// LogRequests logs what was asked of the stores so far, by operation, and what they
// were found to lack.
func (o *Opener) LogRequests(log *slog.Logger) {
	if s := o.counters.Snapshot(); s != (metrics.Summary{}) {
		attrs := []any{"requests", s}
		var lacks []string
		o.mu.Lock()
		for _, opened := range o.opened {
			for _, lack := range opened.Store.Properties().Lacks {
				if !slices.Contains(lacks, lack) {
					lacks = append(lacks, lack)
				}
			}
		}
		o.mu.Unlock()
		if len(lacks) > 0 {
			attrs = append(attrs, "lacks", strings.Join(lacks, ", "))
		}
		log.Info("asked of the store", attrs...)
	}
}

// Close ends the stores' connections. Nothing may use a store any more, and none is opened.
func (o *Opener) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	errs := make([]error, len(o.opened))
	var closing sync.WaitGroup
	for i, opened := range o.opened {
		closing.Go(func() { errs[i] = opened.close() })
	}
	closing.Wait()
	o.pool.Close()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close the replica: %w", err)
	}
	return nil
}
