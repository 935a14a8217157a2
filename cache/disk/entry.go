package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/crc64nvme"
	"golang.org/x/sys/unix"
)

// An entry's name ends with partial until it is complete. Then its checksums have the name and
// sums.
const (
	partial = ".part"
	sums    = ".sums"
)

// partialMode are the permissions of an entry that may be written to, completeMode those of others.
const (
	partialMode  = 0o600
	completeMode = 0o400
)

// touchEvery is how fresh the time of an entry's last use is.
const touchEvery = time.Minute

// content is what an entry is of.
type content struct {
	key  string // tells it from all else
	size int64

	// verify reports what is wrong with all of it.
	verify func(ctx context.Context, r io.ReaderAt) error
}

// path is the entry's file, of a name that tells nothing.
func (c *Cache) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:]))
}

// entry is content that this process uses.
type entry struct {
	content
	cache *Cache
	path  string
	seed  uint64 // of its checksums
	refs  int    // Cache.mu guards it; without any, it is being closed

	closed chan struct{}

	opening sync.Once
	err     error    // why it can't be used
	f       *os.File // locked, unless it was complete when it was opened
	records atomic.Pointer[records]

	forgotten atomic.Bool // what it has counts no more
	damaged   atomic.Bool // was logged

	finishing sync.Mutex // is held by who makes it complete
	writing   sync.Mutex // is held by who changes a block and its record
	frozen    bool       // nothing is kept of any, since it is verified; writing guards it
}

// use returns the entry of a content, or nil if it would take more than half of the room, another process is
// filling it, or the disk fails or hangs. Without begin it is nil as well if there is none yet.
func (c *Cache) use(what content, begin bool) *entry {
	if what.size > c.opts.Size/2 {
		return nil
	}
	e, _ := await(c, func() (*entry, error) { return c.acquire(what, begin) }, c.letGo)
	return e
}

// acquire is use that waits for the disk.
func (c *Cache) acquire(what content, begin bool) (*entry, error) {
	for {
		e, first := c.join(what), false
		e.opening.Do(func() { e.err, first = e.openFiles(begin), true })
		if e.err == nil {
			return e, nil
		}
		c.mu.Lock()
		if c.open[e.path] == e {
			delete(c.open, e.path)
		}
		c.mu.Unlock()
		missing := errors.Is(e.err, fs.ErrNotExist)
		if missing && begin && !first {
			continue // who was first may not have wanted to begin one
		}
		if !missing && !errors.Is(e.err, unix.EWOULDBLOCK) {
			c.fault(e.err)
		}
		return nil, e.err
	}
}

// join returns the entry of a content that is open or being opened, or one that is to be.
func (c *Cache) join(what content) *entry {
	path := c.path(what.key)
	c.mu.Lock()
	e := c.open[path]
	for e != nil && e.refs == 0 { // it still has the lock
		c.mu.Unlock()
		<-e.closed
		c.mu.Lock()
		e = c.open[path]
	}
	if e == nil {
		e = &entry{content: what, cache: c, path: path, seed: crc64nvme.Checksum([]byte(what.key)), closed: make(chan struct{})}
		c.open[path] = e
	}
	e.refs++
	c.mu.Unlock()
	return e
}

// openFiles opens the entry, complete or not.
func (e *entry) openFiles(begin bool) error {
	err := e.openComplete()
	if errors.Is(err, fs.ErrNotExist) {
		err = e.openPartial(begin)
	}
	return err
}

