package file

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestWriteModesAndOwner(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 {
			uid, gid = 4321, 1234
			require.NoError(t, os.Chown(s.Path(), uid, gid))
		}
		write(t, s, 3, 1, 1, []byte("x"))
		write(t, s, 3, 1, 1, []byte("y")) // replacing goes another way
		for path, mode := range map[string]os.FileMode{
			"ltx": 0o700 | os.ModeDir, "ltx/3": 0o700 | os.ModeDir, "ltx/3/" + ltx.FormatFilename(1, 1): 0o600,
		} {
			info, err := os.Stat(filepath.Join(s.Path(), path))
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode(), path)
			st := info.Sys().(*syscall.Stat_t)
			assert.Equal(t, [2]uint32{uint32(uid), uint32(gid)}, [2]uint32{st.Uid, st.Gid}, path)
		}
	})
}

// A file that replaces another keeps its permissions and, as root, its owner.
func TestWriteKeepsModeAndOwner(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		write(t, s, 0, 1, 1, []byte("old"))
		path := pathOf(s, 0, 1, 1)
		uid, gid := os.Getuid(), os.Getgid()
		if uid == 0 {
			uid, gid = 4321, 1234
		}
		for _, mode := range []os.FileMode{0o640, 0o444, 0o666, 0o600} {
			require.NoError(t, os.Chown(path, uid, gid))
			require.NoError(t, os.Chmod(path, mode|os.ModeSetuid))
			f := write(t, s, 0, 1, 1, []byte("new"))
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode())
			st := info.Sys().(*syscall.Stat_t)
			assert.Equal(t, [2]uint32{uint32(uid), uint32(gid)}, [2]uint32{st.Uid, st.Gid})
			got, err := s.StatLTXFile(t.Context(), storetest.Name(0, 1, 1), replica.StatOptions{})
			require.NoError(t, err)
			assert.Equal(t, f, got)
		}
		require.NoError(t, os.Remove(path))
		write(t, s, 0, 1, 1, []byte("new"))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode(), "a new file has another's mode")
	})
}

// Who can't keep the group doesn't open the file to another one.
func TestWriteCantKeepGroup(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		write(t, s, 0, 1, 1, []byte("old"))
		path := pathOf(s, 0, 1, 1)
		want := os.FileMode(0o664)
		if os.Geteuid() == 0 {
			require.NoError(t, os.Chown(path, 4321, 1234))
			want = 0o604
		}
		require.NoError(t, os.Chmod(path, 0o664))
		for dir := filepath.Dir(path); dir != filepath.Dir(filepath.Dir(s.Path())); dir = filepath.Dir(dir) {
			require.NoError(t, os.Chmod(dir, 0o777))
		}
		unprivileged(t, func() { write(t, s, 0, 1, 1, []byte("new")) })
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode())
	})
}

// Before the file has its name, it has its content, its time and its place on
// the disk.
func TestWriteOrder(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		data := storetest.LTX(t, 2, 2)
		var order []string
		s.sys.syncFile = func(f *os.File) error {
			order = append(order, "file")
			st, err := stat(f)
			require.NoError(t, err)
			assert.True(t, st.file(storetest.Name(0, 2, 2)).ModTime.Equal(storetest.DefaultTime))
			assert.Equal(t, uint64(len(data)), st.Size)
			_, err = os.Lstat(pathOf(s, 0, 2, 2))
			require.ErrorIs(t, err, os.ErrNotExist)
			return f.Sync()
		}
		s.sys.syncDir = func(f *os.File) error {
			order = append(order, filepath.Base(f.Name()))
			return f.Sync()
		}
		write(t, s, 0, 2, 2, data)
		assert.Equal(t, []string{filepath.Base(s.Path()), "ltx", "file", "0"}, order)
		order = nil
		_ = os.Remove(pathOf(s, 0, 2, 2))
		write(t, s, 0, 2, 2, data)
		assert.Equal(t, []string{"file", "0"}, order)
	})
}

// Whatever fails, the old content stays, and nothing else.
func TestWriteFails(t *testing.T) {
	old := []byte("old content")
	for name, tt := range map[string]struct {
		fail func(s *Store)
		want error
		op   string
	}{
		"no room": {
			fail: func(s *Store) {
				s.sys.write = func(f *os.File, p []byte) (int, error) {
					n, _ := f.Write(p[:len(p)/2])
					return n, &os.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
				}
			},
			want: syscall.ENOSPC, op: "write",
		},
		"no room at fsync": {
			fail: func(s *Store) { s.sys.syncFile = func(*os.File) error { return syscall.EDQUOT } },
			want: syscall.EDQUOT, op: "write",
		},
		"disk error": {
			fail: func(s *Store) { s.sys.syncFile = func(*os.File) error { return syscall.EIO } },
			want: syscall.EIO, op: "write",
		},
		"other bytes on disk": {
			fail: func(s *Store) {
				s.sys.syncFile = func(f *os.File) error {
					_, err := f.WriteAt([]byte("X"), 300_000)
					return err
				}
			},
			want: errReadBack, op: "verify",
		},
		"fewer bytes on disk": {
			fail: func(s *Store) { s.sys.syncFile = func(f *os.File) error { return f.Truncate(10) } },
			want: errReadBack, op: "verify",
		},
		"more bytes on disk": {
			fail: func(s *Store) { s.sys.syncFile = func(f *os.File) error { return f.Truncate(1 << 20) } },
			want: errReadBack, op: "verify",
		},
		"cancelled at the last moment": {
			fail: func(s *Store) {
				s.sys.syncFile = func(*os.File) error { return context.Canceled }
			},
			want: context.Canceled, op: "write",
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, s *Store) {
				write(t, s, 0, 1, 1, old)
				before := tree(t, s.Path())
				tt.fail(s)
				for txid := ltx.TXID(1); txid <= 2; txid++ {
					_, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, txid), bytes.NewReader(storetest.Bytes(1, 600_000)), replica.WriteOptions{})
					require.ErrorIs(t, err, tt.want)
					var fe *replica.FileError
					require.ErrorAs(t, err, &fe)
					assert.Equal(t, tt.op, fe.Op)
				}
				assert.Equal(t, before, tree(t, s.Path()))
				got, err := os.ReadFile(pathOf(s, 0, 1, 1))
				require.NoError(t, err)
				assert.Equal(t, old, got)
			})
		})
	}
}

