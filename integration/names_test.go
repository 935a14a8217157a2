package integration

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// A name that is taken is taken, whoever took it: here, another writer a moment
// ago, or before the mount last looked.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	_, one := testFile(t, 1)
	_, two := testFile(t, 2)
	const staged, taken = "ltx/0000/mine.tmp", "ltx/0000/taken.tmp"

	for name, take := range map[string]func(t *testing.T, w writable) string{
		"staged": func(t *testing.T, w writable) string {
			require.NoError(t, w.WriteFile(taken, []byte("taken")))
			return taken
		},
		"published": func(t *testing.T, w writable) string {
			require.NoError(t, w.WriteFile(file2, two))
			return file2
		},
		"published by another": func(t *testing.T, w writable) string {
			_, err := w.Stat(file2)
			require.Equal(t, syscall.ENOENT, err)
			ltxfstest.RequireNames(t, w.Process, "ltx/0000", "mine.tmp")
			ltxfstest.Store(t, filepath.Join(w.root, ltxfstest.StorePath(0, name2)), two, ltxfstest.HeaderTime(t, two))
			return file2
		},
		"a directory": func(t *testing.T, w writable) string { return "ltx/0001" },
		"a link":      func(t *testing.T, w writable) string { return "ltx/1" },
	} {
		t.Run("rename to "+name, func(t *testing.T) {
			w := mountWritable(t, "--freshness=1h")
			require.NoError(t, w.WriteFile(staged, two))
			target := take(t, w)
			before := ltxfstest.Tree(t, w.root)
			require.Equal(t, syscall.EEXIST, w.Rename(staged, target, unix.RENAME_NOREPLACE))
			require.Equal(t, before, ltxfstest.Tree(t, w.root))
			w.shows(t, staged, two)
			switch target {
			case taken:
				w.shows(t, taken, []byte("taken"))
			case file2:
				w.shows(t, file2, two)
			}
		})
		t.Run("create "+name, func(t *testing.T) {
			w := mountWritable(t, "--freshness=1h")
			require.NoError(t, w.WriteFile(staged, two))
			target := take(t, w)
			before := ltxfstest.Tree(t, w.root)
			_, err := w.Open(target, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
			require.Equal(t, syscall.EEXIST, err)
			require.Equal(t, before, ltxfstest.Tree(t, w.root))
		})
	}

	t.Run("mv -n leaves both", func(t *testing.T) {
		w := mountWritable(t)
		require.NoError(t, w.WriteFile(file1, one))
		require.NoError(t, w.WriteFile(staged, one))
		ltxfstest.Run(t, ltxfstest.Timeout, "mv", "-n", w.m.Path(staged), w.m.Path(file1))
		w.shows(t, staged, one)
		w.holds(t, map[string][]byte{name1: one})
	})
}

// An exclusive creation makes the name ours: a second one fails, and what is
// written is published.
func TestCreateExclusively(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY
	f, err := w.Open(file1, flags, 0o644)
	require.NoError(t, err)
	_, err = w.Open(file1, flags, 0o644)
	require.Equal(t, syscall.EEXIST, err)
	require.NoError(t, f.Write(data))
	require.NoError(t, f.Close())
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	requireCleanEnd(t, w.m)
}

