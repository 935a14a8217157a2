package flight

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errBroken = errors.New("broken")

// events are what happens to a work, in order.
type events chan string

// work tells what happens to it. Late and Over come after Land, if at all.
func (e events) work(run func(context.Context) (int, error)) Work[int] {
	return Work[int]{
		Run: run,
		Land: func(v int, err error) {
			if err != nil {
				e <- "failed: " + err.Error()
				return
			}
			e <- "landed"
		},
		Late: func(int) { e <- "late" },
		Over: func() { e <- "over" },
	}
}

// require fails the test unless these are all the events since the last call, by the
// time that all goroutines wait.
func (e events) require(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	got := []string{}
	for len(e) > 0 {
		got = append(got, <-e)
	}
	require.Equal(t, append([]string{}, want...), got)
}

func TestGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		g, e := NewGroup(), make(events, 9)
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
		Go(ctx, g, time.Second, e.work(func(ctx context.Context) (int, error) {
			if ctx.Value(key{}) != "kept" {
				return 0, errors.New("the values are lost")
			}
			return 1, ctx.Err()
		}))
		cancel() // which reaches nobody
		e.require(t, "landed", "over")
		Go(ctx, g, time.Second, e.work(func(ctx context.Context) (int, error) { return 0, errBroken }))
		e.require(t, "failed: broken", "over")
		// Neither Late nor Over is needed.
		done := make(chan int, 1)
		Go(ctx, g, time.Second, Work[int]{
			Run:  func(context.Context) (int, error) { return 7, nil },
			Land: func(v int, _ error) { done <- v },
		})
		require.Equal(t, 7, <-done)
		g.Wait()
	})
}

func TestGoCallsNothingInTheCallersGoroutine(t *testing.T) {
	g := NewGroup()
	held, done := make(chan struct{}, 1), make(chan struct{})
	w := Work[int]{
		Run:  func(context.Context) (int, error) { return 0, nil },
		Land: func(int, error) { held <- struct{}{} },
		Over: func() { close(done) },
	}
	for range 2 {
		held <- struct{}{} // like a lock that Land takes
		Go(t.Context(), g, time.Second, w)
		<-held
		<-done
		<-held
		done = make(chan struct{})
		g.Close(errBroken) // after which nothing runs
	}
}

// A result of a run that minds its deadline, with why it had to end.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup()
		begin := time.Now()
		_, err := Do(t.Context(), g, time.Minute, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, errBroken
		}, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "no answer within 1m0s")
		require.Equal(t, time.Minute, time.Since(begin))
		synctest.Wait()
		require.Zero(t, g.overdue)
	})
}

// Those who wait leave at the deadline, whatever the work does.
func TestLateResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, e := NewGroup(), make(events, 9)
		gate := make(chan error)
		run := func(context.Context) (int, error) { return 1, <-gate }
		for _, c := range []struct {
			result error
			want   []string
		}{
			{nil, []string{"late", "over"}},
			{errBroken, []string{"over"}},
		} {
			Go(t.Context(), g, time.Minute, e.work(run))
			e.require(t)
			time.Sleep(time.Minute)
			e.require(t, "failed: no answer within 1m0s: context deadline exceeded")
			require.Equal(t, 1, g.overdue)
			g.Wait() // doesn't wait for it
			gate <- c.result
			e.require(t, c.want...)
			require.Zero(t, g.overdue)
		}
		late := make(chan int, 1)
		_, err := Do(t.Context(), g, time.Minute, run, func(v int) { late <- v })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		gate <- nil
		require.Equal(t, 1, <-late)
	})
}

func TestRunsThatDontReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, e := NewGroup(), make(events, 9)
		_, err := Do(t.Context(), g, time.Second, func(context.Context) (int, error) { panic("oh no") }, nil)
		require.ErrorContains(t, err, "panic: oh no")
		require.ErrorContains(t, err, "flight_test.go", "no stack")
		Go(t.Context(), g, time.Second, e.work(func(context.Context) (int, error) {
			runtime.Goexit()
			return 1, nil
		}))
		e.require(t, "failed: "+errNoResult.Error(), "over")
		// Late as well.
		Go(t.Context(), g, time.Second, e.work(func(ctx context.Context) (int, error) {
			time.Sleep(time.Minute)
			panic("oh no")
		}))
		time.Sleep(time.Minute)
		e.require(t, "failed: no answer within 1s: context deadline exceeded", "over")
		require.Zero(t, g.overdue)
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, e := NewGroup(), make(events, 9)
		minds := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
		cancel := Go(t.Context(), g, time.Hour, e.work(minds))
		other := Go(t.Context(), g, time.Hour, e.work(minds))
		e.require(t)
		cancel(errBroken)
		synctest.Wait()
		require.Contains(t, <-e, "failed: broken")
		e.require(t, "over")
		other(errBroken)
		cancel(nil)
		synctest.Wait()
		require.Contains(t, <-e, "failed: broken")
		e.require(t, "over")
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, e := NewGroup(), make(events, 9)
		gate := make(chan struct{})
		var landed atomic.Bool
		w := e.work(func(context.Context) (int, error) { <-gate; return 1, nil })
		land := w.Land
		w.Land = func(v int, err error) { time.Sleep(time.Second); land(v, err); landed.Store(true) }
		Go(t.Context(), g, time.Hour, w)
		synctest.Wait()
		begin := time.Now()
		g.Close(os.ErrClosed)
		require.True(t, landed.Load(), "Close returned before Land")
		require.Equal(t, time.Second, time.Since(begin), "Close waited for Run")
		e.require(t, "failed: "+os.ErrClosed.Error())
		close(gate)
		e.require(t, "late", "over")

		// What comes later isn't run.
		Go(t.Context(), g, time.Hour, e.work(func(context.Context) (int, error) { panic("it ran") }))
		e.require(t, "failed: "+os.ErrClosed.Error(), "over")
		g.Close(errBroken)
		_, err := Do(t.Context(), g, time.Hour, func(context.Context) (int, error) { panic("it ran") }, nil)
		require.ErrorIs(t, err, os.ErrClosed)
	})
}

// Calls that nothing can stop are bounded, and work goes on once some have returned.
func TestOverdueWorkIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, e := NewGroup(), make(events, 3*maxOverdue)
		gate := make(chan struct{})
		for i := range maxOverdue {
			cancel := Go(t.Context(), g, time.Second, e.work(func(context.Context) (int, error) { <-gate; return 0, errBroken }))
			if i%2 == 0 {
				cancel(errBroken)
			}
		}
		synctest.Wait()
		fine := func(context.Context) (int, error) { return 1, nil }
		_, err := Do(t.Context(), g, time.Second, fine, nil)
		require.NoError(t, err, "none is overdue yet, be it cancelled or not")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Len(t, e, maxOverdue)
		_, err = Do(t.Context(), g, time.Second, fine, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "256 calls of the store have not returned")
		gate <- struct{}{}
		synctest.Wait()
		_, err = Do(t.Context(), g, time.Second, fine, nil)
		require.NoError(t, err)
		close(gate)
		synctest.Wait()
		require.Zero(t, g.overdue)
	})
}

// Many at once, some of them on time and some not: each lands once, and none is
// counted for ever.
func TestHammer(t *testing.T) {
	g := NewGroup()
	var landed, over atomic.Int64
	const n = 2000
	for i := range n {
		Go(t.Context(), g, time.Duration(i%3)*time.Microsecond, Work[int]{
			Run: func(ctx context.Context) (int, error) {
				if i%2 == 0 {
					<-ctx.Done()
				}
				return 0, ctx.Err()
			},
			Land: func(int, error) { landed.Add(1) },
			Over: func() { over.Add(1) },
		})
	}
	g.Close(os.ErrClosed)
	require.Equal(t, int64(n), landed.Load())
	require.Eventually(t, func() bool { return over.Load() == n }, time.Minute, time.Millisecond)
	// Who watches a deadline may still be about to hear that the work has landed.
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.overdue == 0
	}, time.Minute, time.Millisecond)
}

func TestContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		cancel()
		ctx, release := Within(parent, time.Second)
		defer release()
		require.NoError(t, ctx.Err())
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), context.DeadlineExceeded)
		require.ErrorContains(t, context.Cause(ctx), "no answer within 1s")

		ctx, release = Deadline(parent, time.Second)
		defer release()
		require.ErrorIs(t, ctx.Err(), context.Canceled)
	})
}
