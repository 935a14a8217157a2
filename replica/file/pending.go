package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxTempNames is how many random names are tried. One is enough, unless a
// sweeper is at work at that very moment.
const maxTempNames = 10

// pending is a file that isn't published yet. It has no name at all where the
// file system can do that, so that nothing of it is left after a crash, and a
// temporary one elsewhere, locked for as long as its writer lives.
type pending struct {
	sys  *system
	f    *os.File
	path string // that it will have
	temp string // the path that it has, "" if none

	exclusive bool // replace nothing
}

// newPending opens a file that will be called path.
func (s *Store) newPending(path string, exclusive bool) (*pending, error) {
	dir, err := openDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	p := &pending{sys: &s.sys, path: path, exclusive: exclusive}
	if p.f, err = s.sys.openUnnamed(dir.Name()); noUnnamed(err) {
		err = p.openNamed()
	}
	if err != nil {
		return nil, err
	}
	if p.temp == "" {
		_ = lock(p.f) // nobody else can have it
	}
	giveAway(p.f, dir)
	return p, nil
}

// noUnnamed reports whether err is how a file system without unnamed files
// refuses one.
func noUnnamed(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.ENOSYS)
}

// openNamed opens the file under a temporary name.
func (p *pending) openNamed() error {
	for range maxTempNames {
		temp := tempPath(p.path)
		f, err := open(temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, fileMode)
		if errors.Is(err, unix.EEXIST) {
			continue
		} else if err != nil {
			return err
		}
		// Between its making and its locking, another's sweeper may take it
		// for a leftover.
		if lock(f) != errLocked && isAt(f, temp) {
			p.f, p.temp = f, temp
			return nil
		}
		f.Close()
	}
	return fmt.Errorf("%s: no temporary name is free after %d tries", filepath.Dir(p.path), maxTempNames)
}

// isAt reports whether an open file has that path.
func isAt(f *os.File, path string) bool {
	mine, err := stat(f)
	if err != nil {
		return false
	}
	st, err := lstat(path)
	return err == nil && st.isSameFile(mine)
}

// inherit gives the file the permissions and the group of the one that it will
// replace and, as root, its owner. What it can't set stays as in a new file,
// which lets in fewer.
func (p *pending) inherit() {
	if p.exclusive {
		return
	}
	old, err := lstat(p.path)
	if err != nil || !old.isRegular() {
		return
	}
	now, err := fstat(p.f)
	if err != nil {
		return
	}
	uid := now.Uid
	if os.Geteuid() == 0 {
		uid = old.Uid
	}
	mode := uint32(old.Mode) & 0o777
	_ = withFD(p.f, func(fd int) error {
		// A new owner may cost permissions, so that comes first.
		if (uid != now.Uid || old.Gid != now.Gid) && unix.Fchown(fd, int(uid), int(old.Gid)) != nil {
			mode &^= 0o070 // they were for another group
		}
		return unix.Fchmod(fd, mode)
	})
}

// publish gives the file its name, in place of what has it now unless it is
// exclusive.
func (p *pending) publish() error {
	if p.temp == "" {
		err := p.link(p.path)
		if p.exclusive || !errors.Is(err, unix.EEXIST) {
			return err
		}
		// A link replaces nothing, a rename does, but needs a name.
		temp := tempPath(p.path)
		if err := p.link(temp); err != nil {
			return err
		}
		p.temp = temp
	}
	return p.rename()
}

// link gives the unnamed file a path.
func (p *pending) link(path string) error {
	err := withFD(p.f, func(fd int) error {
		return unix.Linkat(unix.AT_FDCWD, descriptorPath(fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return &os.PathError{Op: "link", Path: path, Err: err}
	}
	return nil
}

// rename renames the file from its temporary name to its own.
func (p *pending) rename() error {
	err := p.sys.rename(p.temp, p.path, p.exclusive)
	if err == nil {
		p.temp = ""
		return nil
	}
	if p.exclusive && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) {
		// There is no such rename on NFS, among others, but a link replaces
		// nothing either.
		if err = unix.Link(p.temp, p.path); err == nil {
			p.removeTemp()
			return nil
		}
	}
	return &os.PathError{Op: "rename to", Path: p.path, Err: err}
}

// removeTemp removes the temporary name. A sweeper will, if this doesn't.
func (p *pending) removeTemp() {
	if p.temp != "" && unlink(p.temp) == nil {
		p.temp = ""
	}
}

// close lets go of the file, and removes it if it wasn't published.
func (p *pending) close() {
	p.removeTemp()
	p.f.Close()
}
