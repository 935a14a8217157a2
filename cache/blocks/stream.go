package blocks

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// firstWindow is how far is fetched ahead of a stream that begins, in bytes.
	firstWindow = 1<<20 + 128<<10

	// minRequest and maxRequest bound what one request fetches ahead, in bytes.
	minRequest, maxRequest = 1 << 20, 8 << 20

	// keepBehind is how far behind a stream its blocks are kept like any, and skipAhead how
	// far beyond what was fetched ahead it may go on, in bytes.
	keepBehind, skipAhead = 1 << 20, 1 << 20

	// keepTail is how much of a file's end is kept behind a stream as well, in bytes: readers
	// of LTX files look for the trailer and the page index there.
	keepTail = 64 << 10

	// maxStreams is how many streams of one handle are told apart.
	maxStreams = 4

	// growWithin is how long a stream may take for its window and still have it doubled: one
	// that takes longer waits for bandwidth, of which a larger window gives it no more.
	growWithin = time.Second

	// idleAfter is how long a stream keeps its share of the budget without being read.
	idleAfter = time.Second

	// halfLife is of what lately has come.
	halfLife = time.Second
)

// stream is reads of one handle that follow each other. Cache.mu guards it.
type stream struct {
	next     int64 // where its next read begins
	lastRead time.Time
	window   int64 // how far it is fetched ahead of next; 0 as long as it is a single read
	fetched  int64 // up to where it was fetched, or is on its way: whole blocks
	behind   int64 // up to where its blocks were given up
	alone    int64 // up to where each read is fetched alone, since more has failed

	mark   int64 // where next must come to before the window is doubled again
	marked time.Time
	elem   *list.Element // in Cache.streams
}

// advance returns the stream that a read of [off, end) begins or goes on with, or nil for a
// read at random. A stream begins at the beginning of a file, or with the second of two
// reads that follow each other, once a block is missing. Its window doubles when it has to wait.
func (h *Handle) advance(off, end int64, missing, waits bool) *stream {
	c, now := h.cache, time.Now()
	c.noteRead(now)
	if h.closed || h.file.Size <= c.blockSize {
		return nil // it has nothing that could be ahead
	}
	s := h.streamAt(off)
	switch {
	case s == nil:
		s = h.newStream()
		*s = stream{}
		if off == 0 {
			s.begin(off, c.window, now)
		}
	case s.window == 0 && missing:
		s.begin(off, c.window, now)
	case s.window > 0 && waits && s.next >= s.mark:
		if now.Sub(s.marked) < growWithin {
			s.window *= 2
		}
		s.mark, s.marked = s.next+s.window, now
	}
	s.next, s.lastRead = max(s.next, end), now
	if s.window == 0 {
		return nil
	}
	if missing && end == s.next {
		s.fetched = 0 // it may have been evicted, and so may what follows
	}
	s.fetched = max(s.fetched, c.roundUp(s.next))
	s.window = min(s.window, c.widest(s))
	h.giveUp(s)
	if s.next < s.alone {
		return nil
	}
	return s
}

func (s *stream) begin(off, window int64, now time.Time) {
	s.window, s.fetched, s.behind = window, off, off
	s.mark, s.marked = off+window, now
}

// streamAt is the stream that a read goes on with, or nil.
func (h *Handle) streamAt(off int64) *stream {
	for i := range h.streams {
		s := &h.streams[i]
		if s.lastRead.IsZero() {
			continue
		}
		if off == s.next || s.window > 0 && off >= s.next-keepBehind && off <= s.fetched+skipAhead {
			return s
		}
	}
	return nil
}

// newStream is the place for another stream, of the one that was read longest ago.
func (h *Handle) newStream() *stream {
	if h.streams == nil {
		h.streams = make([]stream, maxStreams)
	}
	oldest := &h.streams[0]
	for i := range h.streams {
		if h.streams[i].lastRead.Before(oldest.lastRead) {
			oldest = &h.streams[i]
		}
	}
	if oldest.elem != nil {
		h.cache.streams.Remove(oldest.elem)
	}
	return oldest
}

// widest is the largest window of a stream that is read now: half of the budget is for all of
// them.
func (c *Cache) widest(s *stream) int64 {
	if s.elem == nil {
		s.elem = c.streams.PushBack(s)
	} else {
		c.streams.MoveToBack(s.elem)
	}
	for {
		front := c.streams.Front().Value.(*stream)
		if s.lastRead.Sub(front.lastRead) < idleAfter {
			return c.budget.Size() / 2 / int64(c.streams.Len())
		}
		c.streams.Remove(front.elem)
		front.elem = nil
	}
}

// giveUp makes the blocks that a stream has left behind the first to be evicted.
func (h *Handle) giveUp(s *stream) {
	c := h.cache
	until := min(s.next-keepBehind, h.file.Size-keepTail)
	for ; s.behind+c.blockSize <= until; s.behind += c.blockSize {
		if blk := c.files[h.key][s.behind/c.blockSize]; blk != nil && blk.elem != nil {
			c.recent.MoveToFront(blk.elem)
		}
	}
}

