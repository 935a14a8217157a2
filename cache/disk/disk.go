// Package disk keeps content of files on disk, beyond the end of a mount: a store around a
// store that asks that for what the disk hasn't got, and copies of states made of it. Several
// processes can share a directory.
//
// An entry is a file, of what never changes. As long as it isn't complete, checksums of what it
// has lie behind the content, and what doesn't match them is asked for again. Once it is complete,
// and verified, it has the content alone, for the kernel to read, and the checksums are a file
// beside it. It is then never written to any more, and goes by being unlinked.
package disk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/flight"
)

const (
	// format is the directory of entries in this form.
	format = "v1"

	// formats are those of all.
	formats = "v[0-9]*"

	// patience is how long a reader waits for the disk.
	patience = 5 * time.Second

	// retryAfter is for how long nothing is kept once the disk has refused it.
	retryAfter = 10 * time.Second

	// warnEvery is how often the log says so at most.
	warnEvery = 10 * time.Minute

	// ageEvery is how often it is looked for what nobody uses.
	ageEvery = 24 * time.Hour

	// mostFinishing is how many entries may wait to be made complete: others are when they are
	// read the next time.
	mostFinishing = 256

	// closeTimeout is how long Close waits for the disk.
	closeTimeout = 5 * time.Second
)

// Options say how entries are kept.
type Options struct {
	Dir  string
	Size int64 // of all entries, in bytes; beyond it, those go that were used longest ago

	// Check has the kernel read no entry by itself, so that each byte is compared with its
	// checksum whenever it is read.
	Check bool

	Logger *slog.Logger
}

// Stats are what a Cache did since it was opened, and what the directory has.
type Stats struct {
	HitBytes, MissBytes int64 // that were asked for, and were there or not
	Completed           int64 // entries that became complete
	Evictions           int64 // files that made room for others
	Damaged             int64 // blocks that didn't match their checksums
	Bytes               int64 // on disk: as the directory was last looked through, and what this process has kept since
	Keeps               bool  // whether the disk takes anything
}

// counters are Stats as they are counted.
type counters struct {
	hits, misses, completed, evictions, damaged atomic.Int64

	seen, kept atomic.Int64 // bytes: when the directory was looked through, and since then
}

// Cache is a directory of entries.
type Cache struct {
	opts     Options
	dir      string
	counters counters
	calls    *flight.Group // what readers wait for
	patience time.Duration

	room     atomic.Int64 // for how many bytes the directory isn't looked through
	sweeping atomic.Bool
	toFinish chan content
	work     sync.WaitGroup // begins under mu, and not once ctx is done
	ctx      context.Context
	end      context.CancelFunc

	mu      sync.Mutex
	open    map[string]*entry
	invalid map[string]int // how often an entry wasn't what it should be
	refused time.Time      // when the disk last refused to keep something
	warned  time.Time      // when the log last said so
}

// Open opens a directory of entries, or makes one that only this user can look into.
func Open(opts Options) (*Cache, error) {
	c := &Cache{
		opts: opts, dir: filepath.Join(opts.Dir, format), calls: flight.NewGroup(), patience: patience,
		toFinish: make(chan content, mostFinishing), open: map[string]*entry{}, invalid: map[string]int{},
	}
	if err := c.makeDirs(); err != nil {
		return nil, err
	}
	if err := c.tryLinks(); err != nil {
		return nil, fmt.Errorf("write to the disk cache: %w: give a directory on a local disk that can be written to and has hard links", err)
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.work.Go(c.finishAll)
	c.sweep()
	return c, nil
}

// makeDirs makes the directories, where they aren't there or somebody has removed them.
func (c *Cache) makeDirs() error {
	for _, dir := range []string{c.opts.Dir, c.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the disk cache: %w: give a directory that can be written to", err)
		}
		if err := checkOwn(dir); err != nil {
			return err
		}
	}
	return nil
}

// checkOwn refuses a directory that others can look into, or in which they could put a link in
// the place of an entry.
func checkOwn(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("open the disk cache %s: %w", dir, err)
	}
	switch {
	case st.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("the disk cache %s belongs to another user (uid %d): give another directory", dir, st.Uid)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("the disk cache %s is open to other users (mode %04o): chmod 700, or give another directory", dir, st.Mode&0o7777)
	}
	return nil
}

// tryLinks has the disk do what entries need.
func (c *Cache) tryLinks() error {
	f, err := os.CreateTemp(c.dir, "try-")
	if err != nil {
		return err
	}
	link := f.Name() + "-link"
	err = errors.Join(linkFile(f, link), f.Close(), os.Remove(f.Name()))
	if err == nil {
		err = os.Remove(link)
	}
	return err
}

// Close ends what is under way. Nothing of the cache is used any more.
func (c *Cache) Close() {
	c.mu.Lock()
	c.end()
	c.mu.Unlock()
	c.calls.Close(context.Canceled)
	done := make(chan struct{})
	go func() {
		c.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout): // a disk that hangs
	}
}

// Stats returns the figures as they are now.
func (c *Cache) Stats() Stats {
	n := &c.counters
	return Stats{
		HitBytes: n.hits.Load(), MissBytes: n.misses.Load(), Completed: n.completed.Load(),
		Evictions: n.evictions.Load(), Damaged: n.damaged.Load(), Bytes: n.seen.Load() + n.kept.Load(), Keeps: c.writable(),
	}
}

// Checks reports whether the kernel is to read no entry by itself.
func (c *Cache) Checks() bool { return c.opts.Check }

// HasRoom reports whether entries of so many bytes leave room for others, on a disk that takes any.
func (c *Cache) HasRoom(size int64) bool { return size <= c.opts.Size/2 && c.writable() }

// errHangs is why neither is anything kept on a disk nor read from it.
var errHangs = errors.New("the disk doesn't answer")

// await runs what a reader waits for, which may hang with the disk. Once something does, everything fails at
// once until that has come back, and late gets its result. It is to use no memory that the reader uses again.
func await[T any](c *Cache, run func() (T, error), late func(T)) (v T, err error) {
	if c.calls.Overdue() > 0 {
		return v, errHangs
	}
	v, err = flight.Do(context.Background(), c.calls, c.patience, func(context.Context) (T, error) { return run() }, late)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errHangs
		c.fault(err)
	}
	return v, err
}

// writable reports whether the disk takes anything.
func (c *Cache) writable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.refused) > retryAfter
}

// wrote notes what has become of bytes that were to be kept, and makes room for more.
func (c *Cache) wrote(n int, err error) {
	kept := c.counters.kept.Add(int64(n))
	if err != nil {
		c.fault(err)
	}
	if err != nil || kept > c.room.Load() {
		c.sweep()
	}
}

// fault has nothing kept for a while, and logs why, but not each time.
func (c *Cache) fault(err error) {
	c.mu.Lock()
	c.refused = time.Now()
	news := c.refused.Sub(c.warned) > warnEvery
	if news {
		c.warned = c.refused
	}
	c.mu.Unlock()
	if news {
		c.opts.Logger.Warn("the disk cache keeps nothing for now", "error", err)
	}
}
