package ltxfstest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// LevelPath is where a mount shows a file of a level, relative to the mount
// point.
func LevelPath(level int, name string) string {
	return filepath.Join("ltx", fmt.Sprintf("%04d", level), name)
}

// StorePath is where Litestream's file layout keeps a file of a level, relative
// to the replica's root.
func StorePath(level int, name string) string {
	return filepath.Join(replica.LitestreamFile.LevelDir(level), name)
}

// Store writes a file as another writer of a replica does: under a temporary
// name, with its modification time, and then renamed. It makes the directory.
func Store(t testing.TB, path string, data []byte, modTime time.Time) {
	t.Helper()
	tmp := path + ".tmp"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(tmp, modTime, modTime); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// Tree lists the files below a directory of a real disk, whatever they are
// called, with the SHA-256 of each. It is not for mounts.
func Tree(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[name] = SHA256(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// SHA256 is the digest in hex.
func SHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// HeaderTime is the timestamp in an LTX file's header: the modification time of
// the file once it is published.
func HeaderTime(t testing.TB, data []byte) time.Time {
	t.Helper()
	var h ltx.Header
	if err := h.UnmarshalBinary(data[:ltx.HeaderSize]); err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(h.Timestamp).UTC()
}

// SmallDisk mounts a file system of a size, in bytes, on a directory of the test.
func SmallDisk(t testing.TB, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("ltxfstest", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