// request is how much one request is to fetch ahead of a stream.
func (s *stream) request() int64 { return min(max(s.window/4, minRequest), maxRequest, s.window) }

// fetchAhead fetches what is missing in a stream's window, as soon as that is worth a
// request. Without memory for it, the window shrinks.
func (c *Cache) fetchAhead(ctx context.Context, h *Handle, s *stream) {
	for s != nil && s.fetched < h.file.Size && c.mayFetchAhead() {
		end := min(s.next+s.window, h.file.Size)
		if end-s.fetched < min(s.request(), s.window/2) && end < h.file.Size {
			return
		}
		first := s.fetched / c.blockSize
		if c.files[h.key][first] != nil {
			s.fetched = (first + 1) * c.blockSize
			continue
		}
		n := c.reserveAhead(h, s)
		c.start(ctx, h, nil, first, n)
		if n == 0 {
			return
		}
	}
}

// mayFetchAhead reports whether another request may be made ahead: not while more is on its
// way than the first window and what came in about a second, so that who waits doesn't wait
// for long.
func (c *Cache) mayFetchAhead() bool {
	return c.ahead < c.mostAhead(time.Now())
}

// mostAhead is with how many bytes on their way nothing more is fetched ahead.
func (c *Cache) mostAhead(now time.Time) int64 { return firstWindow + int64(c.lately(now)) }

// lately is how many bytes have come, of which half count after halfLife.
func (c *Cache) lately(now time.Time) float64 {
	return c.came * math.Exp2(-float64(now.Sub(c.lastCame))/float64(halfLife))
}

// noteCame counts a block that has come.
func (c *Cache) noteCame(now time.Time) {
	c.came, c.lastCame = c.lately(now)+float64(c.blockSize), now
}

// reserveAhead reserves memory for the missing blocks that come next ahead of a stream, for
// one request, and returns for how many.
func (c *Cache) reserveAhead(h *Handle, s *stream) int {
	file, first := c.files[h.key], s.fetched/c.blockSize
	end := min(s.fetched+s.request(), s.next+s.window, h.file.Size)
	want := 0
	for n := first; n*c.blockSize < end && file[n] == nil; n++ {
		want++
	}
	got := c.reserve(want, 0, h)
	if got < want {
		s.window = min(s.window, max(s.window/2, c.window))
	}
	s.fetched = (first + int64(got)) * c.blockSize
	return got
}

// fallBack has the streams that reach beyond an offset begin anew there, since what was
// fetched from it on has not come. As far as a window, they fetch nothing ahead: it may be
// that what they ask for together comes alone.
func (h *Handle) fallBack(off int64) {
	for i := range h.streams {
		if s := &h.streams[i]; s.window > 0 && s.fetched > off {
			s.fetched = h.cache.roundUp(max(s.next, off))
			s.window = min(s.window, h.cache.window)
			s.mark = s.next + s.window
			s.alone = off + s.window
		}
	}
}

// roundUp is where the block of the byte before an offset ends.
func (c *Cache) roundUp(off int64) int64 { return (off + c.blockSize - 1) / c.blockSize * c.blockSize }

// Close ends what is fetched ahead for the handle and nobody waits for, and has no more fetched.
func (h *Handle) Close() {
	c := h.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	h.closed = true
	for _, blk := range c.files[h.key] {
		if blk.guess != nil && blk.fetch.h == h {
			c.writeOff(blk)
		}
	}
	for i := range h.streams {
		if s := &h.streams[i]; s.elem != nil {
			c.streams.Remove(s.elem)
			s.elem = nil
		}
	}
	c.abandon(h.key, h)
}

// errUnwanted ends a fetch that nobody waits for.
var errUnwanted = fmt.Errorf("nobody waits for it any more: %w", context.Canceled)

// A fetch of up to lingerSize bytes that nobody waits for any more has linger longer: ending
// it costs the connection, which costs more than what the store has sent already.
const linger, lingerSize = 20 * time.Millisecond, 2 * minRequest

// abandon ends what is fetched ahead of a file, for one handle or for all, and nobody waits
// for. Cache.mu is held.
func (c *Cache) abandon(k key, h *Handle) {
	for _, blk := range c.files[k] {
		f := blk.fetch
		if f.ended || f.wanted() || h != nil && f.h != h {
			continue
		}
		if int64(len(f.blocks))*c.blockSize > lingerSize {
			f.cancel(errUnwanted)
			continue
		}
		time.AfterFunc(linger, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if !f.wanted() {
				f.cancel(errUnwanted)
			}
		})
	}
}

// wanted reports whether somebody waits for a block.
func (f *fetch) wanted() bool {
	return slices.ContainsFunc(f.blocks, func(blk *block) bool { return !blk.landed && (blk.pins > 0 || !blk.unasked) })
}
