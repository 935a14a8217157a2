package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

func TestWriteModesAndOwner(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 {
			uid, gid = 4321, 1234
			require.NoError(t, os.Chown(c.Path(), uid, gid))
		}
		write(t, c, 3, 1, 1, []byte("x"))
		write(t, c, 3, 1, 1, []byte("y")) // replacing goes another way
		for path, mode := range map[string]os.FileMode{
			"ltx": 0o700 | os.ModeDir, "ltx/3": 0o700 | os.ModeDir, "ltx/3/" + ltx.FormatFilename(1, 1): 0o600,
		} {
			info, err := os.Stat(filepath.Join(c.Path(), path))
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode(), path)
			st := info.Sys().(*syscall.Stat_t)
			assert.Equal(t, [2]uint32{uint32(uid), uint32(gid)}, [2]uint32{st.Uid, st.Gid}, path)
		}
	})
}

// Before the file has its name, it has its content, its time and its place on
// the disk.
func TestWriteOrder(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		data := replicatest.LTX(t, 2, 2)
		var order []string
		c.sys.syncFile = func(f *os.File) error {
			order = append(order, "file")
			st, err := stat(f)
			require.NoError(t, err)
			assert.True(t, st.mtime.time().Equal(replicatest.DefaultTime))
			assert.Equal(t, int64(len(data)), st.size)
			_, err = os.Lstat(pathOf(c, 0, 2, 2))
			require.ErrorIs(t, err, os.ErrNotExist)
			return f.Sync()
		}
		c.sys.syncDir = func(f *os.File) error {
			order = append(order, filepath.Base(f.Name()))
			return f.Sync()
		}
		write(t, c, 0, 2, 2, data)
		assert.Equal(t, []string{filepath.Base(c.Path()), "ltx", "file", "0"}, order)
		order = nil
		_ = os.Remove(pathOf(c, 0, 2, 2))
		write(t, c, 0, 2, 2, data)
		assert.Equal(t, []string{"file", "0"}, order)
	})
}

// Whatever fails, the old content stays, and nothing else.
func TestWriteFails(t *testing.T) {
	old := []byte("old content")
	for name, tt := range map[string]struct {
		fail func(c *ReplicaClient)
		want error
		op   string
	}{
		"no room": {
			fail: func(c *ReplicaClient) {
				c.sys.write = func(f *os.File, p []byte) (int, error) {
					n, _ := f.Write(p[:len(p)/2])
					return n, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
				}
			},
			want: syscall.ENOSPC, op: "write",
		},
		"no room at fsync": {
			fail: func(c *ReplicaClient) { c.sys.syncFile = func(*os.File) error { return syscall.EDQUOT } },
			want: syscall.EDQUOT, op: "write",
		},
		"disk error": {
			fail: func(c *ReplicaClient) { c.sys.syncFile = func(*os.File) error { return syscall.EIO } },
			want: syscall.EIO, op: "write",
		},
		"other bytes on disk": {
			fail: func(c *ReplicaClient) {
				c.sys.syncFile = func(f *os.File) error {
					_, err := f.WriteAt([]byte("X"), 300_000)
					return err
				}
			},
			want: errReadBack, op: "verify",
		},
		"fewer bytes on disk": {
			fail: func(c *ReplicaClient) { c.sys.syncFile = func(f *os.File) error { return f.Truncate(10) } },
			want: errReadBack, op: "verify",
		},
		"more bytes on disk": {
			fail: func(c *ReplicaClient) { c.sys.syncFile = func(f *os.File) error { return f.Truncate(1 << 20) } },
			want: errReadBack, op: "verify",
		},
		"cancelled at the last moment": {
			fail: func(c *ReplicaClient) {
				c.sys.syncFile = func(*os.File) error { return context.Canceled }
			},
			want: context.Canceled, op: "write",
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, c *ReplicaClient) {
				write(t, c, 0, 1, 1, old)
				before := tree(t, c.Path())
				tt.fail(c)
				for txid := ltx.TXID(1); txid <= 2; txid++ {
					_, err := c.WriteLTXFile(t.Context(), 0, 1, txid, replicatest.NewReader(1, 600_000))
					require.ErrorIs(t, err, tt.want)
					var fe *replica.FileError
					require.ErrorAs(t, err, &fe)
					assert.Equal(t, tt.op, fe.Op)
				}
				assert.Equal(t, before, tree(t, c.Path()))
				got, err := os.ReadFile(pathOf(c, 0, 1, 1))
				require.NoError(t, err)
				assert.Equal(t, old, got)
			})
		})
	}
}

