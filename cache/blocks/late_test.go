package blocks

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// A read that has failed late fails at once when it is repeated, and only then.
func TestLateFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCache(t, 4, 16)
		src, other, newer := newSource(1, 1<<20), newSource(4, 1<<20), newSource(1, 1<<20)
		newer.file.Version.ETag = `"w"`
		h := src.handle(c)
		later := src.file
		later.ModTime = time.Now() // which may be known better by now
		long := time.Now().Add(-30 * time.Second)
		failed, gone := errors.New("failed"), h.failed(0, replica.ErrReplaced)

		require.NoError(t, c.lateFailureAt(h, 100))
		c.failedAt(h, 100, 200, time.Now(), failed)
		require.NoError(t, c.lateFailureAt(h, 100), "one that failed quickly is tried again")
		c.failedAt(h, 100, 200, long, gone)
		require.NoError(t, c.lateFailureAt(h, 100), "another version is looked for at once")
		c.failedAt(h, 100, 200, long, h.failed(0, context.Canceled))
		require.NoError(t, c.lateFailureAt(h, 100), "it was the caller who left")

		c.failedAt(h, 100, 200, long, failed)
		require.Equal(t, failed, c.lateFailureAt(h, 100))
		require.Equal(t, failed, c.lateFailureAt(c.Open("replica", src, later), 199))
		for _, off := range []int64{0, 99, 200} {
			require.NoError(t, c.lateFailureAt(h, off), off)
		}
		require.NoError(t, c.lateFailureAt(other.handle(c), 100))
		require.NoError(t, c.lateFailureAt(newer.handle(c), 100))
		require.NoError(t, c.lateFailureAt(c.Open("another", src, src.file), 100))

		c.late[0].at = time.Now().Add(-2 * repeatWithin)
		require.NoError(t, c.lateFailureAt(h, 100), "a moment later the store is asked again")
		require.Empty(t, c.late)
		for range maxLateFailures + 1 {
			c.failedAt(h, 0, 1, long, failed)
		}
		require.Equal(t, maxLateFailures, len(c.late))
	})
}

func TestAReadThatIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCache(t, 4, 16)
		src := newSource(1, 64)
		h, direct := src.handle(c), src.handle(c)
		direct.Direct = true
		src.open = func(ctx context.Context, _, _ int64) error { <-ctx.Done(); return ctx.Err() }
		read := func(h *Handle, off int64) (time.Duration, error) {
			begin := time.Now()
			_, err := h.ReadAt(make([]byte, 16), off)
			took := time.Since(begin)
			synctest.Wait() // for its fetch, which has the same deadline
			return took, err
		}
		took, first := read(h, 0)
		require.ErrorIs(t, first, context.DeadlineExceeded)
		require.Equal(t, defaultFetchTimeout, took)
		took, again := read(h, 0)
		require.Equal(t, first, again)
		require.Zero(t, took)
		require.Len(t, src.fetched(), 1)

		time.Sleep(2 * repeatWithin)
		took, _ = read(h, 0)
		require.Equal(t, defaultFetchTimeout, took, "the store is asked again")

		// What is in memory is given all the same, and what no kernel repeats is
		// asked for.
		took, _ = read(direct, 0)
		require.Equal(t, defaultFetchTimeout, took)
		took, _ = read(direct, 16)
		require.Equal(t, defaultFetchTimeout, took)
		took, _ = read(h, 16)
		require.Equal(t, defaultFetchTimeout, took)
		src.open = nil
		_, err := read(direct, 16)
		require.NoError(t, err)
		took, err = read(h, 16)
		require.NoError(t, err)
		require.Zero(t, took)
		_, err = read(h, 0)
		require.NoError(t, err)
	})
}
