package blocks

import (
	"context"
	"errors"
	"slices"
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

// far are so many ranges, from one on, none near another.
func far(h *Handle, from, n int64) (all []Range) {
	for i := range n {
		all = append(all, pageAt(h, 3*(from+i)))
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
		require.Equal(t, 9, c.Guesses(src, 20), "blocks of the first window")
		require.Equal(t, 7, c.Guess(t.Context(), far(h, 0, 7), nil))
		require.Zero(t, c.Guesses(src, 20), "not for a quarter")
		require.Equal(t, 2, c.Guess(t.Context(), far(h, 7, 5), nil))
		require.Zero(t, c.Guesses(src, 1))
		require.Equal(t, 9, c.Guess(t.Context(), far(h, 0, 9), nil), "they are on their way")
		require.Len(t, src.settle(), 9)
		close(answer)
		synctest.Wait()
		at := int64(9)
		for c.Guesses(src, 7) > 0 {
			n := c.Guess(t.Context(), far(h, at, 7), nil)
			require.Positive(t, n)
			at += int64(n)
			require.LessOrEqual(t, len(src.settle()), 7)
		}
		require.Equal(t, 8*mib/defaultBlockSize, c.guessed.Len(), "half of the budget")
		require.Equal(t, int64(8*mib), budget.Used())
		src.get(t, h, pageAt(h, 0).Off, 4*kib)
		require.Equal(t, 1, c.Guesses(src, 7))
		require.Equal(t, 1, c.Guess(t.Context(), far(h, at, 1), nil))
		require.Zero(t, c.Guess(t.Context(), far(h, at+1, 1), nil))
	})
}

// guessAll has as many guesses come as there is room for, and nobody read them, and returns how many.
func (s *source) guessAll(t *testing.T, c *Cache, h *Handle, from int64) (n int64) {
	t.Helper()
	for {
		room := int64(c.Guesses(s, 32))
		if room == 0 {
			return n
		}
		got := c.Guess(t.Context(), far(h, from+n, room), nil)
		require.Positive(t, got)
		n += int64(got)
		s.settle()
	}
}

// Guesses of a handle that is closed make way for those of others, and for whatever needs the memory.
func TestGuessesOfAClosedHandleMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 4)
		src := newSource(1, 256*mib)
		read := src.handle(c)
		for i := range int64(16) {
			src.get(t, read, pageAt(read, 3*i+1).Off, kib)
		}
		for i := range int64(5) {
			h := src.handle(c)
			require.Equal(t, int64(16), src.guessAll(t, c, h, 100*(i+1)), "half of the budget")
			require.Zero(t, c.Guesses(src, 1))
			h.Close()
			require.Zero(t, c.guessed.Len())
		}
		src.settle()
		for i := range int64(16) {
			src.get(t, read, pageAt(read, 3*i+1).Off, kib)
		}
		require.Empty(t, src.settle(), "what somebody has read has stayed")
	})
}

// Guesses that nobody reads make way for others after a while, the oldest first, and no more than
// others need.
func TestGuessesThatNobodyReadsMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newStreams(t, 4)
		src := newSource(1, 256*mib)
		h := src.handle(c)
		for i := range int64(16) {
			src.get(t, h, pageAt(h, 3*i+1).Off, kib)
		}
		for _, from := range []int64{100, 108} {
			require.Equal(t, 8, c.Guess(t.Context(), far(h, from, 8), nil))
			src.settle()
		}
		require.Equal(t, budget.Size(), budget.Used())
		time.Sleep(guessKept)
		require.Zero(t, c.Guesses(src, 8))
		time.Sleep(time.Millisecond)
		require.Equal(t, 8, c.Guesses(src, 8))
		require.Equal(t, 8, c.Guess(t.Context(), far(h, 200, 8), nil))
		require.Len(t, src.settle(), 8)
		require.Equal(t, 16, c.guessed.Len())
		for _, r := range append(far(h, 108, 8), far(h, 200, 8)...) {
			src.get(t, h, r.Off, r.N)
		}
		require.Empty(t, src.settle(), "the younger half has stayed")
		require.Equal(t, int64(16*128*kib), c.Stats().GuessedUsed)
		for i := range int64(16) {
			src.get(t, h, pageAt(h, 3*i+1).Off, kib)
		}
		require.Empty(t, src.settle(), "and what somebody has read")
		src.get(t, h, far(h, 107, 1)[0].Off, kib)
		require.Len(t, src.settle(), 1)
	})
}

