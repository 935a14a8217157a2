package preflight

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/mountinfo"
)

// maxStacked is how many dead mounts Mountpoint takes away from one path.
const maxStacked = 64

// Mountpoint makes sure that something can be mounted at path, an absolute path
// without links. It takes away mounts of ltxfs whose daemons have died.
func (c *Checker) Mountpoint(path string) error {
	if path == "/" {
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on /: this would hide the whole system: choose an empty directory")
	}
	for range maxStacked {
		table, err := mountinfo.Read()
		if err != nil {
			return err
		}
		top, mounted := table.Top(path)
		info, err := stat(path)
		if err == nil && mounted && top.IsLTXFS() {
			err = Probe(path)
		}
		switch {
		case err != nil && IsDead(err) && mounted && top.IsLTXFS():
			c.Logger.Warn("detaching the mount of an ltxfs that has died", "mountpoint", path, "replica", top.Source)
			if err := Detach(path); err != nil {
				return exitcode.Wrap(exitcode.BadMountpoint,
					fmt.Errorf("mount on %s: the mount of an ltxfs that has died is in the way: detach it: %w", path, err))
			}
			continue
		case err == nil && mounted && top.IsLTXFS():
			return exitcode.Errorf(exitcode.AlreadyMounted,
				"mount on %s: ltxfs has mounted %s there already: unmount it first with ltxfs umount %s, or choose another directory",
				path, top.Source, path)
		case err != nil:
			return c.badMountpoint(path, top, mounted, err)
		}
		return c.checkDirectory(path, info, top, mounted)
	}
	return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: more than %d dead mounts are stacked there: unmount them first", path, maxStacked)
}

// DetachIfDead takes away a mount of ltxfs at path, absolute and without links,
// if its daemon has died.
func DetachIfDead(path string) error {
	table, err := mountinfo.Read()
	if err != nil {
		return err
	}
	if top, ok := table.Top(path); !ok || !top.IsLTXFS() {
		return nil
	}
	if !IsDead(Probe(path)) {
		return nil
	}
	return Detach(path)
}

// badMountpoint is the error for a mountpoint that can't be looked at.
func (c *Checker) badMountpoint(path string, top mountinfo.Mount, mounted bool, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: no such directory: make it with mkdir -p %s", path, path)
	case errors.Is(err, unix.ENOTDIR):
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: not a directory: give an empty directory", path)
	case IsDead(err) && mounted:
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: a dead mount of type %s (%s) is in the way: unmount it first, for example with umount -l %s",
			path, top.Type, top.Source, path)
	case errors.Is(err, ErrHung) && mounted && top.IsLTXFS():
		return exitcode.Errorf(exitcode.AlreadyMounted,
			"mount on %s: an ltxfs mount of %s is there and gives no answer: end it with ltxfs umount --lazy %s",
			path, top.Source, path)
	case errors.Is(err, ErrHung):
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: the file system that holds it gives %v: choose another directory", path, err)
	case errors.Is(err, fs.ErrPermission) && mounted && top.IsLTXFS():
		return exitcode.Errorf(exitcode.AlreadyMounted,
			"mount on %s: another user's ltxfs mount of %s is there: choose another directory", path, top.Source)
	case errors.Is(err, fs.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "mount on %s: you may not look into the directory that holds it: choose a directory of your own", path)
	}
	return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: %s: choose another directory", path, errnoText(err))
}

// checkDirectory checks what is at the mountpoint now.
func (c *Checker) checkDirectory(path string, info os.FileInfo, top mountinfo.Mount, mounted bool) error {
	if !info.IsDir() {
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: not a directory: give an empty directory", path)
	}
	if !c.root && unix.Access(path, unix.W_OK) != nil {
		return exitcode.Errorf(exitcode.Permission,
			"mount on %s: you may not write to it, and only root may mount on such a directory: choose a directory of your own", path)
	}
	empty, err := within(statDeadline, func() (bool, error) { return isEmpty(path) })
	switch {
	case errors.Is(err, fs.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "mount on %s: you may not read it: choose a directory of your own", path)
	case err != nil:
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: %s: choose another directory", path, errnoText(err))
	case !empty && mounted:
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: not empty, as a file system of type %s (%s) is mounted there: choose an empty directory", path, top.Type, top.Source)
	case !empty:
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: the directory is not empty: choose an empty one, as a mount hides what is in it", path)
	}
	return nil
}

// Apart makes sure that neither the mountpoint is in the replica nor the
// replica in the mountpoint: the mount would be waiting for itself. Both must
// be absolute and without links.
func (c *Checker) Apart(replica, mountpoint string) error {
	switch {
	case inside(mountpoint, replica):
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: it is in the replica %s, which would then contain itself: choose a directory outside", mountpoint, replica)
	case inside(replica, mountpoint):
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: the replica %s is in it, and the mount would hide it: choose a directory outside", mountpoint, replica)
	}
	return nil
}

// Outside makes sure that a file or directory that the mount itself needs
// isn't in the mount, where the mount would be waiting for itself. what names
// it, such as "the staging directory"; flag is how to choose another.
func (c *Checker) Outside(what, flag, path, mountpoint string) error {
	if Inside(path, mountpoint) {
		return exitcode.Errorf(exitcode.Usage, "mount on %s: %s %s is in the mountpoint: choose another with %s",
			mountpoint, what, filepath.Clean(path), flag)
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return len(names) == 0, nil
}
