package fs

import (
	"context"
	"errors"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/replica"
)

// replacementGrace is how long an empty replacement waits for the open that
// began it. See stageReplacement.
const replacementGrace = 10 * time.Second

// staged is a file that a tool writes and that is in no replica yet. It lives
// on local disk in the staging directory, under its name in the mount.
type staged struct {
	fsys *fileSystem
	ino  uint64
	f    *os.File

	// lock is held by one writer as a share and by publishing whole. It is no
	// mutex, since a wait for it must end at the deadline of who waits.
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
	linked bool // has a name in the mount
	opens  int  // handles
	// replaces is set if this began by emptying a published file. While it is
	// empty, it holds nothing of the user's.
	replaces bool

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

// stagedFile returns the staged file with a name, or nil.
func (fsys *fileSystem) stagedFile(level int, name string) *staged {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	return fsys.staged[level][name]
}

// stagedEntries are the staged files of a level as entries of its directory, by
// name.
func (fsys *fileSystem) stagedEntries(level int) []fuse.DirEntry {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if len(fsys.staged[level]) == 0 {
		return nil
	}
	entries := make([]fuse.DirEntry, 0, len(fsys.staged[level]))
	for name, s := range fsys.staged[level] {
		entries = append(entries, fuse.DirEntry{Name: name, Mode: syscall.S_IFREG, Ino: s.ino})
	}
	slices.SortFunc(entries, func(a, b fuse.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}

// stage makes an empty staged file with a name that no staged file has.
func (fsys *fileSystem) stage(level int, name string, mode uint32, opens int, replaces bool) (*staged, error) {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if fsys.staged[level][name] != nil {
		return nil, errTaken
	}
	f, err := fsys.opts.Staging.Create(stagedPath(level, name))
	if err != nil {
		return nil, err
	}
	s := &staged{
		fsys: fsys, ino: fsys.nextIno, f: f, lock: semaphore.NewWeighted(wholeLock),
		level: level, name: name, linked: true, opens: opens, replaces: replaces,
		mode: mode & 0o7777, uid: fsys.opts.UID, gid: fsys.opts.GID,
	}
	fsys.nextIno++
	fsys.staged[level][name] = s
	fsys.touch(level)
	return s, nil
}

// stageReplacement makes the empty file that is to replace a published one.
// The kernel, which has opened the published file's inode, is then told to look
// the name up again and opens this. If it never does, or if nobody writes to
// the file, it goes and the published one shows again.
func (fsys *fileSystem) stageReplacement(level int, name string) error {
	s, err := fsys.stage(level, name, fsys.opts.FileMode, 0, true)
	if errors.Is(err, errTaken) {
		return nil
	}
	if err != nil {
		return err
	}
	time.AfterFunc(replacementGrace, func() { fsys.dropUnused(s) })
	return nil
}

// dropUnused removes a replacement that nobody has open or has written to.
func (fsys *fileSystem) dropUnused(s *staged) {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if s.linked && s.opens == 0 && s.unused() {
		if err := fsys.unlinkLocked(s); err != nil {
			fsys.log.Warn("can't remove an empty staged file", "file", stagedPath(s.level, s.name), "error", err)
		}
	}
}

// unused reports whether the file is an emptied copy of a published one that
// nobody has written to. stagedMu is held.
func (s *staged) unused() bool {
	if !s.replaces {
		return false
	}
	info, err := s.f.Stat()
	return err == nil && info.Size() == 0
}

// unlink takes a staged file's name away, in the mount and on disk. Handles
// that are open keep the content.
func (fsys *fileSystem) unlink(s *staged) error {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if !s.linked {
		return os.ErrNotExist
	}
	return fsys.unlinkLocked(s)
}

func (fsys *fileSystem) unlinkLocked(s *staged) error {
	err := fsys.opts.Staging.Remove(stagedPath(s.level, s.name))
	if err != nil {
		return err
	}
	delete(fsys.staged[s.level], s.name)
	fsys.touch(s.level)
	s.linked = false
	s.closeIfUnused()
	return nil
}

// rename gives a staged file another name, which may be that of another staged
// file. Neither is published.
func (fsys *fileSystem) rename(s *staged, level int, name string) error {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if !s.linked {
		return os.ErrNotExist
	}
	if err := fsys.opts.Staging.Rename(stagedPath(s.level, s.name), stagedPath(level, name)); err != nil {
		return err
	}
	if old := fsys.staged[level][name]; old != nil && old != s {
		old.linked = false
		old.closeIfUnused()
	}
	delete(fsys.staged[s.level], s.name)
	fsys.touch(s.level)
	s.level, s.name, s.replaces = level, name, false
	fsys.staged[level][name] = s
	fsys.touch(level)
	return nil
}

// settle takes what was published out of the staged namespace: s itself, and
// the staged file that had the published name.
func (fsys *fileSystem) settle(s *staged, level int, name string) error {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	var errs []error
	if s.linked {
		errs = append(errs, fsys.unlinkLocked(s))
	}
	if old := fsys.staged[level][name]; old != nil {
		errs = append(errs, fsys.unlinkLocked(old))
	}
	return errors.Join(errs...)
}

// open counts a handle. It fails once the file has no name and no handle.
func (s *staged) open() error {
	s.fsys.stagedMu.Lock()
	defer s.fsys.stagedMu.Unlock()
	if !s.linked && s.opens == 0 {
		return os.ErrClosed
	}
	s.opens++
	return nil
}

// release gives a handle back.
func (s *staged) release() {
	s.fsys.stagedMu.Lock()
	s.opens--
	s.closeIfUnused()
	s.fsys.stagedMu.Unlock()
	s.fsys.dropUnused(s)
}

// closeIfUnused closes the file once nobody can reach it. stagedMu is held.
func (s *staged) closeIfUnused() {
	if !s.linked && s.opens == 0 {
		_ = s.f.Close() // either published or removed by its user
	}
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

// change runs fn, which changes the content, unless the file is published.
func (s *staged) change(ctx context.Context, fn func() error) error {
	ctx, cancel := detached(ctx, s.fsys.within.read)
	defer cancel()
	if err := s.lock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.lock.Release(1)
	if s.published.Load() != nil {
		return errPublished
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
	var st syscall.Stat_t
	conn, err := s.f.SyscallConn()
	if err == nil {
		cerr := conn.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), &st) })
		err = errors.Join(cerr, err)
	}
	if err != nil {
		return errno(err)
	}
	out.FromStat(&st)
	out.Ino = s.ino
	s.attrMu.Lock()
	out.Mode = syscall.S_IFREG | s.mode
	out.Owner = fuse.Owner{Uid: s.uid, Gid: s.gid}
	s.attrMu.Unlock()
	return 0
}

// unpublished are the staged files that are in no replica.
func (fsys *fileSystem) unpublished() []staging.Entry {
	fsys.stagedMu.Lock()
	var files []*staged
	for _, level := range fsys.staged {
		for _, s := range level {
			if !s.unused() {
				files = append(files, s)
			}
		}
	}
	fsys.stagedMu.Unlock()

	entries := make([]staging.Entry, 0, len(files))
	for _, s := range files {
		name := s.path()
		e := staging.Entry{Name: name, Path: fsys.opts.Staging.FilePath(name)}
		if info, err := s.f.Stat(); err == nil {
			e.Size, e.ModTime = info.Size(), info.ModTime()
		}
		s.tryMu.Lock()
		e.Err = s.tryErr
		s.tryMu.Unlock()
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b staging.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}

// closeStaged closes what is still staged, and leaves it on disk.
func (fsys *fileSystem) closeStaged() {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	for _, level := range fsys.staged {
		for _, s := range level {
			if s.unused() {
				if err := fsys.unlinkLocked(s); err != nil {
					fsys.log.Warn("can't remove an empty staged file", "file", stagedPath(s.level, s.name), "error", err)
				}
				continue
			}
			if err := errors.Join(s.f.Sync(), s.f.Close()); err != nil && !errors.Is(err, os.ErrClosed) {
				fsys.log.Error("can't save a staged file", "file", stagedPath(s.level, s.name), "error", err)
			}
		}
	}
}
