package preflight

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/mounts"
)

// Mountpoint makes sure that something can be mounted at path, which must be absolute
// and without links. It takes away mounts of ltxfs whose daemons have died. replica is
// the replica's directory, "" if it has none.
func (c *Checker) Mountpoint(path, replica string) error {
	if err := apart(replica, path); err != nil {
		return err
	}
	if path == "/" {
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on /: this would hide the whole system: choose an empty directory")
	}
	table, err := mounts.Read()
	if err != nil {
		return err
	}
	top := table.Top(path)
	info, err := stat(path)
	if err == nil && mounts.IsLTXFS(top) {
		err = mounts.Probe(path)
	}
	switch {
	case mounts.IsLTXFS(top) && mounts.IsDead(err):
		c.logger.Warn("detaching the mount of an ltxfs that has died", "mountpoint", path, "replica", top.Source)
		if err := mounts.Detach(path); err != nil {
			return exitcode.Wrap(exitcode.BadMountpoint,
				fmt.Errorf("mount on %s: the mount of an ltxfs that has died is in the way: detach it: %w", path, err))
		}
		return c.Mountpoint(path, "") // there may be another beneath
	case err != nil:
		return c.badMountpoint(path, top, err)
	case mounts.IsLTXFS(top):
		return exitcode.Errorf(exitcode.AlreadyMounted,
			"mount on %s: ltxfs has mounted %s there already: unmount it first with ltxfs umount %s, or choose another directory",
			path, top.Source, path)
	}
	return c.checkDirectory(path, info, top)
}

// badMountpoint is the error for a mountpoint that can't be looked at, at which top
// is mounted, or nothing.
func (c *Checker) badMountpoint(path string, top *mounts.Mount, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: no such directory: make it with mkdir -p %s", path, path)
	case errors.Is(err, unix.ENOTDIR):
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: not a directory: give an empty directory", path)
	case mounts.IsDead(err) && top != nil:
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: a dead mount of type %s (%s) is in the way: unmount it first, for example with umount -l %s",
			path, top.FSType, top.Source, path)
	case errors.Is(err, mounts.ErrHung) && mounts.IsLTXFS(top):
		return exitcode.Errorf(exitcode.AlreadyMounted,
			"mount on %s: an ltxfs mount of %s is there and gives no answer: end it with ltxfs umount --lazy %s",
			path, top.Source, path)
	case errors.Is(err, mounts.ErrHung):
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: the file system that holds it gives %w: choose another directory", path, err)
	case errors.Is(err, fs.ErrPermission) && mounts.IsLTXFS(top):
		return exitcode.Errorf(exitcode.AlreadyMounted,
			"mount on %s: another user's ltxfs mount of %s is there: choose another directory", path, top.Source)
	case errors.Is(err, fs.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "mount on %s: you may not look into the directory that holds it: choose a directory of your own", path)
	}
	return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: %w: choose another directory", path, cause(err))
}

// checkDirectory checks what is at the mountpoint now.
func (c *Checker) checkDirectory(path string, info os.FileInfo, top *mounts.Mount) error {
	if !info.IsDir() {
		return c.badMountpoint(path, top, unix.ENOTDIR)
	}
	if !c.root && unix.Access(path, unix.W_OK) != nil {
		return exitcode.Errorf(exitcode.Permission,
			"mount on %s: you may not write to it, and only root may mount on such a directory: choose a directory of your own", path)
	}
	empty, err := mounts.Within(mounts.Patience, func() (bool, error) { return isEmpty(path) })
	switch {
	case errors.Is(err, fs.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "mount on %s: you may not read it: choose a directory of your own", path)
	case err != nil:
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: %w: choose another directory", path, cause(err))
	case !empty && top != nil:
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: not empty, as a file system of type %s (%s) is mounted there: choose an empty directory", path, top.FSType, top.Source)
	case !empty:
		return exitcode.Errorf(exitcode.BadMountpoint, "mount on %s: the directory is not empty: choose an empty one, as a mount hides what is in it", path)
	}
	return nil
}

// apart makes sure that neither the mountpoint is in the replica nor the replica in
// the mountpoint: the mount would be waiting for itself.
func apart(replica, mountpoint string) error {
	switch {
	case replica == "":
		return nil
	case Inside(mountpoint, replica):
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: it is in the replica %s, which would then contain itself: choose a directory outside", mountpoint, replica)
	case Inside(replica, mountpoint):
		return exitcode.Errorf(exitcode.BadMountpoint,
			"mount on %s: the replica %s is in it, and the mount would hide it: choose a directory outside", mountpoint, replica)
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
