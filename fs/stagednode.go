package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

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
		return nil, 0, n.openAgain(flags)
	}
	f, err := n.s.open()
	switch {
	case errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrNotExist):
		return nil, 0, n.openAgain(flags)
	case err != nil:
		return nil, 0, n.fsys.stageFailed(n.s.path(), err)
	}
	if flags&syscall.O_TRUNC != 0 {
		if err := n.truncate(ctx, f); err != nil {
			n.s.release()
			if errors.Is(err, errPublished) {
				return nil, 0, n.openAgain(flags)
			}
			return nil, 0, n.fsys.stageFailed(n.s.path(), err)
		}
	}
	return newStagedHandle(n.s, f, flags), 0, 0
}

// openAgain sends the kernel to look the name up again, which means a published
// file now. It does so once for an open: if that is to empty the file, what it
// finds must be the replacement already.
func (n *stagedNode) openAgain(flags uint32) syscall.Errno {
	if flags&syscall.O_TRUNC == 0 {
		return errAgain
	}
	n.fsys.stagedMu.Lock()
	level, name, replaced := n.s.level, n.s.name, n.s.replaces && !n.s.linked
	n.fsys.stagedMu.Unlock()
	if f := n.s.published.Load(); f != nil {
		// One that was published by a rename had another name, and that is
		// the one that was opened.
		replaced = f.Level == level && f.Name() == name
	}
	if !replaced {
		return errAgain
	}
	if err := n.fsys.stageReplacement(level, name); err != nil {
		return n.fsys.stageFailed(stagedPath(level, name), err)
	}
	return errAgain
}

// truncate empties the file for an open, which may be the one it waited for, and
// which wants to replace what is there.
func (n *stagedNode) truncate(ctx context.Context, f *os.File) error {
	defer n.s.arrived()
	return n.s.change(ctx, func() error { return f.Truncate(0) })
}

// Getattr implements gofs.NodeGetattrer.
func (n *stagedNode) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	return n.s.attr(&out.Attr)
}

// Setattr implements gofs.NodeSetattrer. What a tool sets, it finds again until
// the file is published; then the replica's own attributes hold.
func (n *stagedNode) Setattr(ctx context.Context, f gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if err := n.resize(ctx, int64(size)); err != nil {
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

func (n *stagedNode) resize(ctx context.Context, size int64) error {
	f, err := n.s.open()
	if err != nil {
		return err
	}
	defer n.s.release()
	return n.s.change(ctx, func() error { return f.Truncate(size) })
}

// setTimes is futimens, by way of /proc: that isn't a system call, and kernels
// before 5.8 don't take a descriptor in utimensat.
func setTimes(f *os.File, atime, mtime unix.Timespec) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) {
		serr = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), []unix.Timespec{atime, mtime}, 0)
	})
	return errors.Join(err, serr)
}

// stagedHandle is an open staged file.
type stagedHandle struct {
	s        *staged
	f        *os.File
	writable bool
}

// newStagedHandle makes the handle for an open of s that was counted.
func newStagedHandle(s *staged, f *os.File, flags uint32) *stagedHandle {
	return &stagedHandle{s: s, f: f, writable: flags&syscall.O_ACCMODE != syscall.O_RDONLY}
}

// Read implements gofs.FileReader.
func (h *stagedHandle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.f.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, h.s.fsys.stageFailed(h.s.path(), err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Write implements gofs.FileWriter.
func (h *stagedHandle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	var n int
	err := h.s.change(ctx, func() (err error) {
		n, err = h.f.WriteAt(data, off)
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
		return unix.Fallocate(int(h.f.Fd()), mode, int64(off), int64(size))
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
	_, err := bounded(ctx, h.s.fsys, h.s.fsys.within.publish, func(context.Context) (struct{}, error) {
		return struct{}{}, h.f.Sync()
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
