package blocks

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// fetch is one request: for adjacent blocks of a file, which lie in memory wherever
// slots were free. Each can be read as soon as it is there.
type fetch struct {
	h      *Handle
	blocks []*block
	cancel func(cause error)
	ended  bool
	guess  bool  // Guess has begun it
	err    error // why those that aren't there by then won't come
}

// pin returns a slice that pins the blocks of [off, end) that are in memory or on
// their way, having begun to fetch those that are missing, and what its stream reads
// ahead. Where the memory ends, it ends; it may have none. It has its bytes already if
// cached is true. The memory of granted blocks, one at most, was acquired for it before.
func (h *Handle) pin(ctx context.Context, off, end int64, granted int) (s *Slice, cached bool, err error) {
	c := h.cache
	trace, _ := ctx.Value(traceKey{}).(*Trace)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() {
		if granted > 0 { // and no block needed it
			c.budget.Release(c.blockSize)
		}
	}()
	if c.closing.Err() != nil {
		return nil, false, h.failed(off, errClosed)
	}
	s = &Slice{cache: c}
	first := off / c.blockSize
	count := int(min((end-1)/c.blockSize-first+1, int64(c.arena.slots)))
	if s.blocks = s.few[:0]; count > len(s.few) {
		s.blocks = make([]*block, 0, count)
	}

	// What is here is pinned before anything is fetched, so that room for the
	// one isn't made by dropping the other.
	file, missing := c.files[h.key], 0
	for i := range count {
		blk := file[first+int64(i)]
		if s.blocks = append(s.blocks, blk); blk == nil {
			missing++
			continue
		}
		c.hold(blk)
	}
	if err := c.lateFailureAt(h, off); missing > 0 && err != nil {
		c.unpin(s.blocks)
		return nil, false, err
	}
	ahead := h.advance(off, end, missing > 0, missing > 0 || !s.ready())
	missed := 0
	for i := 0; missing > 0 && i < len(s.blocks); i++ {
		if s.blocks[i] != nil {
			continue
		}
		want := 1
		for i+want < len(s.blocks) && s.blocks[i+want] == nil {
			want++
		}
		got := c.reserve(want, granted, nil)
		granted = 0
		if got < want {
			c.unpin(s.blocks[i+got:])
			s.blocks = s.blocks[:i+got]
		}
		more := 0
		if ahead != nil && c.mayFetchAhead() && i+got == count && ahead.fetched == (first+int64(count))*c.blockSize {
			more = c.reserveAhead(h, ahead)
		}
		c.start(ctx, h, s.blocks[i:i+got], first+int64(i), more)
		missed += got
		i += got
	}
	c.stats.Hits += int64(len(s.blocks) - missed)
	c.stats.Misses += int64(missed)
	if trace != nil {
		trace.Blocks.Add(int64(len(s.blocks)))
		trace.Missed.Add(int64(missed))
	}
	c.fetchAhead(ctx, h, ahead)
	if !s.ready() {
		return s, false, nil
	}
	s.cut(off, end)
	return s, int64(s.n) == end-off, nil
}

// start begins to fetch adjacent blocks from number first on, for which memory is
// reserved: those of a read, which it fills in, pinned, and some more ahead of it.
func (c *Cache) start(ctx context.Context, h *Handle, blocks []*block, first int64, ahead int) *fetch {
	if len(blocks)+ahead == 0 {
		return nil
	}
	file := c.files[h.key]
	if file == nil {
		file = map[int64]*block{}
		c.files[h.key] = file
	}
	f := &fetch{h: h, blocks: make([]*block, len(blocks)+ahead)}
	for i := range f.blocks {
		blk := &block{fetch: f, n: first + int64(i), slot: c.arena.take(), unasked: i >= len(blocks), done: make(chan struct{}), found: true}
		blk.mem = c.arena.mem(blk.slot, int(min(c.blockSize, h.file.Size-blk.n*c.blockSize)))
		if !blk.unasked {
			blk.pins, blocks[i] = 1, blk
		}
		if blk.unread = blk.unasked; blk.unasked {
			c.ahead += c.blockSize
		}
		f.blocks[i], file[blk.n] = blk, blk
	}
	f.cancel = flight.Go(ctx, c.fetches, c.timeout, flight.Work[struct{}]{
		Run:  func(ctx context.Context) (struct{}, error) { return struct{}{}, f.run(ctx) },
		Land: func(_ struct{}, err error) { c.land(f, err) },
		Over: func() { c.over(f) },
	})
	return f
}

