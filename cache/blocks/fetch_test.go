package blocks

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

func TestOneFetchForManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCache(t, 4, 16)
		src := newSource(1, 64)
		gate := make(chan struct{})
		type ctxKey struct{}
		src.open = func(ctx context.Context, _, _ int64) error {
			<-gate
			if ctx.Value(ctxKey{}) != "kept" {
				return errors.New("the caller's values are lost")
			}
			return ctx.Err()
		}
		first, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "kept"))
		var readers []<-chan result
		readers = append(readers, src.readLater(first, c, 0, 64))
		for i := range 10 {
			readers = append(readers, src.readLater(t.Context(), c, int64(i), 20))
		}
		cancel()
		r := arrived(t, readers[0])
		require.ErrorIs(t, r.err, context.Canceled)
		for _, reader := range readers[1:] {
			pending(t, reader)
		}
		close(gate)
		for i, reader := range readers[1:] {
			r := arrived(t, reader)
			require.NoError(t, r.err)
			src.check(t, r.slice, int64(i))
			r.slice.Release()
		}
		require.Equal(t, []string{"0+64"}, src.fetched())
	})
}

func TestAFetchThatNobodyWaitsForIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCache(t, 4, 16)
		src := newSource(1, 64)
		gate := make(chan struct{})
		src.open = func(ctx context.Context, _, _ int64) error { <-gate; return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		left := src.readLater(ctx, c, 0, 64)
		cancel()
		require.ErrorIs(t, arrived(t, left).err, context.Canceled)
		close(gate)
		synctest.Wait()
		require.Equal(t, 64, src.read(t, c, 0, 64))
		require.Len(t, src.fetched(), 1)
	})
}

func TestFailedFetchesAreTriedAgain(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		fetch func() error
		want  func(t *testing.T, err error)
	}{
		"error": {
			func() error { return broken },
			func(t *testing.T, err error) { require.ErrorIs(t, err, broken) },
		},
		"panic": {
			func() error { panic("oh no") },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "oh no") },
		},
		"goexit": {
			func() error { runtime.Goexit(); return nil },
			func(t *testing.T, err error) { require.ErrorContains(t, err, "ended without a result") },
		},
		"replaced": {
			func() error { return replica.ErrReplaced },
			func(t *testing.T, err error) { require.ErrorIs(t, err, replica.ErrReplaced) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, budget := newCache(t, 4, 16)
				src := newSource(1, 64)
				gate := make(chan struct{})
				src.open = func(context.Context, int64, int64) error { <-gate; return tt.fetch() }
				readers := []<-chan result{
					src.readLater(t.Context(), c, 0, 64),
					src.readLater(t.Context(), c, 20, 64),
				}
				require.Equal(t, int64(64), budget.Used())
				close(gate)
				for _, r := range readers {
					tt.want(t, arrived(t, r).err)
				}
				require.Zero(t, budget.Used())
				require.Len(t, src.fetched(), 1)
				src.open = nil
				require.Equal(t, 64, src.read(t, c, 0, 64))
				require.Len(t, src.fetched(), 1)
			})
		})
	}
}

func TestFetchesHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 4, 16)
		src := newSource(1, 64)
		src.open = func(ctx context.Context, _, _ int64) error { <-ctx.Done(); return ctx.Err() }
		begin := time.Now()
		_, err := src.handle(c).Read(t.Context(), make([]byte, 64), 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, defaultFetchTimeout, time.Since(begin))
		synctest.Wait()
		require.Zero(t, budget.Used())
	})
}

// A fetch that nothing can stop keeps its memory, which it may still write to,
// and nothing else: those who wait leave at its deadline, and the next Read
// fetches again.
func TestAFetchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 4, 16)
		src := newSource(1, 32)
		gate := make(chan struct{})
		src.open = func(context.Context, int64, int64) error { <-gate; return nil }
		_, err := src.handle(c).Read(t.Context(), make([]byte, 32), 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, int64(32), budget.Used())

		time.Sleep(2 * repeatWithin)
		healthy := newSource(1, 32)
		slice, err := healthy.handle(c).Read(t.Context(), make([]byte, 32), 0)
		require.NoError(t, err)
		require.Equal(t, int64(64), budget.Used())
		c.Close() // doesn't wait for it
		close(gate)
		synctest.Wait()
		require.Equal(t, int64(32), budget.Used())
		src.check(t, slice, 0)
		slice.Release()
		require.Zero(t, budget.Used())
	})
}

func TestDropDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 4, 16)
		src := newSource(1, 32)
		gate := make(chan struct{})
		src.open = func(context.Context, int64, int64) error { <-gate; return nil }
		kept := src.readLater(t.Context(), c, 0, 16)
		ctx, cancel := context.WithCancel(t.Context())
		left := src.readLater(ctx, c, 16, 16)
		cancel()
		require.Error(t, arrived(t, left).err)
		c.Drop("replica", src.file)
		require.Equal(t, int64(32), budget.Used())
		close(gate)
		r := arrived(t, kept)
		require.NoError(t, r.err)
		require.Equal(t, int64(16), budget.Used())
		src.check(t, r.slice, 0)
		require.Zero(t, c.Stats().CachedBytes)
		r.slice.Release()
		require.Zero(t, budget.Used())
		src.read(t, c, 0, 16)
		require.Len(t, src.fetched(), 3)
	})
}

func TestDropDuringAFetchThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 4, 16)
		src := newSource(1, 32)
		gate := make(chan error)
		src.open = func(context.Context, int64, int64) error { return <-gate }
		first := src.readLater(t.Context(), c, 0, 32)
		c.Drop("replica", src.file)
		second := src.readLater(t.Context(), c, 0, 32)
		require.Len(t, src.fetched(), 2, "what was dropped isn't joined")
		gate <- os.ErrPermission
		require.ErrorIs(t, arrived(t, first).err, os.ErrPermission)
		require.Equal(t, int64(32), budget.Used())
		close(gate)
		r := arrived(t, second)
		require.NoError(t, r.err)
		src.check(t, r.slice, 0)
		r.slice.Release()
		require.Equal(t, 32, src.read(t, c, 0, 32))
		require.Empty(t, src.fetched())
	})
}

// A read in parts ends as well.
func TestCloseDuringAReadInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 1, 16)
		src := newSource(1, 64)
		gate := make(chan struct{}, 1)
		src.open = func(context.Context, int64, int64) error { <-gate; return nil }
		read := src.readLater(t.Context(), c, 0, 64)
		gate <- struct{}{}
		pending(t, read) // it has one part
		c.Close()
		require.ErrorIs(t, arrived(t, read).err, os.ErrClosed)
		require.Equal(t, int64(16), budget.Used(), "the store may still write to it")
		gate <- struct{}{}
		synctest.Wait()
		require.Zero(t, budget.Used())
	})
}

// Close waits for no store, be it one that heeds no context.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 2, 16)
		src, other := newSource(1, 100), newSource(2, 16)
		gate := make(chan struct{})
		other.open = func(context.Context, int64, int64) error { <-gate; return nil }
		slice, err := src.handle(c).Read(t.Context(), make([]byte, 16), 0)
		require.NoError(t, err)
		flying := other.readLater(t.Context(), c, 0, 16)
		waiting := src.readLater(t.Context(), c, 32, 16) // for memory

		began := time.Now()
		c.Close()
		require.Zero(t, time.Since(began))
		require.ErrorIs(t, arrived(t, waiting).err, os.ErrClosed)
		require.ErrorIs(t, arrived(t, flying).err, os.ErrClosed)
		_, err = src.handle(c).Read(t.Context(), make([]byte, 16), 0)
		require.ErrorIs(t, err, os.ErrClosed)
		require.Equal(t, int64(32), budget.Used(), "the store may still write to it")
		close(gate)
		synctest.Wait()
		require.Equal(t, int64(16), budget.Used())
		src.check(t, slice, 0)
		slice.Release()
	})
}

// What is small and nearly there may come, though nobody waits for it: its connection goes on.
func TestFetchesAheadLinger(t *testing.T) {
	for _, test := range []struct {
		name        string
		takes       time.Duration
		window      int64
		first, then int64 // what it takes of the budget, in KiB
	}{
		{"in time", linger / 2, firstWindow, 1792, 1792},
		{"too late", 2 * linger, firstWindow, 1792, 1152},
		{"large", linger / 2, 16 * mib, 4224, 4224},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, budget := newStreams(t, 64)
				c.window = test.window
				src := newSource(1, 32*mib)
				src.open = func(ctx context.Context, off, _ int64) error {
					if off == 0 {
						return nil
					}
					select {
					case <-ctx.Done():
						return context.Cause(ctx)
					case <-time.After(test.takes):
						return nil
					}
				}
				h := src.handle(c)
				src.get(t, h, 0, 128*kib)
				src.get(t, h, 512*kib, 128*kib)
				synctest.Wait()
				h.Close()
				synctest.Wait()
				require.Equal(t, test.first*kib, budget.Used())
				time.Sleep(2 * linger)
				synctest.Wait()
				require.Equal(t, test.then*kib, budget.Used())
			})
		})
	}
}
