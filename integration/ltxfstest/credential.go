package ltxfstest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

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

// procStatus is a line of /proc/<pid>/status that holds a size, in bytes.
func procStatus(t testing.TB, pid int, key string) int64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		value, ok := strings.CutPrefix(string(line), key+":")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kb << 10
	}
	t.Fatalf("/proc/%d/status has no %s", pid, key)
	return 0
}
