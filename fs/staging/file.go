package staging

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// File is a file that a tool writes and that is in no replica yet. It lives on
// local disk in the staging directory, under its name in the mount.
type File struct {
	// ID tells it from every other file of its Files.
	ID uint64

	files *Files

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

	order order

	// The fields below are guarded by Files.mu.

	place  Place
	linked bool     // has a name in the mount
	f      *os.File // open while there are handles
	opens  int      // handles
	last   syscall.Stat_t
	attr   Attr
	tried  attempt

	// replaces is set if this began by emptying a published file. While it is
	// empty, it holds nothing of the user's. awaited are the opens that are
	// still to come for it, by when they are given up: see Files.Replace.
	replaces bool
	awaited  []time.Time
	// exclusive is set if the name must still be free when the file is
	// published under it.
	exclusive bool
}

// Attr are the attributes that a tool can set until the file is published.
type Attr struct{ Mode, UID, GID uint32 }

const wholeLock = math.MaxInt32

// Published is the file that this one became, nil until then.
func (s *File) Published() *replica.File { return s.published.Load() }

// Open counts a handle and returns the file. It fails with os.ErrClosed once there
// is neither a name nor a handle, and once the mount closes.
func (s *File) Open() (*os.File, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if s.f == nil {
		if !s.linked || s.files.closing {
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

// Release gives a handle back.
func (s *File) Release() {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.opens--
	s.closeIfUnused()
	s.dropIfUnused()
}

// closeIfUnused closes the file once no handle is left. Files.mu is held.
func (s *File) closeIfUnused() {
	if s.opens > 0 || s.f == nil {
		return
	}
	s.last, _ = statOf(s.f) // all there is to say of it if its name is gone
	if err := s.f.Close(); err != nil && s.linked {
		s.files.log.Error("can't save a staged file", "file", s.files.Path(s.place), "error", err)
	}
	s.f = nil
}

// diskPath is where the content is, on local disk. Files.mu is held.
func (s *File) diskPath() string { return s.files.opts.Dir.FilePath(s.place.String()) }

// stat is what the staging disk says of the file. Files.mu is held.
func (s *File) stat() (st syscall.Stat_t, err error) {
	switch {
	case s.f != nil:
		return statOf(s.f)
	case s.linked:
		err = syscall.Lstat(s.diskPath(), &st)
		return st, err
	}
	return s.last, nil
}

func statOf(f *os.File) (syscall.Stat_t, error) {
	info, err := f.Stat()
	if err != nil {
		return syscall.Stat_t{}, err
	}
	return *info.Sys().(*syscall.Stat_t), nil
}

// Stat is what the staging disk says of the file, with the attributes that were
// set.
func (s *File) Stat() (syscall.Stat_t, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	st, err := s.stat()
	if err != nil {
		return st, err
	}
	st.Mode, st.Uid, st.Gid, st.Nlink = syscall.S_IFREG|s.attr.Mode, s.attr.UID, s.attr.GID, 0
	if s.linked {
		st.Nlink = 1
	}
	return st, nil
}

// SetAttr lets set change the attributes.
func (s *File) SetAttr(set func(*Attr)) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	set(&s.attr)
}

// SetTimes sets the times. It goes by way of /proc: kernels before 5.8 don't take a
// descriptor for it.
func (s *File) SetTimes(atime, mtime unix.Timespec) error {
	f, err := s.Open()
	if err != nil {
		return err
	}
	defer s.Release()
	name := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	return unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{atime, mtime}, 0)
}

// Place is where the file is at this moment, or was last if it isn't linked.
func (s *File) Place() (at Place, linked bool) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	return s.place, s.linked
}

// Path is the file's name at this moment, as the user knows it.
func (s *File) Path() string {
	at, _ := s.Place()
	return s.files.Path(at)
}

// Change runs fn, which changes the content otherwise than WriteAt does, unless the file
// is published.
func (s *File) Change(ctx context.Context, fn func() error) error {
	return s.change(ctx, func() error {
		err := fn()
		s.reorder(-1) // after it, since others may write meanwhile
		return err
	})
}

// change runs fn unless the file is published.
func (s *File) change(ctx context.Context, fn func() error) error {
	ctx, cancel := flight.Within(ctx, s.files.opts.Write)
	defer cancel()
	if err := s.lock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.lock.Release(1)
	s.files.mu.Lock()
	closing := s.files.closing
	s.files.mu.Unlock()
	switch {
	case s.published.Load() != nil:
		return ErrPublished
	case closing:
		return os.ErrClosed
	}
	s.gen.Add(1)
	return fn()
}

// Truncate sets the size of the file, whoever has it open.
func (s *File) Truncate(ctx context.Context, size int64) error {
	f, err := s.Open()
	if err != nil {
		return err
	}
	defer s.Release()
	return s.change(ctx, func() error {
		err := f.Truncate(size)
		if err == nil && size == 0 {
			s.reorder(0)
		} else {
			s.reorder(-1)
		}
		return err
	})
}

// Remove takes the file's name away, in the mount and on disk, unless it is published
// by the time that nobody writes to it. Handles that are open keep the content.
func (s *File) Remove(ctx context.Context) error {
	s.letGo(ctx)
	return s.alone(ctx, func(t *Files) error {
		if err := t.opts.Dir.Remove(s.place.String()); err != nil {
			return err
		}
		t.unlink(s)
		return nil
	})
}

// Rename gives the file another name that is no LTX name, unless it is published by
// the time that nobody writes to it. Another staged file that has the name loses it.
func (s *File) Rename(ctx context.Context, to Place) error {
	return s.alone(ctx, func(t *Files) error {
		if err := t.opts.Dir.Rename(s.place.String(), to.String()); err != nil {
			return err
		}
		if old := t.files[to]; old != nil && old != s {
			old.linked = false
			old.closeIfUnused()
		}
		delete(t.files, s.place)
		t.touch(s.place.Level)
		t.files[to] = s
		t.touch(to.Level)
		s.place, s.replaces, s.exclusive = to, false, false
		return nil
	})
}

// alone runs fn once nobody writes to the file or publishes it, unless it is
// published or has no name then. fn has Files.mu held.
func (s *File) alone(ctx context.Context, fn func(*Files) error) error {
	ctx, cancel := flight.Within(ctx, s.files.opts.Publish)
	defer cancel()
	if err := s.lock.Acquire(ctx, wholeLock); err != nil {
		return err
	}
	defer s.lock.Release(wholeLock)
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	switch {
	case s.published.Load() != nil:
		return ErrPublished
	case !s.linked:
		return ErrUnlinked
	}
	return fn(s.files)
}
