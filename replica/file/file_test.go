package file

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A file system without unnamed files has to do as well as others.
func TestConformanceNamed(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		New: func(t *testing.T) replica.Store {
			return noUnnamedFiles(New(t.TempDir(), replica.LitestreamFile))
		},
		Client: func(s replica.Store) replica.Client { return NewReplicaClient(s.(*Store)) },
		Leftovers: func(t *testing.T, s replica.Store) (left []string) {
			for _, path := range tree(t, s.(*Store).Path()) {
				if isTempName(filepath.Base(path)) {
					left = append(left, path)
				}
			}
			return left
		},
		LargeSize:  3 << 20,
		OpensLocal: true,
	})
}

func TestInitRoot(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), nil)
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "link")))
	for _, layout := range append([]replica.Layout{{}}, replica.Layouts...) {
		err := New(filepath.Join(dir, "missing"), layout).Init(t.Context())
		require.ErrorIs(t, err, os.ErrNotExist)
		assert.ErrorContains(t, err, filepath.Join(dir, "missing"))
		assert.ErrorContains(t, err, "create it")

		err = New(filepath.Join(dir, "file"), layout).Init(t.Context())
		require.ErrorIs(t, err, syscall.ENOTDIR)
		assert.ErrorContains(t, err, "give the directory")

		err = New(filepath.Join(dir, "file", "below"), layout).Init(t.Context())
		require.ErrorIs(t, err, syscall.ENOTDIR)

		require.NoError(t, New(filepath.Join(dir, "link"), layout).Init(t.Context()))
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, New(dir, replica.Layout{}).Init(done), context.Canceled)
	assert.Len(t, tree(t, dir), 2, "Init made something")
}

func TestInitPermission(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "ltx", "0"), 0o755))
	require.NoError(t, os.Chmod(filepath.Join(dir, "ltx", "0"), 0o000))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "ltx", "0"), 0o700) })
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	unprivileged(t, func() {
		require.ErrorIs(t, New(dir, replica.Layout{}).Init(t.Context()), os.ErrPermission)
		s := New(dir, replica.LitestreamFile)
		require.NoError(t, s.Init(t.Context()), "there is nothing to detect")
		_, err := list(s, 0, replica.ListOptions{})
		require.ErrorIs(t, err, os.ErrPermission)
		_, err = s.OpenLTXFile(t.Context(), replica.File{Name: storetest.Name(0, 1, 1)}, 0, 0)
		require.ErrorIs(t, err, os.ErrPermission)
		require.NotErrorIs(t, err, os.ErrNotExist)
		_, err = s.StatLTXFile(t.Context(), storetest.Name(0, 1, 1), replica.StatOptions{})
		require.ErrorIs(t, err, os.ErrPermission)
		_, err = s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader(nil), replica.WriteOptions{})
		require.ErrorIs(t, err, os.ErrPermission)
		require.ErrorIs(t, s.DeleteLTXFiles(t.Context(), storetest.Name(0, 1, 1)), os.ErrPermission)
		require.ErrorIs(t, NewReplicaClient(s).DeleteAll(t.Context()), os.ErrPermission)
	})
}

