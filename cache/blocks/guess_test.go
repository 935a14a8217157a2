package blocks

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// pageAt is a range of 3 KiB in a block.
func pageAt(h *Handle, block int64) Range { return Range{h, block*defaultBlockSize + 5*kib, 3 * kib} }

func pagesAt(h *Handle, blocks ...int64) (all []Range) {
	for _, b := range blocks {
		all = append(all, pageAt(h, b))
	}
	return all
}

// Guesses are fetched by a block, near ones together unless what is between them is there, and
// each once, by whoever. Who reads them waits for nothing.
func TestGuessesAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src, other := newSource(1, 20*mib+100), newSource(2, 8*mib)
		h, o := src.handle(c), other.handle(c)
		src.get(t, h, 21*128*kib, 4*kib)
		require.Equal(t, []string{span(21*128*kib, 128*kib)}, src.settle())
		across := Range{h, 31*128*kib - 1, 2}
		require.Equal(t, 6, c.Guess(t.Context(), append(pagesAt(h, 40, 20, 22, 43, 20), across), nil))
		require.ElementsMatch(t, []string{
			span(20*128*kib, 128*kib), span(22*128*kib, 128*kib), span(30*128*kib, 256*kib), span(40*128*kib, 128*kib), span(43*128*kib, 128*kib),
		}, src.settle())
		require.Equal(t, 5, c.Guess(t.Context(), append(pagesAt(o, 3, 1), pagesAt(h, 160, 20, 1)...), nil))
		require.Equal(t, []string{span(128*kib, 3*128*kib)}, other.settle())
		require.ElementsMatch(t, []string{span(128*kib, 128*kib), span(160*128*kib, 100)}, src.settle(), "to the end of the file")
		for _, r := range append(pagesAt(h, 40, 20, 22, 43, 1), across) {
			src.get(t, h, r.Off, r.N)
		}
		require.Empty(t, src.settle())
		stats := c.Stats()
		require.Equal(t, int64((6+1+3)*128*kib+100), stats.GuessedBytes)
		require.Equal(t, stats.GuessedBytes, stats.AheadBytes)
		require.Equal(t, int64(7*128*kib), stats.GuessedUsed)
	})
}

// What will be read later comes along where it makes a request longer.
func TestLaterGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 20*mib)
		h := src.handle(c)
		require.Equal(t, 1, c.Guess(t.Context(), pagesAt(h, 40), pagesAt(h, 36, 38, 41, 44, 80, 81)))
		require.Equal(t, []string{span(36*128*kib, 6*128*kib)}, src.settle())
	})
}

// Guesses make no longer requests than streams begin with.
func TestGuessesAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		require.Equal(t, 1, c.Guess(t.Context(), []Range{{src.handle(c), 2 * mib, firstWindow}}, nil))
		require.ElementsMatch(t, []string{span(2*mib, 1*mib), span(3*mib, 128*kib)}, src.settle())
	})
}

// Guesses leave what is on its way, and the memory, to others as well: they are cut, from
// the end on.
func TestGuessesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		src := newSource(1, 64*mib)
		answer := make(chan struct{})
		src.open = func(ctx context.Context, _, _ int64) error {
			select {
			case <-answer:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		h := src.handle(c)
		far := func(from, n int64) (all []Range) {
			for i := range n {
				all = append(all, pageAt(h, 3*(from+i)))
			}
			return all
		}
		require.Equal(t, 9, c.Guesses(), "blocks of the first window")
		require.Equal(t, 9, c.Guess(t.Context(), far(0, 12), nil))
		require.Zero(t, c.Guesses())
		require.Equal(t, 9, c.Guess(t.Context(), far(0, 9), nil), "they are on their way")
		require.Len(t, src.settle(), 9)
		close(answer)
		synctest.Wait()
		at := int64(9)
		for c.Guesses() > 0 {
			n := c.Guess(t.Context(), far(at, 7), nil)
			require.Positive(t, n)
			at += int64(n)
			require.LessOrEqual(t, len(src.settle()), 7)
		}
		require.Equal(t, 8*mib/defaultBlockSize, c.guessed, "half of the budget")
		require.Equal(t, int64(8*mib), budget.Used())
		src.get(t, h, pageAt(h, 0).Off, 4*kib)
		require.Equal(t, 1, c.Guesses())
		require.Equal(t, 1, c.Guess(t.Context(), far(at, 1), nil))
		require.Zero(t, c.Guess(t.Context(), far(at+1, 1), nil))
	})
}

