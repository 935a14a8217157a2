// Package cache holds in memory what a replica's client was asked for once:
// blocks of files, within one budget of bytes, and the index of each level.
//
// What many callers want is asked for once, by a goroutine of its own that no
// single caller's cancellation ends, and every such goroutine has a deadline.
package cache

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
)

const (
	// DefaultBlockSize is the size of a block unless BlocksOptions has another.
	DefaultBlockSize = 128 << 10

	// DefaultFetchTimeout is the deadline of a fetch unless BlocksOptions has
	// another.
	DefaultFetchTimeout = 30 * time.Second
)

// FileKey is a file's identity: blocks of one version never answer for another.
type FileKey struct {
	Level            int
	MinTXID, MaxTXID ltx.TXID
	Version          replica.Version
}

// FetchFunc fills p with the file's bytes at off. It must fill p whole or return
// an error, io.ErrUnexpectedEOF if the file is shorter than its size says, and
// it must not touch p once it has returned.
type FetchFunc func(ctx context.Context, p []byte, off int64) error

// BlocksOptions are the parameters of Blocks. Zero values are the defaults.
type BlocksOptions struct {
	// BlockSize is the size of a block, cut to the budget's. Multiples of the
	// page size give evicted memory back to the system whole.
	BlockSize int

	// FetchTimeout is the deadline of one fetch, and of waiting for memory to
	// fetch into.
	FetchTimeout time.Duration
}

// BlockStats count what Blocks did since it was made.
type BlockStats struct {
	Hits         int64 // blocks asked for that were in memory or on their way
	Misses       int64 // blocks that had to be fetched
	FetchedBytes int64 // bytes of all fetches that succeeded
	Evictions    int64 // blocks dropped to make room
	CachedBytes  int64 // memory of the blocks that are cached now
}

// Blocks caches blocks of files in memory. It drops the least recently used when
// the budget is spent.
//
// A block's memory is charged to the budget from before its fetch begins until
// the block was dropped and no Slice pins it. Every block is charged, and
// occupies, a full BlockSize, even the shorter last one of a file: then all are
// interchangeable, memory is never fragmented, and resident memory is what the
// budget says it is.
type Blocks struct {
	budget     *Budget
	unregister func()
	blockSize  int64
	timeout    time.Duration
	flying     sync.WaitGroup // runs that have not landed, and waits for memory

	// mu may be held while the budget's lock is taken, never the other way
	// round.
	mu     sync.Mutex
	closed bool
	arena  *arena
	files  map[FileKey]map[int64]*block // every block that a Read can find
	// recent orders those of them that are cached. It is without a limit of
	// its own: the budget is the limit.
	recent *simplelru.LRU[*block, struct{}]
	idle   int // blocks in recent that nobody pins
	stats  BlockStats
}

// block is one block of a file. Blocks.mu guards it, but what is pinned and
// cached keeps its data as it is.
type block struct {
	run   *run // the fetch that brings or brought it
	n     int64
	state blockState
	found bool // is in Blocks.files
	pins  int
	slot  int // in the arena; -1 for none
	size  int // bytes in it: fewer than a whole block at the end of a file
}

type blockState int

const (
	blockWaiting  blockState = iota // for memory
	blockFetching                   // has memory
	blockReady                      // has data
	blockFailed
)

// movable tells whether the block's memory may be taken from it.
func (blk *block) movable() bool { return blk.state == blockReady && blk.found && blk.pins == 0 }

// NewBlocks returns an empty cache that takes its memory from budget. A budget
// that exceeds what the system grants in address space is cut down to it, so
// that nothing may use the budget before.
func NewBlocks(budget *Budget, opts BlocksOptions) *Blocks {
	if opts.BlockSize <= 0 {
		opts.BlockSize = DefaultBlockSize
	}
	if opts.FetchTimeout <= 0 {
		opts.FetchTimeout = DefaultFetchTimeout
	}
	size := min(int64(opts.BlockSize), budget.Size())
	recent, err := simplelru.NewLRU[*block, struct{}](math.MaxInt, nil)
	if err != nil {
		panic(err) // its one error is a size below 1
	}
	b := &Blocks{
		budget:    budget,
		blockSize: size,
		timeout:   opts.FetchTimeout,
		arena:     newArena(int(size), int(budget.Size()/size)),
		files:     map[FileKey]map[int64]*block{},
		recent:    recent,
	}
	if slots := int64(b.arena.slots()); slots < budget.Size()/size {
		budget.size = slots * size
	}
	b.unregister = budget.register(b.reclaim)
	return b
}