// mayComeAlone reports, of a fetch that has failed, whether what was asked for may come
// without what was to be fetched with it.
func (f *fetch) mayComeAlone() bool {
	return f.blocks[len(f.blocks)-1].unasked && !isGone(f.err) && !errors.Is(f.err, context.DeadlineExceeded)
}

func (f *fetch) off() int64 { return f.blocks[0].n * f.h.cache.blockSize }

func (f *fetch) size() (n int64) {
	for _, blk := range f.blocks {
		n += int64(len(blk.mem))
	}
	return n
}

// run fetches. The last block has arrived once it returns without an error.
func (f *fetch) run(ctx context.Context) error {
	body, err := f.h.store.OpenLTXFile(ctx, f.h.file, f.off(), f.size())
	if err != nil {
		return err
	}
	for i, blk := range f.blocks {
		if _, err = io.ReadFull(body, blk.mem); err != nil {
			break
		}
		if i < len(f.blocks)-1 && !f.h.cache.arrived(blk) {
			break // nobody waits any more
		}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if closeErr := body.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	return err
}

// arrived caches a block whose bytes are there, unless its fetch has ended before.
func (c *Cache) arrived(blk *block) (ok bool) {
	c.mu.Lock()
	if ok = !blk.fetch.ended; ok {
		c.arrive(blk)
	}
	c.mu.Unlock()
	c.budget.reclaim()
	return ok
}

func (c *Cache) arrive(blk *block) {
	blk.landed = true
	now := time.Now()
	c.noteCame(now)
	if blk.unasked {
		c.ahead -= c.blockSize
	}
	c.noteGuess(blk, now)
	c.stats.FetchedBytes += int64(len(blk.mem))
	if blk.unasked {
		c.stats.AheadBytes += int64(len(blk.mem))
		if blk.fetch.guess {
			c.stats.GuessedBytes += int64(len(blk.mem))
		}
		if !blk.unread {
			c.noteUsed(blk)
		}
	}
	if blk.found {
		blk.elem = c.recent.PushBack(blk)
		if blk.pins == 0 {
			c.idle++
		}
	} else { // dropped on the way
		c.freeUnused(blk)
	}
	close(blk.done)
}

// land ends a fetch: what has not arrived until then is there now, or won't come.
func (c *Cache) land(f *fetch, err error) {
	c.mu.Lock()
	f.ended = true
	if f.guess {
		c.endGuess(f, err)
	}
	for _, blk := range f.blocks {
		switch {
		case blk.landed:
		case err == nil:
			c.arrive(blk)
		default:
			if f.err == nil {
				f.err = f.h.failed(f.off(), err)
				if !f.guess {
					f.h.fallBack(blk.n * c.blockSize)
				}
			}
			if blk.unasked {
				c.ahead -= c.blockSize
			}
			c.lose(blk)
			close(blk.done)
		}
	}
	if isGone(err) && !f.h.Keep {
		c.drop(f.h.key)
	}
	c.mu.Unlock()
	c.budget.reclaim()
}

// over frees the memory of what a fetch has failed to bring, now that nothing writes to
// it any more. After a timeout, that can be long after it has landed.
func (c *Cache) over(f *fetch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, blk := range f.blocks {
		if !blk.landed {
			c.free(blk)
		}
	}
}

// isGone tells whether the store has said that it hasn't got the version any more.
func isGone(err error) bool {
	return errors.Is(err, replica.ErrReplaced) || errors.Is(err, os.ErrNotExist)
}
