package ltxfstest

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
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
// need them, in this process and in others, have ended.
func OpenDevices(t testing.TB) {
	t.Helper()
	for _, device := range devices {
		openDevice(t, device)
	}
}

// openDevice opens one. Each test that needs it holds a lock, so that the first
// can note the mode and the last can set it back.
func openDevice(t testing.TB, device string) {
	t.Helper()
	path := "/run/ltxfstest" + strings.ReplaceAll(device, "/", "-")
	in := openLock(t, path)
	guarded(t, device, path, func() error {
		if unix.Flock(int(in.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			info, err := os.Stat(device)
			if err != nil {
				return err
			}
			mode := []byte(strconv.FormatUint(uint64(info.Mode().Perm()), 8))
			if err := errors.Join(os.WriteFile(path, mode, 0o600), os.Chmod(device, 0o666)); err != nil {
				return err
			}
		}
		return unix.Flock(int(in.Fd()), unix.LOCK_SH)
	})
	t.Cleanup(func() {
		defer in.Close()
		guarded(t, device, path, func() error {
			if unix.Flock(int(in.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
				return nil // another still needs it
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			mode, err := strconv.ParseUint(string(text), 8, 32)
			return errors.Join(err, os.Chmod(device, fs.FileMode(mode)))
		})
	})
}

// guarded runs fn while nobody else is in guarded.
func guarded(t testing.TB, device, path string, fn func() error) {
	t.Helper()
	guard := openLock(t, path+".guard")
	defer guard.Close()
	if err := errors.Join(unix.Flock(int(guard.Fd()), unix.LOCK_EX), fn()); err != nil {
		t.Errorf("the mode of %s: %v", device, err)
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

// chown gives a directory of the test to another user, who must be able to
// reach it too.
func chown(t testing.TB, dir string, cred *syscall.Credential) {
	t.Helper()
	if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
		t.Fatal(err)
	}
	// t.TempDir lies below a directory that is its owner's alone.
	for d := filepath.Dir(dir); strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// coverDirOf is a directory where another user's ltxfs can write its coverage,
// which is moved to ours when the test ends.
func coverDirOf(t testing.TB, cred *syscall.Credential) string {
	t.Helper()
	dir := t.TempDir()
	chown(t, dir, cred)
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(coverDir, e.Name()), data, 0o644); err != nil {
				t.Error(err)
			}
		}
	})
	return dir
}
