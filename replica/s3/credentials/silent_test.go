package credentials

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/middleware"
	"github.com/stretchr/testify/require"
)

// silent is a source that gives no answer.
func silent(name string) Found {
	return Found{From: Source{Name: name}, CredentialsProvider: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		<-ctx.Done()
		return aws.Credentials{}, ctx.Err()
	})}
}

// refuse has a client send a request whose credentials the store refuses.
func refuse(t *testing.T, p *Provider) error {
	t.Helper()
	refusal := errors.New("refused")
	stack := middleware.NewStack("request", func() any { return nil })
	require.NoError(t, stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("Retry", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		return next.HandleFinalize(ctx, in)
	}), middleware.After))
	require.NoError(t, p.Renew(func(err error) bool { return errors.Is(err, refusal) })(stack))
	_, _, err := middleware.DecorateHandler(middleware.HandlerFunc(func(ctx context.Context, _ any) (any, middleware.Metadata, error) {
		if _, err := p.Retrieve(ctx); err != nil {
			return nil, middleware.Metadata{}, err
		}
		return nil, middleware.Metadata{}, refusal
	}), stack).Handle(t.Context(), nil)
	return err
}

// A source that hangs is named in time, whenever it is asked, and asked again later. One
// that takes its place meanwhile is asked at once.
func TestRenewSilent(t *testing.T) {
	impatient(t, 300*time.Millisecond)
	within := func(t *testing.T, name string, do func() error) {
		t.Helper()
		began := time.Now()
		requireSilent(t, do(), name)
		require.Less(t, time.Since(began), patience+3*time.Second)
	}
	retrieve := func(p *Provider) func() error {
		return func() error { _, err := p.Retrieve(t.Context()); return err }
	}
	t.Run("the source that there was", func(t *testing.T) {
		old := always("old", nil)
		current := Found{From: old.From}
		current.CredentialsProvider = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			now := old
			old = silent("")
			return now.Retrieve(ctx)
		})
		within(t, "the test", func() error { return refuse(t, New(current, nil, discard)) })
	})
	t.Run("the one that a file names by now", func(t *testing.T) {
		next, asked := silent("the new one"), 0
		p := New(always("old", nil), func(context.Context) (Found, error) {
			found := next
			found.CredentialsProvider = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
				asked++
				return next.Retrieve(ctx)
			})
			return found, nil
		}, discard)
		within(t, "the new one", func() error { return refuse(t, p) })
		require.WithinDuration(t, time.Now().Add(patience), p.askNext, patience)
		p.next, p.askNext = time.Time{}, time.Now().Add(time.Hour)
		requireSilent(t, refuse(t, p), "the new one")
		require.Equal(t, 1, asked)
		p.next, next = time.Time{}, always("new", nil)
		_, renewed := errors.AsType[*renewedError](refuse(t, p))
		require.True(t, renewed)
	})
	t.Run("after a failure", func(t *testing.T) {
		p := New(always("", errors.New("exit status 1")), func(context.Context) (Found, error) { return silent("the new one"), nil }, discard)
		require.Error(t, retrieve(p)())
		within(t, "the new one", retrieve(p))
	})
	t.Run("while files are read", func(t *testing.T) {
		p := New(silent("the old one"), func(ctx context.Context) (Found, error) { <-ctx.Done(); return Found{}, ctx.Err() }, discard)
		within(t, "the old one", retrieve(p))
		within(t, "the old one", retrieve(p))
	})
}
