package integration

import (
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// requireInStaging checks that a staging directory has files with these bytes,
// under whatever names.
func requireInStaging(t *testing.T, staging string, contents ...[]byte) {
	t.Helper()
	sums := slices.Collect(maps.Values(stagingTree(t, staging)))
	for _, data := range contents {
		require.Contains(t, sums, ltxfstest.SHA256(data), "what is in the staging directory")
	}
}

// A name that isn't an LTX file's is a temporary one: the file can be used like
// any other, and is in no replica.
func TestStagedFile(t *testing.T) {
	t.Parallel()
	w := mountWritable(t)
	const path = "ltx/0000/notes.txt"
	ltxfstest.Shell(t, `echo one > "$1"; echo two >> "$1"; printf three | tee -a "$1"; cp "$1" "$1.copy"; rm "$1.copy"`, w.m.Path(path))
	w.shows(t, path, []byte("one\ntwo\nthree"))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", "notes.txt")

	f, err := w.Open(path, unix.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, f.WriteAt([]byte("TWO"), 4))
	require.NoError(t, f.Fsync())
	require.NoError(t, f.Truncate(7))
	require.NoError(t, f.WriteAt([]byte("end"), 10))
	require.NoError(t, f.Close())
	w.shows(t, path, []byte("one\nTWO\x00\x00\x00end"))
	st, err := w.Stat(path)
	require.NoError(t, err)
	require.Equal(t, int64(13), st.Size)
	require.NoError(t, w.Truncate(path, 3))
	w.shows(t, path, []byte("one"))
	w.holds(t, nil)

	require.NoError(t, w.Rename(path, "ltx/0000/other.txt", unix.RENAME_NOREPLACE))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", "other.txt")
	w.shows(t, "ltx/0000/other.txt", []byte("one"))
	_, err = w.Stat(path)
	require.Equal(t, syscall.ENOENT, err)
	require.NoError(t, w.Unlink("ltx/0000/other.txt"))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000")
	w.holds(t, nil)
	requireCleanEnd(t, w.m)
}

// Every name but an LTX file's is a temporary one, however like it looks.
func TestTemporaryNames(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	names := []string{
		name1 + ".tmp", "." + name1 + ".Xy12ab", name1 + "~", strings.TrimSuffix(name1, ".ltx"),
		"000000000000000A-000000000000000A.ltx", "1-1.ltx", "upload", "spaß ✓.txt", "new\nline",
		strings.Repeat("n", 255),
	}
	for _, name := range names {
		require.NoError(t, w.WriteFile("ltx/0000/"+name, data), name)
		w.shows(t, "ltx/0000/"+name, data)
	}
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", names...)
	w.holds(t, nil)
	_, err := w.Create("ltx/0000/" + strings.Repeat("n", 256))
	require.Equal(t, syscall.ENAMETOOLONG, err)
	for _, name := range names {
		require.NoError(t, w.Unlink("ltx/0000/"+name), name)
	}
	requireCleanEnd(t, w.m)
}

// A file that was never complete stays: in the mount, and past its end in the
// staging directory. Unmounting says so, and so does the next mount.
func TestUnpublishedIsKept(t *testing.T) {
	t.Parallel()
	root, staging := t.TempDir(), t.TempDir()
	_, data := testFile(t, 1)
	m := ltxfstest.Mount(t, root, "--rw", "--staging-dir", staging)
	p := m.Process(t)
	require.NoError(t, p.WriteFile("ltx/0000/notes.txt", []byte("notes")))
	require.NoError(t, p.WriteFile("ltx/0002/upload.tmp", data))
	require.Equal(t, syscall.EBADMSG, p.WriteFile(file2, []byte("no LTX")))
	_, three := testFile(t, 3)
	require.NoError(t, p.WriteFile("ltx/0000/0000000000000003-0000000000000003.ltx", three))

	require.Equal(t, ltxfstest.ExitUnpublished, m.Terminate(t), m.Log())
	require.Contains(t, m.Log(), "3 files unpublished")
	for _, name := range []string{"notes.txt", "upload.tmp", name2, staging} {
		require.Contains(t, m.Log(), name)
	}
	requireInStaging(t, staging, []byte("notes"), data, []byte("no LTX"))
	requireTree(t, root, map[string][]byte{"0000000000000003-0000000000000003.ltx": three})

	next := ltxfstest.Mount(t, root, "--rw", "--staging-dir", staging)
	for _, name := range []string{"notes.txt", "upload.tmp", name2} {
		require.Contains(t, next.Log(), name, "the next mount reports what the last one left")
	}
	next.Terminate(t)
	requireInStaging(t, staging, []byte("notes"), data, []byte("no LTX"))

	// Another replica's mount has nothing to do with it.
	other := ltxfstest.Mount(t, t.TempDir(), "--rw", "--staging-dir", staging)
	require.NotContains(t, other.Log(), "notes.txt")
	require.Equal(t, ltxfstest.ExitOK, other.Terminate(t), other.Log())
	requireInStaging(t, staging, []byte("notes"), data, []byte("no LTX"))
}

// A writer that is still at work when the mount ends loses nothing that it has
// written.
func TestUnpublishedOpenFile(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t, "--grace=300ms")
	f, err := w.Create(file1)
	require.NoError(t, err)
	require.NoError(t, f.Write(data[:1500]))
	require.Equal(t, ltxfstest.ExitUnpublished, w.m.Terminate(t), w.m.Log())
	require.Contains(t, w.m.Log(), name1)
	requireInStaging(t, w.m.Staging, data[:1500])
	w.holds(t, nil)
}

// fsync of a file that isn't complete yet says so, and is no obstacle to its
// completion.
func TestFsyncBeforeTheEnd(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	f, err := w.Create(file1)
	require.NoError(t, err)
	require.NoError(t, f.Write(data[:777]))
	require.Equal(t, syscall.EBADMSG, f.Fsync())
	w.shows(t, file1, data[:777])
	w.holds(t, nil)
	require.NoError(t, f.Write(data[777:]))
	require.NoError(t, f.Fsync())
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	require.NoError(t, f.Close())
	requireCleanEnd(t, w.m)
}

// A file without a byte is nothing to publish, and no error.
func TestCloseEmpty(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	ltxfstest.MustRun(t, "touch", w.m.Path(file1))
	ltxfstest.Shell(t, `: > "$1"`, w.m.Path(file1))
	require.NoError(t, w.WriteFile(file1, nil))
	w.holds(t, nil)
	f, err := w.Open(file1, unix.O_RDWR|unix.O_CREAT, 0o644)
	require.NoError(t, err)
	require.NoError(t, f.WriteAt(data, 0))
	require.NoError(t, f.Close())
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	requireCleanEnd(t, w.m)
}

// Without --rw, a mount needs no staging directory and makes none.
func TestReadOnlyWithoutStaging(t *testing.T) {
	t.Parallel()
	missing := t.TempDir() + "/staging"
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--staging-dir", missing)
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	_, err := os.Stat(missing)
	require.ErrorIs(t, err, os.ErrNotExist)
}
