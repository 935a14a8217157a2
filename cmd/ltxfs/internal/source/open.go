package source

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/metrics"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// Options are how a replica is to be used.
type Options struct {
	// Layout is the replica's; zero to detect it.
	Layout replica.Layout

	// VerifyWrites is for S3. On disk, writes are always read back.
	VerifyWrites s3.VerifyMode

	// LimitRead and LimitWrite are in bytes a second, MaxRequests is how many
	// operations may be under way at a time. 0 is no limit.
	LimitRead, LimitWrite int64
	MaxRequests           int

	// Logger gets what the client tells. It must not be nil.
	Logger *slog.Logger
}

// Opened is a replica that is ready for use.
type Opened struct {
	// Client counts what is asked of the store, and keeps to the limits.
	Client replica.Client

	// Layout is the replica's, as given or as found.
	Layout replica.Layout

	counters *metrics.Counters
	close    func() error
}

// store is what the clients have in common beyond replica.Client.
type store interface {
	replica.Client
	Init(ctx context.Context) error
	Layout() replica.Layout
}

// Open makes the client and has it look at the store, which takes no more than
// three requests in S3. Its errors have exit codes, and say what to do.
func (s *Source) Open(ctx context.Context, opts Options) (*Opened, error) {
	client, closeClient, err := s.client(opts)
	if err != nil {
		return nil, err
	}
	if err := client.Init(ctx); err != nil {
		if cerr := closeClient(); cerr != nil {
			opts.Logger.Debug("can't close the client", "error", cerr)
		}
		return nil, s.explain(ctx, err)
	}
	// Counted is what the store is asked; the limits are for what reaches it, so
	// that one who waits for bandwidth holds a place all the while.
	counters := metrics.NewCounters()
	counted := metrics.New(client, counters)
	limited := limit.NewInFlight(limit.NewBandwidth(counted, opts.LimitRead, opts.LimitWrite), opts.MaxRequests)
	return &Opened{Client: limited, Layout: client.Layout(), counters: counters, close: closeClient}, nil
}

func (s *Source) client(opts Options) (client store, closeClient func() error, err error) {
	if s.OnDisk() {
		c := file.New(s.Path, opts.Layout)
		c.SetLogger(opts.Logger)
		return c, func() error { return nil }, nil
	}
	cfg := *s.S3
	cfg.Layout, cfg.VerifyWrites, cfg.Logger = opts.Layout, opts.VerifyWrites, opts.Logger
	c, err := s3.New(cfg)
	if err != nil {
		return nil, nil, exitcode.Errorf(exitcode.Usage, "open replica %s: %w", s.Name(), err)
	}
	return c, c.Close, nil
}

// LogRequests logs what was asked of the store so far, by operation.
func (o *Opened) LogRequests(log *slog.Logger) {
	if s := o.counters.Snapshot(); s != (metrics.Summary{}) {
		log.Info("asked of the store", "requests", s)
	}
}

// Close ends the client's connections. Nothing may use the client any more.
func (o *Opened) Close() error {
	if err := o.close(); err != nil {
		return fmt.Errorf("close the replica: %w", err)
	}
	return nil
}