func TestRename(t *testing.T) {
	t.Parallel()
	_, one := testFile(t, 1)
	_, two := testFile(t, 2)
	const a, b = "ltx/0000/a.tmp", "ltx/0000/b.tmp"

	t.Run("exchange", func(t *testing.T) {
		w := mountWritable(t)
		require.NoError(t, w.WriteFile(file1, one))
		require.NoError(t, w.WriteFile(a, one))
		require.NoError(t, w.WriteFile(b, two))
		for _, pair := range [][2]string{{a, b}, {a, file1}, {file1, a}} {
			require.Equal(t, syscall.EINVAL, w.Rename(pair[0], pair[1], unix.RENAME_EXCHANGE), "%v", pair)
		}
		w.shows(t, a, one)
		w.shows(t, b, two)
		w.shows(t, file1, one)
		w.holds(t, map[string][]byte{name1: one})
	})
	t.Run("published to other TXIDs", func(t *testing.T) {
		w := mountWritable(t)
		require.NoError(t, w.WriteFile(file1, one))
		require.NoError(t, w.WriteFile(file2, two))
		for _, target := range []string{file2, "ltx/0000/0000000000000001-0000000000000002.ltx", "ltx/0001/" + name2} {
			require.Equal(t, syscall.EINVAL, w.Rename(file1, target, 0), "to %s", target)
		}
		requirePublished(t, w.m, w.root, map[string][]byte{name1: one, name2: two})
	})
	t.Run("published to itself", func(t *testing.T) {
		w := mountWritable(t)
		require.NoError(t, w.WriteFile(file1, one))
		require.NoError(t, w.Rename(file1, file1, 0))
		requirePublished(t, w.m, w.root, map[string][]byte{name1: one})
		requireCleanEnd(t, w.m)
	})
	t.Run("staged over staged", func(t *testing.T) {
		w := mountWritable(t)
		require.NoError(t, w.WriteFile(a, []byte("a")))
		require.NoError(t, w.WriteFile(b, []byte("b")))
		require.NoError(t, w.Rename(a, b, 0))
		ltxfstest.RequireNames(t, w.Process, "ltx/0000", "b.tmp")
		w.shows(t, b, []byte("a"))
		w.holds(t, nil)
		require.NoError(t, w.Unlink(b))
		requireCleanEnd(t, w.m)
	})
	t.Run("staged to another level", func(t *testing.T) {
		w := mountWritable(t)
		require.NoError(t, w.WriteFile(a, one))
		require.NoError(t, w.Rename(a, "ltx/0003/b.tmp", 0))
		ltxfstest.RequireNames(t, w.Process, "ltx/0000")
		ltxfstest.RequireNames(t, w.Process, "ltx/0003", "b.tmp")
		require.NoError(t, w.Rename("ltx/0003/b.tmp", file1, 0))
		requirePublished(t, w.m, w.root, map[string][]byte{name1: one})
		requireCleanEnd(t, w.m)
	})
	t.Run("while it is written", func(t *testing.T) {
		w := mountWritable(t)
		f, err := w.Create(a)
		require.NoError(t, err)
		require.NoError(t, f.Write(one[:500]))
		require.Equal(t, syscall.EBADMSG, w.Rename(a, file1, 0), "an incomplete file")
		require.NoError(t, f.Write(one[500:]))
		require.NoError(t, w.Rename(a, file1, 0))
		w.holds(t, map[string][]byte{name1: one})
		require.Equal(t, syscall.EPERM, f.Write([]byte("x")))
		require.NoError(t, f.Close())
		requirePublished(t, w.m, w.root, map[string][]byte{name1: one})
		requireCleanEnd(t, w.m)
	})
	t.Run("to where no file can be", func(t *testing.T) {
		w := mountWritable(t)
		require.NoError(t, w.WriteFile(a, one))
		require.Equal(t, syscall.EPERM, w.Rename(a, name1, 0), "into the root")
		require.Equal(t, syscall.EPERM, w.Rename(a, "ltx/"+name1, 0), "into ltx")
		require.Equal(t, syscall.ENOENT, w.Rename(a, "ltx/0000/x/"+name1, 0))
		w.shows(t, a, one)
	})
	t.Run("directories", func(t *testing.T) {
		w := mountWritable(t)
		for _, from := range []string{"ltx", "ltx/0000", "snapshots", "ltx/0"} {
			require.Equal(t, syscall.EPERM, w.Rename(from, "x", 0), "%s into the root", from)
		}
		for _, from := range []string{"ltx/0000", "snapshots", "ltx/0"} {
			require.Equal(t, syscall.EPERM, w.Rename(from, "ltx/0001/x", 0), "%s into a level", from)
		}
		ltxfstest.RequireNames(t, w.Process, "ltx", ltxfstest.LevelNames...)
	})
	t.Run("of nothing", func(t *testing.T) {
		w := mountWritable(t)
		require.Equal(t, syscall.ENOENT, w.Rename(a, b, 0))
		require.Equal(t, syscall.ENOENT, w.Rename(a, file1, 0))
		require.Equal(t, syscall.ENOENT, w.Rename(file2, file1, 0))
	})
}

