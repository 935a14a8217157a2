package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
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
	s *staged
}

// Open implements gofs.NodeOpener.
func (n *stagedNode) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if n.s.published.Load() != nil {
		return nil, 0, errAgain // the name means the published file now
	}
	if err := n.s.open(); err != nil {
		return nil, 0, errAgain
	}
	if flags&syscall.O_TRUNC != 0 {
		if err := n.s.change(ctx, func() error { return n.s.f.Truncate(0) }); err != nil {
			n.s.release()
			if errors.Is(err, errPublished) {
				return nil, 0, errAgain
			}
			return nil, 0, n.fsys.stageFailed(n.s.path(), err)
		}
	}
	return newStagedHandle(n.s, flags), 0, 0
}

// Getattr implements gofs.NodeGetattrer.
func (n *stagedNode) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if e := n.s.attr(&out.Attr); e != 0 {
		return e
	}
	if _, _, linked := n.s.place(); !linked && n.s.published.Load() == nil {
		out.Nlink = 0
	}
	return 0
}

// Setattr implements gofs.NodeSetattrer. What a tool sets, it finds again until
// the file is published; then the replica's own attributes hold.
func (n *stagedNode) Setattr(ctx context.Context, f gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if err := n.s.change(ctx, func() error { return n.s.f.Truncate(int64(size)) }); err != nil {
			return n.fsys.stageFailed(n.s.path(), err)
		}
	}
	if n.s.published.Load() == nil {
		if err := n.s.setAttr(in); err != nil {
			return n.fsys.stageFailed(n.s.path(), err)
		}
	}
	return n.setattr(out, n.Getattr(ctx, f, out))
}

func (s *staged) setAttr(in *fuse.SetAttrIn) error {
	s.attrMu.Lock()
	if mode, ok := in.GetMode(); ok {
		s.mode = mode & 0o7777
	}
	if uid, ok := in.GetUID(); ok {
		s.uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		s.gid = gid
	}
	s.attrMu.Unlock()

	atime, setA := in.GetATime()
	mtime, setM := in.GetMTime()
	if !setA && !setM {
		return nil
	}
	times := []unix.Timespec{timespec(atime, setA), timespec(mtime, setM)}
	conn, err := s.f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) {
		// By way of /proc, since futimens isn't a system call and kernels
		// before 5.8 know no AT_EMPTY_PATH here.
		serr = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0)
	})
	return errors.Join(err, serr)
}

func timespec(t time.Time, set bool) unix.Timespec {
	if !set {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}

// stagedHandle is an open staged file.
type stagedHandle struct {
	s        *staged
	writable bool
}

// newStagedHandle makes the handle for an open that s has counted.
func newStagedHandle(s *staged, flags uint32) *stagedHandle {
	return &stagedHandle{s: s, writable: flags&syscall.O_ACCMODE != syscall.O_RDONLY}
}

// Read implements gofs.FileReader.
func (h *stagedHandle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.s.f.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, h.s.fsys.stageFailed(h.s.path(), err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Write implements gofs.FileWriter.
func (h *stagedHandle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	var n int
	err := h.s.change(ctx, func() (err error) {
		n, err = h.s.f.WriteAt(data, off)
		return err
	})
	if n > 0 && err != nil && !errors.Is(err, errPublished) {
		return uint32(n), 0 // what fitted; the next write has the error
	}
	if err != nil {
		return 0, h.s.fsys.stageFailed(h.s.path(), err)
	}
	return uint32(n), 0
}

// Allocate implements gofs.FileAllocater.
func (h *stagedHandle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	err := h.s.change(ctx, func() error {
		return unix.Fallocate(int(h.s.f.Fd()), mode, int64(off), int64(size))
	})
	if err != nil {
		return h.s.fsys.stageFailed(h.s.path(), err)
	}
	return 0
}

// Flush implements gofs.FileFlusher: it is sent for each close of each
// duplicate of the descriptor, and close returns what it returns.
func (h *stagedHandle) Flush(ctx context.Context) syscall.Errno {
	if !h.writable {
		return 0
	}
	return h.s.fsys.publishNamed(ctx, h.s, true)
}

// Fsync implements gofs.FileFsyncer. Under an LTX name, it publishes; under
// another, the bytes reach the staging disk.
func (h *stagedHandle) Fsync(ctx context.Context, _ uint32) syscall.Errno {
	if h.s.published.Load() != nil {
		return 0
	}
	_, err := bounded(ctx, h.s.fsys.within.publish, func(context.Context) (struct{}, error) {
		return struct{}{}, h.s.f.Sync()
	}, nil)
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return h.s.fsys.stageFailed(h.s.path(), err)
	}
	return h.s.fsys.publishNamed(ctx, h.s, false)
}

// Release implements gofs.FileReleaser.
func (h *stagedHandle) Release(context.Context) syscall.Errno {
	h.s.release()
	return 0
}
