package ltxfstest

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// devFuse is what a user must be able to open to mount. Distributions give it
// the mode 0666 by a rule of udev; a machine without udev leaves it to root.
const devFuse = "/dev/fuse"

// User is a user who isn't root and may mount through fusermount3 for as long as
// the test runs: nobody, or nil, which is ourselves, if we aren't root.
func User(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatalf("a user to run as: %v", err)
	}
	openDevFuse(t)
	return &syscall.Credential{Uid: uint32(atoi(t, nobody.Uid)), Gid: uint32(atoi(t, nobody.Gid))}
}

// openDevFuse lets everybody open /dev/fuse until the test and all others that
// need it, in this process and in others, have ended. A file that each of them
// holds locked tells the last one which mode it was.
func openDevFuse(t testing.TB) {
	t.Helper()
	path := filepath.Join(os.TempDir(), "ltxfstest-dev-fuse")
	// Opened anew by each, so that each lock is one of its own.
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(devFuse)
	if err != nil {
		t.Fatal(err)
	}
	first := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	if first {
		err = errors.Join(os.WriteFile(path, []byte(strconv.FormatUint(uint64(info.Mode().Perm()), 8)), 0o600), os.Chmod(devFuse, 0o666))
	}
	if err := errors.Join(err, unix.Flock(int(lock.Fd()), unix.LOCK_SH)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer lock.Close()
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return // another's turn
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		mode, err := strconv.ParseUint(strings.TrimSpace(string(text)), 8, 32)
		if err := errors.Join(err, os.Chmod(devFuse, fs.FileMode(mode))); err != nil {
			t.Errorf("set the mode of %s back: %v", devFuse, err)
		}
	})
}

// Give gives directories, with all in them, to a user. It does nothing if cred
// is nil.
func Give(t testing.TB, cred *syscall.Credential, dirs ...string) {
	t.Helper()
	if cred == nil {
		return
	}
	for _, dir := range dirs {
		chown(t, dir, cred)
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, int(cred.Uid), int(cred.Gid)))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