func TestUnlink(t *testing.T) {
	t.Parallel()
	_, one := testFile(t, 1)
	_, two := testFile(t, 2)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, one))
	require.NoError(t, w.WriteFile(file2, two))

	require.NoError(t, w.Unlink(file1))
	w.holds(t, map[string][]byte{name2: two})
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name2)
	_, err := w.Stat(file1)
	require.Equal(t, syscall.ENOENT, err)
	require.Equal(t, syscall.ENOENT, w.Unlink(file1), "again")
	result := ltxfstest.Run(t, ltxfstest.Timeout, "rm", w.m.Path(file1))
	require.Equal(t, 1, result.Code)
	require.Contains(t, result.Stderr, "No such file or directory")
	ltxfstest.MustRun(t, "rm", "-f", w.m.Path(file1))

	// A file that another writer has deleted just now.
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name2)
	ltxfstest.MustRun(t, "rm", filepath.Join(w.root, ltxfstest.StorePath(0, name2)))
	if err := w.Unlink(file2); err != nil {
		require.Equal(t, syscall.ENOENT, err)
	}
	w.holds(t, nil)

	// A staged file, also while it is open.
	f, err := w.Create("ltx/0000/x.tmp")
	require.NoError(t, err)
	require.NoError(t, f.Write([]byte("hello")))
	require.NoError(t, w.Unlink("ltx/0000/x.tmp"))
	ltxfstest.RequireNames(t, w.Process, "ltx/0000")
	require.NoError(t, f.Write([]byte(" world")))
	require.NoError(t, f.Close())
	_, err = w.Stat("ltx/0000/x.tmp")
	require.Equal(t, syscall.ENOENT, err)

	// A file with an LTX name that is removed before its writer is done is
	// never published.
	f, err = w.Create(file1)
	require.NoError(t, err)
	require.NoError(t, f.Write(one))
	require.NoError(t, w.Unlink(file1))
	require.NoError(t, f.Close())
	w.holds(t, nil)
	ltxfstest.RequireNames(t, w.Process, "ltx/0000")

	ltxfstest.MustRun(t, "cp", saveFile(t, name1, one), w.m.Path("ltx/0000/"))
	ltxfstest.MustRun(t, "rm", w.m.Path(file1))
	w.holds(t, nil)
	requireCleanEnd(t, w.m)
}

