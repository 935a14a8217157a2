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
	dir  *os.File // where temp is
	name string   // that it will have
	temp string   // that it has, "" if none

	exclusive bool // replace nothing
}

// newPending opens a file that will be called name in dir.
func (c *ReplicaClient) newPending(dir *os.File, name string, exclusive bool) (*pending, error) {
	p := &pending{sys: &c.sys, dir: dir, name: name, exclusive: exclusive}
	var err error
	if p.f, err = c.sys.openUnnamed(dir); err == nil && !hasDescriptorPaths() {
		// It couldn't get a name: that goes by a path in /proc.
		p.f.Close()
		err = unix.EOPNOTSUPP
	}
	if noUnnamed(err) {
		err = p.openNamed()
	}
	if err != nil {
		return nil, err
	}
	if p.temp == "" {
		_ = lock(p.f) // nobody else can have it
	}
	giveAway(p.f, p.dir)
	return p, nil
}

// noUnnamed reports whether err is how a file system without unnamed files
// refuses one.
func noUnnamed(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.ENOSYS)
}

func hasDescriptorPaths() bool {
	_, err := os.Stat(descriptors)
	return err == nil
}

// openNamed opens the file under a temporary name.
func (p *pending) openNamed() error {
	for range maxTempNames {
		temp := tempName(p.name)
		f, err := openAt(p.dir, temp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, fileMode)
		if errors.Is(err, unix.EEXIST) {
			continue
		} else if err != nil {
			return err
		}
		// Between its making and its locking, another's sweeper may take it
		// for a leftover.
		if lock(f) != errLocked {
			if st, err := statAt(p.dir, temp); err == nil && isSame(f, st) {
				p.f, p.temp = f, temp
				return nil
			}
		}
		f.Close()
	}
	return fmt.Errorf("%s: no temporary name is free after %d tries", p.dir.Name(), maxTempNames)
}

func isSame(f *os.File, other attributes) bool {
	st, err := stat(f)
	return err == nil && st.isSameFile(other)
}

// giveAway makes what root makes in a directory belong to whom the directory
// belongs, so that a replica stays its owner's after root has written to it.
// Where that fails, it is root's, and works for root.
func giveAway(f, dir *os.File) {
	if os.Geteuid() != 0 {
		return
	}
	if st, err := stat(dir); err == nil {
		_ = withFD(f, func(fd int) error { return unix.Fchown(fd, int(st.uid), int(st.gid)) })
	}
}

// inherit gives the file the permissions and the group of the one that it will
// replace and, as root, its owner. What can't be had stays as in a new file,
// which lets in fewer and not more.
func (p *pending) inherit() {
	if p.exclusive {
		return
	}
	old, err := statAt(p.dir, p.name)
	if err != nil || !old.isRegular() {
		return
	}
	now, err := stat(p.f)
	if err != nil {
		return
	}
	uid := now.uid
	if os.Geteuid() == 0 {
		uid = old.uid
	}
	mode := uint32(old.mode) & 0o777
	_ = withFD(p.f, func(fd int) error {
		// A new owner may cost permissions, so that comes first.
		if (uid != now.uid || old.gid != now.gid) && unix.Fchown(fd, int(uid), int(old.gid)) != nil {
			mode &^= 0o070 // they were for another group
		}
		return unix.Fchmod(fd, mode)
	})
}

// publish gives the file its name in dir, in place of what has it now unless it
// is exclusive.
func (p *pending) publish(dir *os.File) error {
	if p.temp == "" {
		err := p.link(dir, p.name)
		if p.exclusive || !errors.Is(err, unix.EEXIST) {
			return err
		}
		// A link replaces nothing, a rename does, but needs a name.
		if err := p.linkTemp(dir); err != nil {
			return err
		}
	}
	return p.rename()
}

// link gives the unnamed file a name in dir.
func (p *pending) link(dir *os.File, name string) error {
	err := withFD(p.f, func(from int) error {
		return withFD(dir, func(to int) error {
			return unix.Linkat(unix.AT_FDCWD, descriptorPath(from), to, name, unix.AT_SYMLINK_FOLLOW)
		})
	})
	if err != nil {
		return &os.PathError{Op: "link", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return nil
}

// linkTemp gives the unnamed file a temporary name in dir.
func (p *pending) linkTemp(dir *os.File) error {
	for range maxTempNames {
		temp := tempName(p.name)
		err := p.link(dir, temp)
		if errors.Is(err, unix.EEXIST) {
			continue
		} else if err != nil {
			return err
		}
		p.dir, p.temp = dir, temp
		return nil
	}
	return fmt.Errorf("%s: no temporary name is free after %d tries", dir.Name(), maxTempNames)
}

// rename renames the file from its temporary name to its own.
func (p *pending) rename() error {
	var flags uint
	if p.exclusive {
		flags = unix.RENAME_NOREPLACE
	}
	err := withFD(p.dir, func(fd int) error { return p.sys.rename(fd, p.temp, p.name, flags) })
	if p.exclusive && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)) {
		// There is no such rename on NFS, among others, but a link replaces
		// nothing either.
		err = withFD(p.dir, func(fd int) error { return unix.Linkat(fd, p.temp, fd, p.name, 0) })
		if err == nil && unlinkAt(p.dir, p.temp) != nil {
			return nil // close tries once more
		}
	}
	if err != nil {
		return &os.PathError{Op: "rename to", Path: p.target(), Err: err}
	}
	p.temp = ""
	return nil
}

func (p *pending) target() string { return filepath.Join(p.dir.Name(), p.name) }

// close lets go of the file, and removes it if it wasn't published.
func (p *pending) close() {
	if p.temp != "" {
		_ = unlinkAt(p.dir, p.temp) // a sweeper will, if this doesn't
	}
	p.f.Close()
}