func TestDetectLayout(t *testing.T) {
	const name = "0000000000000001-0000000000000001.ltx"
	for _, tt := range []struct {
		name  string
		files []string
		dirs  []string
		want  replica.Layout
	}{
		{name: "empty", want: replica.LitestreamFile},
		{name: "litestream-file", files: []string{"ltx/0/" + name}, want: replica.LitestreamFile},
		{name: "litestream-file, snapshots only", files: []string{"ltx/9/" + name}, want: replica.LitestreamFile},
		{name: "litestream-s3", files: []string{"0000/" + name, "0009/" + name}, want: replica.LitestreamS3},
		{name: "guide", files: []string{"ltx/0003/" + name}, want: replica.Guide},
		{name: "guide, snapshots only", files: []string{"snapshots/" + name}, want: replica.Guide},
		{name: "guide's directories", dirs: []string{"ltx/0001"}, want: replica.Guide},
		{name: "s3's directories", dirs: []string{"0004"}, want: replica.LitestreamS3},
		{name: "directories of two", dirs: []string{"0004", "snapshots"}, want: replica.LitestreamFile},
		{name: "a directory, and files of another", dirs: []string{"ltx/1", "0004"}, files: []string{"snapshots/" + name}, want: replica.Guide},
		{name: "only strangers", files: []string{"ltx/notes.txt", "0000.txt", name, "ltx/" + name, "generations/x/" + name}, want: replica.LitestreamFile},
		{name: "strangers among them", files: []string{"0000/" + name + ".tmp", "0000/x", "snapshots/" + name}, want: replica.Guide},
		{name: "a file where a directory would be", files: []string{"0000", "ltx/0001/" + name}, want: replica.Guide},
		{name: "a directory with a file's name", dirs: []string{"0000/" + name}, files: []string{"snapshots/" + name}, want: replica.Guide},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for _, dir := range tt.dirs {
				require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
			}
			for _, path := range tt.files {
				put(t, filepath.Join(root, path), []byte("x"))
			}
			s := New(root, replica.Layout{})
			assert.True(t, s.Layout().IsZero())
			require.NoError(t, s.Init(t.Context()))
			assert.Equal(t, tt.want, s.Layout())
			assert.Equal(t, root, s.Path())
			assert.Equal(t, "file", s.Type())
		})
	}

	t.Run("mixed", func(t *testing.T) {
		root := t.TempDir()
		put(t, filepath.Join(root, "ltx/0", name), nil)
		put(t, filepath.Join(root, "0001", name), nil)
		err := New(root, replica.Layout{}).Init(t.Context())
		require.ErrorIs(t, err, replica.ErrMixedLayouts)
		assert.ErrorContains(t, err, "litestream-file and litestream-s3")
		assert.ErrorContains(t, err, root)
		// Until someone decides, and then only that layout counts.
		s := New(root, replica.LitestreamS3)
		require.NoError(t, s.Init(t.Context()))
		assert.Empty(t, storetest.List(t, s, 0))
		assert.Len(t, storetest.List(t, s, 1), 1)
	})

	t.Run("once", func(t *testing.T) {
		root := t.TempDir()
		s := New(root, replica.Layout{})
		require.NoError(t, s.Init(t.Context()))
		put(t, filepath.Join(root, "0001", name), nil)
		require.NoError(t, s.Init(t.Context()))
		assert.Equal(t, replica.LitestreamFile, s.Layout())
	})

	t.Run("a later try", func(t *testing.T) {
		root := filepath.Join(t.TempDir(), "later")
		s := New(root, replica.Layout{})
		require.Error(t, s.Init(t.Context()))
		put(t, filepath.Join(root, "0001", name), nil)
		require.NoError(t, s.Init(t.Context()))
		assert.Equal(t, replica.LitestreamS3, s.Layout())
	})
}

// Every method works without Init, whichever comes first, even all at once.
func TestWithoutInit(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "0001", ltx.FormatFilename(1, 1)), []byte("x"))
	s := New(root, replica.Layout{})
	var g errgroup.Group
	for _, call := range []func() error{
		func() error { return s.Init(t.Context()) },
		func() error { s.SetLogger(slog.New(slog.DiscardHandler)); return nil },
		func() error { s.Layout(); return nil },
		func() error {
			_, err := s.StatLTXFile(t.Context(), storetest.Name(1, 1, 1), replica.StatOptions{})
			return err
		},
		func() error { _, err := s.Space(t.Context()); return err },
		func() error {
			r, err := s.OpenLTXFile(t.Context(), replica.File{Name: storetest.Name(1, 1, 1)}, 0, 0)
			if err != nil {
				return err
			}
			return r.Close()
		},
		func() error {
			_, err := list(s, 1, replica.ListOptions{})
			return err
		},
		func() error {
			_, err := s.WriteLTXFile(t.Context(), storetest.Name(2, 1, 1), bytes.NewReader(nil), replica.WriteOptions{})
			return err
		},
		func() error { return s.DeleteLTXFiles(t.Context(), storetest.Name(3, 0, 0)) },
	} {
		g.Go(call)
	}
	require.NoError(t, g.Wait())
	assert.Equal(t, replica.LitestreamS3, s.Layout())
}

func TestSpaceCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(t.TempDir(), replica.LitestreamFile).Space(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// What isn't a regular file doesn't exist, and opening it does not block.
func TestOpenStrangers(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	write(t, s, 0, 1, 1, []byte("x"))
	path := func(txid ltx.TXID) string { return pathOf(s, 0, txid, txid) }
	require.NoError(t, os.Symlink(path(1), path(2)))
	require.NoError(t, unix.Mkfifo(path(3), 0o600))
	require.NoError(t, os.Mkdir(path(4), 0o700))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	// A socket's path has 107 bytes, and the test's may have more.
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join("/proc/self/fd", dirFD(t, filepath.Dir(path(5))), filepath.Base(path(5)))}))

	for txid := ltx.TXID(2); txid <= 5; txid++ {
		_, err := s.OpenLTXFile(t.Context(), replica.File{Name: storetest.Name(0, txid, txid)}, 0, 0)
		require.ErrorIs(t, err, os.ErrNotExist, "open %s", txid)
		_, err = s.StatLTXFile(t.Context(), storetest.Name(0, txid, txid), replica.StatOptions{})
		require.ErrorIs(t, err, os.ErrNotExist, "stat %s", txid)
		_, err = s.OpenLocal(t.Context(), replica.File{Name: storetest.Name(0, txid, txid), Version: replica.Version{Size: 1}})
		require.ErrorIs(t, err, os.ErrNotExist, "open local %s", txid)
		require.NoError(t, s.DeleteLTXFiles(t.Context(), storetest.Name(0, txid, txid)))
		_, err = os.Lstat(path(txid))
		require.NoError(t, err, "the stranger is gone")
	}
	assert.Len(t, storetest.List(t, s, 0), 1)
	for _, opts := range []replica.ListOptions{{ExactTimes: true}, {NamesOnly: true}} {
		assert.Len(t, storetest.ListWith(t, s, 0, opts), 1)
	}

	// Writing puts a file in a link's place, and not behind it.
	write(t, s, 0, 2, 2, []byte("new"))
	got, err := os.ReadFile(path(1))
	require.NoError(t, err)
	assert.Equal(t, "x", string(got))
	// A directory can't give way.
	_, err = s.WriteLTXFile(t.Context(), storetest.Name(0, 4, 4), bytes.NewReader(nil), replica.WriteOptions{})
	require.Error(t, err)
	assert.NotContains(t, filepath.Join(tree(t, s.Path())...), tempSuffix)
}

// dirFD opens a directory and returns its descriptor's number.
func dirFD(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return filepath.Base(descriptorPath(int(f.Fd())))
}

// A file where a directory would be is a stranger, and the level is empty.
func TestLevelIsFile(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	put(t, filepath.Join(s.Path(), "ltx", "3"), []byte("x"))
	assert.Empty(t, storetest.List(t, s, 3))
	_, err := s.OpenLTXFile(t.Context(), replica.File{Name: storetest.Name(3, 1, 1)}, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, s.DeleteLTXFiles(t.Context(), storetest.Name(3, 1, 1)))
	require.NoError(t, NewReplicaClient(s).DeleteAll(t.Context()))
	_, err = s.WriteLTXFile(t.Context(), storetest.Name(3, 1, 1), bytes.NewReader(nil), replica.WriteOptions{})
	require.ErrorIs(t, err, syscall.ENOTDIR)
	assert.Equal(t, []string{"ltx", "ltx/3"}, tree(t, s.Path()))
}

// A level's directory may lie elsewhere.
func TestLevelIsLink(t *testing.T) {
	s, elsewhere := New(t.TempDir(), replica.LitestreamFile), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(s.Path(), "ltx"), 0o700))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(s.Path(), "ltx", "9")))
	write(t, s, 9, 1, 1, []byte("x"))
	assert.Equal(t, []string{ltx.FormatFilename(1, 1)}, tree(t, elsewhere))
	assert.Len(t, storetest.List(t, s, 9), 1)
	require.NoError(t, NewReplicaClient(s).DeleteAll(t.Context()))
	assert.Empty(t, tree(t, elsewhere))
	assert.Equal(t, []string{"ltx", "ltx/9"}, tree(t, s.Path()), "the link is gone")
}

func TestReadTruncated(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	data := storetest.Bytes(1, 10_000)
	f := write(t, s, 0, 1, 1, data)
	for name, open := range map[string]func() (io.ReadCloser, error){
		"any version": func() (io.ReadCloser, error) { return s.OpenLTXFile(t.Context(), replica.File{Name: f.Name}, 0, 0) },
		"one version": func() (io.ReadCloser, error) { return s.OpenLTXFile(t.Context(), f, 0, 0) },
		"a range": func() (io.ReadCloser, error) {
			return s.OpenLTXFile(t.Context(), replica.File{Name: f.Name}, 100, 9000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f = write(t, s, 0, 1, 1, data)
			r, err := open()
			require.NoError(t, err)
			defer r.Close()
			_, err = io.ReadFull(r, make([]byte, 500))
			require.NoError(t, err)
			require.NoError(t, os.Truncate(pathOf(s, 0, 1, 1), 5000))
			_, err = io.ReadAll(r)
			if name == "one version" {
				require.ErrorIs(t, err, replica.ErrReplaced)
				return
			}
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
	}
}

func TestReadAfterClose(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	f := write(t, s, 0, 1, 1, storetest.Bytes(1, 10_000))
	for _, version := range []replica.Version{{}, f.Version} {
		f.Version = version
		r, err := s.OpenLTXFile(t.Context(), f, 0, 0)
		require.NoError(t, err)
		n, err := r.Read(nil)
		require.NoError(t, err)
		assert.Zero(t, n)
		require.NoError(t, r.Close())
		_, err = r.Read(make([]byte, 10))
		require.ErrorIs(t, err, os.ErrClosed)
		require.Error(t, r.Close())
	}
}
