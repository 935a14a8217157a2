package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeLevelDir opens a level's directory, which it makes if it is missing.
func (c *ReplicaClient) makeLevelDir(path string) (*os.File, error) {
	// A DeleteAll may remove what was just made.
	const tries = 3
	for i := 1; ; i++ {
		dir, err := openDir(path)
		if !errors.Is(err, unix.ENOENT) || i == tries {
			return dir, err
		}
		if err := c.makeDir(path); err != nil {
			return nil, err
		}
	}
}

// makeDir makes a directory below the root, and those on the way to it, and
// brings them to stable storage.
func (c *ReplicaClient) makeDir(path string) error {
	if filepath.Clean(path) == filepath.Clean(c.path) {
		return c.checkRoot() // which is not for the client to make
	}
	parentPath := filepath.Dir(path)
	parent, err := openDir(parentPath)
	if errors.Is(err, unix.ENOENT) {
		if err := c.makeDir(parentPath); err != nil {
			return err
		}
		parent, err = openDir(parentPath)
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(path)
	err = withFD(parent, func(fd int) error { return unix.Mkdirat(fd, name, dirMode) })
	if errors.Is(err, unix.EEXIST) {
		return nil // another writer was faster
	} else if err != nil {
		return &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	if dir, err := openAt(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
		giveAway(dir, parent)
		dir.Close()
	}
	if err := c.sys.syncDir(parent); err != nil {
		return fmt.Errorf("sync %s: %w", parentPath, pathCause(err))
	}
	return nil
}
