package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

var (
	// errClosed is what calls get that come, or still wait, after Close.
	errClosed = fmt.Errorf("the cache is closed: %w", os.ErrClosed)

	errNoResult = errors.New("the goroutine ended without a result")
)

// detach runs work in a goroutine of its own, for many callers to wait for. No
// caller's cancellation reaches it: of ctx it keeps the values only. It ends at
// the timeout, when root is done, or when the returned function is called.
//
// land is called exactly once: with what work returned, or, if it hasn't
// returned when it must end, without waiting for it. A system call on a dead
// network file system can't be cancelled, and those who wait must not hang with
// it. A panic in work is an error like any other: in a goroutine of our own it
// would end the process.
func detach[T any](root, ctx context.Context, timeout time.Duration,
	work func(context.Context) (T, error), land func(T, error)) (cancel func(cause error)) {
	ctx, cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, release := context.WithTimeoutCause(ctx, timeout,
		fmt.Errorf("no answer within %v: %w", timeout, context.DeadlineExceeded))
	unroot := context.AfterFunc(root, func() { cancel(context.Cause(root)) })

	var once sync.Once
	landOnce := func(v T, err error) { once.Do(func() { land(v, err) }) }
	unwatch := context.AfterFunc(ctx, func() {
		var none T
		landOnce(none, context.Cause(ctx))
	})
	go func() {
		var v T
		// Stays if work ends the goroutine, as FailNow of a test's fake does.
		err := errNoResult
		defer func() {
			if r := recover(); r != nil {
				// With the stack: it's the only trace of the bug there is.
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
			if err != nil && ctx.Err() != nil {
				// Why it had to end, as those hear whom the watch tells.
				err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
			}
			unroot()
			unwatch()
			landOnce(v, err)
			release()
			cancel(nil)
		}()
		v, err = work(ctx)
	}()
	return cancel
}
