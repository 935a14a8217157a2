// Package credentials has the credentials that requests to a store are signed with.
// It gets them anew when the store refuses them, since other programs renew them, and
// names their source when that gives none.
package credentials

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
)

// patience is how long a source may take to give credentials; tests shorten it.
var patience = 12 * time.Second

const (
	// pause is how long nobody looks for a source anew once somebody has. One that was
	// asked is left alone for as long as it took as well.
	pause = time.Second

	// pauseTemporary is how long one is that gives others each time.
	pauseTemporary = 10 * time.Second
)

// Error means that there are no credentials to sign a request with. Its text has
// nothing of its cause, which may hold what a program has printed.
type Error struct {
	From  Source
	Cause error
}

func (e *Error) Error() string { return "no credentials from " + e.From.Name }

func (e *Error) Unwrap() error { return e.Cause }

// RetryableError tells the SDK that the source has been given its time.
func (e *Error) RetryableError() bool { return false }

// silentError means that a source has not answered. It is a net.Error.
type silentError struct{ when string }

func (e silentError) Error() string { return "no answer in time" + e.when }
func (silentError) Timeout() bool   { return true }
func (silentError) Temporary() bool { return true }

// RetryableError keeps a client that assumes a role from running a program once more.
func (silentError) RetryableError() bool { return false }

// Is makes it a context.DeadlineExceeded.
func (silentError) Is(target error) bool { return target == context.DeadlineExceeded }

// Found is a source with what the SDK keeps of it.
type Found struct {
	aws.CredentialsProvider
	From Source
}

// Provider provides the credentials of a client.
type Provider struct {
	find func(context.Context) (Found, error)
	log  func() *slog.Logger

	current atomic.Pointer[Found]
	failed  atomic.Bool // the last attempt has: what is configured may have changed

	renewing chan struct{} // held by who looks for the source anew
	next     time.Time     // before which nobody does
	asked    string        // the source that was asked last, by name,
	askNext  time.Time     // before which it isn't asked again,
	silent   *Error        // and that it didn't answer
}

// New returns a Provider of the credentials of a source, and of what find finds in its
// place later.
func New(first Found, find func(context.Context) (Found, error), log func() *slog.Logger) *Provider {
	p := &Provider{find: find, log: log, renewing: make(chan struct{}, 1)}
	p.current.Store(&first)
	return p
}

// Retrieve implements aws.CredentialsProvider. Its errors are of type *Error, unless
// ctx ends.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	mine, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var silent *Error // and not the one in use
	if p.failed.Load() {
		_, silent = p.renew(mine, aws.Credentials{})
	}
	now := p.current.Load()
	c, err := now.Retrieve(mine)
	p.failed.Store(err != nil && ctx.Err() == nil)
	if used, ok := ctx.Value(usedKey{}).(*aws.Credentials); ok {
		*used = c
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return c, err
	case isSilence(mine, err) && silent != nil:
		return c, silent
	case isSilence(mine, err):
		err = silentError{}
	}
	return c, &Error{now.From, err}
}

func isSilence(ctx context.Context, err error) bool {
	return errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

// renew looks for the source anew, if nobody has lately. It reports whether there are
// now other credentials than those that were used, if any were, and what source, if any,
// is silent instead.
func (p *Provider) renew(ctx context.Context, used aws.Credentials) (renewed bool, silent *Error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case p.renewing <- struct{}{}:
	case <-ctx.Done():
		return false, nil
	}
	defer func() { <-p.renewing }()
	if used.HasKeys() {
		now := p.current.Load()
		switch c, err := now.Retrieve(ctx); {
		case err == nil && differ(c, used):
			return true, nil // since somebody else's request
		case err != nil && isSilence(ctx, err):
			return false, silence(now.From, used)
		}
	}
	if time.Now().Before(p.next) {
		return false, p.silent
	}
	defer func() { p.next = time.Now().Add(pause) }()
	found, err := p.find(ctx)
	if err != nil {
		return false, nil // a file that is being written
	}
	began := time.Now()
	if found.From.Name == p.asked && began.Before(p.askNext) {
		return false, p.silent
	}
	fresh, err := found.Retrieve(ctx)
	p.asked, p.askNext, p.silent = found.From.Name, time.Now().Add(time.Since(began)), nil
	switch {
	case err != nil && isSilence(ctx, err):
		p.silent = silence(found.From, used)
		return false, p.silent
	case err != nil || !differ(fresh, used):
		return false, nil
	case fresh.CanExpire:
		p.askNext = time.Now().Add(pauseTemporary)
	}
	p.current.Store(&found)
	p.log().Info("there are new credentials", "from", found.From.Name)
	return true, nil
}

// silence is the error of a source that doesn't answer, when there may be others in use.
func silence(from Source, used aws.Credentials) *Error {
	e := silentError{}
	if used.HasKeys() {
		e.when = ", after the store had refused the last ones"
	}
	return &Error{from, e}
}

func differ(a, b aws.Credentials) bool {
	return a.AccessKeyID != b.AccessKeyID || a.SecretAccessKey != b.SecretAccessKey || a.SessionToken != b.SessionToken
}

type usedKey struct{}

// renewedError is a refusal of credentials that have been replaced since.
type renewedError struct{ error }

func (e *renewedError) Unwrap() error { return e.error }

// RetryableError tells the SDK to sign and send the request once more.
func (e *renewedError) RetryableError() bool { return true }

// Renew returns what has a client repeat a request whose credentials the store has
// refused, if there are others by then.
func (p *Provider) Renew(refused func(error) bool) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RenewCredentials",
			func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
				var used aws.Credentials
				out, metadata, err := next.HandleFinalize(context.WithValue(ctx, usedKey{}, &used), in)
				if err == nil || !used.HasKeys() || !refused(err) {
					return out, metadata, err
				}
				if renewed, silent := p.renew(ctx, used); renewed {
					err = &renewedError{err}
				} else if silent != nil && ctx.Err() == nil {
					err = silent
				}
				return out, metadata, err
			}), "Retry", middleware.After)
	}
}
