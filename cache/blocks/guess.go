package blocks

import (
	"cmp"
	"context"
	"slices"
	"time"
)

const (
	// mostGuessing is how many requests for guesses are under way at a time: half as many as a
	// mount makes, so that who waits for something needn't wait for them.
	mostGuessing = 32

	// guessShare is what part of the budget guesses may take up that nobody has read yet.
	guessShare = 2

	// guessGap is how many missing blocks that nobody guessed are fetched between two that
	// somebody did, to save a request.
	guessGap = 1

	// guessPause is for how long nothing more is guessed of a handle when a guess has failed.
	guessPause = time.Second
)

// Range is bytes of a file.
type Range struct {
	Handle *Handle
	Off, N int64
}

// MostGuesses is how many blocks there is room for that were guessed and not read yet.
func (c *Cache) MostGuesses() int { return int(c.budget.Size() / guessShare / c.blockSize) }

// Guesses is how many blocks Guess may fetch now.
func (c *Cache) Guesses() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.guesses()
}

func (c *Cache) guesses() int {
	if c.closing.Err() != nil || c.guessing >= mostGuessing {
		return 0
	}
	ahead := firstWindow + int64(c.lately(time.Now())) - c.ahead
	return max(min(int(ahead/c.blockSize), c.MostGuesses()-c.guessed), 0)
}

// Guess fetches what is missing of ranges that somebody may read next, those that are near
// each other together, and doesn't wait for it. The ranges are in the order in which they will be
// read, and those of a file have one handle. It returns how many of them are there or on their way:
// fewer where memory, or what is on its way already, leaves no room. A guess that fails fails no read.
//
// Of later ones, which will be read after those, it fetches what makes a request longer, and no other
// one necessary.
func (c *Cache) Guess(ctx context.Context, ranges, later []Range) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := len(ranges); n > 0; n -= (n + 15) / 16 {
		spans, blocks := c.missing(ranges[:n], later)
		if blocks > 0 && (blocks > c.guesses() || len(spans) > mostGuessing-c.guessing) {
			continue
		}
		for _, s := range spans {
			got := c.reserve(s.n, 0, s.h)
			c.startGuess(ctx, s.h, s.first, got)
			if got < s.n {
				return 0
			}
		}
		return n
	}
	return 0
}

// guessSpan is adjacent blocks of a file, which are missing.
type guessSpan struct {
	h     *Handle
	first int64
	n     int
	later bool // all of it
}

// missing are the blocks that ranges lack, as requests, and how many they are. Those that are
// there won't be the next to be evicted.
func (c *Cache) missing(ranges, later []Range) (spans []guessSpan, blocks int) {
	var all []guessSpan
	for i, r := range slices.Concat(ranges, later) {
		for n := r.Off / c.blockSize; n*c.blockSize < r.Off+r.N; n++ {
			blk := c.files[r.Handle.key][n]
			if blk == nil && time.Since(r.Handle.guessFailed) > guessPause {
				all = append(all, guessSpan{r.Handle, n, 1, i >= len(ranges)})
			} else if blk != nil && blk.elem != nil && i < len(ranges) {
				c.recent.MoveToBack(blk.elem)
			}
		}
	}
	slices.SortFunc(all, func(a, b guessSpan) int {
		return cmp.Or(a.h.file.Name.Compare(b.h.file.Name), cmp.Compare(a.first, b.first))
	})
	for _, s := range all {
		if len(spans) == 0 || !c.join(&spans[len(spans)-1], s) {
			spans = append(spans, s)
		}
	}
	spans = slices.DeleteFunc(spans, func(s guessSpan) bool { return s.later })
	for _, s := range spans {
		blocks += s.n
	}
	return spans, blocks
}

// join makes a span reach to the end of one that doesn't begin before it, if both are near
// each other and what is between them is missing as well.
func (c *Cache) join(s *guessSpan, next guessSpan) bool {
	end := s.first + int64(s.n)
	gap, n := next.first-end, int(next.first-s.first)+next.n
	if s.h != next.h || gap > guessGap || int64(n)*c.blockSize > minRequest {
		return false
	}
	for i := range gap {
		if c.files[s.h.key][end+i] != nil {
			return false
		}
	}
	s.n, s.later = max(s.n, n), s.later && next.later
	return true
}

func (c *Cache) startGuess(ctx context.Context, h *Handle, first int64, n int) {
	if n == 0 {
		return
	}
	f := c.start(ctx, h, nil, first, n)
	f.guess = true
	c.guessing++
	c.guessed += n
}

// endGuess notes how a guess has ended.
func (c *Cache) endGuess(f *fetch, err error) {
	c.guessing--
	if err != nil {
		f.h.guessFailed = time.Now()
	}
}

// settleGuess notes that a block isn't one that nobody has read, if it was.
func (c *Cache) settleGuess(blk *block) {
	if blk.unread && blk.fetch.guess {
		c.guessed--
	}
}