func TestWriteCancelledWhileVerifying(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		ctx, cancel := context.WithCancel(t.Context())
		c.sys.syncFile = func(*os.File) error { cancel(); return nil }
		_, err := c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader([]byte("x")))
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, []string{"ltx", "ltx/0"}, tree(t, c.Path()))
	})
}

// If the directory can't be brought to disk, the file is there, and an error is
// returned all the same.
func TestWriteDirSyncFails(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		write(t, c, 0, 1, 1, []byte("old"))
		c.sys.syncDir = func(*os.File) error { return &os.PathError{Op: "sync", Path: "x", Err: syscall.EIO} }
		_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader([]byte("new")))
		require.ErrorIs(t, err, syscall.EIO)
		assert.ErrorContains(t, err, "write it again")
		got, err := os.ReadFile(pathOf(c, 0, 1, 1))
		require.NoError(t, err)
		assert.Equal(t, "new", string(got))

		// The same for a level that is made.
		_, err = c.WriteLTXFile(t.Context(), 1, 1, 1, bytes.NewReader([]byte("new")))
		require.ErrorIs(t, err, syscall.EIO)

		err = c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}})
		require.ErrorIs(t, err, syscall.EIO)
		assert.ErrorContains(t, err, "may be back")
		require.ErrorIs(t, c.DeleteAll(t.Context()), syscall.EIO)
	})
}

func TestWriteReaderWithoutProgress(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, emptyReads{})
	require.ErrorIs(t, err, io.ErrNoProgress)
}

type emptyReads struct{}

func (emptyReads) Read([]byte) (int, error) { return 0, nil }

// A panic of the reader passes through and leaves nothing behind.
func TestWriteReaderPanics(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		require.PanicsWithValue(t, "oops", func() {
			_, _ = c.WriteLTXFile(t.Context(), 0, 1, 1, panicReader{})
		})
		assert.Equal(t, []string{"ltx", "ltx/0"}, tree(t, c.Path()))
	})
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("oops") }

// The directory goes away in the middle of a write.
func TestWriteDirRemovedMeanwhile(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	c.sys.syncFile = func(f *os.File) error {
		require.NoError(t, c.DeleteAll(t.Context()))
		assert.Empty(t, tree(t, c.Path()))
		return f.Sync()
	}
	write(t, c, 0, 1, 1, []byte("x"))
	assert.Len(t, replicatest.List(t, c, 0), 1)

	// One with a name keeps its directory.
	c = noUnnamedFiles(c)
	c.sys.syncFile = func(f *os.File) error {
		require.NoError(t, c.DeleteAll(t.Context()))
		assert.Len(t, tree(t, c.Path()), 3, "the file being written is gone")
		return f.Sync()
	}
	write(t, c, 0, 1, 1, []byte("x"))
	assert.Len(t, replicatest.List(t, c, 0), 1)
}

// The file system refuses for another reason than that it can't.
func TestWriteUnnamedRefused(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	c.sys.openUnnamed = func(*os.File) (*os.File, error) { return nil, syscall.EROFS }
	_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(nil))
	require.ErrorIs(t, err, syscall.EROFS)
	for _, no := range []error{syscall.EOPNOTSUPP, syscall.EISDIR, syscall.EINVAL, syscall.ENOSYS} {
		c.sys.openUnnamed = func(*os.File) (*os.File, error) { return nil, no }
		write(t, c, 0, 1, 1, []byte(no.Error()))
	}
	assert.Equal(t, []string{"ltx", "ltx/0", "ltx/0/" + ltx.FormatFilename(1, 1)}, tree(t, c.Path()))
}

