package fs

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

var (
	_ gofs.NodeOpener    = (*file)(nil)
	_ gofs.NodeGetattrer = (*file)(nil)
	_ gofs.NodeSetattrer = (*file)(nil)
	_ gofs.NodeStatfser  = (*file)(nil)

	_ gofs.FileReader          = (*fileHandle)(nil)
	_ gofs.FileFsyncer         = (*fileHandle)(nil)
	_ gofs.FileReleaser        = (*fileHandle)(nil)
	_ gofs.FilePassthroughFder = (*localHandle)(nil)
)

// file is one version of a published file.
type file struct {
	node
	f replica.File

	// gone is set once the store has said that the name means another version
	// by now, or none. The kernel, which keeps the name for a while, is then sent
	// to look it up again.
	gone atomic.Bool

	// back is set once the store has shown this version again all the same.
	back atomic.Bool

	mode openMode
}

func (n *file) path() string { return n.tree.staged.Path(staging.PlaceOf(n.f.Name)) }

func (n *file) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.tree.fileAttr(&out.Attr, n.f)
	out.SetTimeout(attrTimeout)
	return 0
}

// Setattr refuses to change the size: a published file keeps its bytes and its LTX
// timestamp. To set its mode, owner or times succeeds and changes nothing: tools
// that copy or unpack set them, and would fail over something that the replica has
// no place for.
func (n *file) Setattr(ctx context.Context, f gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if !n.tree.opts.ReadWrite {
		return syscall.EROFS
	}
	if _, ok := in.GetSize(); ok {
		return errno(staging.ErrPublished)
	}
	return n.setattr(out, n.Getattr(ctx, f, out))
}

func (n *file) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0 {
		return nil, 0, n.openForWriting(flags)
	}
	if n.gone.Load() {
		return nil, 0, errAgain
	}
	fh, err := n.open(ctx, flags)
	switch {
	case err == nil:
		// A version never changes, so that what the kernel has of it stays right.
		return fh, fuse.FOPEN_KEEP_CACHE, 0
	case gone(err):
		n.tree.index.Invalidate(n.f.Level)
		return nil, 0, errAgain
	}
	return nil, 0, n.tree.failed("open", n.path(), err)
}

// openForWriting refuses to open a published file for writing, unless it is to
// be emptied: that starts another file of the same name, which replaces this one
// once it is published. The kernel is sent to look for it.
func (n *file) openForWriting(flags uint32) syscall.Errno {
	if !n.tree.opts.ReadWrite {
		return syscall.EROFS
	}
	if flags&syscall.O_TRUNC == 0 {
		return errno(staging.ErrPublished)
	}
	if err := n.tree.staged.Replace(staging.PlaceOf(n.f.Name)); err != nil {
		return n.tree.failed("stage", n.path(), err)
	}
	return errAgain
}

// open makes a handle. Where the store is on this machine it also sees to it that
// the name still means this version, since that costs no request.
func (n *file) open(ctx context.Context, flags uint32) (gofs.FileHandle, error) {
	t := n.tree
	if t.disk != nil {
		return n.openKept(ctx, flags), nil
	}
	if t.passthrough.on() {
		f, err := flight.Do(ctx, t.calls, t.within.stat, func(ctx context.Context) (*os.File, error) {
			return t.Store.OpenLocal(ctx, n.f)
		}, func(f *os.File) { _ = f.Close() })
		if err != nil {
			return nil, err
		}
		if t.passthrough.takes(f, t.log) {
			return &localHandle{n.handle(flags), f}, nil
		}
		_ = f.Close() // opened for reading only: nothing can be lost
	} else if t.Store.Properties().Local {
		got, err := flight.Do(ctx, t.calls, t.within.stat, func(ctx context.Context) (replica.File, error) {
			return t.Store.StatLTXFile(ctx, n.f.Name, replica.StatOptions{})
		}, nil)
		if err != nil {
			return nil, err
		}
		if got.Version != n.f.Version {
			return nil, replica.ErrReplaced
		}
	}
	h := n.handle(flags)
	return &h, nil
}

func (n *file) handle(flags uint32) fileHandle {
	h := n.tree.blocks.Open(n.tree.ID, n.tree.Store, n.f)
	// O_DIRECT passes on each read of the program as it is.
	h.Direct = flags&syscall.O_DIRECT != 0
	return fileHandle{n, h}
}

// fileHandle reads a published file through the cache.
type fileHandle struct {
	node   *file
	blocks *blocks.Handle
}

func (h *fileHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	// A signal to the caller ends no read: others may wait for what it fetches.
	slice, err := h.blocks.Read(context.WithoutCancel(h.node.tree.requests.traced(ctx)), dest, off)
	if err != nil {
		return nil, h.node.readFailed(err)
	}
	return &cachedRead{slice}, 0
}

// readFailed is the errno of a failed read. A file that is gone was there when it
// was opened; in the log of a replica with retention that is no news. One that is gone
// whenever it is read, and there whenever it is looked up, is a fault.
func (n *file) readFailed(err error) syscall.Errno {
	e, log := errno(err), n.tree.log.Error
	if gone(err) {
		n.gone.Store(true)
		n.tree.index.Invalidate(n.f.Level)
		if e = syscall.ESTALE; !n.back.Load() {
			log = n.tree.log.Info
		}
	}
	log("can't read", "file", n.path(), "error", err, "errno", e.Error())
	return e
}

// Fsync has nothing to write.
func (h *fileHandle) Fsync(context.Context, uint32) syscall.Errno { return 0 }

func (h *fileHandle) Release(context.Context) syscall.Errno {
	h.blocks.Close()
	return 0
}

// localHandle is a handle on a file on local disk, which the kernel reads
// itself. Should it not, what it inherits reads through the cache.
type localHandle struct {
	fileHandle
	f *os.File
}

func (h *localHandle) PassthroughFd() (int, bool) { return int(h.f.Fd()), true }

func (h *localHandle) Release(ctx context.Context) syscall.Errno {
	_ = h.f.Close() // opened for reading only: nothing can be lost
	return h.fileHandle.Release(ctx)
}

// cachedRead answers a read with cached blocks, without copying them.
type cachedRead struct{ slice *blocks.Slice }

// Slices is what go-fuse looks for to write the blocks as they are.
func (r *cachedRead) Slices() ([][]byte, fuse.Status) { return r.slice.Slices(), fuse.OK }

func (r *cachedRead) Bytes(buf []byte) ([]byte, fuse.Status) {
	return buf[:r.slice.CopyTo(buf)], fuse.OK
}

func (r *cachedRead) Size() int { return r.slice.Len() }

func (r *cachedRead) Done() { r.slice.Release() }
