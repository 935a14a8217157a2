package blocks

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

var _ io.ReaderAt = (*Handle)(nil)

// Handle reads one version of a file. It may be used by many goroutines at once.
type Handle struct {
	// Direct is set, before the first read, if each read is one that a program
	// asked for: no kernel repeats it. See lateFailure.
	Direct bool

	// Keep, set before the first read, has what is cached stay when the store says that
	// the version is gone.
	Keep bool

	cache *Cache
	store replica.Store
	file  replica.File
	key   key

	// Guarded by Cache.mu.
	streams     []stream  // none before the first begins
	guessFailed time.Time // when a guess did last
	closed      bool
}

// Open returns a handle on a version of a file of a replica. All handles on it share
// its blocks. It is to be closed.
func (c *Cache) Open(replicaID string, store replica.Store, f replica.File) *Handle {
	return &Handle{cache: c, store: store, file: f, key: keyOf(replicaID, f)}
}

// Read returns the bytes of the file from off on, len(dest) or as many as there are:
// as references to cached blocks, or, where the budget can't hold all of them at
// once, put together in dest. Without an error it is never fewer.
//
// It fetches what is missing, and waits for that or for memory until FetchTimeout has
// passed or ctx is done. A fetch goes on meanwhile, for others. One that fails
// fails every read that waits for it, and nothing of it is cached.
//
// Reads that follow each other have what comes next fetched ahead of them.
//
// The caller must Release the slice, and should before it reads again: memory it pins
// is memory that others wait for.
func (h *Handle) Read(ctx context.Context, dest []byte, off int64) (*Slice, error) {
	return h.read(ctx, off, int64(len(dest)), func(ctx context.Context, s *Slice, end int64) (*Slice, error) {
		return h.whole(ctx, s, dest, off, end)
	})
}

// ReadSome is Read of n bytes that puts nothing together: where the budget can't hold
// all of them at once, it returns fewer, though never none.
func (h *Handle) ReadSome(ctx context.Context, n, off int64) (*Slice, error) {
	return h.read(ctx, off, n, func(ctx context.Context, s *Slice, end int64) (*Slice, error) {
		return h.some(ctx, s, off, end)
	})
}

// read pins what is there of n bytes from off on, and has wait do the rest, if that
// isn't all.
func (h *Handle) read(ctx context.Context, off, n int64, wait func(ctx context.Context, s *Slice, end int64) (*Slice, error)) (*Slice, error) {
	if off < 0 {
		return nil, h.failed(off, os.ErrInvalid)
	}
	if h.key.version.IsZero() {
		return nil, h.failed(off, fmt.Errorf("of no version: %w", os.ErrInvalid))
	}
	if ctx.Err() != nil {
		return nil, h.failed(off, context.Cause(ctx))
	}
	end := off + min(n, h.file.Size-off)
	if end <= off {
		return &Slice{}, nil
	}
	s, cached, err := h.pin(ctx, off, end, 0)
	if err != nil || cached {
		return s, err
	}
	began := time.Now()
	ctx, cancel := flight.Deadline(ctx, h.cache.timeout)
	defer cancel()
	if s, err = wait(ctx, s, end); err != nil {
		h.cache.failedAt(h, off, end, began, err)
	}
	return s, err
}

// Cached returns n bytes from off on if all of them are in memory, or nil. They are to
// be released. It doesn't count as a read.
func (h *Handle) Cached(off, n int64) *Slice {
	c := h.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Slice{cache: c}
	for i := off / c.blockSize; i*c.blockSize < off+n; i++ {
		blk := c.files[h.key][i]
		if blk == nil || !blk.landed {
			c.unpin(s.blocks)
			return nil
		}
		c.pinOne(blk)
		s.blocks = append(s.blocks, blk)
	}
	s.cut(off, off+n)
	return s
}

// Forget drops the blocks that n bytes from off on are in, so that they are fetched anew.
// Those on their way stay.
func (h *Handle) Forget(off, n int64) {
	c := h.cache
	c.mu.Lock()
	for i := off / c.blockSize; i*c.blockSize < off+n; i++ {
		if blk := c.files[h.key][i]; blk != nil && blk.landed {
			c.lose(blk)
			c.freeUnused(blk)
		}
	}
	c.mu.Unlock()
	c.budget.reclaim()
}

// ReadAt implements io.ReaderAt.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) {
	return h.Within(context.Background()).ReadAt(p, off)
}

// Within returns a reader of the file that reads until ctx is done.
func (h *Handle) Within(ctx context.Context) io.ReaderAt { return &within{ctx, h} }

type within struct {
	ctx context.Context
	h   *Handle
}