// What the tree can't have. Nothing is lost by trying.
func TestRefused(t *testing.T) {
	t.Parallel()
	_, data := testFile(t, 1)
	w := mountWritable(t)
	require.NoError(t, w.WriteFile(file1, data))
	require.NoError(t, w.WriteFile("ltx/0000/x.tmp", []byte("x")))

	create := func(path string) func() error {
		return func() error { _, err := w.Create(path); return err }
	}
	type refusal struct {
		call func() error
		want syscall.Errno
	}
	refusals := map[string]refusal{
		"mkdir of the root":      {func() error { return w.Mkdir(".") }, syscall.EEXIST},
		"mkdir of ltx":           {func() error { return w.Mkdir("ltx") }, syscall.EEXIST},
		"mkdir of snapshots":     {func() error { return w.Mkdir("snapshots") }, syscall.EEXIST},
		"mkdir of a file":        {func() error { return w.Mkdir(file1) }, syscall.EEXIST},
		"mkdir in the root":      {func() error { return w.Mkdir("x") }, syscall.EPERM},
		"mkdir in ltx":           {func() error { return w.Mkdir("ltx/x") }, syscall.EPERM},
		"mkdir of a tenth level": {func() error { return w.Mkdir("ltx/10") }, syscall.EPERM},
		"mkdir in a level":       {func() error { return w.Mkdir("ltx/0000/x") }, syscall.EPERM},
		"mkdir with an LTX name": {func() error { return w.Mkdir("ltx/0003/" + name1) }, syscall.EPERM},
		"mkdir in snapshots":     {func() error { return w.Mkdir("snapshots/x") }, syscall.EPERM},
		"rmdir of ltx":           {func() error { return w.Rmdir("ltx") }, syscall.EPERM},
		"rmdir of a file":        {func() error { return w.Rmdir(file1) }, syscall.ENOTDIR},
		"unlink of a directory":  {func() error { return w.Unlink("ltx/0001") }, syscall.EISDIR},
		"unlink of snapshots":    {func() error { return w.Unlink("snapshots") }, syscall.EPERM},
		"unlink of a level link": {func() error { return w.Unlink("ltx/0") }, syscall.EPERM},
		"link of a published":    {func() error { return w.Link(file1, file2) }, syscall.EPERM},
		"link of a staged":       {func() error { return w.Link("ltx/0000/x.tmp", "ltx/0000/y.tmp") }, syscall.EPERM},
		"symlink in the root":    {func() error { return w.Symlink("x", "y") }, syscall.EPERM},
		"symlink in ltx":         {func() error { return w.Symlink("x", "ltx/y") }, syscall.EPERM},
		"symlink in a level":     {func() error { return w.Symlink("x", file2) }, syscall.EPERM},
		"pipe in the root":       {func() error { return w.Mknod("x", syscall.S_IFIFO|0o644) }, syscall.EPERM},
		"pipe in ltx":            {func() error { return w.Mknod("ltx/x", syscall.S_IFIFO|0o644) }, syscall.EPERM},
		"pipe in a level":        {func() error { return w.Mknod(file2, syscall.S_IFIFO|0o644) }, syscall.EPERM},
		"device in a level":      {func() error { return w.Mknod("ltx/0000/null", syscall.S_IFCHR|0o666) }, syscall.EPERM},
		"socket in a level":      {func() error { return w.Mknod("ltx/0000/sock", syscall.S_IFSOCK|0o666) }, syscall.EPERM},
		"file in the root":       {create("x"), syscall.EPERM},
		"LTX file in the root":   {create(name1), syscall.EPERM},
		"file in ltx":            {create("ltx/x"), syscall.EPERM},
		"LTX file in ltx":        {create("ltx/" + name1), syscall.EPERM},
		"file in no directory":   {create("ltx/0000/x/y"), syscall.ENOENT},
	}
	for i, level := range ltxfstest.LevelNames {
		refusals["mkdir of "+level] = refusal{func() error { return w.Mkdir("ltx/" + level) }, syscall.EEXIST}
		link := "ltx/" + string(rune('0'+i))
		refusals["mkdir of "+link] = refusal{func() error { return w.Mkdir(link) }, syscall.EEXIST}
		refusals["rmdir of "+level] = refusal{func() error { return w.Rmdir("ltx/" + level) }, syscall.EPERM}
	}
	for name, r := range refusals {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, r.want, r.call())
		})
	}

	ltxfstest.RequireNames(t, w.Process, ".", "db", "ltx", "snapshots")
	ltxfstest.RequireNames(t, w.Process, "ltx", ltxfstest.LevelNames...)
	ltxfstest.RequireNames(t, w.Process, "ltx/0000", name1, "x.tmp")
	w.shows(t, "ltx/0000/x.tmp", []byte("x"))
	require.NoError(t, w.Unlink("ltx/0000/x.tmp"))
	requirePublished(t, w.m, w.root, map[string][]byte{name1: data})
	requireCleanEnd(t, w.m)
}
