package staging

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Scan lists the files that ended mounts of a replica left under base. Unlike
// Open it makes and removes nothing.
func Scan(base, replica string) ([]Entry, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, fmt.Errorf("staging directory: %w", err)
	}
	parent := filepath.Join(base, replicaName(replica))
	if _, err := os.Lstat(parent); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err := checkDirs(base, parent); err != nil {
		return nil, err
	}
	// Without it, Open could find the lock of a directory taken by us.
	guard, err := lockWithin(filepath.Join(parent, openLock), os.O_RDWR, openTimeout)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("lock the staging directory: %w", err)
	default:
		defer guard.Close()
	}
	dirs, err := os.ReadDir(parent)
	if err != nil {
		return nil, err
	}
	return leftIn(parent, dirs, func(dir string) (*os.File, error) {
		return os.OpenFile(dir+lockSuffix, os.O_RDWR, 0)
	}, nil)
}

// scan lists what mounts that have ended left in a replica's directory, and
// removes their directories where nothing is left. The caller holds openLock.
func scan(parent string) ([]Entry, error) {
	dirs, err := os.ReadDir(parent)
	if err != nil {
		return nil, err
	}
	left, err := leftIn(parent, dirs, func(dir string) (*os.File, error) {
		return os.OpenFile(dir+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	}, removeMount)
	if err != nil {
		return nil, err
	}
	return left, removeOrphanLocks(parent, dirs)
}

// leftIn lists the files in those of the directories whose mounts have ended,
// and calls empty, if it isn't nil, where there are none. A directory that
// vanishes meanwhile has none, and one without a lock file has no mount.
func leftIn(parent string, dirs []os.DirEntry, openLockOf func(dir string) (*os.File, error), empty func(dir string) error) ([]Entry, error) {
	var left []Entry
	for _, de := range dirs {
		if !de.IsDir() {
			continue
		}
		dir := filepath.Join(parent, de.Name())
		lock, err := openLockOf(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			if err := flock(lock); err != nil {
				if cerr := lock.Close(); !errors.Is(err, unix.EWOULDBLOCK) || cerr != nil {
					return nil, errors.Join(err, cerr)
				}
				continue // its mount lives
			}
		}
		entries, err := List(dir)
		if err == nil && len(entries) == 0 && empty != nil {
			err = empty(dir)
		}
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
		if err != nil {
			return nil, err
		}
		left = append(left, entries...)
	}
	return left, nil
}

// removeMount removes the directory of a mount and its lock file, unless there
// is a file in the directory.
func removeMount(dir string) error {
	if gone, err := removeEmpty(dir); err != nil || !gone {
		return err
	}
	return removeIfThere(dir + lockSuffix)
}

// removeEmpty removes a directory and those in it, from the bottom up. Where a
// file is, it and the directories above it stay.
func removeEmpty(dir string) (gone bool, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	for _, de := range entries {
		if !de.IsDir() {
			return false, nil
		}
		if gone, err := removeEmpty(filepath.Join(dir, de.Name())); err != nil || !gone {
			return false, err
		}
	}
	// A file that was made since keeps the directory.
	err = removeIfThere(dir)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	return err == nil, err
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// removeOrphanLocks removes lock files whose directory was never made or is
// gone. With openLock held, no mount is between the two.
func removeOrphanLocks(parent string, entries []os.DirEntry) error {
	var errs []error
	for _, de := range entries {
		name, ok := strings.CutSuffix(de.Name(), lockSuffix)
		if !ok || de.IsDir() || de.Name() == openLock {
			continue
		}
		if _, err := os.Lstat(filepath.Join(parent, name)); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		errs = append(errs, removeIfThere(filepath.Join(parent, de.Name())))
	}
	return errors.Join(errs...)
}

// List returns the files in a mount's directory: those that it could see if
// there is an error, none if there is no such directory.
func List(dir string) ([]Entry, error) {
	var entries []Entry
	var errs []error
	walkErr := filepath.WalkDir(dir, func(p string, de iofs.DirEntry, err error) error {
		if err == nil && de.IsDir() {
			return nil
		}
		var info iofs.FileInfo
		if err == nil {
			info, err = de.Info()
		}
		switch {
		case errors.Is(err, os.ErrNotExist): // it has just been published or removed
			return nil
		case err != nil:
			errs = append(errs, err)
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		entries = append(entries, Entry{Name: filepath.ToSlash(rel), Path: p, Size: info.Size(), ModTime: info.ModTime()})
		return nil
	})
	return entries, errors.Join(append(errs, walkErr)...)
}

// flock takes the lock of a file, or fails at once if another has it.
func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

// lockWithin opens and locks a file, waiting for its holder at most d.
func lockWithin(name string, flags int, d time.Duration) (*os.File, error) {
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(d)
	for {
		err := flock(f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