// What doesn't come, though somebody has asked for it meanwhile, wasn't used.
func TestGuessesThatFailAreNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 8*mib)
		fail := errors.New("broken")
		src.open = func(context.Context, int64, int64) error { time.Sleep(time.Millisecond); return fail }
		h := src.handle(c)
		require.Equal(t, 1, c.Guess(t.Context(), pagesAt(h, 3), nil))
		read := src.readLater(t.Context(), c, 3*128*kib, kib)
		time.Sleep(3 * time.Millisecond)
		require.ErrorIs(t, (<-read).err, fail)
		stats := c.Stats()
		require.Zero(t, stats.AheadUsed)
		require.Zero(t, stats.GuessedUsed)

		fail = nil
		require.Equal(t, 1, c.Guess(t.Context(), pagesAt(src.handle(c), 3), nil))
		read = src.readLater(t.Context(), c, 3*128*kib, kib)
		require.Zero(t, c.Stats().GuessedUsed, "not before it is there")
		time.Sleep(time.Millisecond)
		r := <-read
		require.NoError(t, r.err)
		r.slice.Release()
		require.Equal(t, int64(128*kib), c.Stats().AheadUsed)
		require.Equal(t, int64(128*kib), c.Stats().GuessedUsed)
	})
}

// A guess that fails leaves streams as they are that are beyond it.
func TestStreamsBeyondAGuessThatFails(t *testing.T) {
	var fetches [2][]string
	for i := range fetches {
		synctest.Test(t, func(t *testing.T) {
			c, _ := newStreams(t, 16)
			src := newSource(1, 32*mib)
			src.open = func(_ context.Context, off, _ int64) error {
				if off == 3*128*kib {
					return errors.New("broken")
				}
				time.Sleep(time.Millisecond)
				return nil
			}
			h := src.handle(c)
			for off := int64(8 * mib); off < 16*mib; off += 128 * kib {
				src.get(t, h, off, 128*kib)
				fetches[i] = append(fetches[i], slices.Sorted(slices.Values(src.settle()))...)
				if i > 0 && off == 12*mib {
					require.Equal(t, 1, c.Guess(t.Context(), pagesAt(h, 3), nil))
					require.Len(t, src.settle(), 1)
				}
			}
		})
	}
	require.Equal(t, fetches[0], fetches[1])
}

// What would be read later is left out where there is room for what is read next alone.
func TestLaterGuessesThatDoNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newStreams(t, 16)
		src := newSource(1, 64*mib)
		src.open = func(context.Context, int64, int64) error { time.Sleep(time.Second); return nil }
		h := src.handle(c)
		require.Equal(t, 6, c.Guess(t.Context(), far(h, 100, 6), nil))
		src.settle()
		require.Equal(t, 2, c.Guess(t.Context(), pagesAt(h, 40, 60), pagesAt(h, 38, 39, 41, 42)))
		require.ElementsMatch(t, []string{span(40*128*kib, 128*kib), span(60*128*kib, 128*kib)}, src.settle())
	})
}

// However quickly a store answers, guesses take no more than half of the requests that it may be
// asked. More are made once there is room for some.
func TestRequestsForGuesses(t *testing.T) {
	for requests, most := range map[int]int{0: 32, 200: 32, 64: 32, 20: 10, 5: 2, 4: 2, 2: 1, 1: 0} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := newStreams(t, 64)
			src := newSource(1, 64*mib)
			h := src.handle(c)
			for off := int64(0); off < 8*mib; off += 128 * kib {
				src.get(t, h, off, 128*kib)
			}
			src.settle()
			src = newSource(2, 64*mib)
			src.requests = requests
			answer := make(chan struct{})
			src.open = func(context.Context, int64, int64) error { <-answer; return nil }
			h = src.handle(c)
			require.Equal(t, most > 0, c.Guesses(src, 60) > 0)
			require.Equal(t, most, c.Guess(t.Context(), far(h, 0, 60), nil))
			require.Len(t, src.settle(), most)
			for range max((most+3)/4-1, 0) {
				answer <- struct{}{}
				synctest.Wait()
				require.Zero(t, c.Guesses(src, 60))
			}
			if most > 0 {
				answer <- struct{}{}
				synctest.Wait()
				require.Positive(t, c.Guesses(src, 60))
				require.Equal(t, (most+3)/4, c.Guess(t.Context(), far(h, 60, 60), nil))
				require.Len(t, src.settle(), (most+3)/4)
			}
			close(answer)
		})
	}
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
		require.Zero(t, c.Guess(t.Context(), pagesAt(h, 9), nil))
		require.Equal(t, 2, c.Guess(t.Context(), pagesAt(h, 3, 3, 9, 3), nil), "the first two are there")
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
		require.Zero(t, c.guessed.Len())
		src.settle()
		time.Sleep(2 * guessPause)
		require.Zero(t, c.Guess(t.Context(), pagesAt(h, 30), nil))
		require.Empty(t, src.settle(), "nobody would end it")

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