func TestWriteCancelledWhileVerifying(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		ctx, cancel := context.WithCancel(t.Context())
		s.sys.syncFile = func(*os.File) error { cancel(); return nil }
		_, err := s.WriteLTXFile(ctx, storetest.Name(0, 1, 1), bytes.NewReader([]byte("x")), replica.WriteOptions{})
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, []string{"ltx", "ltx/0"}, tree(t, s.Path()))
	})
}

// If the directory can't be brought to disk, the file is there, and an error is
// returned all the same.
func TestWriteDirSyncFails(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		write(t, s, 0, 1, 1, []byte("old"))
		s.sys.syncDir = func(*os.File) error { return &os.PathError{Op: "sync", Path: "x", Err: syscall.EIO} }
		_, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader([]byte("new")), replica.WriteOptions{})
		require.ErrorIs(t, err, syscall.EIO)
		assert.ErrorContains(t, err, "write it again")
		got, err := os.ReadFile(pathOf(s, 0, 1, 1))
		require.NoError(t, err)
		assert.Equal(t, "new", string(got))

		// The same for a level that is made.
		_, err = s.WriteLTXFile(t.Context(), storetest.Name(1, 1, 1), bytes.NewReader([]byte("new")), replica.WriteOptions{})
		require.ErrorIs(t, err, syscall.EIO)

		err = s.DeleteLTXFiles(t.Context(), storetest.Name(0, 1, 1))
		require.ErrorIs(t, err, syscall.EIO)
		assert.ErrorContains(t, err, "may be back")
		put(t, pathOf(s, 2, 1, 1), nil)
		require.ErrorIs(t, NewReplicaClient(s).DeleteAll(t.Context()), syscall.EIO)
	})
}

// A panic of the content passes through and leaves nothing behind.
func TestWriteContentPanics(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		require.PanicsWithValue(t, "oops", func() {
			_, _ = s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), panicContent{}, replica.WriteOptions{})
		})
		assert.Equal(t, []string{"ltx", "ltx/0"}, tree(t, s.Path()))
	})
}

type panicContent struct{}

func (panicContent) ReadAt([]byte, int64) (int, error) { panic("oops") }
func (panicContent) Size() int64                       { return 10 }

// The directory goes away in the middle of a write: the file is written again, if
// that doesn't go on for ever.
func TestWriteDirRemovedMeanwhile(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		removals := 0
		s.sys.syncFile = func(f *os.File) error {
			if removals > 0 {
				removals--
				require.NoError(t, os.RemoveAll(filepath.Join(s.Path(), "ltx")))
			}
			return f.Sync()
		}
		for _, exclusive := range []bool{true, false} {
			removals = 2
			f, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader([]byte("x")), replica.WriteOptions{Exclusive: exclusive})
			require.NoError(t, err)
			assert.Zero(t, removals)
			assert.Equal(t, []replica.File{f}, storetest.List(t, s, 0))
		}
		removals = 100
		_, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader([]byte("x")), replica.WriteOptions{})
		require.ErrorIs(t, err, syscall.ENOENT)
		require.NotErrorIs(t, err, replica.ErrUnavailable)
	})
}

// DeleteAll leaves what is being written, and the directory that it is in.
func TestWriteBesideDeleteAll(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		s.sys.syncFile = func(f *os.File) error {
			require.NoError(t, NewReplicaClient(s).DeleteAll(t.Context()))
			return f.Sync()
		}
		write(t, s, 0, 1, 1, []byte("x"))
		write(t, s, 0, 1, 1, []byte("y"))
		assert.Len(t, storetest.List(t, s, 0), 1)
	})
}

// The file system refuses for another reason than that it can't.
func TestWriteUnnamedRefused(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	s.sys.openUnnamed = func(string) (*os.File, error) { return nil, syscall.EROFS }
	_, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader(nil), replica.WriteOptions{})
	require.ErrorIs(t, err, syscall.EROFS)
	for _, no := range []error{syscall.EOPNOTSUPP, syscall.EISDIR, syscall.EINVAL, syscall.ENOSYS} {
		s.sys.openUnnamed = func(string) (*os.File, error) { return nil, no }
		write(t, s, 0, 1, 1, []byte(no.Error()))
	}
	assert.Equal(t, []string{"ltx", "ltx/0", "ltx/0/" + ltx.FormatFilename(1, 1)}, tree(t, s.Path()))
}
