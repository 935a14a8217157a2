package s3

import (
	"context"

	"github.com/aws/smithy-go/middleware"
)

// attemptError is an error of a context that ended while a request was tried
// again and again, with what the last of its attempts failed with. The SDK tells
// only of the context, and nobody would learn why there was more than one attempt.
type attemptError struct {
	error
	last error
}

func (e *attemptError) Unwrap() error { return e.error }

type lastAttemptKey struct{}

// rememberAttempts has requests return attemptErrors.
func rememberAttempts(stack *middleware.Stack) error {
	err := stack.Initialize.Add(middleware.InitializeMiddlewareFunc("LastAttempt",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			var last error // attempts follow each other
			out, metadata, err := next.HandleInitialize(context.WithValue(ctx, lastAttemptKey{}, &last), in)
			if err != nil && last != nil && ctx.Err() != nil {
				err = &attemptError{err, last}
			}
			return out, metadata, err
		}), middleware.Before)
	if err != nil {
		return err
	}
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("RememberAttempt",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleFinalize(ctx, in)
			if last, ok := ctx.Value(lastAttemptKey{}).(*error); ok && err != nil && ctx.Err() == nil {
				*last = err
			}
			return out, metadata, err
		}), "Retry", middleware.After)
}