// openFile opens the file of a complete entry, for who compares nothing with its checksums.
func (c *Cache) openFile(what content) (*os.File, error) {
	path := c.path(what.key)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Size() != what.size {
		err = errors.Join(fs.ErrNotExist, os.Remove(path)) // somebody has cut it short
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if touch(f, st) {
		now := time.Now()
		_ = os.Chtimes(path+sums, now, now) // it goes earlier then
	}
	return f, nil
}

// openSoon is openFile, but for a disk that hangs.
func (c *Cache) openSoon(what content) (*os.File, error) {
	return await(c, func() (*os.File, error) { return c.openFile(what) }, func(f *os.File) { _ = f.Close() })
}

// openComplete opens an entry that is complete, with its checksums.
func (e *entry) openComplete() error {
	f, err := e.cache.openFile(e.content)
	if err != nil {
		return err
	}
	s, err := os.OpenFile(e.path+sums, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	var st os.FileInfo
	if err == nil {
		st, err = s.Stat()
	}
	if err == nil && st.Size() != e.blocks()*recordSize {
		err = fs.ErrNotExist
	}
	if err == nil {
		e.f = f
		e.records.Store(&records{s, 0, true})
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) { // it can't be checked any more
		err = errors.Join(err, os.Remove(e.path))
	}
	return errors.Join(err, f.Close(), closeFile(s))
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// openPartial opens or makes an entry that isn't complete, if no other process has it.
func (e *entry) openPartial(begin bool) error {
	path, flags := e.path+partial, os.O_RDWR|unix.O_NOFOLLOW
	if begin {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, partialMode)
	mended := false
	switch {
	case errors.Is(err, fs.ErrPermission): // it was to become complete when its process was killed
		mended = os.Remove(path) == nil
	case errors.Is(err, fs.ErrNotExist) && begin: // somebody has removed the directory
		if err := e.cache.makeDirs(); err != nil {
			return err
		}
		mended = true
	}
	if mended {
		f, err = os.OpenFile(path, flags, partialMode)
	}
	if err != nil {
		return err
	}
	if err := e.take(f, path); err != nil {
		return errors.Join(err, f.Close())
	}
	e.f = f
	e.records.Store(&records{f, e.size, false})
	return nil
}

func (e *entry) take(f *os.File, path string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Mode().Perm() != partialMode { // it may be complete as well, under that name, and be open
		return errors.Join(fs.ErrNotExist, os.Remove(path))
	}
	// Until it was locked, another process may have made it complete, or unlinked it.
	if now, err := os.Stat(path); err != nil || !os.SameFile(now, st) {
		return unix.EWOULDBLOCK
	}
	touch(f, st)
	return f.Truncate(e.size + e.blocks()*recordSize)
}

// touch makes this the time of a file's last use, if the one that it has is too old.
func touch(f *os.File, st os.FileInfo) bool {
	if age := time.Since(st.ModTime()); age >= 0 && age < touchEvery {
		return false
	}
	now := unix.NsecToTimeval(time.Now().UnixNano())
	return unix.Futimes(int(f.Fd()), []unix.Timeval{now, now}) == nil // otherwise it goes earlier
}

// release lets go of an entry that was read up to a block, without waiting for a disk that hangs. If all blocks
// are there, it is made complete in the background.
func (c *Cache) release(e *entry, upTo int64) {
	done := make(chan struct{})
	go func() { // also once the cache is closed
		defer close(done)
		if !e.records.Load().complete && !c.isInvalid(e) && e.hasAll(upTo) {
			select {
			case c.toFinish <- e.content:
			default:
			}
		}
		c.letGo(e)
	}()
	select {
	case <-done:
	case <-time.After(c.patience):
	}
}

// letGo closes an entry that nobody uses any more.
func (c *Cache) letGo(e *entry) {
	c.mu.Lock()
	e.refs--
	last := e.refs == 0
	c.mu.Unlock()
	if !last {
		return
	}
	_ = e.f.Close() // what it lacks in the end shows by its checksums
	if rs := e.records.Load(); rs.f != e.f {
		_ = rs.f.Close() // it is read only
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[e.path] == e {
		delete(c.open, e.path)
	}
	close(e.closed)
}

// forget has nothing that is there of a content count any more: it can't be right.
func (c *Cache) forget(what content) {
	if e := c.drop(what); e != nil {
		e.forgotten.Store(true)
	}
	c.remove(what)
}

// drop has the next one who uses a content open it anew, and returns the entry if somebody uses it.
func (c *Cache) drop(what content) *entry {
	path := c.path(what.key)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.open[path]
	delete(c.open, path)
	return e
}

// remove removes an entry's files.
func (c *Cache) remove(what content) {
	path := c.path(what.key)
	for _, suffix := range []string{"", partial, sums} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.fault(err)
		}
	}
}

// finishAll makes entries complete, one after the other, until the cache is closed, and looks each day for what
// nobody uses.
func (c *Cache) finishAll() {
	days := time.NewTicker(ageEvery)
	defer days.Stop()
	for {
		select {
		case <-days.C:
			c.sweep()
		case what := <-c.toFinish:
			if e := c.use(what, false); e != nil {
				if err := e.finish(c.ctx); err != nil && !errors.Is(err, ErrIncomplete) {
					c.opts.Logger.Info("not kept whole", "error", err)
				}
				c.letGo(e)
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// ErrIncomplete means that something isn't kept whole, for want of room or of a block.
var ErrIncomplete = errors.New("the disk cache doesn't have all of it")

// finish makes an entry complete whose blocks are all there: verified, on disk, without its
// records, and read-only. Others can read it meanwhile, by what is there of it.
func (e *entry) finish(ctx context.Context) error {
	e.finishing.Lock()
	defer e.finishing.Unlock()
	if e.records.Load().complete {
		return nil
	}
	e.freeze(true)
	defer e.freeze(false)
	if e.cache.isInvalid(e) || !e.hasAll(0) {
		return ErrIncomplete
	}
	err := e.verify(ctx, e)
	switch {
	case ctx.Err() != nil: // the next process does it
		return context.Cause(ctx)
	case errors.Is(err, ErrIncomplete): // a block was damaged here, and comes again
		return err
	case err != nil:
		e.cache.noteInvalid(e)
		e.cache.forget(e.content)
		return err
	}
	if err = e.publish(); err != nil && !errors.Is(err, fs.ErrNotExist) { // which was unlinked
		e.cache.fault(fmt.Errorf("keep %s: %w", e.path, err))
	}
	return err
}

// freeze has blocks stay as they are, or no longer.
func (e *entry) freeze(on bool) {
	e.writing.Lock()
	e.frozen = on
	e.writing.Unlock()
}

// mostInvalid is how often an entry is verified that isn't valid: a store can give other bytes once.
const mostInvalid = 2

// noteInvalid notes that an entry wasn't what it should be.
func (c *Cache) noteInvalid(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.invalid[e.path]++
}

// isInvalid reports whether an entry can't become complete: what is there of it is read block by block.
func (c *Cache) isInvalid(e *entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.invalid[e.path] >= mostInvalid
}

// ReadAt reads what is there, compared with its checksums. It implements io.ReaderAt.
func (e *entry) ReadAt(p []byte, off int64) (n int, err error) { return e.readAt(p, off, e.read) }

// readAt is ReadAt by a function that reads what is there of a range from its beginning on.
func (e *entry) readAt(p []byte, off int64, read func(off, end int64, buf *buffer) []byte) (n int, err error) {
	var buf buffer
	for end := min(off+int64(len(p)), e.size); off < end; {
		there := read(off, end, &buf)
		if len(there) == 0 {
			return n, ErrIncomplete
		}
		n, off = n+copy(p[n:], there), off+int64(len(there))
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// publish gives the entry the name of a complete one.
func (e *entry) publish() error {
	s, err := os.CreateTemp(e.cache.dir, filepath.Base(e.path)+sums+"-")
	if err != nil {
		return err
	}
	rs := e.records.Load()
	if _, err = io.Copy(s, io.NewSectionReader(rs.f, rs.at, e.blocks()*recordSize)); err == nil {
		err = os.Rename(s.Name(), e.path+sums)
	}
	if err != nil {
		return errors.Join(err, s.Close(), os.Remove(s.Name()))
	}
	e.writing.Lock()
	e.records.Store(&records{s, 0, true})
	err = e.f.Truncate(e.size)
	e.writing.Unlock()
	if err = errors.Join(err, e.f.Sync(), e.f.Chmod(completeMode)); err != nil {
		return err
	}
	if err = linkFile(e.f, e.path); err == nil {
		e.cache.counters.completed.Add(1)
	} else if !errors.Is(err, fs.ErrExist) { // another process was faster
		return err
	}
	if err = os.Remove(e.path + partial); errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody has made room, or found that it has two names
	}
	return err
}

// linkFile gives a file another name: the file itself, since what has its name may be one that
// another process has begun since.
func linkFile(f *os.File, path string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}