// What a killed writer left goes with the next writer, and only that.
func TestSweep(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		require.NoError(t, c.Init(t.Context()))
		dir := filepath.Join(c.Path(), "ltx", "0")
		name := ltx.FormatFilename(1, 1)
		dead := filepath.Join(dir, tempName(name))
		alive := filepath.Join(dir, tempName(name))
		other := []string{
			filepath.Join(dir, name+".tmp"), // Litestream's own
			filepath.Join(dir, "."+name+".tmp"),
			filepath.Join(dir, ".stranger.0123456789abcdef.tmp"),
			filepath.Join(c.Path(), filepath.Base(tempName(name))),
		}
		for _, path := range append(other, dead, alive) {
			put(t, path, []byte("x"))
		}
		link, sub := filepath.Join(dir, tempName(name)), filepath.Join(dir, tempName(name))
		require.NoError(t, os.Symlink(dead, link))
		require.NoError(t, os.Mkdir(sub, 0o700))
		fifo := filepath.Join(dir, tempName(name))
		require.NoError(t, unix.Mkfifo(fifo, 0o600))
		f, err := os.Open(alive)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))

		assert.Empty(t, replicatest.List(t, c, 0), "temporary files are listed")
		write(t, c, 0, 5, 5, []byte("x"))
		_, err = os.Stat(dead)
		require.ErrorIs(t, err, os.ErrNotExist)
		for _, path := range append(other, alive, link, sub, fifo) {
			_, err := os.Lstat(path)
			require.NoError(t, err)
		}

		// Once is enough, until a client is made anew.
		put(t, dead, nil)
		write(t, c, 0, 5, 5, []byte("x"))
		_, err = os.Stat(dead)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		write(t, New(c.Path(), c.Layout()), 0, 5, 5, []byte("x"))
		for _, path := range []string{dead, alive} {
			_, err = os.Stat(path)
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	})
}

// Leftovers that can't be removed don't keep anyone from writing.
func TestSweepFails(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	var log bytes.Buffer
	c.SetLogger(slog.New(slog.NewTextHandler(&log, nil)))
	dir := filepath.Join(c.Path(), "ltx", "0")
	leftover := filepath.Join(dir, tempName(ltx.FormatFilename(1, 1)))
	put(t, leftover, nil)
	require.NoError(t, os.Chmod(leftover, 0o400))
	for path := dir; path != filepath.Dir(filepath.Dir(c.Path())); path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o777))
	}
	unprivileged(t, func() { write(t, c, 0, 1, 1, []byte("x")) })
	assert.Contains(t, log.String(), "can't remove what a killed writer left")
	assert.Contains(t, log.String(), leftover[len(dir)+1:])
}

func TestDeleteAllSweeps(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	write(t, c, 0, 1, 1, nil)
	put(t, filepath.Join(c.Path(), "ltx", "0", tempName(ltx.FormatFilename(1, 1))), nil)
	put(t, filepath.Join(c.Path(), "ltx", "5", tempName(ltx.FormatFilename(1, 1))), nil)
	put(t, filepath.Join(c.Path(), "keep"), nil)
	require.NoError(t, c.DeleteAll(t.Context()))
	assert.Equal(t, []string{"keep"}, tree(t, c.Path()))
}

// It deletes what it can, and names what it can't.
func TestDeleteGoesOn(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	var files []*ltx.FileInfo
	for level := range 3 {
		f := write(t, c, level, 1, 1, nil)
		files = append(files, f.Info())
	}
	for _, path := range append(tree(t, c.Path()), "..", ".") {
		require.NoError(t, os.Chmod(filepath.Join(c.Path(), path), 0o777))
	}
	locked := filepath.Join(c.Path(), "ltx", "1")
	require.NoError(t, os.Chmod(locked, 0o555))
	t.Cleanup(func() { _ = os.Chmod(locked, 0o700) })
	for _, remove := range []func() error{
		func() error { return c.DeleteLTXFiles(t.Context(), files) },
		func() error { return c.DeleteAll(t.Context()) },
	} {
		unprivileged(t, func() {
			err := remove()
			require.ErrorIs(t, err, os.ErrPermission)
			var fe *replica.FileError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, "delete", fe.Op)
			assert.Equal(t, 1, fe.Level)
		})
		for level := range 3 {
			assert.Equal(t, level == 1, len(replicatest.List(t, c, level)) == 1)
		}
	}
}

