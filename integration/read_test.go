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
)

func TestReadOrders(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	ltxfstest.RequireOrders(t, m)
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

// A mount of a replica on disk keeps nothing in a disk cache, wherever that would be.
func TestReadWithDiskCache(t *testing.T) {
	t.Parallel()
	orders := ltxfstest.Orders(t)
	dir := filepath.Join(orders, "cache")
	m := ltxfstest.MountWith(t, orders, ltxfstest.MountOptions{Env: []string{"LTXFS_DISK_CACHE=" + dir}})
	ltxfstest.RequireOrders(t, m)
	require.NoDirExists(t, dir)
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

func TestReadLinks(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	p := m.Process(t)

	for i, name := range ltxfstest.LevelNames {
		link := "ltx/" + string(rune('0'+i))
		st, err := p.Lstat(link)
		require.NoError(t, err)
		require.True(t, st.IsLink(), "%s is a link", link)
		target, err := p.Readlink(link)
		require.NoError(t, err)
		require.Equal(t, name, target, "target of %s", link)
		st, err = p.Stat(link)
		require.NoError(t, err)
		require.True(t, st.IsDir(), "%s resolves", link)
	}
	target, err := p.Readlink("snapshots")
	require.NoError(t, err)
	require.Equal(t, "ltx/0009", target)

	data, err := p.ReadFile("snapshots/0000000000000001-0000000000000009.ltx")
	require.NoError(t, err)
	require.Len(t, data, 21233)
}

func TestReadUnknownNames(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	p := m.Process(t)

	for _, name := range []string{
		"nothing", "generations", "0", "0000", "LTX",
		"ltx/nothing", "ltx/10", "ltx/00", "ltx/000", "ltx/0010", "ltx/-1", "ltx/a", "ltx/00000",
		"ltx/0000/nothing",
		"ltx/0000/00000000000000ff-00000000000000ff.ltx",
		"ltx/0000/000000000000000A-000000000000000A.ltx",
		"ltx/0000/0000000000000001-0000000000000001",
		"ltx/0000/0000000000000001-0000000000000001.ltx.tmp",
		"ltx/0003/0000000000000001-0000000000000001.ltx",
		"snapshots/0000000000000001-0000000000000018.ltx",
	} {
		_, err := p.Stat(name)
		require.Equal(t, syscall.ENOENT, err, "stat %s", name)
		_, err = p.Open(name, unix.O_RDONLY, 0)
		require.Equal(t, syscall.ENOENT, err, "open %s", name)
	}
	_, err := p.Stat("ltx/0000/0000000000000001-0000000000000001.ltx/x")
	require.Equal(t, syscall.ENOTDIR, err)
}

// Offsets and sizes at and past the ends, as read(2) and lseek(2) have them.
func TestReadRanges(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	p := m.Process(t)
	f := ltxfstest.OrdersFiles(t)[13]
	want := ltxfstest.OrdersData(t, f)
	file, err := p.Open(f.Path(), unix.O_RDONLY, 0)
	require.NoError(t, err)

	for _, r := range []struct{ off, n int }{
		{0, 0}, {0, 1}, {0, 100}, {1, 1}, {99, 4096}, {4095, 2}, {4096, 4096},
		{len(want) - 1, 1}, {len(want) - 1, 100}, {len(want), 1}, {len(want) + 1, 1}, {1 << 40, 10}, {0, len(want)}, {0, 1 << 20},
	} {
		data, err := file.ReadAt(r.n, int64(r.off))
		require.NoError(t, err, "%+v", r)
		lo, hi := min(r.off, len(want)), min(r.off+r.n, len(want))
		require.Equal(t, string(want[lo:hi]), string(data), "%+v", r)
	}
	end, err := file.Seek(0, unix.SEEK_END)
	require.NoError(t, err)
	require.Equal(t, f.Size, end)
	require.NoError(t, file.Fsync(), "fsync of a file opened to read")
	require.NoError(t, file.Close())
}

// What isn't a file of the replica isn't shown, and does no harm. A file without
// a byte is shown, as the store has it.
func TestReadStrayFiles(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	level := filepath.Join(root, "ltx", "0")
	real := filepath.Join(level, "0000000000000001-0000000000000001.ltx")
	empty := "0000000000000100-0000000000000100.ltx"
	strays := []string{
		"README", "x.tmp", ".hidden", "0000000000000101-0000000000000101.ltx.tmp",
		"00000000000000AB-00000000000000AB.ltx", "101-101.ltx",
		"0000000000000102-0000000000000102.ltx", // a directory
		"0000000000000103-0000000000000103.ltx", // a link to a file
		"0000000000000104-0000000000000104.ltx", // a dangling link
		"0000000000000105-0000000000000105.ltx", // a pipe
	}
	for _, name := range strays[:6] {
		require.NoError(t, os.WriteFile(filepath.Join(level, name), []byte("stray"), 0o644))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(level, strays[6], "below"), 0o755))
	require.NoError(t, os.Symlink(real, filepath.Join(level, strays[7])))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(level, strays[8])))
	require.NoError(t, syscall.Mkfifo(filepath.Join(level, strays[9]), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(level, empty), nil, 0o644))
	for _, name := range []string{"README", "ltx/README", "ltx/77", "ltx/5", "other/0/x"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte("stray"), 0o644))
	}

	m := ltxfstest.Mount(t, root)
	p := m.Process(t)
	want := []string{empty}
	for _, f := range ltxfstest.OrdersFiles(t) {
		if f.Level == 0 {
			want = append(want, f.Name)
		}
	}
	ltxfstest.RequireNames(t, p, ".", "db", "ltx", "snapshots")
	ltxfstest.RequireNames(t, p, "ltx", ltxfstest.LevelNames...)
	ltxfstest.RequireNames(t, p, "ltx/0000", want...)
	ltxfstest.RequireNames(t, p, "ltx/0005") // the store has a file of that name
	for _, name := range strays {
		_, err := p.Lstat(ltxfstest.LevelPath(0, name))
		require.Equal(t, syscall.ENOENT, err, "lstat %s", name)
	}
	st, err := p.Stat(ltxfstest.LevelPath(0, empty))
	require.NoError(t, err)
	require.Zero(t, st.Size)
	data, err := p.ReadFile(ltxfstest.LevelPath(0, empty))
	require.NoError(t, err)
	require.Empty(t, data)
	require.NotContains(t, m.Log(), "level=ERROR")
	require.NotContains(t, m.Log(), "level=WARN")
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	before := ltxfstest.Tree(t, root)
	m := ltxfstest.Mount(t, root)
	p := m.Process(t)
	const (
		file  = "ltx/0000/0000000000000001-0000000000000001.ltx"
		fresh = "ltx/0000/0000000000000100-0000000000000100.ltx"
	)
	open := func(path string, flags int) func() error {
		return func() error { _, err := p.Open(path, flags, 0o644); return err }
	}
	for name, call := range map[string]func() error{
		"create":             open(fresh, unix.O_CREAT|unix.O_WRONLY),
		"create exclusively": open(fresh, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY),
		"create temp":        open("ltx/0000/x.tmp", unix.O_CREAT|unix.O_RDWR),
		"create in the root": open("x", unix.O_CREAT|unix.O_WRONLY),
		"create in ltx":      open("ltx/x", unix.O_CREAT|unix.O_WRONLY),
		"open to write":      open(file, unix.O_WRONLY),
		"open to append":     open(file, unix.O_WRONLY|unix.O_APPEND),
		"open both ways":     open(file, unix.O_RDWR),
		"open to truncate":   open(file, unix.O_WRONLY|unix.O_TRUNC),
		"truncate":           func() error { return p.Truncate(file, 0) },
		"rename":             func() error { return p.Rename(file, fresh, 0) },
		"rename to temp":     func() error { return p.Rename(file, "ltx/0000/x.tmp", 0) },
		"unlink":             func() error { return p.Unlink(file) },
		"unlink a link":      func() error { return p.Unlink("snapshots") },
		"mkdir":              func() error { return p.Mkdir("ltx/0000/x") },
		"mkdir in the root":  func() error { return p.Mkdir("x") },
		"rmdir":              func() error { return p.Rmdir("ltx/0003") },
		"link":               func() error { return p.Link(file, fresh) },
		"symlink":            func() error { return p.Symlink("x", fresh) },
		"mknod":              func() error { return p.Mknod(fresh, syscall.S_IFIFO|0o644) },
		"mknod of a file":    func() error { return p.Mknod(fresh, syscall.S_IFREG|0o644) },
		"chmod":              func() error { return p.Chmod(file, 0o600) },
		"chown":              func() error { return p.Chown(file, 1, 1) },
		"utimes":             func() error { return p.Utimes(file, time.Now()) },
		"access to write":    func() error { return p.Access(file, unix.W_OK) },
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, syscall.EROFS, call())
		})
	}
	ltxfstest.RequireOrders(t, m)
	require.Equal(t, before, ltxfstest.Tree(t, root), "the replica is untouched")
}

// Nothing in a mount has a handle by which it could be exported: one would go stale as
// soon as the kernel forgets the file.
func TestNoHandles(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--rw")
	p := m.Process(t)
	staged, err := p.Create("ltx/0000/staged")
	require.NoError(t, err)
	for _, path := range []string{"", "ltx", "ltx/0000", "snapshots", file1, "ltx/0000/staged"} {
		require.Equal(t, syscall.EOPNOTSUPP, p.Handle(path), path)
	}
	require.NoError(t, staged.Close())
	require.NoError(t, p.Unlink("ltx/0000/staged"))
}
