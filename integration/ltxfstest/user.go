package ltxfstest

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// devices are what a user must be able to open: to mount, and to run in the
// background. Distributions give them the mode 0666; a machine without udev, or
// a container, may leave them to root.
var devices = []string{"/dev/fuse", os.DevNull}

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
	OpenDevices(t)
	return &syscall.Credential{Uid: uint32(Atoi(t, nobody.Uid)), Gid: uint32(Atoi(t, nobody.Gid))}
}

// OpenDevices lets everybody open devices until this test and all others that
// need it, in this process and in others, have ended. Each of them holds a lock,
// so that the first can note the modes and the last can set them back.
func OpenDevices(t testing.TB) {
	t.Helper()
	const path = "/run/ltxfstest-devices"
	in := openLock(t, path)
	guarded(t, path, func() error {
		if unix.Flock(int(in.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			modes := make([]fs.FileMode, len(devices))
			for i, device := range devices {
				info, err := os.Stat(device)
				if err != nil {
					return err
				}
				modes[i] = info.Mode().Perm()
			}
			noted, err := json.Marshal(modes)
			if err := errors.Join(err, os.WriteFile(path, noted, 0o600)); err != nil {
				return err
			}
			for _, device := range devices {
				if err := os.Chmod(device, 0o666); err != nil {
					return err
				}
			}
		}
		return unix.Flock(int(in.Fd()), unix.LOCK_SH)
	})
	t.Cleanup(func() {
		defer in.Close()
		guarded(t, path, func() error {
			if unix.Flock(int(in.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
				return nil // another still needs it
			}
			noted, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var modes []fs.FileMode
			if err := json.Unmarshal(noted, &modes); err != nil {
				return err
			}
			var errs []error
			for i, mode := range modes {
				errs = append(errs, os.Chmod(devices[i], mode))
			}
			return errors.Join(errs...)
		})
	})
}

// guarded runs fn while nobody else is in guarded.
func guarded(t testing.TB, path string, fn func() error) {
	t.Helper()
	guard := openLock(t, path+".guard")
	defer guard.Close()
	if err := errors.Join(unix.Flock(int(guard.Fd()), unix.LOCK_EX), fn()); err != nil {
		t.Errorf("the modes of %v: %v", devices, err)
	}
}

func openLock(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBinary is the program that runs this test, where a user can run it.
func TestBinary(t testing.TB, cred *syscall.Credential) string {
	t.Helper()
	self, err := os.Executable()
	if err == nil && cred != nil {
		self, err = publicSelf()
	}
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// publicSelf is the test binary in a directory that all can enter: a link, since
// a program that is still open somewhere to be written can't be run.
var publicSelf = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(workDir, "tests")
	if os.Link(self, path) == nil {
		return path, nil
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, data, 0o755)
})

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
