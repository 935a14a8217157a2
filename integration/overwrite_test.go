package integration

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// writable is an empty replica with a mount that can write, and a process in it.
type writable struct {
	*ltxfstest.Process
	m    *ltxfstest.Mounted
	root string
}

func mountWritable(t *testing.T, flags ...string) writable {
	t.Helper()
	root := t.TempDir()
	m := ltxfstest.Mount(t, root, append([]string{"--rw"}, flags...)...)
	return writable{m.Process(t), m, root}
}

// shows checks the content of a file in the mount.
func (w writable) shows(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := w.ReadFile(path)
	require.NoError(t, err, "read %s", path)
	require.Equal(t, ltxfstest.SHA256(want), ltxfstest.SHA256(got), "content of %s in the mount", path)
}

// holds checks all that the replica's directory holds: files of level 0, by name.
func (w writable) holds(t *testing.T, files map[string][]byte) {
	t.Helper()
	requireTree(t, w.root, files)
}

// twoVersions are two contents of file1.
func twoVersions(t *testing.T) (old, replacement []byte) {
	t.Helper()
	_, old = testFile(t, 1, storetest.Seed(1))
	_, replacement = testFile(t, 1, storetest.Seed(2), storetest.Commit(30))
	return old, replacement
}

// O_TRUNC of a published file starts a replacement: the replica has the old file
// until the new one is published.
func TestReplaceByTruncating(t *testing.T) {
	t.Parallel()
	old, replacement := twoVersions(t)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, old))

	f, err := w.Create(file1)
	require.NoError(t, err)
	w.holds(t, map[string][]byte{name1: old})
	require.NoError(t, f.Write(replacement[:1000]))
	w.holds(t, map[string][]byte{name1: old})
	w.shows(t, file1, replacement[:1000])
	require.NoError(t, f.Write(replacement[1000:]))
	w.holds(t, map[string][]byte{name1: old})
	require.NoError(t, f.Close())
	w.holds(t, map[string][]byte{name1: replacement})
	w.shows(t, file1, replacement)
	requireCleanEnd(t, w.m)
}

// A writer that truncates and writes nothing has changed nothing. That shows a
// moment later: the kernel tells of a file's last close when close has returned.
func TestTruncateWithoutWriting(t *testing.T) {
	t.Parallel()
	old, _ := twoVersions(t)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, old))
	soonShowsOld := func() {
		t.Helper()
		ltxfstest.Eventually(t, slack, "the old content shows", func() bool {
			data, err := w.ReadFile(file1)
			return err == nil && ltxfstest.SHA256(data) == ltxfstest.SHA256(old)
		})
	}

	f, err := w.Create(file1)
	require.NoError(t, err)
	w.holds(t, map[string][]byte{name1: old})
	require.NoError(t, f.Close())
	w.holds(t, map[string][]byte{name1: old})
	soonShowsOld()

	ltxfstest.Shell(t, `: > "$1"`, w.m.Path(file1))
	w.holds(t, map[string][]byte{name1: old})
	soonShowsOld()
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1)
	requireCleanEnd(t, w.m)
}

// Someone who reads a published file goes on reading it when it is replaced.
func TestReplaceUnderReader(t *testing.T) {
	t.Parallel()
	versions := makeVersions(t, 2)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, versions[0]))
	reader, err := w.Open(file1, unix.O_RDONLY, 0)
	require.NoError(t, err)
	require.NoError(t, w.WriteFile(file1, versions[1]))

	data, err := reader.ReadAt(len(versions[0]), 0)
	if err == nil {
		require.Equal(t, ltxfstest.SHA256(versions[0]), ltxfstest.SHA256(data))
	} else {
		require.Equal(t, syscall.ESTALE, err)
	}
	w.shows(t, file1, versions[1])
	require.NoError(t, reader.Close())
	requireCleanEnd(t, w.m)
}

func TestReplaceByRename(t *testing.T) {
	t.Parallel()
	old, replacement := twoVersions(t)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, old))
	require.NoError(t, w.WriteFile("ltx/0000/x.tmp", replacement))
	w.holds(t, map[string][]byte{name1: old})
	w.shows(t, file1, old)
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1, "x.tmp")

	require.NoError(t, w.Rename("ltx/0000/x.tmp", file1, 0))
	w.holds(t, map[string][]byte{name1: replacement})
	w.shows(t, file1, replacement)
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1)
	requirePublished(t, w.m, w.root, map[string][]byte{name1: replacement})
	requireCleanEnd(t, w.m)
}

