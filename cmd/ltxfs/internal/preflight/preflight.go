// Package preflight checks, before a mount, what would make it fail or hang,
// and says what to do about it.
package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/mountinfo"
)

// statDeadline bounds a look at a file: the file system it is on may hang.
const statDeadline = 5 * time.Second

// ErrHung means that a file system didn't answer within the deadline.
var ErrHung = errors.New("no answer within " + statDeadline.String())

// Checker does the checks. Its zero value is for tests only; see New.
type Checker struct {
	Logger *slog.Logger

	// What the checks find out about the machine.
	root       bool
	devFuse    string
	fuseConf   string
	fusermount func() (string, error)
	mounts     func() (mountinfo.Table, error)
}

// New makes a Checker for this machine.
func New(logger *slog.Logger) *Checker {
	return &Checker{
		Logger:     logger,
		root:       os.Geteuid() == 0,
		devFuse:    "/dev/fuse",
		fuseConf:   "/etc/fuse.conf",
		fusermount: Fusermount,
		mounts:     mountinfo.Read,
	}
}

// within runs f, which may hang, in a goroutine of its own and gives up on it
// after the deadline.
func within[T any](deadline time.Duration, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-timer.C:
		var zero T
		return zero, ErrHung
	}
}

// stat is os.Stat with a deadline.
func stat(path string) (os.FileInfo, error) {
	return within(statDeadline, func() (os.FileInfo, error) { return os.Stat(path) })
}

// IsDead reports whether err is what a mount answers whose daemon is gone.
func IsDead(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}

// Probe looks at a mount of ltxfs: nil if it answers, an error for which IsDead
// holds if its daemon is gone, any other error if it doesn't answer.
func Probe(path string) error {
	_, err := within(statDeadline, func() (struct{}, error) {
		// The kernel may answer a stat from memory, but not this.
		var st unix.Statfs_t
		return struct{}{}, unix.Statfs(path, &st)
	})
	return err
}

// maxLinks is how many links Resolve follows.
const maxLinks = 40

// Resolve makes a path absolute and free of links, like the kernel's table of
// mounts, even if the last element is the root of a mount that is dead or
// hangs, or doesn't exist.
func Resolve(path string) (string, error) {
	return within(statDeadline, func() (string, error) { return resolve(path) })
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
		if filepath.IsAbs(target) {
			abs = filepath.Clean(target)
		} else {
			abs = filepath.Join(dir, target)
		}
	}
	return "", &fs.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
}

// inside reports whether path is dir or below it, also by way of links and
// bind mounts. Both must be absolute; what can't be looked at counts as
// another directory.
func inside(path, dir string) bool {
	want, err := stat(dir)
	if err != nil {
		return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
	}
	for {
		if got, err := stat(path); err == nil && os.SameFile(got, want) {
			return true
		}
		if path == "/" {
			return false
		}
		path = filepath.Dir(path)
	}
}

// Inside reports whether path is dir or below it. path needn't exist.
func Inside(path, dir string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	for {
		if resolved, err := filepath.EvalSymlinks(abs); err == nil {
			return inside(resolved, dir)
		}
		if abs == "/" {
			return false
		}
		abs = filepath.Dir(abs)
	}
}

// errnoText is the cause of a file error without the operation and the path,
// which our own text names.
func errnoText(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return fmt.Sprint(err)
}
