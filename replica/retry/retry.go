// Package retry is a client around a client that has no retries of its own: a
// directory on a network disk that fails now and then.
package retry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Options bound the repetitions. Zero values are the defaults.
type Options struct {
	// Attempts is how often an operation is tried in all, default 5. For a
	// body or a listing it is counted anew after every byte or file that came.
	Attempts int

	// MinBackoff bounds the wait before the second attempt, default 100 ms,
	// and each further bound is twice the one before, up to MaxBackoff,
	// default 5 s. The wait is a random part of its bound.
	MinBackoff time.Duration
	MaxBackoff time.Duration

	// Retryable tells which errors may pass if tried again; nil is Retryable
	// of this package. What that never retries isn't asked for.
	Retryable func(error) bool

	// Logger gets a line for each failure that is tried again; nil is none.
	Logger *slog.Logger
}

// Defaults of Options.
const (
	DefaultAttempts   = 5
	DefaultMinBackoff = 100 * time.Millisecond
	DefaultMaxBackoff = 5 * time.Second
)

// permanent are the errors that another attempt would only give again.
//
// ErrUnavailable is among them although a store may come back: that takes a
// person or a mount, and so longer than the waits here. Until then every caller
// had to wait for all of them, to be told what was known at once.
var permanent = []error{
	os.ErrNotExist, os.ErrPermission, os.ErrExist, os.ErrInvalid, os.ErrClosed, errors.ErrUnsupported,
	replica.ErrReplaced, replica.ErrMixedLayouts, replica.ErrUnavailable,
	context.Canceled, context.DeadlineExceeded,
	syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EFBIG, syscall.ENAMETOOLONG,
}

// Retryable tells whether an error may pass if tried again: any but those of
// which it is known that they don't.
func Retryable(err error) bool {
	for _, p := range permanent {
		if errors.Is(err, p) {
			return false
		}
	}
	return err != nil
}

// New returns a client that tries again what fails on c and may pass. It gives up
// after so many attempts, or when its context has no time left for the next one,
// and returns the last error.
//
// A write is tried again only if its source is an io.Seeker. A body that breaks
// off goes on where it stopped if it is of one version (replica.VersionOpener);
// any other is an error. A listing goes on after the last file that it had.
// A file that OpenLocal has opened is read without retries.
func New(c replica.Client, opts Options) replica.Client {
	if opts.Attempts <= 0 {
		opts.Attempts = DefaultAttempts
	}
	if opts.MinBackoff <= 0 {
		opts.MinBackoff = DefaultMinBackoff
	}
	if opts.MaxBackoff <= 0 {
		opts.MaxBackoff = DefaultMaxBackoff
	}
	opts.MaxBackoff = max(opts.MaxBackoff, opts.MinBackoff)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &client{Around: replica.Around{Client: c}, opts: opts}
}

var _ replica.LocalOpener = (*client)(nil)

type client struct {
	replica.Around
	opts Options
}

// try is the attempts at one operation.
type try struct {
	opts    *Options
	op      string // for the log
	failed  int    // attempts since the last progress
	backoff *backoff.ExponentialBackOff
}

func (c *client) try(op string) *try { return &try{opts: &c.opts, op: op} }

// progress counts the attempts anew.
func (t *try) progress() { t.failed, t.backoff = 0, nil }

// again waits and returns nil if err is worth another attempt, and else the error
// to return.
func (t *try) again(ctx context.Context, err error) error {
	t.failed++
	switch {
	case !Retryable(err), t.opts.Retryable != nil && !t.opts.Retryable(err), ctx.Err() != nil:
		return err
	case t.failed >= t.opts.Attempts:
		return t.gaveUp(err)
	}
	if t.backoff == nil {
		// Between nothing and twice the interval: full jitter.
		t.backoff = &backoff.ExponentialBackOff{
			InitialInterval: t.opts.MinBackoff / 2, MaxInterval: t.opts.MaxBackoff / 2,
			RandomizationFactor: 1, Multiplier: 2,
		}
	}
	wait := max(t.backoff.NextBackOff(), 0)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return t.gaveUp(err)
	}
	t.opts.Logger.Warn("failed, and will be tried again", "op", t.op, "attempt", t.failed, "wait", wait, "error", err)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctxError(ctx, err)
	}
}

// ctxError is err as the context's, which ended the waiting after it.
func ctxError(ctx context.Context, err error) error {
	if f, ok := err.(*replica.FileError); ok {
		return replica.NewFileError(f.Op, f.Level, f.MinTXID, f.MaxTXID, fmt.Errorf("%w, after %w", ctx.Err(), f.Err))
	}
	return fmt.Errorf("%w, after %w", ctx.Err(), err)
}

func (t *try) gaveUp(err error) error {
	if t.failed == 1 {
		return err
	}
	return t.say(err, "given up after %d attempts", t.failed)
}

// say adds to an error why it is the last one.
func (t *try) say(err error, format string, args ...any) error {
	why := fmt.Sprintf(format, args...)
	if f, ok := err.(*replica.FileError); ok {
		return replica.NewFileError(f.Op, f.Level, f.MinTXID, f.MaxTXID, fmt.Errorf("%w (%s)", f.Err, why))
	}
	return fmt.Errorf("%w (%s)", err, why)
}

// do runs fn until it succeeds or is not to be tried again.
func do[T any](ctx context.Context, t *try, fn func() (T, error)) (T, error) {
	for {
		v, err := fn()
		if err == nil {
			return v, nil
		}
		if err := t.again(ctx, err); err != nil {
			var none T
			return none, err
		}
	}
}

// Init calls the Init of the client inside.
func (c *client) Init(ctx context.Context) error {
	_, err := do(ctx, c.try("init"), func() (struct{}, error) { return struct{}{}, c.Around.Init(ctx) })
	return err
}

// StatLTXFile implements replica.Stater.
func (c *client) StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	return do(ctx, c.try("stat"), func() (replica.File, error) {
		return c.Around.StatLTXFile(ctx, level, minTXID, maxTXID)
	})
}

// StatLTXFileExact implements replica.ExactStater.
func (c *client) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	return do(ctx, c.try("stat"), func() (replica.File, error) {
		return c.Around.StatLTXFileExact(ctx, level, minTXID, maxTXID)
	})
}

// OpenLocal implements replica.LocalOpener.
func (c *client) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	local, err := replica.Inner[replica.LocalOpener](c.Client)
	if err != nil {
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return do(ctx, c.try("open"), func() (*os.File, error) { return local.OpenLocal(ctx, f) })
}

// DeleteAll implements replica.Client.
func (c *client) DeleteAll(ctx context.Context) error {
	_, err := do(ctx, c.try("delete all"), func() (struct{}, error) { return struct{}{}, c.Client.DeleteAll(ctx) })
	return err
}
