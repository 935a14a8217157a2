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
	"github.com/ltxfs/ltxfs/replica/mock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tree drives the nodes as the kernel would, without a kernel: for what a
// replica on a real disk doesn't do on demand. What the kernel makes of the
// answers is tested in integration.
type tree struct {
	t    *testing.T
	raw  fuse.RawFileSystem
	fsys *fileSystem
	mock *mock.ReplicaClient
}

// soon is a deadline for tests that wait for it; far is one that no test
// reaches, however busy the machine is.
const (
	soon = time.Second
	far  = 2 * time.Minute
)

func newTree(t *testing.T, client *mock.ReplicaClient, readWrite bool) *tree {
	return newTreeOf(t, client, client, readWrite, time.Minute, far)
}

func newTreeOf(t *testing.T, m *mock.ReplicaClient, client replica.Client, readWrite bool, freshness, deadline time.Duration) *tree {
	t.Helper()
	return newTreeWith(t, m, Options{Client: client, ReadWrite: readWrite, Freshness: freshness}, deadline)
}

// newTreeWith is a tree with options; what every tree needs, it fills in.
func newTreeWith(t *testing.T, m *mock.ReplicaClient, opts Options, deadline time.Duration) *tree {
	t.Helper()
	dir, err := staging.Open(t.TempDir(), "mock")
	require.NoError(t, err)
	opts.Staging, opts.FileMode, opts.DirMode = dir, 0o644, 0o755
	opts.CacheSize, opts.Logger = 4<<20, slog.New(slog.DiscardHandler)
	fsys := newFileSystem(opts, deadlines{read: deadline, stat: deadline, list: deadline, delete: deadline, publish: deadline, space: deadline})
	tr := &tree{t: t, fsys: fsys, mock: m}
	tr.raw = gofs.NewNodeFS(newRoot(fsys), &gofs.Options{NullPermissions: true, RootStableAttr: &gofs.StableAttr{Ino: inoRoot}})
	t.Cleanup(func() {
		fsys.close()
		require.Zero(t, fsys.budget.Used(), "memory that nobody gave back")
		require.NoError(t, dir.Close())
	})
	return tr
}

func header(node uint64) fuse.InHeader { return fuse.InHeader{NodeId: node} }

// errnoOf is the errno of an answer.
func errnoOf(s fuse.Status) syscall.Errno { return syscall.Errno(s) }

func (tr *tree) lookup(parent uint64, name string) (fuse.EntryOut, syscall.Errno) {
	var out fuse.EntryOut
	h := header(parent)
	return out, errnoOf(tr.raw.Lookup(nil, &h, name, &out))
}

// walk looks names up one after the other, from the root on.
func (tr *tree) walk(names ...string) fuse.EntryOut {
	tr.t.Helper()
	out := fuse.EntryOut{NodeId: 1}
	for _, name := range names {
		h := header(out.NodeId)
		out = fuse.EntryOut{}
		require.Equal(tr.t, fuse.OK, tr.raw.Lookup(nil, &h, name, &out), name)
	}
	return out
}

func (tr *tree) level(level int) uint64 { return tr.walk("ltx", levelName(level)).NodeId }

func (tr *tree) open(node uint64, flags uint32) (uint64, syscall.Errno) {
	var out fuse.OpenOut
	st := tr.raw.Open(nil, &fuse.OpenIn{InHeader: header(node), Flags: flags}, &out)
	return out.Fh, errnoOf(st)
}

func (tr *tree) read(node, fh uint64, off int64, n int) ([]byte, syscall.Errno) {
	return tr.readUnless(nil, node, fh, off, n)
}

func (tr *tree) readUnless(cancel <-chan struct{}, node, fh uint64, off int64, n int) ([]byte, syscall.Errno) {
	buf := make([]byte, n)
	res, st := tr.raw.Read(cancel, &fuse.ReadIn{InHeader: header(node), Fh: fh, Offset: uint64(off), Size: uint32(n)}, buf)
	if !st.Ok() {
		return nil, errnoOf(st)
	}
	defer res.Done()
	b, st := res.Bytes(buf)
	return append([]byte(nil), b...), errnoOf(st)
}

func (tr *tree) create(parent uint64, name string, flags uint32) (node, fh uint64, e syscall.Errno) {
	var out fuse.CreateOut
	st := tr.raw.Create(nil, &fuse.CreateIn{InHeader: header(parent), Flags: flags, Mode: 0o600}, name, &out)
	return out.NodeId, out.Fh, errnoOf(st)
}

func (tr *tree) write(node, fh uint64, data []byte, off int64) syscall.Errno {
	n, st := tr.raw.Write(nil, &fuse.WriteIn{InHeader: header(node), Fh: fh, Offset: uint64(off), Size: uint32(len(data))}, data)
	if st.Ok() {
		require.Len(tr.t, data, int(n))
	}
	return errnoOf(st)
}

func (tr *tree) flush(node, fh uint64) syscall.Errno {
	return errnoOf(tr.raw.Flush(nil, &fuse.FlushIn{InHeader: header(node), Fh: fh}))
}

func (tr *tree) fsync(node, fh uint64) syscall.Errno {
	return errnoOf(tr.raw.Fsync(nil, &fuse.FsyncIn{InHeader: header(node), Fh: fh}))
}

func (tr *tree) release(node, fh uint64) {
	tr.raw.Release(nil, &fuse.ReleaseIn{InHeader: header(node), Fh: fh})
}

func (tr *tree) unlink(parent uint64, name string) syscall.Errno {
	h := header(parent)
	return errnoOf(tr.raw.Unlink(nil, &h, name))
}

func (tr *tree) rename(parent uint64, from, to string, flags uint32) syscall.Errno {
	in := &fuse.RenameIn{InHeader: header(parent), Newdir: parent, Flags: flags}
	return errnoOf(tr.raw.Rename(nil, in, from, to))
}

// list reads a directory as getdents does, and with plus as ls -l has it read.
func (tr *tree) list(node uint64, plus bool) ([]string, syscall.Errno) {
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
func (tr *tree) stageFile(parent uint64, name string, data []byte) (node, fh uint64) {
	tr.t.Helper()
	node, fh, e := tr.create(parent, name, syscall.O_WRONLY)
	require.Zero(tr.t, e)
	require.Zero(tr.t, tr.write(node, fh, data, 0))
	return node, fh
}

func fileName(minTXID, maxTXID ltx.TXID) string { return ltx.FormatFilename(minTXID, maxTXID) }

func (tr *tree) unpublishedNames() (names []string) {
	for _, e := range tr.fsys.unpublished() {
		names = append(names, e.Name)
		_, err := os.Stat(e.Path)
		require.NoError(tr.t, err, "the user is told of a file that isn't there")
	}
	return names
}
