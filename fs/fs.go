// Package fs is the mounted tree: FUSE nodes over a replica.Client, its cache
// and the staging directory. It holds no code of a store and no format.
//
// A name in a level directory is one of two things. A published file is one
// version of one file of the replica and never changes; another version is
// another inode. A staged file is what a tool writes, under whatever name it
// chose, until it is published: at a rename to an LTX name, at fsync, or at
// close. See staged.go and publish.go.
package fs

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/ltxfs/ltxfs/cache"
	"github.com/ltxfs/ltxfs/replica"
)

// deadlines are those of what the kernel asks for. A request ends within its own
// even if the store never answers. To publish a file may take longer by its size;
// see publishWithin.
type deadlines struct {
	read, stat, list, delete, publish, space time.Duration
}

var defaultDeadlines = deadlines{
	read:    30 * time.Second,
	stat:    30 * time.Second,
	list:    60 * time.Second,
	delete:  60 * time.Second,
	publish: 5 * time.Minute,
	space:   2 * time.Second,
}

// fileSystem is what the nodes of one mount share.
type fileSystem struct {
	opts    Options
	log     *slog.Logger
	client  replica.Client
	budget  *cache.Budget
	blocks  *cache.Blocks
	index   *cache.Index
	within  deadlines
	started time.Time

	// passthrough is set while the kernel may read files on disk itself.
	passthrough atomic.Bool
	// registrar asks the kernel whether it takes a file for passthrough. It
	// is nil where there is no such thing.
	registrar func(fd int) error
	probeMu   sync.Mutex
	probed    atomic.Bool

	// changed is when this mount last changed each level, in Unix nanoseconds.
	changed [replica.MaxLevel + 1]atomic.Int64

	publishing inFlight
	inodes     *inodeLimiter

	overdue overdue
	late    lateFailures
	names   nameLocks
	space   singleflight.Group

	// stagedMu guards the staged namespace: the maps, and the fields of
	// staged that say so. It is held for local disk, never for the store.
	stagedMu sync.Mutex
	closing  bool // nothing is staged or written any more
	staged   [replica.MaxLevel + 1]map[string]*staged
	nextIno  uint64
}

func newFileSystem(opts Options, d deadlines) *fileSystem {
	budget := cache.NewBudget(opts.CacheSize)
	fsys := &fileSystem{
		opts:    opts,
		log:     opts.Logger,
		client:  opts.Client,
		budget:  budget,
		blocks:  cache.NewBlocks(budget, cache.BlocksOptions{FetchTimeout: d.read}),
		within:  d,
		started: time.Now(),
		nextIno: firstStagedIno,
		inodes:  newInodeLimiter(),
		index: cache.NewIndex(opts.Client, cache.IndexOptions{
			Freshness:   opts.Freshness,
			ListTimeout: d.list,
			StatTimeout: d.stat,
			Settle:      opts.Settle,
			ExactTimes:  opts.ExactTimes,

			ExactConcurrency: opts.ExactConcurrency,
			Logger:           opts.Logger,
		}),
	}
	for level := range fsys.staged {
		fsys.staged[level] = make(map[string]*staged)
		fsys.changed[level].Store(fsys.started.UnixNano())
	}
	return fsys
}

// close ends what runs for the mount.
func (fsys *fileSystem) close() {
	fsys.closeStaged()
	fsys.inodes.close()
	fsys.index.Close()
	fsys.blocks.Close()
}

func (fsys *fileSystem) touch(level int) { fsys.changed[level].Store(time.Now().UnixNano()) }

// detached is a context for one request of the kernel. It isn't the request's
// own: a signal to the caller interrupts that, Go programs signal themselves
// all the time, and what is done for one caller others wait for.
func detached(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// overdue counts calls of the store that have passed their deadline and not
// returned.
type overdue struct{ atomic.Int64 }

// maxOverdue bounds them. Each may hold a thread, and Go ends a process that has
// too many.
const maxOverdue = 256

// bounded runs fn and returns its result, or the context's error once d has
// passed, even if fn doesn't return: a disk that hangs heeds no context. late,
// if not nil, gets the result that nobody waits for any more. A panic in fn is
// an error like any other; in a goroutine of our own it would end the process.
func bounded[T any](ctx context.Context, fsys *fileSystem, d time.Duration, fn func(context.Context) (T, error), late func(T)) (T, error) {
	var zero T
	if fsys.overdue.Load() >= maxOverdue {
		return zero, fmt.Errorf("%d calls of the store have not returned: %w", maxOverdue, context.DeadlineExceeded)
	}
	ctx, cancel := detached(ctx, d)
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
			}
			done <- r
			cancel()
		}()
		r.v, r.err = fn(ctx)
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	// Both may be ready: the end of fn ends ctx as well.
	select {
	case r := <-done:
		return r.v, r.err
	default:
	}
	fsys.overdue.Add(1)
	go func() {
		r := <-done
		fsys.overdue.Add(-1)
		if r.err == nil && late != nil {
			late(r.v)
		}
	}()
	return zero, ctx.Err()
}

// nameLocks make those wait who would write or delete one file of the store
// while another does: what was acknowledged last must be what stays. A lock is
// held until the store has really answered.
type nameLocks struct {
	mu    sync.Mutex
	locks map[replica.File]*nameLock // by level and TXIDs
}

type nameLock struct {
	sem   *semaphore.Weighted
	users int
}

// acquire takes a file's lock, and returns how to give it back.
func (n *nameLocks) acquire(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (release func(), err error) {
	key := replica.File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
	n.mu.Lock()
	if n.locks == nil {
		n.locks = make(map[replica.File]*nameLock)
	}
	l := n.locks[key]
	if l == nil {
		l = &nameLock{sem: semaphore.NewWeighted(1)}
		n.locks[key] = l
	}
	l.users++
	n.mu.Unlock()

	leave := func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(n.locks, key)
		}
	}
	if err := l.sem.Acquire(ctx, 1); err != nil {
		leave()
		return nil, fmt.Errorf("wait for another change of the file: %w", err)
	}
	return func() {
		l.sem.Release(1)
		leave()
	}, nil
}

// inFlight counts what is under way, for whoever waits until nothing is.
type inFlight struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed at n == 0, made by who waits
}

func (c *inFlight) add() {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
}

func (c *inFlight) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

func (c *inFlight) wait(ctx context.Context) error {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
