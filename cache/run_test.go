package cache

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/stretchr/testify/require"
)

func TestOneFetchForManyReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBlocks(t, 4, 16)
		src := newSource(1, 64)
		gate := make(chan struct{})
		src.fetch = func(context.Context, int64, int) error { <-gate; return nil }
		type ctxKey struct{}
		first, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "kept"))
		var readers []<-chan result
		readers = append(readers, src.readLater(first, b, 0, 64))
		for i := range 10 {
			readers = append(readers, src.readLater(t.Context(), b, int64(i), 20))
		}
		cancel()
		r := arrived(t, readers[0])
		require.ErrorIs(t, r.err, context.Canceled)
		for _, c := range readers[1:] {
			pending(t, c)
		}
		close(gate)
		for i, c := range readers[1:] {
			r := arrived(t, c)
			require.NoError(t, r.err)
			src.check(t, r.slice, int64(i))
			r.slice.Release()
		}
		require.Equal(t, []string{"0+64"}, src.fetched())
	})
}

func TestAFetchThatNobodyWaitsForIsCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newBlocks(t, 4, 16)
		src := newSource(1, 64)
		gate := make(chan struct{})
		src.fetch = func(ctx context.Context, _ int64, _ int) error { <-gate; return ctx.Err() }
		ctx, cancel := context.WithCancel(t.Context())
		c := src.readLater(ctx, b, 0, 64)
		cancel()
		require.ErrorIs(t, arrived(t, c).err, context.Canceled)
		close(gate)
		synctest.Wait()
		require.Equal(t, 64, src.read(t, b, 0, 64))
		require.Len(t, src.fetched(), 1)
	})
}

func TestFailedFetchesAreTriedAgain(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
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
			func(t *testing.T, err error) { require.ErrorIs(t, err, errNoResult) },
		},
		"replaced": {
			func() error { return replica.ErrReplaced },
			func(t *testing.T, err error) { require.ErrorIs(t, err, replica.ErrReplaced) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, budget := newBlocks(t, 4, 16)
				src := newSource(1, 64)
				gate := make(chan struct{})
				src.fetch = func(context.Context, int64, int) error { <-gate; return c.fetch() }
				readers := []<-chan result{
					src.readLater(t.Context(), b, 0, 64),
					src.readLater(t.Context(), b, 20, 64),
				}
				require.Equal(t, int64(64), budget.Used())
				close(gate)
				for _, r := range readers {
					c.want(t, arrived(t, r).err)
				}
				require.Zero(t, budget.Used())
				require.Len(t, src.fetched(), 1)
				src.fetch = nil
				require.Equal(t, 64, src.read(t, b, 0, 64))
				require.Len(t, src.fetched(), 1)
			})
		})
	}
}

func TestFetchesHaveADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 4, 16)
		src := newSource(1, 64)
		src.fetch = func(ctx context.Context, _ int64, _ int) error { <-ctx.Done(); return ctx.Err() }
		begin := time.Now()
		_, err := b.Read(t.Context(), src.key, src.size, 0, 64, src.Fetch)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, DefaultFetchTimeout, time.Since(begin))
		synctest.Wait()
		require.Zero(t, budget.Used())
	})
}

// A fetch that nothing can stop keeps its memory, which it may still write to,
// and nothing else: those who wait leave at its deadline, and the next Read
// fetches again.
func TestAFetchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 4, 16)
		src := newSource(1, 32)
		gate := make(chan struct{})
		src.fetch = func(context.Context, int64, int) error { <-gate; return nil }
		_, err := b.Read(t.Context(), src.key, src.size, 0, 32, src.Fetch)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, int64(32), budget.Used())

		healthy := newSource(1, 32)
		slice, err := b.Read(t.Context(), src.key, src.size, 0, 32, healthy.Fetch)
		require.NoError(t, err)
		require.Equal(t, int64(64), budget.Used())
		b.Close() // doesn't wait for it
		close(gate)
		synctest.Wait()
		require.Equal(t, int64(32), budget.Used())
		src.check(t, slice, 0)
		slice.Release()
		require.Zero(t, budget.Used())
	})
}

func TestForgetDuringAFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 4, 16)
		src := newSource(1, 32)
		gate := make(chan struct{})
		src.fetch = func(context.Context, int64, int) error { <-gate; return nil }
		kept := src.readLater(t.Context(), b, 0, 16)
		ctx, cancel := context.WithCancel(t.Context())
		left := src.readLater(ctx, b, 16, 16)
		cancel()
		require.Error(t, arrived(t, left).err)
		b.Forget(src.key)
		require.Equal(t, int64(32), budget.Used())
		close(gate)
		r := arrived(t, kept)
		require.NoError(t, r.err)
		require.Equal(t, int64(16), budget.Used())
		src.check(t, r.slice, 0)
		require.Zero(t, b.Stats().CachedBytes)
		r.slice.Release()
		require.Zero(t, budget.Used())
		src.read(t, b, 0, 16)
		require.Len(t, src.fetched(), 3)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 2, 16)
		src, other := newSource(1, 100), newSource(2, 16)
		gate := make(chan struct{})
		other.fetch = func(context.Context, int64, int) error { <-gate; return nil }
		slice, err := b.Read(t.Context(), src.key, src.size, 0, 16, src.Fetch)
		require.NoError(t, err)
		flying := other.readLater(t.Context(), b, 0, 16)
		waiting := src.readLater(t.Context(), b, 32, 16) // for memory

		closed := make(chan struct{})
		go func() { b.Close(); close(closed) }()
		require.ErrorIs(t, arrived(t, waiting).err, os.ErrClosed)
		pending(t, closed)
		_, err = b.Read(t.Context(), src.key, src.size, 0, 16, src.Fetch)
		require.ErrorIs(t, err, os.ErrClosed)
		close(gate)
		arrived(t, closed)
		r := arrived(t, flying)
		require.NoError(t, r.err)
		other.check(t, r.slice, 0)
		r.slice.Release()
		require.Equal(t, int64(16), budget.Used())
		src.check(t, slice, 0)
		slice.Release()
	})
}
