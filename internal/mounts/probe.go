package mounts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/flight"
)

// Patience is how long a look at a file may take: its file system may hang.
const Patience = 5 * time.Second

// ErrHung means that a file system didn't answer within the deadline.
var ErrHung = errors.New("no answer")

// calls are those that touch file systems. Nobody waits for their end.
var calls = flight.NewGroup()

// Within calls f, which may hang, and gives up on it after the deadline.
func Within[T any](deadline time.Duration, f func() (T, error)) (T, error) {
	v, err := flight.Do(context.Background(), calls, deadline, func(context.Context) (T, error) { return f() }, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w within %s", ErrHung, deadline)
	}
	return v, err
}

// Probe looks at a mount: nil if it answers, an error for which IsDead holds if
// its daemon is gone, any other error if it doesn't answer.
func Probe(path string) error {
	_, err := Within(Patience, func() (struct{}, error) {
		// The kernel may answer a stat from memory, but not this.
		var st unix.Statfs_t
		return struct{}{}, unix.Statfs(path, &st)
	})
	return err
}

// IsDead reports whether err is what a mount answers whose daemon is gone.
func IsDead(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}

// maxLinks is how many links Resolve follows.
const maxLinks = 40

// Resolve makes a path absolute and free of links, like the table of mounts, even
// if the last element is the root of a mount that is dead or hangs, or doesn't
// exist.
func Resolve(path string) (string, error) {
	return Within(Patience, func() (string, error) { return resolve(path) })
}

func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for range maxLinks {
		if abs == "/" {
			return abs, nil
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
		if err != nil {
			return "", err
		}
		abs = filepath.Join(dir, filepath.Base(abs))
		target, err := os.Readlink(abs)
		if err != nil {
			return abs, nil // not a link, or nothing that can be looked at
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		abs = filepath.Clean(target)
	}
	return "", &fs.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
}
