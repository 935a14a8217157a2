package staging

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Scan lists the files that ended mounts of a replica left under base. Unlike
// Open it makes and removes nothing.
func Scan(base, replica string) ([]Entry, error) {
	base, parent, err := dirsOf(base, replica)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(parent); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err := checkDirs(base, parent); err != nil {
		return nil, err
	}
	// Without it, Open could find the lock of a directory taken by us.
	guard, err := lockWithin(filepath.Join(parent, openLock), os.O_RDWR, openTimeout)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lock the staging directory: %w", err)
	}
	left, err := leftIn(parent, false)
	if guard != nil {
		err = errors.Join(err, guard.Close())
	}
	return left, err
}

// leftIn lists the files of the mounts in a replica's directory that have ended.
// With tidy, it removes their directories where nothing is left, and locks without a
// directory. The caller holds openLock.
func leftIn(parent string, tidy bool) (left []Entry, err error) {
	dirs, err := os.ReadDir(parent)
	if err != nil {
		return nil, err
	}
	for _, de := range dirs {
		name, isLock := strings.CutSuffix(de.Name(), lockSuffix)
		var entries []Entry
		switch {
		case de.IsDir():
			entries, err = leftBy(filepath.Join(parent, de.Name()), tidy)
		case isLock && tidy && de.Name() != openLock:
			err = removeOrphanLock(filepath.Join(parent, name))
		}
		if err != nil {
			return nil, err
		}
		left = append(left, entries...)
	}
	return left, nil
}

// leftBy lists the files in a mount's directory, if it has ended. One without a lock
// file has, and one that vanishes meanwhile has left nothing.
func leftBy(dir string, tidy bool) (entries []Entry, err error) {
	lock, err := lockWithin(dir+lockSuffix, os.O_RDWR, 0)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, nil // its mount lives
	case err == nil:
		defer func() { err = errors.Join(err, lock.Close()) }()
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	entries, err = List(dir)
	if err == nil && len(entries) == 0 && tidy {
		err = removeMount(dir)
	}
	return entries, err
}

// removeMount removes the directory of a mount, and its lock file, unless there is a
// file in the directory. Where a file is, it and the directories above it stay.
func removeMount(dir string) error {
	var dirs []string
	errs := []error{filepath.WalkDir(dir, func(p string, de os.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err == nil && de.IsDir():
			dirs = append(dirs, p)
		}
		return err
	})}
	for _, p := range slices.Backward(dirs) {
		// A file that was made since keeps its directory.
		if err := removeIfThere(p); !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, removeOrphanLock(dir))...)
}

// removeOrphanLock removes the lock file of a mount's directory that was never made or
// is gone. With openLock held, no mount is between the two.
func removeOrphanLock(dir string) error {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return removeIfThere(dir + lockSuffix)
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// List returns the files in a mount's directory: those that it could see if
// there is an error, none if there is no such directory.
func List(dir string) ([]Entry, error) {
	var entries []Entry
	var errs []error
	walkErr := filepath.WalkDir(dir, func(p string, de os.DirEntry, err error) error {
		if err == nil && de.IsDir() {
			return nil
		}
		var info os.FileInfo
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

// lockWithin opens and locks a file, waiting for its holder at most d.
func lockWithin(name string, flags int, d time.Duration) (*os.File, error) {
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(d)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case err == unix.EINTR:
			continue
		case err != unix.EWOULDBLOCK || time.Now().After(deadline):
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
