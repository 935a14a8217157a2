package fs

import (
	"context"
	"errors"
	"math"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// staged is a file that a tool writes and that is in no replica yet. It lives
// on local disk in the staging directory, under its name in the mount. What
// happens to its name is in namespace.go.
type staged struct {
	fsys *fileSystem
	ino  uint64

	// lock is held by one writer as a share and by publishing whole. It is no
	// mutex, since a wait for it must end at the deadline of who waits. It is
	// taken before the lock of a name.
	lock *semaphore.Weighted

	// gen counts changes of the content. Publishing the same content again
	// can't end better.
	gen atomic.Uint64

	// published is the file that this one became. From then on, handles that
	// are still open can read it, and no more.
	published atomic.Pointer[replica.File]

	// The fields below are guarded by fileSystem.stagedMu.

	level  int
	name   string
	linked bool     // has a name in the mount
	f      *os.File // open while there are handles
	opens  int      // handles
	last   syscall.Stat_t

	// replaces is set if this began by emptying a published file. While it is
	// empty, it holds nothing of the user's. awaited are the opens that are
	// still to come for it, by when they are given up: see stageReplacement.
	replaces bool
	awaited  []time.Time
	// exclusive is set if the name must still be free when the file is
	// published under it.
	exclusive bool

	attrMu   sync.Mutex
	mode     uint32
	uid, gid uint32

	tryMu  sync.Mutex
	tryGen uint64 // the content of the last attempt to publish
	tryAs  string // and the name, empty before the first
	tryErr error
}

const wholeLock = math.MaxInt32

// stagedPath is the name of a file in the mount, relative to the mountpoint.
func stagedPath(level int, name string) string { return path.Join("ltx", levelName(level), name) }

// open counts a handle and returns the file. It fails once there is neither a
// name nor a handle, and once the mount closes.
func (s *staged) open() (*os.File, error) {
	s.fsys.stagedMu.Lock()
	defer s.fsys.stagedMu.Unlock()
	if s.f == nil {
		if !s.linked || s.fsys.closing {
			return nil, os.ErrClosed
		}
		f, err := os.OpenFile(s.diskPath(), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		s.f = f
	}
	s.opens++
	return s.f, nil
}

// release gives a handle back.
func (s *staged) release() {
	s.fsys.stagedMu.Lock()
	defer s.fsys.stagedMu.Unlock()
	s.opens--
	s.closeIfUnused()
	s.fsys.dropUnused(s)
}

// closeIfUnused closes the file once no handle is left. stagedMu is held.
func (s *staged) closeIfUnused() {
	if s.opens > 0 || s.f == nil {
		return
	}
	s.last, _ = statOf(s.f) // all there is to say of it if its name is gone
	if err := s.f.Close(); err != nil && s.linked {
		s.fsys.log.Error("can't save a staged file", "file", stagedPath(s.level, s.name), "error", err)
	}
	s.f = nil
}

// diskPath is where the content is. stagedMu is held.
func (s *staged) diskPath() string {
	return s.fsys.opts.Staging.FilePath(stagedPath(s.level, s.name))
}

// stat is what the staging disk says of the file. stagedMu is held.
func (s *staged) stat() (st syscall.Stat_t, err error) {
	switch {
	case s.f != nil:
		return statOf(s.f)
	case s.linked:
		err = syscall.Lstat(s.diskPath(), &st)
		return st, err
	}
	return s.last, nil
}

// size is that of the content at this moment, in bytes, as far as it can be told.
func (s *staged) size() int64 {
	s.fsys.stagedMu.Lock()
	defer s.fsys.stagedMu.Unlock()
	st, err := s.stat()
	if err != nil {
		return 0
	}
	return st.Size
}

func statOf(f *os.File) (syscall.Stat_t, error) {
	info, err := f.Stat()
	if err != nil {
		return syscall.Stat_t{}, err
	}
	return *info.Sys().(*syscall.Stat_t), nil
}

// unused reports whether the file is an emptied copy of a published one that
// nobody has written to. stagedMu is held.
func (s *staged) unused() bool {
	if !s.replaces {
		return false
	}
	st, err := s.stat()
	return err == nil && st.Size == 0
}

// place is the file's name at this moment.
func (s *staged) place() (level int, name string, linked bool) {
	s.fsys.stagedMu.Lock()
	defer s.fsys.stagedMu.Unlock()
	return s.level, s.name, s.linked
}

func (s *staged) path() string {
	level, name, _ := s.place()
	return stagedPath(level, name)
}

// lockWhole waits until nobody writes to the file or publishes it.
func (s *staged) lockWhole(ctx context.Context) (unlock func(), err error) {
	if err := s.lock.Acquire(ctx, wholeLock); err != nil {
		return nil, err
	}
	return func() { s.lock.Release(wholeLock) }, nil
}

// change runs fn, which changes the content, unless the file is published.
func (s *staged) change(ctx context.Context, fn func() error) error {
	ctx, cancel := detached(ctx, s.fsys.within.read)
	defer cancel()
	if err := s.lock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.lock.Release(1)
	switch {
	case s.published.Load() != nil:
		return errPublished
	case s.fsys.isClosing():
		return os.ErrClosed
	}
	s.gen.Add(1)
	return fn()
}

// attr fills in the attributes as they are now.
func (s *staged) attr(out *fuse.Attr) syscall.Errno {
	if f := s.published.Load(); f != nil {
		s.fsys.fileAttr(out, *f)
		return 0
	}
	s.fsys.stagedMu.Lock()
	st, err := s.stat()
	linked := s.linked
	s.fsys.stagedMu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		return errAgain
	}
	if err != nil {
		return s.fsys.stageFailed(s.path(), err)
	}
	out.FromStat(&st)
	out.Ino = s.ino
	out.Nlink = 0
	if linked {
		out.Nlink = 1
	}
	s.attrMu.Lock()
	out.Mode = syscall.S_IFREG | s.mode
	out.Owner = fuse.Owner{Uid: s.uid, Gid: s.gid}
	s.attrMu.Unlock()
	return 0
}

// setAttr keeps what a tool sets until the file is published.
func (s *staged) setAttr(in *fuse.SetAttrIn) error {
	s.attrMu.Lock()
	if mode, ok := in.GetMode(); ok {
		s.mode = mode & 0o7777
	}
	if uid, ok := in.GetUID(); ok {
		s.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		s.gid = gid
	}
	s.attrMu.Unlock()

	atime, setA := in.GetATime()
	mtime, setM := in.GetMTime()
	if !setA && !setM {
		return nil
	}
	f, err := s.open()
	if err != nil {
		return err
	}
	defer s.release()
	return setTimes(f, timespec(atime, setA), timespec(mtime, setM))
}

func timespec(t time.Time, set bool) unix.Timespec {
	if !set {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}
