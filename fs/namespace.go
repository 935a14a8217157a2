package fs

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/replica"
)

// replacementGrace is how long an emptied copy of a published file waits for the
// open that began it. See stageReplacement.
const replacementGrace = 10 * time.Second

// stagedFile returns the staged file that a name shows, or nil.
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

// stage makes an empty staged file with a name that no staged file has, and
// opens it. With exclusive, the name must be free when it is published as well.
func (fsys *fileSystem) stage(level int, name string, mode uint32, replaces, exclusive bool) (*staged, *os.File, error) {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if old := fsys.staged[level][name]; old != nil {
		return nil, nil, errTaken
	}
	s, err := fsys.stageLocked(level, name, mode)
	if err != nil {
		return nil, nil, err
	}
	s.replaces, s.exclusive = replaces, exclusive
	return s, s.f, nil
}

// stageLocked makes an empty staged file with one handle. stagedMu is held.
func (fsys *fileSystem) stageLocked(level int, name string, mode uint32) (*staged, error) {
	if fsys.closing {
		return nil, os.ErrClosed
	}
	f, err := fsys.opts.Staging.Create(stagedPath(level, name))
	if err != nil {
		return nil, err
	}
	s := &staged{
		fsys: fsys, ino: fsys.nextIno, lock: semaphore.NewWeighted(wholeLock),
		level: level, name: name, linked: true, f: f, opens: 1,
		mode: mode & 0o7777, uid: fsys.opts.UID, gid: fsys.opts.GID,
	}
	fsys.nextIno++
	fsys.staged[level][name] = s
	fsys.touch(level)
	return s, nil
}

// stageReplacement makes the empty file that is to replace a published one.
// The kernel, which has opened the published file's inode, is then told to look
// the name up again and opens this. Until that open has come, the file stays. If
// it never comes, or if nobody writes to the file, it goes.
func (fsys *fileSystem) stageReplacement(level int, name string) error {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	s := fsys.staged[level][name]
	if s == nil {
		var err error
		if s, err = fsys.stageLocked(level, name, fsys.opts.FileMode); err != nil {
			return err
		}
		s.replaces = true
		s.opens--
		s.closeIfUnused()
	}
	givenUp := time.Now().Add(replacementGrace)
	s.awaited = append(s.awaited, givenUp)
	time.AfterFunc(replacementGrace, func() {
		fsys.stagedMu.Lock()
		defer fsys.stagedMu.Unlock()
		for len(s.awaited) > 0 && !s.awaited[0].After(givenUp) {
			s.awaited = s.awaited[1:]
		}
		fsys.dropUnused(s)
	})
	return nil
}

// arrived notes that an open came to empty the file, for which it may have
// waited.
func (s *staged) arrived() {
	s.fsys.stagedMu.Lock()
	defer s.fsys.stagedMu.Unlock()
	if len(s.awaited) > 0 {
		s.awaited = s.awaited[1:]
	}
	s.exclusive = false
}

// dropUnused removes an emptied copy that nobody has open, has written to, or is
// about to open. stagedMu is held.
func (fsys *fileSystem) dropUnused(s *staged) {
	if s.linked && s.opens == 0 && len(s.awaited) == 0 && s.unused() {
		fsys.unlinkLocked(s)
	}
}

// unlink takes a staged file's name away, in the mount and on disk. Handles
// that are open keep the content.
func (fsys *fileSystem) unlink(s *staged) error {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if !s.linked {
		return errUnlinked
	}
	if err := fsys.opts.Staging.Remove(stagedPath(s.level, s.name)); err != nil {
		return err
	}
	fsys.unlinkLocked(s)
	return nil
}

// unlinkLocked takes a name away from a file whose content is published or
// nobody's. If the disk doesn't let go of it, that is one file too many, and no
// loss. stagedMu is held.
func (fsys *fileSystem) unlinkLocked(s *staged) {
	if err := fsys.opts.Staging.Remove(stagedPath(s.level, s.name)); err != nil {
		fsys.log.Warn("can't remove a file that isn't needed any more from the staging directory", "file", s.diskPath(), "error", err)
	}
	if fsys.staged[s.level][s.name] == s {
		delete(fsys.staged[s.level], s.name)
	}
	fsys.touch(s.level)
	s.linked = false
	s.closeIfUnused()
}

// rename gives a staged file another name, which may be that of another staged
// file. Neither is published. Its lock is held whole.
func (fsys *fileSystem) rename(s *staged, level int, name string) error {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	if !s.linked {
		return errUnlinked
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
	s.level, s.name, s.replaces, s.exclusive = level, name, false, false
	fsys.staged[level][name] = s
	fsys.touch(level)
	return nil
}

// settle makes s published, and takes out of the staged namespace s itself and
// the staged file that had the published name. It is one step: a replacement
// that is begun after it must not go with them.
func (fsys *fileSystem) settle(s *staged, as replica.File, name string) {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	s.published.Store(&as)
	if s.linked {
		fsys.unlinkLocked(s)
	}
	if old := fsys.staged[as.Level][name]; old != nil {
		fsys.unlinkLocked(old)
	}
}

func (fsys *fileSystem) isClosing() bool {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	return fsys.closing
}

// unpublished are the staged files that are in no replica.
func (fsys *fileSystem) unpublished() []staging.Entry {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	var entries []staging.Entry
	for _, level := range fsys.staged {
		for _, s := range level {
			if s.unused() {
				continue
			}
			e := staging.Entry{Name: stagedPath(s.level, s.name), Path: s.diskPath()}
			if st, err := s.stat(); err == nil {
				e.Size, e.ModTime = st.Size, time.Unix(st.Mtim.Unix())
			}
			s.tryMu.Lock()
			e.Err = s.tryErr
			s.tryMu.Unlock()
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b staging.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}

// closeStaged ends all staging. What is staged stays on disk, and in
// unpublished.
func (fsys *fileSystem) closeStaged() {
	fsys.stagedMu.Lock()
	defer fsys.stagedMu.Unlock()
	fsys.closing = true
	for _, level := range fsys.staged {
		for _, s := range level {
			if s.unused() {
				fsys.unlinkLocked(s)
			}
			if s.f == nil {
				continue
			}
			if err := errors.Join(s.f.Sync(), s.f.Close()); err != nil {
				fsys.log.Error("can't save a staged file", "file", stagedPath(s.level, s.name), "error", err)
			}
			s.f = nil
		}
	}
}
