package preflight

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
)

// unmountDeadline bounds a call that unmounts.
const unmountDeadline = 30 * time.Second

// ErrBusy means that a process uses a mount.
var ErrBusy = errors.New("a process uses the mount")

// Fusermount finds the program by which users other than root mount.
func Fusermount() (string, error) {
	path, err := exec.LookPath("fusermount3")
	if err == nil {
		return filepath.Abs(path)
	}
	return exec.LookPath("/bin/fusermount3")
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
		return exitcode.Errorf(exitcode.NoFUSE, "mount: open %s: %s: check that FUSE works on this machine", c.devFuse, errnoText(err))
	}
	if c.root {
		return nil
	}
	if _, err := c.fusermount(); err != nil {
		return exitcode.Errorf(exitcode.NoFUSE,
			"mount: the program fusermount3, by which users other than root mount, is missing: install the package fuse3, or mount as root")
	}
	if allowOther && !allowsOther(c.fuseConf) {
		return exitcode.Errorf(exitcode.Permission,
			"mount: --allow-other is not allowed to users other than root: have root write the line user_allow_other into %s, or mount without --allow-other", c.fuseConf)
	}
	return nil
}

// allowsOther reports whether a fuse.conf has the line user_allow_other.
func allowsOther(conf string) bool {
	f, err := os.Open(conf)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "user_allow_other" {
			return true
		}
	}
	return false
}

// Unmount unmounts what is at path, unless it is used: then it returns ErrBusy
// and changes nothing.
func Unmount(path string) error { return unmount(path, false) }

// Detach takes the mount at path out of the file system, used or not.
func Detach(path string) error { return unmount(path, true) }

func unmount(path string, lazy bool) error {
	_, err := within(unmountDeadline, func() (struct{}, error) {
		if os.Geteuid() == 0 {
			return struct{}{}, unmountDirectly(path, lazy)
		}
		return struct{}{}, unmountByHelper(path, lazy)
	})
	switch {
	case errors.Is(err, ErrHung):
		return exitcode.Errorf(exitcode.Timeout, "unmount %s: no answer within %s", path, unmountDeadline)
	case errors.Is(err, ErrBusy):
		return exitcode.Errorf(exitcode.Busy, "unmount %s: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "unmount %s: %w: only root and who mounted it may unmount it", path, err)
	case err != nil:
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

func unmountDirectly(path string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(path, flags)
	if errors.Is(err, unix.EBUSY) {
		return ErrBusy
	}
	return err
}

func unmountByHelper(path string, lazy bool) error {
	helper, err := Fusermount()
	if err != nil {
		return exitcode.Errorf(exitcode.NoFUSE, "the program fusermount3 is missing: install the package fuse3, or unmount as root")
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	cmd := exec.Command(helper, append(args, "--", path)...)
	cmd.Dir = "/"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err = cmd.Run()
	text := strings.TrimSpace(stderr.String())
	switch {
	case err == nil:
		return nil
	case strings.Contains(text, "Device or resource busy"):
		return ErrBusy
	case strings.Contains(text, "Operation not permitted"), strings.Contains(text, "not found in /etc/mtab"):
		return fmt.Errorf("%s: %w", text, unix.EPERM)
	case text == "":
		return fmt.Errorf("%s: %w", filepath.Base(helper), err)
	}
	return errors.New(text)
}
