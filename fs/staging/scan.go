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

// scan lists what mounts that have ended left in a replica's directory, and
// removes their directories where nothing is left. The caller holds openLock.
func scan(parent string) ([]Entry, error) {
	dirs, err := os.ReadDir(parent)
	if err != nil {
		return nil, err
	}
	var left []Entry
	for _, de := range dirs {
		if !de.IsDir() {
			continue
		}
		dir := filepath.Join(parent, de.Name())
		lock, err := os.OpenFile(dir+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(lock); err != nil {
			if cerr := lock.Close(); !errors.Is(err, unix.EWOULDBLOCK) || cerr != nil {
				return nil, errors.Join(err, cerr)
			}
			continue // its mount lives
		}
		entries, err := list(dir)
		if err == nil && len(entries) == 0 {
			err = errors.Join(os.RemoveAll(dir), os.Remove(lock.Name()))
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return nil, err
		}
		left = append(left, entries...)
	}
	return left, removeOrphanLocks(parent, dirs)
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
		if err := os.Remove(filepath.Join(parent, de.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// list returns the files below a mount's directory.
func list(dir string) ([]Entry, error) {
	var entries []Entry
	err := filepath.WalkDir(dir, func(p string, de iofs.DirEntry, err error) error {
		if err != nil || de.IsDir() {
			return err
		}
		info, err := de.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		entries = append(entries, Entry{Name: filepath.ToSlash(rel), Path: p, Size: info.Size(), ModTime: info.ModTime()})
		return nil
	})
	return entries, err
}

// flock takes the lock of a file, or fails at once if another has it.
func flock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// lockWithin opens and locks a file, waiting for its holder at most d.
func lockWithin(name string, d time.Duration) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(d)
	for {
		err := flock(f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