func (w *within) ReadAt(p []byte, off int64) (int, error) {
	s, err := w.h.Read(w.ctx, p, off)
	if err != nil {
		return 0, err
	}
	defer s.Release()
	n := s.CopyTo(p)
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// whole returns all of [off, end), of which s is the beginning as pin left it.
func (h *Handle) whole(ctx context.Context, s *Slice, dest []byte, off, end int64) (*Slice, error) {
	for at := off; ; {
		var err error
		if s, err = h.some(ctx, s, at, end); err != nil || int64(s.n) == end-off {
			return s, err
		}
		at += int64(s.CopyTo(dest[at-off:]))
		s.Release()
		if at == end {
			return &Slice{parts: [][]byte{dest[: end-off : end-off]}, n: int(end - off)}, nil
		}
		if s, _, err = h.pin(ctx, at, end, 0); err != nil {
			return nil, err
		}
	}
}

// some returns as much of [off, end) as the budget can hold. s is the beginning as pin
// left it.
func (h *Handle) some(ctx context.Context, s *Slice, off, end int64) (*Slice, error) {
	var together error // of a fetch that was for more than this
	for {
		var err error
		s, err = h.part(ctx, s, off, end)
		switch lost, ok := err.(lostAhead); {
		case err != nil && ctx.Err() != nil && together != nil:
			return nil, together
		case ok && ctx.Err() != nil:
			return nil, h.failed(off, context.Cause(ctx))
		case !ok:
			return s, err
		default:
			// It is asked for alone, now that somebody waits for it.
			together = lost.asked
		}
		if s, _, err = h.pin(ctx, off, end, 0); err != nil {
			return nil, err
		}
	}
}

// lostAhead means that a block has not come that was to be fetched ahead, or with more
// that was.
type lostAhead struct {
	asked error // the store's, if the block was asked for
}

func (lostAhead) Error() string { return "it could not be fetched ahead" }

// part waits for the bytes of s, which pin has left. If there was no memory for any,
// it waits for that first: so of many large reads in a small budget, none waits for
// memory while it holds some.
func (h *Handle) part(ctx context.Context, s *Slice, off, end int64) (*Slice, error) {
	if len(s.blocks) == 0 {
		err := h.cache.acquire(ctx)
		if err != nil {
			return nil, h.failed(off, fmt.Errorf("wait for memory: %w", err))
		}
		if s, _, err = h.pin(ctx, off, end, 1); err != nil {
			return nil, err
		}
	}
	for _, blk := range s.blocks {
		var err error
		select {
		case <-blk.done:
			switch {
			case blk.landed:
			case blk.unasked:
				err = lostAhead{}
			default:
				if err = blk.fetch.err; blk.fetch.mayComeAlone() {
					err = lostAhead{asked: err}
				}
			}
		case <-ctx.Done():
			err = h.failed(off, context.Cause(ctx))
		}
		if err != nil {
			s.Release()
			return nil, err
		}
	}
	s.cut(off, end)
	return s, nil
}

// acquire waits for the memory of one block.
func (c *Cache) acquire(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.closing, func() { cancel(errClosed) })()
	return c.budget.Acquire(ctx, c.blockSize)
}

// failed names the file and the offset in an error.
func (h *Handle) failed(off int64, err error) error {
	if e, ok := err.(*replica.FileError); ok {
		err = e.Err // the file is to be named once
	}
	return replica.NewFileError("read", h.file.Name, fmt.Errorf("at %d: %w", off, err))
}

// Slice is a read's result. It pins the blocks it refers to until Release.
type Slice struct {
	cache  *Cache // nil if there is nothing to release
	blocks []*block
	parts  [][]byte
	n      int

	// Room for the blocks and parts of most reads, so that they cost one
	// allocation.
	few  [2]*block
	part [2][]byte
}

// Slices returns the bytes, in order, without copying. They must not be written to,
// nor read after Release.
func (s *Slice) Slices() [][]byte { return s.parts }

// Len is the number of bytes.
func (s *Slice) Len() int { return s.n }

// CopyTo copies the bytes to p, as many as it can hold, and returns how many.
func (s *Slice) CopyTo(p []byte) int {
	n := 0
	for _, part := range s.parts {
		n += copy(p[n:], part)
	}
	return n
}

// Release lets go of the blocks. The slice is empty afterwards. It may be called
// more than once.
func (s *Slice) Release() {
	blocks := s.blocks
	s.blocks, s.parts, s.n = nil, nil, 0
	if len(blocks) == 0 {
		return
	}
	s.cache.mu.Lock()
	s.cache.unpin(blocks)
	s.cache.mu.Unlock()
	s.cache.budget.reclaim()
}

// ready tells whether all blocks have their bytes. Cache.mu is held.
func (s *Slice) ready() bool {
	for _, blk := range s.blocks {
		if !blk.landed {
			return false
		}
	}
	return true
}

// cut sets the parts to the bytes [off, end) of the file, as far as the blocks
// go.
func (s *Slice) cut(off, end int64) {
	s.n = 0
	if s.parts = s.part[:0]; len(s.blocks) > len(s.part) {
		s.parts = make([][]byte, 0, len(s.blocks))
	}
	for _, blk := range s.blocks {
		start := blk.n * s.cache.blockSize
		from, to := max(off-start, 0), min(end-start, int64(len(blk.mem)))
		s.parts = append(s.parts, blk.mem[from:to:to])
		s.n += int(to - from)
	}
}
