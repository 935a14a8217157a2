package fs

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/flight"
)

var (
	_ gofs.NodeOpener    = (*stagedNode)(nil)
	_ gofs.NodeGetattrer = (*stagedNode)(nil)
	_ gofs.NodeSetattrer = (*stagedNode)(nil)
	_ gofs.NodeStatfser  = (*stagedNode)(nil)

	_ gofs.FileReader    = (*stagedHandle)(nil)
	_ gofs.FileWriter    = (*stagedHandle)(nil)
	_ gofs.FileFlusher   = (*stagedHandle)(nil)
	_ gofs.FileFsyncer   = (*stagedHandle)(nil)
	_ gofs.FileAllocater = (*stagedHandle)(nil)
	_ gofs.FileReleaser  = (*stagedHandle)(nil)
)

// stagedNode is the inode of a staged file.
type stagedNode struct {
	node
	s *staging.File
}

func (n *stagedNode) ino() uint64 { return n.tree.stages + n.s.ID }

// failed is the errno of what went wrong in the staging directory.
func (n *stagedNode) failed(err error) syscall.Errno {
	return n.tree.failed("stage", n.s.Path(), err)
}

func (n *stagedNode) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if n.s.Published() != nil {
		return nil, 0, n.openAgain(flags)
	}
	f, err := n.s.Open()
	switch {
	case errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrNotExist):
		return nil, 0, n.openAgain(flags)
	case err != nil:
		return nil, 0, n.failed(err)
	}
	if flags&syscall.O_TRUNC != 0 {
		if err := n.s.Empty(ctx); err != nil {
			n.s.Release()
			if errors.Is(err, staging.ErrPublished) {
				return nil, 0, n.openAgain(flags)
			}
			return nil, 0, n.failed(err)
		}
	}
	return newStagedHandle(n, f, flags), n.tree.stagedFlags(flags), 0
}

// openAgain sends the kernel to look the name up again, which means a published
// file now. It does so once for an open: if that is to empty the file, what it
// finds must be the replacement already.
func (n *stagedNode) openAgain(flags uint32) syscall.Errno {
	if flags&syscall.O_TRUNC != 0 {
		if err := n.s.ReplaceAgain(); err != nil {
			return n.failed(err)
		}
	}
	return errAgain
}

// attr fills in the attributes as they are now.
func (n *stagedNode) attr(out *fuse.Attr) syscall.Errno {
	if f := n.s.Published(); f != nil {
		n.tree.fileAttr(out, *f)
		return 0
	}
	st, err := n.s.Stat()
	if errors.Is(err, os.ErrNotExist) {
		return errAgain
	}
	if err != nil {
		return n.failed(err)
	}
	out.FromStat(&st)
	out.Ino = n.ino()
	return 0
}

func (n *stagedNode) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.attr(&out.Attr)
}

// Setattr keeps what a tool sets until the file is published; then the replica's own
// attributes hold.
func (n *stagedNode) Setattr(ctx context.Context, f gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if err := n.s.Truncate(ctx, int64(size)); err != nil {
			return n.failed(err)
		}
	}
	if n.s.Published() == nil {
		if err := n.set(in); err != nil {
			return n.failed(err)
		}
	}
	return n.setattr(out, n.Getattr(ctx, f, out))
}

// set keeps what a tool sets beside the size.
func (n *stagedNode) set(in *fuse.SetAttrIn) error {
	n.s.SetAttr(func(a *staging.Attr) {
		if mode, ok := in.GetMode(); ok {
			a.Mode = mode & 0o7777
		}
		if uid, ok := in.GetUID(); ok {
			a.UID = uid
		}
		if gid, ok := in.GetGID(); ok {
			a.GID = gid
		}
	})
	atime, setA := in.GetATime()
	mtime, setM := in.GetMTime()
	if !setA && !setM {
		return nil
	}
	return n.s.SetTimes(timespec(atime, setA), timespec(mtime, setM))
}

func timespec(t time.Time, set bool) unix.Timespec {
	if !set {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}

// stagedHandle is an open staged file.
type stagedHandle struct {
	node     *stagedNode
	f        *os.File
	writable bool
}

// newStagedHandle makes the handle for an open of n that was counted.
func newStagedHandle(n *stagedNode, f *os.File, flags uint32) *stagedHandle {
	return &stagedHandle{node: n, f: f, writable: flags&syscall.O_ACCMODE != syscall.O_RDONLY}
}

// stagedFlags are what the kernel is told of a handle. One that only writes, and so can't
// be mapped, has what it writes come as it is, past the kernel's pages: a copy less, and a
// quarter of the time less. Others would read old pages before Linux 6.6.
func (m *mount) stagedFlags(flags uint32) uint32 {
	if m.directWrites && flags&syscall.O_ACCMODE == syscall.O_WRONLY {
		return fuse.FOPEN_DIRECT_IO
	}
	return 0
}

func (h *stagedHandle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.f.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, h.node.failed(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (h *stagedHandle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	n, err := h.node.s.WriteAt(ctx, h.f, data, off)
	if err != nil && n == 0 {
		return 0, h.node.failed(err)
	}
	return uint32(n), 0 // what fitted; the next write has the error
}

func (h *stagedHandle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	err := h.node.s.Change(ctx, func() error {
		return unix.Fallocate(int(h.f.Fd()), mode, int64(off), int64(size))
	})
	if err != nil {
		return h.node.failed(err)
	}
	return 0
}

// Flush publishes. It is sent for each close of each duplicate of the descriptor, and
// close returns what it returns.
func (h *stagedHandle) Flush(ctx context.Context) syscall.Errno {
	if !h.writable {
		return 0
	}
	return h.publish(ctx, true)
}

// Fsync publishes under an LTX name; under another, the bytes reach the staging
// disk.
func (h *stagedHandle) Fsync(ctx context.Context, _ uint32) syscall.Errno {
	n := h.node
	if n.s.Published() != nil {
		return 0
	}
	_, err := flight.Do(ctx, n.tree.calls, n.tree.within.publish, func(context.Context) (struct{}, error) {
		return struct{}{}, h.f.Sync()
	}, nil)
	if err != nil {
		return n.failed(err)
	}
	return h.publish(ctx, false)
}

func (h *stagedHandle) publish(ctx context.Context, ifWritten bool) syscall.Errno {
	err := h.node.s.Publish(ctx, ifWritten)
	if err != nil {
		return h.node.tree.notPublished(h.node.s, h.node.s.Path(), err)
	}
	return 0
}

func (h *stagedHandle) Release(context.Context) syscall.Errno {
	h.node.s.Release()
	return 0
}
