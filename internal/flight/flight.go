// Package flight runs work that many may wait for: in a goroutine of its own, which
// no caller's cancellation ends, with a deadline, and with panics made errors. It
// also has locks by key.
package flight

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// maxOverdue bounds the work of a Group that has passed its deadline and not
// returned. Each may hold a thread, and Go ends a process that has too many.
const maxOverdue = 256

var errNoResult = errors.New("the goroutine ended without a result")

// Group is work that ends together. Its zero value isn't ready for use.
type Group struct {
	root   context.Context // of all work; done after Close
	cancel context.CancelCauseFunc
	landed sync.WaitGroup

	mu      sync.Mutex // taken by who begins work, and by Close
	overdue int
}

// NewGroup returns a Group without work.
func NewGroup() *Group {
	g := &Group{}
	g.root, g.cancel = context.WithCancelCause(context.Background())
	return g
}

// Close ends all work with cause, and waits until it has landed. Work that comes
// later ends with cause as well.
func (g *Group) Close(cause error) {
	g.mu.Lock()
	g.cancel(cause)
	g.mu.Unlock()
	g.landed.Wait()
}

// Wait waits until all work has landed. None may begin meanwhile.
func (g *Group) Wait() { g.landed.Wait() }

// begin returns what to call when a work has landed, and why it may not run.
func (g *Group) begin() (landed func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.root.Err() != nil {
		return func() {}, context.Cause(g.root)
	}
	g.landed.Add(1)
	if g.overdue >= maxOverdue {
		err = fmt.Errorf("%d calls of the store have not returned: %w", maxOverdue, context.DeadlineExceeded)
	}
	return g.landed.Done, err
}

// Overdue is how much work has passed its deadline and not returned.
func (g *Group) Overdue() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.overdue
}

func (g *Group) addOverdue(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.overdue += n
}

// Within is a context for one request. It keeps only the values of ctx: others wait
// for what is done for one caller, and the signals that a Go program sends itself
// interrupt its requests. Its cause wraps context.DeadlineExceeded once d has
// passed.
func Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return Deadline(context.WithoutCancel(ctx), d)
}

// Deadline is ctx for d at most. Its cause wraps context.DeadlineExceeded once d has
// passed.
func Deadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %v: %w", d, context.DeadlineExceeded))
}

// Work is what Go runs.
type Work[T any] struct {
	// Run does the work. It should return soon after its context is done. It
	// isn't called after Close, nor while too much other work is overdue.
	Run func(context.Context) (T, error)

	// Land is called exactly once: with what Run returned, or with why it must end
	// if it hasn't returned by then. A system call on a dead network file
	// system can't be cancelled, and those who wait must not hang with it.
	Land func(T, error)

	// Late, if set, is called with the result of a Run that succeeded after all
	// that.
	Late func(T)

	// Over, if set, is called exactly once, after Land and Late, when Run has
	// returned or won't be called: nothing uses what the work was given any more.
	Over func()
}

// Go runs work until timeout, Close, or a call of cancel. It keeps only the values of
// ctx. It calls nothing of w in the caller's goroutine, which may hold a lock that
// Land takes.
func Go[T any](ctx context.Context, g *Group, timeout time.Duration, w Work[T]) (cancel func(cause error)) {
	landed, refused := g.begin()
	var none T
	var once sync.Once
	land := func(v T, err error) (first bool) {
		once.Do(func() {
			defer landed()
			first = true
			w.Land(v, err)
		})
		return first
	}
	if refused != nil {
		go func() {
			land(none, refused)
			w.over()
		}()
		return func(error) {}
	}
	deadline, release := Within(ctx, timeout)
	ctx, cancel = context.WithCancelCause(deadline)
	unroot := context.AfterFunc(g.root, func() { cancel(context.Cause(g.root)) })
	unwatch := context.AfterFunc(ctx, func() {
		if deadline.Err() == nil {
			land(none, context.Cause(ctx))
		}
	})
	// Work that its caller has cancelled is overdue once its deadline passes, too.
	inTime := context.AfterFunc(deadline, func() {
		g.addOverdue(1)
		land(none, context.Cause(deadline))
	})
	go func() {
		v, err := none, errNoResult // which stays if Run ends the goroutine, as FailNow of a test's fake does
		defer func() {
			if err != nil && ctx.Err() != nil {
				// Why it had to end, as those hear whom the watch tells.
				err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
			}
			unroot()
			unwatch()
			if !inTime() {
				g.addOverdue(-1)
			}
			if !land(v, err) && err == nil && w.Late != nil {
				w.Late(v)
			}
			w.over()
			release()
			cancel(nil)
		}()
		defer Recover(&err)
		v, err = w.Run(ctx)
	}()
	return cancel
}

// Recover, which is to be deferred, makes a panic an error.
func Recover(err *error) {
	if r := recover(); r != nil {
		// With the stack: it's the only trace of the bug there is.
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

func (w Work[T]) over() {
	if w.Over != nil {
		w.Over()
	}
}

// Do is Go for one caller, who waits. late, if not nil, gets the result that came
// too late.
func Do[T any](ctx context.Context, g *Group, timeout time.Duration, run func(context.Context) (T, error), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	Go(ctx, g, timeout, Work[T]{Run: run, Land: func(v T, err error) { done <- result{v, err} }, Late: late})
	r := <-done
	return r.v, r.err
}