// Read returns bytes of a file of the given size from off on, at most n, as
// references to cached blocks. It fetches what is missing and waits for it. The
// caller must Release the slice, and should before it reads again: memory it
// pins is memory that others wait for.
//
// Read may return fewer bytes than asked, but at least one unless off is at or
// past the end of the file or n is 0: when the budget can't hold all of the
// range now, Read returns the part it can, so that of many large reads in a
// small budget none waits for memory while it holds some. Callers go on from
// where the slice ends.
//
// fetch is called at most once for each missing block, however many wait for it,
// and once for a run of adjacent ones where memory allows. It runs in a
// goroutine of its own under FetchTimeout, and a caller whose ctx is done leaves
// it running for the others and returns ctx's error at once. A failed fetch
// fails every Read that waits for it and is not cached.
func (b *Blocks) Read(ctx context.Context, key FileKey, size, off int64, n int, fetch FetchFunc) (*Slice, error) {
	if size < 0 || off < 0 || n < 0 {
		return nil, fmt.Errorf("read %d bytes at %d of %d: %w", n, off, size, os.ErrInvalid)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if off >= size || n == 0 {
		return &Slice{}, nil
	}
	end := off + min(int64(n), size-off)
	s := &Slice{owner: b}
	ready, err := b.pin(ctx, s, key, size, off, end, fetch)
	if err != nil {
		return nil, err
	}
	if !ready {
		// Where it was cut short, it has let go of blocks.
		b.budget.reclaim()
		if err := s.wait(ctx); err != nil {
			s.Release()
			return nil, err
		}
	}
	if s.cut(off, end); s.n == 0 {
		// The blocks are of a shorter file, so the key is of two sizes.
		s.Release()
		return nil, fmt.Errorf("read at %d of %d: %w", off, size, io.ErrUnexpectedEOF)
	}
	return s, nil
}

// pin makes s pin the blocks of the range, or as many from its beginning as can
// be had, having started the fetches of those that are missing. It reports
// whether all have their data.
func (b *Blocks) pin(ctx context.Context, s *Slice, key FileKey, size, off, end int64, fetch FetchFunc) (ready bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, errClosed
	}
	first, last := off/b.blockSize, (end-1)/b.blockSize
	count := int(min(last-first+1, int64(b.arena.slots())))
	s.blocks = s.few[:0]
	if count > len(s.few) {
		s.blocks = make([]*block, 0, count)
	}

	// What is here is pinned before anything is fetched, lest room for the
	// one is made by dropping the other.
	ready = true
	file := b.files[key]
	for i := 0; i < count; i++ {
		blk := file[first+int64(i)]
		// A block that waits for memory may wait long: only a Read that
		// holds nothing waits with it.
		if blk != nil && blk.state == blockWaiting && i > 0 {
			break
		}
		s.blocks = append(s.blocks, blk)
		if blk == nil {
			ready = false
			continue
		}
		b.hold(blk)
		if blk.state != blockReady {
			ready = false
		}
		if blk.state == blockWaiting {
			break
		}
	}
	misses := b.stats.Misses
	if !ready {
		b.fill(ctx, s, key, size, first, fetch)
	}
	b.stats.Hits += int64(len(s.blocks)) - (b.stats.Misses - misses)
	return ready, nil
}

// fill starts the fetches of the blocks that s lacks. Where the memory ends, it
// cuts s short.
func (b *Blocks) fill(ctx context.Context, s *Slice, key FileKey, size, first int64, fetch FetchFunc) {
	for i := 0; i < len(s.blocks); i++ {
		if s.blocks[i] != nil {
			continue
		}
		want := 1
		for i+want < len(s.blocks) && s.blocks[i+want] == nil {
			want++
		}
		got := b.reserve(want)
		if got < want {
			b.unpin(s.blocks[i+got:])
			s.blocks = s.blocks[:i+got]
		}
		if got == 0 && i == 0 {
			// What it held may have been all there was, so ask again.
			s.blocks = s.blocks[:1]
			if got = b.reserve(1); got == 0 {
				s.blocks[0] = b.await(ctx, key, size, first, fetch)
				return
			}
		}
		b.startRuns(ctx, s.blocks[i:i+got], key, size, first+int64(i), fetch)
		i += got - 1
	}
}

// Forget drops a file's blocks. Fetches in flight go on for those who wait.
func (b *Blocks) Forget(key FileKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(key)
}

func (b *Blocks) forget(key FileKey) {
	for _, blk := range b.files[key] {
		b.lose(blk)
		if blk.state == blockReady && blk.pins == 0 {
			b.free(blk)
		}
	}
}

// Close drops everything and waits for the fetches in flight, which have their
// deadline; what only waits for memory ends at once. Slices that are still
// pinned stay valid, and charged to the budget, until they are released.
func (b *Blocks) Close() {
	b.mu.Lock()
	b.closed = true
	for key, file := range b.files {
		for _, blk := range file {
			if blk.state == blockWaiting {
				blk.run.cancel(errClosed)
			}
		}
		b.forget(key)
	}
	b.arena.retire()
	b.mu.Unlock()
	b.unregister()
	b.flying.Wait()
}

// Stats returns the figures as they are now.
func (b *Blocks) Stats() BlockStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.CachedBytes = int64(b.recent.Len()) * b.blockSize
	return s
}