func TestDeleteSyncsOnce(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	var files []*ltx.FileInfo
	for txid := ltx.TXID(1); txid <= 10; txid++ {
		for level := range 2 {
			f := write(t, c, level, txid, txid, nil)
			files = append(files, f.Info())
		}
	}
	synced := make(map[string]int)
	c.sys.syncDir = func(f *os.File) error { synced[filepath.Base(f.Name())]++; return nil }
	require.NoError(t, c.DeleteLTXFiles(t.Context(), files))
	assert.Equal(t, map[string]int{"0": 1, "1": 1}, synced)
	require.NoError(t, c.DeleteLTXFiles(t.Context(), files))
	assert.Equal(t, map[string]int{"0": 1, "1": 1}, synced, "nothing was there to delete")
}

// What was deleted before ctx was done is brought to disk, and what is left is
// counted.
func TestDeleteCancelledHalfway(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	var files []*ltx.FileInfo
	for txid := ltx.TXID(1); txid <= 10; txid++ {
		f := write(t, c, 0, txid, txid, nil)
		files = append(files, f.Info())
	}
	ctx := &countedContext{Context: t.Context(), left: 4}
	synced := 0
	c.sys.syncDir = func(*os.File) error { synced++; return nil }
	err := c.DeleteLTXFiles(ctx, files)
	require.ErrorIs(t, err, context.Canceled)
	left := len(replicatest.List(t, c, 0))
	assert.Greater(t, left, 0)
	assert.Less(t, left, 10)
	assert.Equal(t, 1, synced)
	assert.ErrorContains(t, err, "of 10 are left")

	err = c.DeleteAll(&countedContext{Context: t.Context(), left: 4})
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "files are left")
	assert.NotEmpty(t, replicatest.List(t, c, 0))
}

// countedContext is done once it has been asked so many times.
type countedContext struct {
	context.Context
	left int
}

func (c *countedContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Two files may differ in nothing but their content and their birth: a damaged
// one, and the good copy that replaces it.
func TestVersionOfRepaired(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	path := pathOf(c, 0, 1, 1)
	putAt := func(data string) attributes {
		put(t, path, []byte(data))
		require.NoError(t, os.Chtimes(path, replicatest.DefaultTime, replicatest.DefaultTime))
		st, err := statPath(path)
		require.NoError(t, err)
		return st
	}
	damaged := putAt("damaged")
	if damaged.birth == (timestamp{}) {
		// Then there is only the rest.
		assert.NotEmpty(t, damaged.version())
		return
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		require.NoError(t, os.Remove(path))
		repaired := putAt("regular")
		if repaired.birth == damaged.birth {
			continue // the clock has not moved yet
		}
		repaired.inode = damaged.inode // which is often so by itself
		assert.Equal(t, damaged.mtime, repaired.mtime)
		assert.Equal(t, damaged.size, repaired.size)
		assert.NotEqual(t, damaged.version(), repaired.version())
		return
	}
	require.Fail(t, "time stands still")
}

// What doesn't change the content doesn't change the version.
func TestVersionStays(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	f := write(t, c, 0, 1, 1, replicatest.LTX(t, 1, 1))
	assert.Regexp(t, "^[0-9a-f]{32}$", string(f.Version))
	path := pathOf(c, 0, 1, 1)
	for name, change := range map[string]func() error{
		"link":   func() error { return os.Link(path, filepath.Join(c.Path(), "link")) },
		"chmod":  func() error { return os.Chmod(path, 0o400) },
		"rename": func() error { return errors.Join(os.Rename(path, path+".x"), os.Rename(path+".x", path)) },
		"read":   func() error { _, err := os.ReadFile(path); return err },
	} {
		require.NoError(t, change())
		got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
		require.NoError(t, err)
		assert.Equal(t, f, got, name)
	}
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, replicatest.DefaultTime.Add(time.Nanosecond)))
	got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
	require.NoError(t, err)
	assert.NotEqual(t, f.Version, got.Version)
}
