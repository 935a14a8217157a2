// Package preflight checks, before a mount, what would make it fail or hang, and
// says what was probably meant and what to do.
package preflight

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/mounts"
)

// Checker does the checks.
type Checker struct {
	logger *slog.Logger

	// What the checks find out about the machine.
	root       bool
	devFuse    string
	fuseConf   string
	fusermount func() (string, error)
	mounts     func() (mounts.Table, error)
}

// New makes a Checker for this machine.
func New(logger *slog.Logger) *Checker {
	return &Checker{
		logger:     logger,
		root:       os.Geteuid() == 0,
		devFuse:    "/dev/fuse",
		fuseConf:   "/etc/fuse.conf",
		fusermount: mounts.Fusermount,
		mounts:     mounts.Read,
	}
}

// FUSE makes sure that this user can mount with FUSE on this machine.
func (c *Checker) FUSE(allowOther bool) error {
	f, err := os.OpenFile(c.devFuse, os.O_RDWR, 0)
	switch {
	case err == nil:
		f.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return exitcode.Errorf(exitcode.NoFUSE,
			"mount: there is no %s: load the kernel's module with modprobe fuse, or in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN", c.devFuse)
	case errors.Is(err, fs.ErrPermission) && c.root:
		return exitcode.Errorf(exitcode.Permission,
			"mount: root may not open %s here: in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN", c.devFuse)
	case errors.Is(err, fs.ErrPermission):
		return exitcode.Errorf(exitcode.Permission,
			"mount: you may not open %s: have root run chmod 0666 %s, the usual mode, or mount as root", c.devFuse, c.devFuse)
	default:
		return exitcode.Errorf(exitcode.NoFUSE, "mount: open %s: %w: check that FUSE works on this machine", c.devFuse, cause(err))
	}
	if c.root {
		return nil
	}
	if _, err := c.fusermount(); err != nil {
		return exitcode.Errorf(exitcode.NoFUSE,
			"mount: the program fusermount3, by which users other than root mount, is missing: install the package fuse3, or mount as root")
	}
	if !allowOther {
		return nil
	}
	switch allows, unended := allowsOther(c.fuseConf); {
	case allows:
		return nil
	case unended:
		return exitcode.Errorf(exitcode.Permission,
			"mount: --allow-other is not allowed: fusermount3 passes over the line user_allow_other in %s, as it is the last one and doesn't end: "+
				"have root end it with a newline, or mount without --allow-other", c.fuseConf)
	}
	return exitcode.Errorf(exitcode.Permission,
		"mount: --allow-other is not allowed to users other than root: have root write the line user_allow_other into %s, or mount without --allow-other", c.fuseConf)
}

// maxConfLine is the longest line that fusermount3 reads, in bytes.
const maxConfLine = 255

// allowsOther reports whether a fuse.conf has the line user_allow_other, as fusermount3
// reads it: it passes over what is behind a #, and over a line that is too long or, the
// last one, doesn't end. unended is true if the line is there but for its end.
func allowsOther(conf string) (allows, unended bool) {
	text, _ := os.ReadFile(conf) // without it, nothing is allowed
	for line := range strings.Lines(string(text)) {
		setting, _, _ := strings.Cut(line, "#")
		if strings.Trim(setting, " \t\n\v\f\r") == "user_allow_other" && len(line) <= maxConfLine {
			unended = !strings.HasSuffix(line, "\n")
			allows = allows || !unended
		}
	}
	return allows, unended
}

// stat is os.Stat with a deadline.
func stat(path string) (os.FileInfo, error) {
	return mounts.Within(mounts.Patience, func() (os.FileInfo, error) { return os.Stat(path) })
}

// Inside reports whether path is dir or below it, also by way of links and bind
// mounts. Both must be absolute, and dir without links. What can't be looked at
// is known by its name.
func Inside(path, dir string) bool {
	want, wantErr := stat(dir)
	for {
		if resolved, err := mounts.Resolve(path); err == nil {
			path = resolved
		}
		got, err := stat(path)
		switch {
		case path == dir, err == nil && wantErr == nil && os.SameFile(got, want):
			return true
		case path == "/":
			return false
		}
		path = filepath.Dir(path)
	}
}

// cause is what went wrong with a file, without the operation and the path, which
// our own text names.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
