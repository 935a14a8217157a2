package s3

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// retryable is what may pass if a request is made again, beside connections that
// can't be made, break or time out.
var retryable = struct {
	status map[int]bool
	code   map[string]bool
}{
	status: map[int]bool{
		http.StatusRequestTimeout:      true, // 408, with which stores shed load
		http.StatusTooManyRequests:     true,
		http.StatusInternalServerError: true,
		http.StatusBadGateway:          true,
		http.StatusServiceUnavailable:  true,
		http.StatusGatewayTimeout:      true,
	},
	code: map[string]bool{
		"RequestCanceled":            true, // Tigris, with a 408
		"RequestTimeout":             true, // AWS, with a 400
		"RequestTimeTooSkewed":       true, // the SDK corrects its clock by the answer
		"SlowDown":                   true,
		"InternalError":              true,
		"InternalServerError":        true, // what the SDK calls an error without a code
		"ServiceUnavailable":         true,
		"Throttling":                 true,
		"ThrottlingException":        true,
		"RequestLimitExceeded":       true,
		"BandwidthLimitExceeded":     true,
		"OperationAborted":           true, // another conditional write is under way
		"ConditionalRequestConflict": true,
		"IncompleteBody":             true,
	},
}

// isRetryable looks an answer up in the table. What isn't an answer it leaves to
// others, but for what comes again for certain.
func isRetryable(err error) aws.Ternary {
	api, isAPI := errors.AsType[smithy.APIError](err)
	if isAPI && retryable.code[api.ErrorCode()] {
		return aws.TrueTernary
	}
	broken := slices.ContainsFunc(transport.Kind(err), func(kind error) bool { return errors.Is(kind, transport.ErrTLS) })
	if _, ok := errors.AsType[*contentError](err); ok || broken {
		return aws.FalseTernary
	}
	if refusal, ok := errors.AsType[*transport.ProxyRefusal](err); ok {
		return aws.BoolTernary(retryable.status[refusal.Status])
	}
	// Without an answer, the SDK makes one of status 0.
	answer := answerOf(err)
	if answer == nil || answer.StatusCode == 0 {
		return aws.UnknownTernary
	}
	if !isAPI && answer.StatusCode < http.StatusMultipleChoices {
		// It broke off, or is none of S3's.
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return aws.TrueTernary
		}
		return aws.UnknownTernary
	}
	if isAPI && isForGood(api.ErrorCode(), answer) {
		return aws.FalseTernary
	}
	return aws.BoolTernary(retryable.status[answer.StatusCode])
}

// isForGood reports whether an error's code says more than the status of the answer: it
// is known to be none that passes, or came with a 200, of which the SDK makes a 500.
func isForGood(code string, answer *http.Response) bool {
	_, known := kinds.code[code]
	return known || code != "" && statusOf(answer) == http.StatusOK
}

// newRetryer repeats requests as r says. The SDK's own token bucket is left out:
// it is empty after some failures, and then fails what a patient client would
// get. A store that was closed repeats nothing.
func (b *bucket) newRetryer() aws.Retryer {
	r := b.cfg.Retry
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = r.Attempts
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			return delay(r, attempt), nil
		})
		o.Retryables = []retry.IsErrorRetryable{
			retry.IsErrorRetryableFunc(func(error) aws.Ternary {
				if b.life.Err() != nil {
					return aws.FalseTernary
				}
				return aws.UnknownTernary
			}),
			retry.NoRetryCanceledError{},
			retry.RetryableError{}, // what credentials.Provider says of credentials
			retry.IsErrorRetryableFunc(isRetryable),
			retry.RetryableConnectionError{},
		}
	})
}

// delay is how long to wait after the given attempt, counted from 1: any time up
// to a limit that doubles, so that many clients don't come back at once.
func delay(r config.Retry, attempt int) time.Duration {
	limit := r.MaxBackoff
	if shift := attempt - 1; shift < 63 && r.MinBackoff <= limit>>shift {
		limit = r.MinBackoff << shift
	}
	return rand.N(limit + 1)
}

// pause waits before another attempt, or returns the context's error.
func (b *bucket) pause(ctx context.Context, attempt int) error {
	return wait(ctx, delay(b.cfg.Retry, attempt))
}

// wait waits, unless the context ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
