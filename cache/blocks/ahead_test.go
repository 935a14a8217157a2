package blocks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// A range that can't be read fails who asked for a byte of it, and nobody who is near it.
func TestAFailureAheadFailsNoRead(t *testing.T) {
	const bad = 600_000
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		broken := errors.New("broken")
		src.open = func(_ context.Context, off, n int64) error {
			if off <= bad && bad < off+n {
				return broken
			}
			return nil
		}
		h := src.handle(c)
		src.get(t, h, 0, 4*kib)
		require.Equal(t, []string{span(0, 1152*kib), span(0, 128*kib)}, src.settle())
		src.get(t, h, 4*kib, 4*kib)
		require.Empty(t, src.settle())
		src.get(t, h, 128*kib, 4*kib)
		require.Equal(t, []string{span(128*kib, 128*kib)}, src.settle())
		_, err := h.Read(t.Context(), make([]byte, 4*kib), 512*kib)
		require.ErrorIs(t, err, broken)
		require.Equal(t, []string{span(512*kib, 128*kib)}, src.settle())
		again := int64(512*kib + firstWindow)
		for off := int64(640 * kib); off < again-128*kib; off += 128 * kib {
			src.get(t, h, off, 128*kib)
			require.Equal(t, []string{span(off, 128*kib)}, src.settle())
		}
		src.get(t, h, again-128*kib, 128*kib)
		require.Equal(t, []string{span(again-128*kib, 1152*kib)}, src.settle(), "it is a stream again")
	})
}

// A version that is gone is gone, whatever it was asked for with.
func TestGoneAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		src.open = func(context.Context, int64, int64) error { return replica.ErrReplaced }
		_, err := src.handle(c).Read(t.Context(), make([]byte, 4*kib), 0)
		require.ErrorIs(t, err, replica.ErrReplaced)
		require.Equal(t, []string{span(0, 1152*kib)}, src.settle())
	})
}

// Who asks a store that hangs asks it once. Of one that fails after a long time, and then
// hangs, the reader gets the reason.
func TestFailuresAheadThatTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		slowDown := errors.New("slow down")
		var wait []time.Duration // of each fetch; then they hang
		src.open = func(ctx context.Context, _, _ int64) error {
			if len(wait) == 0 {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			time.Sleep(wait[0])
			wait = wait[1:]
			return slowDown
		}
		read := src.readLater(t.Context(), c, 0, 4*kib)
		time.Sleep(time.Second)
		joined := src.readLater(t.Context(), c, 0, 4*kib)
		require.ErrorIs(t, (<-read).err, context.DeadlineExceeded)
		require.ErrorIs(t, (<-joined).err, context.DeadlineExceeded)
		time.Sleep(time.Minute)
		require.Equal(t, []string{span(0, 1152*kib)}, src.settle())

		wait = []time.Duration{20 * time.Second}
		began := time.Now()
		_, err := src.handle(c).Read(t.Context(), make([]byte, 4*kib), 0)
		require.ErrorIs(t, err, slowDown)
		require.Equal(t, defaultFetchTimeout, time.Since(began))
		time.Sleep(time.Minute)
		require.Equal(t, []string{span(0, 1152*kib), span(0, 128*kib)}, src.settle())
	})
}

// Who comes while a fetch lingers gets it, and it lingers once more when he has gone.
func TestReadsOfWhatLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		src := newSource(1, 8*mib)
		answer := make(chan struct{})
		src.open = func(ctx context.Context, off, _ int64) error {
			if off == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-answer:
				return nil
			}
		}
		h, other := src.handle(c), src.handle(c)
		src.get(t, h, 0, 128*kib)
		src.get(t, h, 512*kib, 128*kib)
		require.Equal(t, []string{span(0, 1152*kib), span(1152*kib, 640*kib)}, src.settle())
		h.Close()
		time.Sleep(linger / 2)
		ctx, cancel := context.WithCancel(t.Context())
		read := later(func() (*Slice, error) { return other.Read(ctx, make([]byte, 4*kib), 1152*kib) })
		time.Sleep(linger)
		pending(t, read)
		cancel()
		require.ErrorIs(t, arrived(t, read).err, context.Canceled)

		read = later(func() (*Slice, error) { return other.Read(t.Context(), make([]byte, 4*kib), 1152*kib) })
		h.Close()
		h.Close()
		time.Sleep(2 * linger)
		pending(t, read)
		close(answer)
		slice := arrived(t, read)
		require.NoError(t, slice.err)
		slice.slice.Release()
		require.Empty(t, src.settle(), "and asks for nothing")
		require.Equal(t, int64(1792*kib), budget.Used())
	})
}

// However many streams there are, no more is on its way ahead of them all than the first
// window, what came in about a second, and a request: where a store gives little, who
// waits for a block gets it soon.
func TestStreamsLeaveBandwidth(t *testing.T) {
	const streams = 40
	for _, rate := range []int64{1 * mib, 4 * mib} {
		t.Run(fmt.Sprint(rate/mib), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := newStreams(t, 128)
				line := make(chan struct{}, 1) // one answer after the other
				open := func(ctx context.Context, _, n int64) error {
					line <- struct{}{}
					time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
					<-line
					return nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				var readers sync.WaitGroup
				for i := range streams {
					src := newSource(i+2, 64*mib)
					src.open = open
					readers.Go(func() {
						h, buf := src.handle(c), make([]byte, 128*kib)
						for off := int64(0); ctx.Err() == nil; off += int64(len(buf)) {
							slice, err := h.Read(ctx, buf, off)
							if err == nil {
								slice.Release()
							} else if ctx.Err() == nil {
								t.Error(err)
								return
							}
						}
					})
				}
				src := newSource(1, 64*mib)
				src.open = open
				ahead := firstWindow + 3*rate/2 + minRequest
				for n := int64(1); ctx.Err() == nil; n++ {
					began := time.Now()
					src.get(t, src.handle(c), 2*n*defaultBlockSize, 4*kib)
					require.LessOrEqual(t, time.Since(began), time.Duration(ahead+(streams+1)*defaultBlockSize)*time.Second/time.Duration(rate))
					time.Sleep(time.Second)
				}
				readers.Wait()
			})
		})
	}
}

// What is fetched ahead is counted, and what of it somebody asks for.
func TestAheadIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		h := src.handle(c)
		var trace Trace
		src.get(t, h, 0, 4*kib)
		src.settle()
		require.Equal(t, int64(firstWindow-128*kib), c.Stats().AheadBytes)
		require.Zero(t, c.Stats().AheadUsed)
		for range 2 {
			s, err := h.Read(Traced(t.Context(), &trace), make([]byte, 256*kib), 64*kib)
			require.NoError(t, err)
			s.Release()
		}
		require.Equal(t, int64(256*kib), c.Stats().AheadUsed)
		require.Equal(t, int64(6), trace.Blocks.Load())
		require.Zero(t, trace.Missed.Load())
		s, err := h.Read(Traced(t.Context(), &trace), make([]byte, 1), 7*mib)
		require.NoError(t, err)
		s.Release()
		require.Equal(t, int64(1), trace.Missed.Load())
		src.settle()
	})
}
