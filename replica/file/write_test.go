package file

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

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

// A file that replaces another keeps its permissions and, as root, its owner.
func TestWriteKeepsModeAndOwner(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		write(t, c, 0, 1, 1, []byte("old"))
		path := pathOf(c, 0, 1, 1)
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 {
			uid, gid = 4321, 1234
		}
		for _, mode := range []os.FileMode{0o640, 0o444, 0o666, 0o600} {
			require.NoError(t, os.Chown(path, uid, gid))
			require.NoError(t, os.Chmod(path, mode|os.ModeSetuid))
			f := write(t, c, 0, 1, 1, []byte("new"))
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode())
			st := info.Sys().(*syscall.Stat_t)
			assert.Equal(t, [2]uint32{uint32(uid), uint32(gid)}, [2]uint32{st.Uid, st.Gid})
			got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
			require.NoError(t, err)
			assert.Equal(t, f, got)
		}
		require.NoError(t, os.Remove(path))
		write(t, c, 0, 1, 1, []byte("new"))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode(), "a new file has another's mode")
	})
}

// Who can't keep the group doesn't open the file to another one.
func TestWriteCantKeepGroup(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		write(t, c, 0, 1, 1, []byte("old"))
		path := pathOf(c, 0, 1, 1)
		want := os.FileMode(0o664)
		if os.Geteuid() == 0 {
			require.NoError(t, os.Chown(path, 4321, 1234))
			want = 0o604
		}
		require.NoError(t, os.Chmod(path, 0o664))
		for dir := filepath.Dir(path); dir != filepath.Dir(filepath.Dir(c.Path())); dir = filepath.Dir(dir) {
			require.NoError(t, os.Chmod(dir, 0o777))
		}
		unprivileged(t, func() { write(t, c, 0, 1, 1, []byte("new")) })
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode())
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
