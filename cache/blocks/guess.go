package blocks

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sort"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	// maxGuessing is how many requests for guesses are under way at a time, and guessPart what part of
	// all that a store may be asked, so that who waits for something needn't wait for them.
	maxGuessing, guessPart = 32, 2

	// guessShare is what part of the budget guesses may take up that nobody has read yet.
	guessShare = 2

	// guessGap is how many missing blocks that nobody guessed are fetched between two that
	// somebody did, to save a request.
	guessGap = 1

	// guessPause is for how long nothing more is guessed of a handle when a guess has failed.
	guessPause = time.Second

	// guessAfresh is what part of the room for guesses must be free for more to be asked for.
	guessAfresh = 4

	// guessKept is how long a guess that has come takes up the room of others, while nobody reads it
	// nor guesses it again.
	guessKept = time.Second
)

// Range is bytes of a file.
type Range struct {
	Handle *Handle
	Off, N int64
}

// MostGuesses is how many blocks there is room for that were guessed and not read yet.
func (c *Cache) MostGuesses() int { return int(c.budget.Size() / guessShare / c.blockSize) }

// Guesses is how many blocks of a store Guess may fetch now, of n. While some are on their way, it
// is none before a quarter of the room is free, so that asking for more is worth the work.
func (c *Cache) Guesses(s replica.Store, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, most := time.Now(), mostGuessing(s)
	if c.closing.Err() != nil || guessAfresh*(most-c.guessing) < max(most, 1) {
		return 0
	}
	n = min(n, c.MostGuesses(), int(c.mostAhead(now)/c.blockSize))
	room := min(n, c.guessRoom(now))
	if guessAfresh*room < n && c.guessing > 0 {
		return 0
	}
	return room
}

// mostGuessing is how many requests for guesses a store may be asked at a time.
func mostGuessing(s replica.Store) int {
	if n := s.Properties().Requests; n > 0 {
		return min(n/guessPart, maxGuessing)
	}
	return maxGuessing
}

// guessRoom is for how many more guesses there is room, on the way and in memory, once those have made
// way that nobody reads.
func (c *Cache) guessRoom(now time.Time) int {
	left := c.MostGuesses() - c.guessed.Len()
	for range c.unreadGuesses(now) {
		left++
	}
	return max(min(int((c.mostAhead(now)-c.ahead)/c.blockSize), left), 0)
}

// unreadGuesses are the guesses that have come and that nobody reads, the oldest first.
func (c *Cache) unreadGuesses(now time.Time) iter.Seq[*block] {
	return func(yield func(*block) bool) {
		for e := c.guessed.Front(); e != nil; {
			blk := e.Value.(*block)
			e = e.Next()
			if blk.landed && (blk.awaited(now) || !yield(blk)) {
				return
			}
		}
	}
}

// Guess fetches what is missing of ranges that somebody may read next, those that are near
// each other together, and doesn't wait for it. The ranges are of one store, in the order in which they
// will be read, and those of a file have one handle. It returns how many of them, from the first on, are
// there or on their way: fewer where memory, or what is on its way already, leaves no room, and up to
// one of a file of which guesses have failed just now. A guess that fails fails no read.
//
// Of later ones, which will be read after those, it fetches what makes a request longer, and no other
// one necessary.
func (c *Cache) Guess(ctx context.Context, ranges, later []Range) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	lacks, n := c.missing(ranges, later, now)
	if n == 0 || c.closing.Err() != nil {
		return 0
	}
	room, requests := c.guessRoom(now), mostGuessing(ranges[0].Handle.store)-c.guessing
	for _, along := range []bool{true, false} {
		fit := sort.Search(n, func(i int) bool {
			spans, blocks := c.spans(lacks, i+1, along)
			return blocks > 0 && (blocks > room || len(spans) > requests)
		})
		spans, blocks := c.spans(lacks, fit, along)
		for blk := range c.unreadGuesses(now) {
			if c.guessed.Len()+blocks <= c.MostGuesses() {
				break
			}
			c.writeOff(blk)
		}
		for _, s := range spans {
			got := c.reserve(s.n, 0, s.h)
			c.startGuess(ctx, s.h, s.first, got)
			if got < s.n {
				return 0
			}
		}
		if fit > 0 {
			return fit
		}
	}
	return 0
}

// guessSpan is adjacent blocks of a file, which are missing.
type guessSpan struct {
	h     *Handle
	first int64
	n     int
	of    int  // the range that lacks it, if it is one block
	later bool // all of it
}

// missing are the blocks that ranges lack, each for itself, in the order in which they lie, and how many
// ranges there are before one that lacks something that may not be guessed now. What is there
// won't be the next to be evicted, nor to make way.
func (c *Cache) missing(ranges, later []Range, now time.Time) (lacks []guessSpan, n int) {
	n = len(ranges)
	for i, r := range slices.Concat(ranges, later) {
		for b := r.Off / c.blockSize; b*c.blockSize < r.Off+r.N; b++ {
			blk := c.files[r.Handle.key][b]
			switch {
			case blk != nil && blk.elem != nil && i < len(ranges):
				c.recent.MoveToBack(blk.elem)
				c.noteGuess(blk, now)
			case blk != nil:
			case r.Handle.closed || now.Sub(r.Handle.guessFailed) <= guessPause:
				n = min(n, i)
			default:
				lacks = append(lacks, guessSpan{r.Handle, b, 1, i, i >= len(ranges)})
			}
		}
	}
	slices.SortFunc(lacks, func(a, b guessSpan) int {
		return cmp.Or(a.h.file.Name.Compare(b.h.file.Name), cmp.Compare(a.first, b.first))
	})
	return lacks, n
}

// spans are what the first n ranges lack, with later ones that lie along it or without, as requests,
// and how many blocks they are.
func (c *Cache) spans(lacks []guessSpan, n int, along bool) (spans []guessSpan, blocks int) {
	for _, s := range lacks {
		if wanted := s.of < n || s.later && along; wanted && (len(spans) == 0 || !c.join(&spans[len(spans)-1], s)) {
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
	for _, blk := range f.blocks {
		blk.guess = c.guessed.PushBack(blk)
	}
}

// endGuess notes how a guess has ended.
func (c *Cache) endGuess(f *fetch, err error) {
	c.guessing--
	if err != nil {
		f.h.guessFailed = time.Now()
	}
}

// noteGuess notes that a block, if it is one that was guessed, has come or was guessed again.
func (c *Cache) noteGuess(blk *block, now time.Time) {
	if blk.guess != nil {
		blk.came = now
		c.guessed.MoveToBack(blk.guess)
	}
}

// settleGuess has a block not count any more as a guess that nobody has read.
func (c *Cache) settleGuess(blk *block) {
	if blk.guess != nil {
		c.guessed.Remove(blk.guess)
		blk.guess = nil
	}
}

// writeOff has a guess that probably nobody will read be the first to be evicted, and leave its room
// to others.
func (c *Cache) writeOff(blk *block) {
	c.settleGuess(blk)
	if blk.elem != nil {
		c.recent.MoveToFront(blk.elem)
	}
}

// awaited reports whether a block has come ahead of somebody who may read it yet.
func (blk *block) awaited(now time.Time) bool {
	return blk.unread && (!blk.fetch.guess || blk.guess != nil && now.Sub(blk.came) <= guessKept)
}
