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
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// A file system without unnamed files has to do as well as others.
func TestConformanceNamed(t *testing.T) {
	replicatest.Run(t, replicatest.Harness{
		New: func(t *testing.T) replica.Client {
			return noUnnamedFiles(New(t.TempDir(), replica.LitestreamFile))
		},
		Leftovers: func(t *testing.T, c replica.Client) (left []string) {
			for _, path := range tree(t, c.(*ReplicaClient).Path()) {
				if isTempName(filepath.Base(path)) {
					left = append(left, path)
				}
			}
			return left
		},
		LargeSize: 3 << 20,
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
		c := New(dir, replica.LitestreamFile)
		require.NoError(t, c.Init(t.Context()), "there is nothing to detect")
		_, err := c.LTXFiles(t.Context(), 0, 0, false)
		require.ErrorIs(t, err, os.ErrPermission)
		_, err = c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
		require.ErrorIs(t, err, os.ErrPermission)
		require.NotErrorIs(t, err, os.ErrNotExist)
		_, err = c.StatLTXFile(t.Context(), 0, 1, 1)
		require.ErrorIs(t, err, os.ErrPermission)
		_, err = c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(nil))
		require.ErrorIs(t, err, os.ErrPermission)
		require.ErrorIs(t, c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}}), os.ErrPermission)
		require.ErrorIs(t, c.DeleteAll(t.Context()), os.ErrPermission)
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
			c := New(root, replica.Layout{})
			assert.True(t, c.Layout().IsZero())
			require.NoError(t, c.Init(t.Context()))
			assert.Equal(t, tt.want, c.Layout())
			assert.Equal(t, root, c.Path())
			assert.Equal(t, "file", c.Type())
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
		c := New(root, replica.LitestreamS3)
		require.NoError(t, c.Init(t.Context()))
		assert.Empty(t, replicatest.List(t, c, 0))
		assert.Len(t, replicatest.List(t, c, 1), 1)
	})

	t.Run("once", func(t *testing.T) {
		root := t.TempDir()
		c := New(root, replica.Layout{})
		require.NoError(t, c.Init(t.Context()))
		put(t, filepath.Join(root, "0001", name), nil)
		require.NoError(t, c.Init(t.Context()))
		assert.Equal(t, replica.LitestreamFile, c.Layout())
	})

	t.Run("a later try", func(t *testing.T) {
		root := filepath.Join(t.TempDir(), "later")
		c := New(root, replica.Layout{})
		require.Error(t, c.Init(t.Context()))
		put(t, filepath.Join(root, "0001", name), nil)
		require.NoError(t, c.Init(t.Context()))
		assert.Equal(t, replica.LitestreamS3, c.Layout())
	})
}

// Every method works without Init, whichever comes first, even all at once.
func TestWithoutInit(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "0001", ltx.FormatFilename(1, 1)), []byte("x"))
	c := New(root, replica.Layout{})
	var g errgroup.Group
	for _, call := range []func() error{
		func() error { return c.Init(t.Context()) },
		func() error { c.SetLogger(slog.New(slog.DiscardHandler)); return nil },
		func() error { c.Layout(); return nil },
		func() error { _, err := c.StatLTXFile(t.Context(), 1, 1, 1); return err },
		func() error { _, err := c.Space(t.Context()); return err },
		func() error {
			r, err := c.OpenLTXFile(t.Context(), 1, 1, 1, 0, 0)
			if err != nil {
				return err
			}
			return r.Close()
		},
		func() error {
			it, err := c.LTXFiles(t.Context(), 1, 0, false)
			if err != nil {
				return err
			}
			return it.Close()
		},
		func() error { _, err := c.WriteLTXFile(t.Context(), 2, 1, 1, bytes.NewReader(nil)); return err },
		func() error { return c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: 3}}) },
	} {
		g.Go(call)
	}
	require.NoError(t, g.Wait())
	assert.Equal(t, replica.LitestreamS3, c.Layout())
}

func TestSpaceCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(t.TempDir(), replica.LitestreamFile).Space(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// What isn't a regular file doesn't exist, and opening it does not block.
func TestOpenStrangers(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	write(t, c, 0, 1, 1, []byte("x"))
	path := func(txid ltx.TXID) string { return pathOf(c, 0, txid, txid) }
	require.NoError(t, os.Symlink(path(1), path(2)))
	require.NoError(t, unix.Mkfifo(path(3), 0o600))
	require.NoError(t, os.Mkdir(path(4), 0o700))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	// A socket's path has 107 bytes, and the test's may have more.
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join("/proc/self/fd", dirFD(t, filepath.Dir(path(5))), filepath.Base(path(5)))}))

	for txid := ltx.TXID(2); txid <= 5; txid++ {
		_, err := c.OpenLTXFile(t.Context(), 0, txid, txid, 0, 0)
		require.ErrorIs(t, err, os.ErrNotExist, "open %s", txid)
		_, err = c.StatLTXFile(t.Context(), 0, txid, txid)
		require.ErrorIs(t, err, os.ErrNotExist, "stat %s", txid)
		_, err = c.OpenLocal(t.Context(), replica.File{MinTXID: txid, MaxTXID: txid, Version: "00"})
		require.ErrorIs(t, err, os.ErrNotExist, "open local %s", txid)
		require.NoError(t, c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: txid, MaxTXID: txid}}))
		_, err = os.Lstat(path(txid))
		require.NoError(t, err, "the stranger is gone")
	}
	assert.Len(t, replicatest.List(t, c, 0), 1)
	it, err := c.LTXFiles(t.Context(), 0, 0, true)
	require.NoError(t, err)
	files, err := ltx.SliceFileIterator(it)
	require.NoError(t, err)
	assert.Len(t, files, 1)

	// Writing puts a file in a link's place, and not behind it.
	write(t, c, 0, 2, 2, []byte("new"))
	got, err := os.ReadFile(path(1))
	require.NoError(t, err)
	assert.Equal(t, "x", string(got))
	// A directory can't give way.
	_, err = c.WriteLTXFile(t.Context(), 0, 4, 4, bytes.NewReader(nil))
	require.Error(t, err)
	assert.NotContains(t, filepath.Join(tree(t, c.Path())...), tempSuffix)
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
	c := New(t.TempDir(), replica.LitestreamFile)
	put(t, filepath.Join(c.Path(), "ltx", "3"), []byte("x"))
	assert.Empty(t, replicatest.List(t, c, 3))
	_, err := c.OpenLTXFile(t.Context(), 3, 1, 1, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: 3, MinTXID: 1, MaxTXID: 1}}))
	require.NoError(t, c.DeleteAll(t.Context()))
	_, err = c.WriteLTXFile(t.Context(), 3, 1, 1, bytes.NewReader(nil))
	require.ErrorIs(t, err, syscall.ENOTDIR)
	assert.Equal(t, []string{"ltx", "ltx/3"}, tree(t, c.Path()))
}

// A level's directory may lie elsewhere.
func TestLevelIsLink(t *testing.T) {
	c, elsewhere := New(t.TempDir(), replica.LitestreamFile), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(c.Path(), "ltx"), 0o700))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(c.Path(), "ltx", "9")))
	write(t, c, 9, 1, 1, []byte("x"))
	assert.Equal(t, []string{ltx.FormatFilename(1, 1)}, tree(t, elsewhere))
	assert.Len(t, replicatest.List(t, c, 9), 1)
	require.NoError(t, c.DeleteAll(t.Context()))
	assert.Empty(t, tree(t, elsewhere))
	assert.Equal(t, []string{"ltx", "ltx/9"}, tree(t, c.Path()), "the link is gone")
}

func TestReadTruncated(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	data := replicatest.Bytes(1, 10_000)
	f := write(t, c, 0, 1, 1, data)
	for name, open := range map[string]func() (io.ReadCloser, error){
		"any version": func() (io.ReadCloser, error) { return c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0) },
		"one version": func() (io.ReadCloser, error) { return c.OpenLTXFileVersion(t.Context(), f, 0, 0) },
		"a range":     func() (io.ReadCloser, error) { return c.OpenLTXFile(t.Context(), 0, 1, 1, 100, 9000) },
	} {
		t.Run(name, func(t *testing.T) {
			f = write(t, c, 0, 1, 1, data)
			r, err := open()
			require.NoError(t, err)
			defer r.Close()
			_, err = io.ReadFull(r, make([]byte, 500))
			require.NoError(t, err)
			require.NoError(t, os.Truncate(pathOf(c, 0, 1, 1), 5000))
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
	c := New(t.TempDir(), replica.LitestreamFile)
	f := write(t, c, 0, 1, 1, replicatest.Bytes(1, 10_000))
	for _, version := range []replica.Version{"", f.Version} {
		f.Version = version
		r, err := replica.Open(t.Context(), c, f, 0, 0)
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