// However quickly a store answers, guesses don't take all requests that there may be.
func TestRequestsForGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 64)
		src := newSource(1, 64*mib)
		h := src.handle(c)
		for off := int64(0); off < 32*mib; off += 128 * kib {
			src.get(t, h, off, 128*kib)
		}
		src.settle()
		src = newSource(2, 64*mib)
		src.open = func(context.Context, int64, int64) error { time.Sleep(time.Second); return nil }
		h = src.handle(c)
		var all []Range
		for i := range int64(60) {
			all = append(all, pageAt(h, 3*i))
		}
		require.Equal(t, 30, c.Guess(t.Context(), all, nil))
		require.Equal(t, 2, c.Guess(t.Context(), all[30:40], nil))
		require.Zero(t, c.Guesses())
		require.Len(t, src.settle(), mostGuessing)
	})
}

// A small budget has no room for guesses.
func TestNoRoomForGuesses(t *testing.T) {
	for _, blockSizes := range []int{1, 0} {
		budget := NewBudget(64*kib + int64(blockSizes)*64*kib)
		c := New(budget, Options{})
		src := newSource(1, 1*mib)
		require.Zero(t, c.MostGuesses())
		require.Zero(t, c.Guess(t.Context(), pagesAt(src.handle(c), 3), nil))
		require.Empty(t, src.fetched())
		c.Close()
	}
}

// A guess that fails fails no read, and has no more guessed of the file for a while.
func TestAGuessThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		var fail error
		src.open = func(context.Context, int64, int64) error {
			err := fail
			time.Sleep(time.Millisecond)
			return err
		}
		h := src.handle(c)
		fail = errors.New("broken")
		require.Equal(t, 2, c.Guess(t.Context(), pagesAt(h, 3, 9), nil))
		synctest.Wait()
		fail = nil
		slice := <-src.readLater(t.Context(), c, 3*128*kib, 4*kib)
		require.NoError(t, slice.err)
		slice.slice.Release()
		require.Len(t, src.settle(), 3, "two guesses, and the block of the read")
		require.Equal(t, 1, c.Guess(t.Context(), pagesAt(h, 9), nil))
		require.Empty(t, src.settle())
		time.Sleep(guessPause + time.Millisecond)
		require.Equal(t, 1, c.Guess(t.Context(), pagesAt(h, 9), nil))
		require.Equal(t, []string{span(9*128*kib, 128*kib)}, src.settle())
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(t, int64(128*kib), c.Stats().GuessedBytes)
	})
}

// Closing the file, or the cache, ends guesses.
func TestGuessesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 16)
		src := newSource(1, 8*mib)
		src.open = func(ctx context.Context, _, _ int64) error { <-ctx.Done(); return context.Cause(ctx) }
		h := src.handle(c)
		require.Equal(t, 3, c.Guess(t.Context(), pagesAt(h, 3, 9, 20), nil))
		require.Equal(t, int64(3*128*kib), budget.Used())
		h.Close()
		time.Sleep(linger)
		synctest.Wait()
		require.Zero(t, budget.Used())
		require.Zero(t, c.guessed)

		require.Equal(t, 1, c.Guess(t.Context(), pagesAt(src.handle(c), 3), nil))
		c.Close()
		synctest.Wait()
		require.Zero(t, budget.Used())
		require.Zero(t, c.Guess(t.Context(), pagesAt(src.handle(c), 4), nil))
	})
}

// What is guessed to be read next isn't what is evicted next.
func TestGuessesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 1)
		src := newSource(1, 8*mib)
		h := src.handle(c)
		for i := range int64(8) {
			src.get(t, h, pageAt(h, 3*i+1).Off, kib)
		}
		require.Len(t, src.settle(), 8)
		require.Equal(t, 2, c.Guess(t.Context(), pagesAt(h, 1, 50), nil))
		src.settle()
		src.get(t, h, pageAt(h, 1).Off, kib)
		require.Empty(t, src.settle())
		src.get(t, h, pageAt(h, 4).Off, kib)
		require.Len(t, src.settle(), 1)
	})
}
