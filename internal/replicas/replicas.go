// Package replicas opens the store of the replica that a mount's settings name, with
// the limits that they set, and says what to do if that fails.
package replicas

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/metrics"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// Opened is a replica that is ready for use.
type Opened struct {
	// Store counts what is asked of the store, and keeps to the limits.
	Store replica.Store

	// Layout is the replica's, as given or as found.
	Layout replica.Layout

	counters *metrics.Counters
	close    func() error
}

// store is what the stores have in common beyond replica.Store.
type store interface {
	replica.Store
	Init(ctx context.Context) error
	Layout() replica.Layout
	SetLogger(logger *slog.Logger)
}

// Open makes the store and has it look at the replica, which takes no more than
// three requests in S3. Its errors have exit codes, and say what to do.
func Open(ctx context.Context, cfg *settings.Mount, log *slog.Logger) (*Opened, error) {
	source := &cfg.Source
	opened := &Opened{counters: metrics.NewCounters(), close: func() error { return nil }}
	var inner store
	if source.OnDisk() {
		inner = file.New(source.Path, cfg.Layout)
	} else {
		s, err := s3.New(*source.S3)
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
	requests := inner.Properties().Requests
	if cfg.MaxRequests != nil {
		requests = *cfg.MaxRequests
	}
	// Counted is what the store is asked; the limits are for what reaches it, so
	// that one who waits for bandwidth holds a place all the while.
	counted := metrics.New(inner, opened.counters)
	opened.Store = limit.NewInFlight(limit.NewBandwidth(counted, int64(cfg.LimitRead), int64(cfg.LimitWrite)), requests)
	return opened, nil
}

// LogRequests logs what was asked of the store so far, by operation, and what it was
// found to lack.
func (o *Opened) LogRequests(log *slog.Logger) {
	if s := o.counters.Snapshot(); s != (metrics.Summary{}) {
		attrs := []any{"requests", s}
		if lacks := o.Store.Properties().Lacks; len(lacks) > 0 {
			attrs = append(attrs, "lacks", strings.Join(lacks, ", "))
		}
		log.Info("asked of the store", attrs...)
	}
}

// Close ends the store's connections. Nothing may use the store any more.
func (o *Opened) Close() error {
	if err := o.close(); err != nil {
		return fmt.Errorf("close the replica: %w", err)
	}
	return nil
}
