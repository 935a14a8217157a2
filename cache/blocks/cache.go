// Package blocks holds content of files in memory: blocks of one size, within one
// budget of bytes, the least recently used dropped first.
//
// A Handle reads one version of a file. What is missing it fetches from the store,
// each gap by one request, once for all who want it: in a goroutine that no single
// caller's cancellation ends, and that has a deadline. The bytes are answered where
// they lie, without a copy.
package blocks

import (
	"container/list"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	defaultBlockSize    = 128 << 10
	defaultFetchTimeout = 30 * time.Second

	// keepFor is after how long without a read all memory is given back.
	keepFor = 5 * time.Minute

	// tidyAtOnce is how much of it at a time, in bytes.
	tidyAtOnce = 16 << 20
)

// errClosed is what reads get that come, or still wait for memory, after Close.
var errClosed = fmt.Errorf("the cache is closed: %w", os.ErrClosed)

// Options are the parameters of a Cache. Zero values are the defaults.
type Options struct {
	// BlockSize is the size of a block, 128 KiB by default, cut to the budget's. Multiples of the
	// page size give evicted memory back to the system whole.
	BlockSize int

	// FetchTimeout is the deadline of a read, whatever it waits for, and of each
	// fetch, 30 s by default.
	FetchTimeout time.Duration
}

// Stats count what a Cache did since it was made.
type Stats struct {
	Hits         int64 // blocks asked for that were in memory or on their way
	Misses       int64 // blocks that had to be fetched
	FetchedBytes int64 // bytes that have arrived
	Evictions    int64 // blocks dropped to make room
	CachedBytes  int64 // memory of the blocks that are cached now
	AheadBytes   int64 // bytes that have arrived before anybody had asked for them
	AheadUsed    int64 // bytes of those that somebody has asked for since
	GuessedBytes int64 // bytes of AheadBytes that Guess had fetched
	GuessedUsed  int64 // bytes of AheadUsed that Guess had fetched
}

// Cache is the blocks of all files.
//
// A block's memory is charged to the budget from before its fetch begins until
// the block was dropped and no Slice pins it. Every block is charged, and
// occupies, a full BlockSize, even the shorter last one of a file: then all are
// interchangeable, memory is never fragmented, and resident memory is what the
// budget says it is.
type Cache struct {
	budget    *Budget
	blockSize int64
	timeout   time.Duration
	fetches   *flight.Group
	closing   context.Context // done once Close has begun
	close     context.CancelCauseFunc

	mu    sync.Mutex
	arena *arena
	files map[key]map[int64]*block // every block that a read can find
	// recent are those of them that are cached, the most recently used last. The
	// budget is their limit.
	recent list.List
	idle   int // blocks in recent that nobody pins
	late   []lateFailure
	stats  Stats

	lastRead time.Time
	tidier   *time.Timer // runs tidy; nil if nobody has read since it last did

	window  int64     // with which a stream begins
	streams list.List // of all handles that were read within idleAfter, the latest last

	ahead    int64   // bytes on their way that nobody had asked for
	came     float64 // bytes that had come by lastCame, those of long ago counting less
	lastCame time.Time

	guessing int       // requests for guesses on their way
	guessed  list.List // blocks that were guessed and that somebody may ask for yet, the latest last
}

// key is a file's identity: blocks of one version never answer for another.
type key struct {
	replicaID string
	name      replica.Name
	version   replica.Version
	size      int64 // which a version has one of, or its blocks would be of two lengths
}

func keyOf(replicaID string, f replica.File) key { return key{replicaID, f.Name, f.Version, f.Size} }

// block is one block of a file. Cache.mu guards it, but what is pinned and cached
// keeps its memory as it is.
type block struct {
	fetch   *fetch // that brings or brought it
	n       int64  // in the file, from 0 on
	slot    int    // in the arena
	mem     []byte // in that slot, as much as there is of the file; nil once it is given up
	pins    int
	unasked bool          // nobody had asked for it when its fetch began
	unread  bool          // nor has since
	landed  bool          // its bytes are here
	done    chan struct{} // closed once it has landed, or its fetch has failed
	found   bool          // is in Cache.files
	elem    *list.Element // in Cache.recent, while it is cached
	guess   *list.Element // in Cache.guessed
	came    time.Time     // when a guess came, or was guessed again
}

// New returns an empty cache that takes its memory from budget, which has one Cache at
// most. A budget that exceeds what the system grants in address space is cut down to
// it, so that nothing may use the budget before.
func New(budget *Budget, opts Options) *Cache {
	if opts.BlockSize <= 0 {
		opts.BlockSize = defaultBlockSize
	}
	if opts.FetchTimeout <= 0 {
		opts.FetchTimeout = defaultFetchTimeout
	}
	size := min(int64(opts.BlockSize), budget.Size())
	c := &Cache{
		budget:    budget,
		blockSize: size,
		timeout:   opts.FetchTimeout,
		fetches:   flight.NewGroup(),
		arena:     newArena(int(size), int(budget.Size()/size)),
		files:     map[key]map[int64]*block{},
		window:    firstWindow,
	}
	if slots := int64(c.arena.slots); slots < budget.Size()/size {
		budget.resize(slots * size)
	}
	c.closing, c.close = context.WithCancelCause(context.Background())
	budget.setReclaimer(c.reclaim)
	return c
}

// Drop drops a version's blocks. Fetches in flight go on for those who wait.
func (c *Cache) Drop(replicaID string, f replica.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(keyOf(replicaID, f))
}

// Close drops everything and ends the fetches in flight and the reads that wait. Slices
// that are still pinned stay valid, and charged to the budget, until they are released.
func (c *Cache) Close() {
	c.mu.Lock()
	c.close(errClosed)
	for k := range c.files {
		c.drop(k)
	}
	if c.tidier != nil {
		c.tidier.Stop()
		c.tidier = nil
	}
	c.arena.retire()
	c.mu.Unlock()
	c.budget.setReclaimer(nil)
	c.fetches.Close(errClosed)
}

// noteRead has the memory given back once nobody has read for keepFor. Cache.mu is held.
func (c *Cache) noteRead(now time.Time) {
	c.lastRead = now
	if c.tidier == nil {
		c.tidier = time.AfterFunc(keepFor, c.tidy)
	}
}

func (c *Cache) tidy() {
	c.mu.Lock()
	closed, left := c.tidier == nil, keepFor-time.Since(c.lastRead)
	if !closed && left > 0 {
		c.tidier.Reset(left)
	}
	c.mu.Unlock()
	if closed || left > 0 {
		return
	}
	for c.reclaim(tidyAtOnce) > 0 { // the lock isn't held for long
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.tidier == nil:
	case c.recent.Len() > 0: // somebody holds it
		c.tidier.Reset(keepFor)
	default:
		c.tidier = nil
	}
}

// Stats returns the figures as they are now.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.CachedBytes = int64(c.recent.Len()) * c.blockSize
	return s
}