// A published file can't be changed in place, however it is tried.
func TestEditInPlace(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, data))

	edit := func(flags int, edit func(f *ltxfstest.File) error) func() error {
		return func() error {
			f, err := w.Open(file1, flags, 0)
			if err != nil {
				return err
			}
			err = edit(f)
			require.NoError(t, f.Close(), "close after a refused edit")
			return err
		}
	}
	write := func(f *ltxfstest.File) error { return f.Write([]byte("x")) }
	for name, call := range map[string]func() error{
		"append":            edit(unix.O_WRONLY|unix.O_APPEND, write),
		"append both ways":  edit(unix.O_RDWR|unix.O_APPEND, write),
		"overwrite":         edit(unix.O_WRONLY, write),
		"overwrite inside":  edit(unix.O_RDWR, func(f *ltxfstest.File) error { return f.WriteAt([]byte("x"), 200) }),
		"write past end":    edit(unix.O_RDWR, func(f *ltxfstest.File) error { return f.WriteAt([]byte("x"), 1<<20) }),
		"ftruncate to less": edit(unix.O_RDWR, func(f *ltxfstest.File) error { return f.Truncate(100) }),
		"ftruncate to more": edit(unix.O_RDWR, func(f *ltxfstest.File) error { return f.Truncate(1 << 20) }),
		"truncate to less":  func() error { return w.Truncate(file1, 100) },
		"truncate to more":  func() error { return w.Truncate(file1, 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, syscall.EPERM, call())
			w.holds(t, map[string][]byte{name1: data})
			w.shows(t, file1, data)
		})
	}
	// The shell's way, and what it prints.
	for name, script := range map[string]string{
		">>":              `echo x >> "$1"`,
		"dd conv=notrunc": `echo x | dd of="$1" conv=notrunc status=none`,
		"sed -i":          `sed -i s/a/b/ "$1"`,
	} {
		t.Run(name, func(t *testing.T) {
			result := ltxfstest.Run(t, ltxfstest.Timeout, "bash", "-c", script, "bash", w.m.Path(file1))
			require.NotEqual(t, 0, result.Code, result)
			if name == "sed -i" {
				require.Contains(t, result.Stderr, "Bad message") // it writes a new file and renames that
				for _, stray := range stagedNames(t, w) {
					require.NoError(t, w.Unlink("ltx/0000/"+stray))
				}
			} else {
				require.Contains(t, result.Stderr, "Operation not permitted")
			}
			w.holds(t, map[string][]byte{name1: data})
			w.shows(t, file1, data)
		})
	}
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	requireCleanEnd(t, w.m)
}

// stagedNames are the names in level 0 that aren't file1's.
func stagedNames(t *testing.T, w writable) []string {
	t.Helper()
	var staged []string
	names, err := w.ReadDir("ltx/0000")
	require.NoError(t, err)
	for _, name := range names {
		if name != name1 {
			staged = append(staged, name)
		}
	}
	return staged
}

// Once a file is published, the handle that wrote it can write no more.
func TestWriteAfterPublishing(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	f, err := w.Open(file1, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o644)
	require.NoError(t, err)
	require.NoError(t, f.Write(data))
	w.holds(t, nil)
	require.NoError(t, f.Fsync())
	w.holds(t, map[string][]byte{name1: data})

	require.Equal(t, syscall.EPERM, f.Write([]byte("x")))
	require.Equal(t, syscall.EPERM, f.WriteAt([]byte("x"), 0))
	require.Equal(t, syscall.EPERM, f.Truncate(10))
	got, err := f.ReadAt(len(data)+1, 0)
	require.NoError(t, err)
	require.Equal(t, ltxfstest.SHA256(data), ltxfstest.SHA256(got))
	require.NoError(t, f.Fsync(), "fsync again")
	require.NoError(t, f.Close())
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	requireCleanEnd(t, w.m)
}

