package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeDir makes a directory at or below the root unless it is there, and those on
// the way to it, and brings them to stable storage. The root is not for a store to
// make.
func (s *Store) makeDir(path string) error {
	if _, err := lstat(path); !errors.Is(err, unix.ENOENT) || path == filepath.Clean(s.path) {
		return err
	}
	if err := s.makeDir(filepath.Dir(path)); err != nil {
		return err
	}
	parent, err := openDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	var made *os.File
	err = withFD(parent, func(fd int) error {
		name := filepath.Base(path)
		if err := unix.Mkdirat(fd, name, dirMode); err != nil {
			return err
		}
		// What is given away must be what was made.
		n, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			made = os.NewFile(uintptr(n), path)
		}
		return err
	})
	if errors.Is(err, unix.EEXIST) {
		return nil // another writer was faster
	} else if err != nil {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	defer made.Close()
	giveAway(made, parent)
	return s.sync(parent)
}

// syncDir brings a directory to stable storage.
func (s *Store) syncDir(path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return s.sync(dir)
}

func (s *Store) sync(dir *os.File) error {
	if err := s.sys.syncDir(dir); err != nil {
		return fmt.Errorf("sync %s: %w", dir.Name(), pathCause(err))
	}
	return nil
}

// giveAway makes what root makes in a directory belong to whom the directory
// belongs, so that a replica stays its owner's after root has written to it.
// Where that fails, it is root's, and works for root.
func giveAway(f, dir *os.File) {
	if os.Geteuid() != 0 {
		return
	}
	if st, err := fstat(dir); err == nil {
		_ = withFD(f, func(fd int) error { return unix.Fchown(fd, int(st.Uid), int(st.Gid)) })
	}
}
