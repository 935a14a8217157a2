package fs

import (
	"log/slog"
	"os"
	"syscall"
	"testing"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// driver drives the nodes as the kernel would, without a kernel: for what a
// replica on a real disk doesn't do on demand. What the kernel makes of the
// answers is tested in integration.
type driver struct {
	t     *testing.T
	raw   fuse.RawFileSystem
	mount *mount
	tree  *tree // the first
}

// soon is a deadline for tests that wait for it; far is one that no test
// reaches, however busy the machine is.
const (
	soon = time.Second
	far  = 2 * time.Minute
)

func newDriver(t *testing.T, store replica.Store, readWrite bool) *driver {
	return newDriverOf(t, store, readWrite, time.Minute, far)
}

func newDriverOf(t *testing.T, store replica.Store, readWrite bool, freshness, deadline time.Duration) *driver {
	t.Helper()
	return newDriverWith(t, Options{Tree: Tree{Store: store, Freshness: freshness}, ReadWrite: readWrite}, deadline)
}

func newDriverWith(t *testing.T, opts Options, deadline time.Duration) *driver {
	t.Helper()
	return newDriverWithin(t, opts, deadlines{read: deadline, stat: deadline, list: deadline, delete: deadline, publish: deadline, space: deadline, open: deadline, replica: deadline})
}

// newDriverWithin is a driver of a mount with options; what every one needs, it fills
// in.
func newDriverWithin(t *testing.T, opts Options, within deadlines) *driver {
	t.Helper()
	dir, err := staging.Open(t.TempDir(), "mock")
	require.NoError(t, err)
	opts.Tree.Staging = dir
	t.Cleanup(func() { require.NoError(t, dir.Close()) })
	opts.FileMode, opts.DirMode = 0o644, 0o755
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.CacheSize == 0 {
		opts.CacheSize = 4 << 20
	}
	m := newMount(opts, within)
	tr := &driver{t: t, mount: m}
	tr.raw = gofs.NewNodeFS(newRoot(m), &gofs.Options{NullPermissions: true, RootStableAttr: &gofs.StableAttr{Ino: inoRoot}})
	if opts.Databases == nil {
		tr.tree = m.trees[0]
	}
	t.Cleanup(func() {
		m.close()
		require.Eventually(t, func() bool { return m.budget.Used() == 0 }, far, time.Millisecond, "memory that nobody gave back")
	})
	return tr
}

func header(node uint64) fuse.InHeader { return fuse.InHeader{NodeId: node} }

// errnoOf is the errno of an answer.
func errnoOf(s fuse.Status) syscall.Errno { return syscall.Errno(s) }

func (tr *driver) lookup(parent uint64, name string) (fuse.EntryOut, syscall.Errno) {
	var out fuse.EntryOut
	h := header(parent)
	return out, errnoOf(tr.raw.Lookup(nil, &h, name, &out))
}

// walk looks names up one after the other, from the root on.
func (tr *driver) walk(names ...string) fuse.EntryOut {
	tr.t.Helper()
	out := fuse.EntryOut{NodeId: 1}
	for _, name := range names {
		h := header(out.NodeId)
		out = fuse.EntryOut{}
		require.Equal(tr.t, fuse.OK, tr.raw.Lookup(nil, &h, name, &out), name)
	}
	return out
}

func (tr *driver) level(level int) uint64 { return tr.walk("ltx", staging.LevelName(level)).NodeId }

func (tr *driver) open(node uint64, flags uint32) (uint64, syscall.Errno) {
	var out fuse.OpenOut
	st := tr.raw.Open(nil, &fuse.OpenIn{InHeader: header(node), Flags: flags}, &out)
	return out.Fh, errnoOf(st)
}

func (tr *driver) read(node, fh uint64, off int64, n int) ([]byte, syscall.Errno) {
	return tr.readUnless(nil, node, fh, off, n)
}

func (tr *driver) readUnless(cancel <-chan struct{}, node, fh uint64, off int64, n int) ([]byte, syscall.Errno) {
	buf := make([]byte, n)
	res, st := tr.raw.Read(cancel, &fuse.ReadIn{InHeader: header(node), Fh: fh, Offset: uint64(off), Size: uint32(n)}, buf)
	if !st.Ok() {
		return nil, errnoOf(st)
	}
	defer res.Done()
	b, st := res.Bytes(buf)
	return append([]byte(nil), b...), errnoOf(st)
}

func (tr *driver) create(parent uint64, name string, flags uint32) (node, fh uint64, e syscall.Errno) {
	var out fuse.CreateOut
	st := tr.raw.Create(nil, &fuse.CreateIn{InHeader: header(parent), Flags: flags, Mode: 0o600}, name, &out)
	return out.NodeId, out.Fh, errnoOf(st)
}

func (tr *driver) write(node, fh uint64, data []byte, off int64) syscall.Errno {
	n, st := tr.raw.Write(nil, &fuse.WriteIn{InHeader: header(node), Fh: fh, Offset: uint64(off), Size: uint32(len(data))}, data)
	if st.Ok() {
		require.Len(tr.t, data, int(n))
	}
	return errnoOf(st)
}

func (tr *driver) flush(node, fh uint64) syscall.Errno {
	return errnoOf(tr.raw.Flush(nil, &fuse.FlushIn{InHeader: header(node), Fh: fh}))
}

func (tr *driver) fsync(node, fh uint64) syscall.Errno {
	return errnoOf(tr.raw.Fsync(nil, &fuse.FsyncIn{InHeader: header(node), Fh: fh}))
}

func (tr *driver) release(node, fh uint64) {
	tr.raw.Release(nil, &fuse.ReleaseIn{InHeader: header(node), Fh: fh})
}

func (tr *driver) unlink(parent uint64, name string) syscall.Errno {
	h := header(parent)
	return errnoOf(tr.raw.Unlink(nil, &h, name))
}

func renameIn(from, to uint64) *fuse.RenameIn {
	return &fuse.RenameIn{InHeader: header(from), Newdir: to}
}

func (tr *driver) rename(parent uint64, from, to string, flags uint32) syscall.Errno {
	in := renameIn(parent, parent)
	in.Flags = flags
	return errnoOf(tr.raw.Rename(nil, in, from, to))
}

// list reads a directory as getdents does, and with plus as ls -l has it read.
func (tr *driver) list(node uint64, plus bool) ([]string, syscall.Errno) {
	tr.t.Helper()
	var out fuse.OpenOut
	if st := tr.raw.OpenDir(nil, &fuse.OpenIn{InHeader: header(node)}, &out); !st.Ok() {
		return nil, errnoOf(st)
	}
	defer tr.raw.ReleaseDir(&fuse.ReleaseIn{InHeader: header(node), Fh: out.Fh})
	var names []string
	for off := uint64(0); ; {
		buf := make([]byte, 4096)
		l := fuse.NewDirEntryList(buf, off)
		in := &fuse.ReadIn{InHeader: header(node), Fh: out.Fh, Offset: off, Size: uint32(len(buf))}
		var st fuse.Status
		if plus {
			st = tr.raw.ReadDirPlus(nil, in, l)
		} else {
			st = tr.raw.ReadDir(nil, in, l)
		}
		if !st.Ok() {
			return names, errnoOf(st)
		}
		if l.Offset == off {
			return names, 0
		}
		names = append(names, dirNames(buf, plus)...)
		off = l.Offset
	}
}

// stageFile writes a staged file, without closing it.
func (tr *driver) stageFile(parent uint64, name string, data []byte) (node, fh uint64) {
	tr.t.Helper()
	node, fh, e := tr.create(parent, name, syscall.O_WRONLY)
	require.Zero(tr.t, e)
	require.Zero(tr.t, tr.write(node, fh, data, 0))
	return node, fh
}

func nameOf(minTXID, maxTXID ltx.TXID) replica.Name {
	return replica.Name{MinTXID: minTXID, MaxTXID: maxTXID}
}

func fileName(minTXID, maxTXID ltx.TXID) string { return nameOf(minTXID, maxTXID).Base() }

func (tr *driver) unpublishedNames() (names []string) {
	for _, e := range tr.tree.staged.Unpublished() {
		names = append(names, e.Name)
		_, err := os.Stat(e.Path)
		require.NoError(tr.t, err, "the user is told of a file that isn't there")
	}
	return names
}