// A duplicate of a descriptor is closed with a FLUSH of its own: what is complete
// is published then, and the other descriptor's close adds nothing.
func TestCloseDuplicate(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	f, err := w.Create(file1)
	require.NoError(t, err)
	dup, err := f.Dup()
	require.NoError(t, err)
	require.NoError(t, dup.Close(), "close with nothing written")
	w.holds(t, nil)
	require.NoError(t, f.Write(data))
	dup, err = f.Dup()
	require.NoError(t, err)
	require.NoError(t, dup.Close())
	w.holds(t, map[string][]byte{name1: data})
	require.NoError(t, f.Close())
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	requireCleanEnd(t, w.m)
}

// What is set on a published file changes nothing, and what is set on a staged
// one stays.
func TestSetAttributes(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, data))
	before, err := w.Stat(file1)
	require.NoError(t, err)
	at := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)

	require.NoError(t, w.Chmod(file1, 0o600))
	require.NoError(t, w.Chown(file1, 12, 34))
	require.NoError(t, w.Utimes(file1, at))
	ltxfstest.MustRun(t, "touch", w.m.Path(file1))
	after, err := w.Stat(file1)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, ltxfstest.HeaderTime(t, data), after.ModTime)
	info, err := os.Stat(filepath.Join(w.root, ltxfstest.StorePath(0, name1)))
	require.NoError(t, err)
	require.Equal(t, ltxfstest.HeaderTime(t, data), info.ModTime().UTC())

	const staged = "ltx/0000/notes.txt"
	require.NoError(t, w.WriteFile(staged, []byte("notes")))
	require.NoError(t, w.Chmod(staged, 0o600))
	require.NoError(t, w.Chown(staged, 12, 34))
	require.NoError(t, w.Utimes(staged, at))
	st, err := w.Stat(staged)
	require.NoError(t, err)
	require.NotZero(t, st.Ino)
	require.Equal(t, uint32(0o600), st.Perm())
	require.Equal(t, []uint32{12, 34}, []uint32{st.UID, st.GID})
	require.Equal(t, at, st.ModTime)
	require.NoError(t, w.Rename(staged, "ltx/0000/renamed.txt", 0))
	renamed, err := w.Stat("ltx/0000/renamed.txt")
	require.NoError(t, err)
	require.Equal(t, st, renamed)
	require.NoError(t, w.Unlink("ltx/0000/renamed.txt"))

	// Tools that unpack a tree set the times of its directories last.
	for _, dir := range []string{".", "ltx", "ltx/0000"} {
		before, err := w.Stat(dir)
		require.NoError(t, err)
		require.NoError(t, w.Chmod(dir, 0o700))
		require.NoError(t, w.Utimes(dir, at))
		after, err := w.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, before, after, "%s", dir)
	}
	requireCleanEnd(t, w.m)
}

// What a mount wrote and deleted shows in it at once, however long it may trust
// what it knows of the store.
func TestOwnChangesShowAtOnce(t *testing.T) {
	t.Parallel()
	w := mountWritable(t, "--freshness=1h")
	ltxfstest.RequireNames(t, w.Process, "ltx/0000")
	_, err := w.Stat(file1)
	require.Equal(t, syscall.ENOENT, err)
	_, one := testFile(t, 1)
	_, two := testFile(t, 2)

	require.NoError(t, w.WriteFile(file1, one))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1)
	require.NoError(t, w.WriteFile("ltx/0000/x.tmp", two))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1, "x.tmp")
	require.NoError(t, w.Rename("ltx/0000/x.tmp", file2, 0))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1, name2)
	w.shows(t, file2, two)

	dir, err := w.Open("ltx/0000", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	require.NoError(t, err)
	names, err := dir.ReadNames()
	require.NoError(t, err)
	require.ElementsMatch(t, []string{name1, name2}, names)
	require.NoError(t, w.Unlink(file1))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name2)
	names, err = dir.ReadNames()
	require.NoError(t, err)
	require.Equal(t, []string{name2}, names, "a rewound directory")
	_, err = w.Stat(file1)
	require.Equal(t, syscall.ENOENT, err)

	require.NoError(t, w.WriteFile(file1, one))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1, name2)
	requirePublished(t, w.m, w.root, map[string][]byte{name1: one, name2: two})
	requireCleanEnd(t, w.m)
}
