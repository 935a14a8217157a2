package mounts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

var (
	// ErrBusy means that a process uses a mount.
	ErrBusy = errors.New("a process uses the mount")

	errNotMounted = errors.New("nothing is mounted there")
)

// unmountDeadline bounds a call that unmounts.
const unmountDeadline = 30 * time.Second

// Unmount unmounts what is at path, unless it is used: then it returns ErrBusy
// and changes nothing. That nothing is there any more is no error. Its errors have
// exit codes.
func Unmount(path string) error { return unmount(path, false) }

// Detach takes the mount at path out of the file system, used or not.
func Detach(path string) error { return unmount(path, true) }

// DetachIfDead detaches a mount of ltxfs at path, if there is one, whose daemon
// has died. path may have links.
func DetachIfDead(path string) error {
	path, err := Resolve(path)
	if err != nil {
		return nil // nothing can be mounted there
	}
	table, err := Read()
	if err != nil || !IsLTXFS(table.Top(path)) || !IsDead(Probe(path)) {
		return err
	}
	return Detach(path)
}

func unmount(path string, lazy bool) error {
	call := unmountByHelper
	if os.Geteuid() == 0 {
		call = unmountDirectly
	}
	_, err := Within(unmountDeadline, func() (struct{}, error) { return struct{}{}, call(path, lazy) })
	if errors.Is(err, errNotMounted) {
		var table Table
		if table, err = Read(); table.Top(path) != nil {
			err = unix.EPERM // fusermount3 says the same of the mount of another user
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrHung):
		return exitcode.Errorf(exitcode.Timeout, "unmount %s: %w", path, err)
	case errors.Is(err, ErrBusy):
		return exitcode.Errorf(exitcode.Busy, "unmount %s: %w", path, err)
	case errors.Is(err, os.ErrPermission):
		return exitcode.Errorf(exitcode.Permission, "unmount %s: %w: only root and who mounted it may unmount it", path, err)
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

func unmountDirectly(path string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	switch err := unix.Unmount(path, flags); err {
	case unix.EBUSY:
		return ErrBusy
	case unix.EINVAL:
		return errNotMounted
	default:
		return err
	}
}

// Fusermount finds the program by which users other than root mount and unmount.
func Fusermount() (string, error) {
	if path, err := exec.LookPath("fusermount3"); err == nil {
		return path, nil
	}
	return exec.LookPath("/bin/fusermount3")
}

func unmountByHelper(path string, lazy bool) error {
	helper, err := Fusermount()
	if err != nil {
		return exitcode.Errorf(exitcode.NoFUSE, "the program fusermount3 is missing: install the package fuse3, or unmount as root")
	}
	ctx, cancel := context.WithTimeout(context.Background(), unmountDeadline)
	defer cancel()
	args := []string{"-u", "--", path}
	if lazy {
		args = []string{"-u", "-z", "--", path}
	}
	cmd := exec.CommandContext(ctx, helper, args...)
	cmd.Dir = "/" // ours may be in a mount that hangs
	text, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	return answer(string(text), err)
}

// answer reads what fusermount3 printed when it failed with err. It prints the
// C locale's texts, whatever the environment says.
func answer(printed string, err error) error {
	text := strings.TrimSpace(printed)
	says := func(what string) bool { return strings.HasSuffix(text, what) } // a path can say anything before
	switch {
	case text == "":
		return fmt.Errorf("fusermount3: %w", err)
	case says(": Device or resource busy"):
		return ErrBusy
	case says(" not found in /etc/mtab"), says(" not mounted"), says(": Invalid argument"):
		return errNotMounted
	case says(": Operation not permitted"):
		return fmt.Errorf("%s: %w", text, unix.EPERM)
	}
	return errors.New(text)
}
