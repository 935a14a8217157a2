package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirTries is how often a directory is made that a DeleteAll removes again before
// anything could be put into it.
const dirTries = 20

// makeLevelDir opens a level's directory, which it makes if it is missing.
func (c *ReplicaClient) makeLevelDir(ctx context.Context, path string) (*os.File, error) {
	for i := 1; ; i++ {
		dir, err := openDir(path)
		if !errors.Is(err, unix.ENOENT) || i == dirTries {
			return dir, err
		}
		if err := c.makeDir(path); err != nil {
			return nil, err
		}
		if i > 1 {
			if err := pause(ctx, i); err != nil {
				return nil, err
			}
		}
	}
}

// pause lets the removal of a directory finish. While it is under way, the
// directory can still be opened but holds no new file, or can neither be opened
// nor made.
func pause(ctx context.Context, try int) error {
	timer := time.NewTimer(time.Duration(try) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isRemoved reports whether an open directory has been removed.
func isRemoved(dir *os.File) bool {
	st, err := stat(dir)
	return err == nil && st.links == 0
}

// makeDir makes a directory below the root, and those on the way to it, and
// brings them to stable storage.
func (c *ReplicaClient) makeDir(path string) error {
	if filepath.Clean(path) == filepath.Clean(c.path) {
		return c.checkAvailable() // which is not for the client to make
	}
	parentPath := filepath.Dir(path)
	parent, err := openDir(parentPath)
	if errors.Is(err, unix.ENOENT) {
		if err := c.makeDir(parentPath); err != nil {
			return err
		}
		parent, err = openDir(parentPath)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil // removed again; it is the caller's turn to try again
	} else if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(path)
	err = withFD(parent, func(fd int) error { return unix.Mkdirat(fd, name, dirMode) })
	if errors.Is(err, unix.EEXIST) || err != nil && isRemoved(parent) {
		return nil // another writer, or a DeleteAll, was faster
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
