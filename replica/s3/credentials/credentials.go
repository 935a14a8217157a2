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
	// pause is how long a source is left alone at least once it was looked for anew,
	// and pauseShare how many times as long as that took.
	pause      = time.Second
	pauseShare = 5

	// pauseTemporary is the pause after one that gives others each time.
	pauseTemporary = time.Minute
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
type silentError struct{}

func (silentError) Error() string   { return "no answer in time" }
func (silentError) Timeout() bool   { return true }
func (silentError) Temporary() bool { return true }

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
	if p.failed.Load() {
		p.renew(mine, aws.Credentials{})
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
	case mine.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		err = silentError{}
	}
	return c, &Error{now.From, err}
}

// renew looks for the source anew, if nobody has lately. It reports whether there are
// now other credentials than those that were used, if any were.
func (p *Provider) renew(ctx context.Context, used aws.Credentials) bool {
	select {
	case p.renewing <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-p.renewing }()
	if used.HasKeys() {
		if now, err := p.current.Load().Retrieve(ctx); err == nil && differ(now, used) {
			return true // since somebody else's request
		}
	}
	began := time.Now()
	if began.Before(p.next) {
		return false
	}
	least := pause
	defer func() { p.next = time.Now().Add(max(least, pauseShare*time.Since(began))) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := p.find(ctx)
	if err != nil {
		return false // a file that is being written
	}
	fresh, err := found.Retrieve(ctx)
	if err != nil || !differ(fresh, used) {
		return false
	}
	if fresh.CanExpire {
		least = pauseTemporary
	}
	p.current.Store(&found)
	p.log().Info("there are new credentials", "from", found.From.Name)
	return true
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
				if err != nil && used.HasKeys() && refused(err) && p.renew(ctx, used) {
					err = &renewedError{err}
				}
				return out, metadata, err
			}), "Retry", middleware.After)
	}
}
