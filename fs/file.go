package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/cache"
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
	file replica.File

	// gone is set once the store has said that the name means another version
	// by now, or none. The kernel, which keeps the name for a while, is then sent
	// to look it up again.
	gone atomic.Bool
}

func (n *file) path() string { return stagedPath(n.file.Level, n.file.Name()) }

// Getattr implements gofs.NodeGetattrer.
func (n *file) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.fsys.fileAttr(&out.Attr, n.file)
	out.SetTimeout(attrTimeout)
	return 0
}

// Setattr implements gofs.NodeSetattrer. A published file keeps its bytes and
// its LTX timestamp. To set its mode, owner or times succeeds and changes
// nothing: tools that copy or unpack set them, and would fail over something
// that the replica has no place for.
func (n *file) Setattr(ctx context.Context, f gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if !n.fsys.opts.ReadWrite {
		return syscall.EROFS
	}
	if _, ok := in.GetSize(); ok {
		return errno(errPublished)
	}
	return n.setattr(out, n.Getattr(ctx, f, out))
}

// Open implements gofs.NodeOpener.
func (n *file) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0 {
		return nil, 0, n.openForWriting(flags)
	}
	if n.gone.Load() {
		return nil, 0, errAgain
	}
	fh, err := n.open(ctx, flags)
	if errors.Is(err, replica.ErrReplaced) || errors.Is(err, os.ErrNotExist) {
		n.fsys.index.Invalidate(n.file.Level)
		return nil, 0, errAgain
	}
	if err != nil {
		return nil, 0, n.fsys.failed("open", n.path(), err)
	}
	// A version never changes, so that what the kernel has of it stays right.
	return fh, fuse.FOPEN_KEEP_CACHE, 0
}

// openForWriting refuses to open a published file for writing, unless it is to
// be emptied: that starts another file of the same name, which replaces this one
// once it is published. The kernel is sent to look for it.
func (n *file) openForWriting(flags uint32) syscall.Errno {
	if !n.fsys.opts.ReadWrite {
		return syscall.EROFS
	}
	if flags&syscall.O_TRUNC == 0 {
		return errno(errPublished)
	}
	if err := n.fsys.stageReplacement(n.file.Level, n.file.Name()); err != nil {
		return n.fsys.stageFailed(n.path(), err)
	}
	return errAgain
}

// open makes a handle. Where the file is on local disk it also sees to it that
// the name still means this version, since that costs no request.
func (n *file) open(ctx context.Context, flags uint32) (gofs.FileHandle, error) {
	fh := fileHandle{fsys: n.fsys, node: n, file: n.file, direct: flags&syscall.O_DIRECT != 0}
	if local, ok := replica.As[replica.LocalOpener](n.fsys.client); ok && n.fsys.passthrough.Load() {
		f, err := bounded(ctx, n.fsys, n.fsys.within.stat, func(ctx context.Context) (*os.File, error) {
			return local.OpenLocal(ctx, n.file)
		}, func(f *os.File) { _ = f.Close() })
		if err != nil {
			return nil, err
		}
		if n.fsys.takesPassthrough(f) {
			return &localHandle{fileHandle: fh, f: f}, nil
		}
		_ = f.Close() // opened for reading only: nothing can be lost
		return &fh, nil
	}
	if _, ok := replica.As[replica.LocalOpener](n.fsys.client); ok {
		return &fh, n.stillThere(ctx)
	}
	return &fh, nil
}

// stillThere returns an error unless the name means this version. It is for
// files on local disk.
func (n *file) stillThere(ctx context.Context) error {
	s, ok := replica.As[replica.Stater](n.fsys.client)
	if !ok {
		return nil
	}
	got, err := bounded(ctx, n.fsys, n.fsys.within.stat, func(ctx context.Context) (replica.File, error) {
		return s.StatLTXFile(ctx, n.file.Level, n.file.MinTXID, n.file.MaxTXID)
	}, nil)
	if err == nil && got.Version != n.file.Version {
		err = replica.ErrReplaced
	}
	return err
}

// fileHandle reads a published file through the cache.
type fileHandle struct {
	fsys *fileSystem
	node *file
	file replica.File

	// direct is set if the kernel passes on reads as they are.
	direct bool
}

// Read implements gofs.FileReader.
func (h *fileHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	// Longer than a fetch may take, so that its own error comes first.
	ctx, cancel := detached(ctx, 2*h.fsys.within.read)
	defer cancel()
	want := min(int64(len(dest)), h.file.Size-off)
	if want <= 0 {
		return fuse.ReadResultData(nil), 0
	}
	if !h.direct {
		if e := h.fsys.late.of(h.file, off); e != 0 {
			return nil, e
		}
	}
	began := time.Now()
	fail := func(err error) (fuse.ReadResult, syscall.Errno) {
		e := h.failed(err)
		if !h.direct {
			h.fsys.late.add(h.file, off, off+want, began, e)
		}
		return nil, e
	}
	slice, err := h.read(ctx, off, int(want))
	if err != nil {
		return fail(err)
	}
	if int64(slice.Len()) == want {
		return &cachedRead{slice}, 0
	}
	// The budget can't hold all of it at once. The kernel takes a short answer
	// for the end of the file, so put it together here.
	n := slice.CopyTo(dest)
	slice.Release()
	for int64(n) < want {
		if slice, err = h.read(ctx, off+int64(n), int(want)-n); err != nil {
			return fail(err)
		}
		n += slice.CopyTo(dest[n:])
		slice.Release()
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (h *fileHandle) read(ctx context.Context, off int64, n int) (*cache.Slice, error) {
	key := cache.FileKey{Level: h.file.Level, MinTXID: h.file.MinTXID, MaxTXID: h.file.MaxTXID, Version: h.file.Version}
	if key.Version == "" {
		key.Version = replica.Version(fmt.Sprint(h.file.Size, h.file.ModTime.UnixNano()))
	}
	slice, err := h.fsys.blocks.Read(ctx, key, h.file.Size, off, n, h.fetch)
	if err == nil && slice.Len() == 0 {
		slice.Release()
		err = io.ErrUnexpectedEOF
	}
	return slice, err
}

func (h *fileHandle) fetch(ctx context.Context, p []byte, off int64) error {
	rc, err := replica.Open(ctx, h.fsys.client, h.file, off, int64(len(p)))
	if err != nil {
		return err
	}
	_, err = io.ReadFull(rc, p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, rc.Close())
}

// failed is the errno of a failed read. A file that is gone is no news in the
// log of a replica with retention.
func (h *fileHandle) failed(err error) syscall.Errno {
	e := readErrno(err)
	log := h.fsys.log.Error
	if e == syscall.ESTALE {
		h.node.gone.Store(true)
		h.fsys.index.Invalidate(h.file.Level)
		log = h.fsys.log.Info
	}
	log("can't read", "file", stagedPath(h.file.Level, h.file.Name()), "error", err, "errno", e.Error())
	return e
}

// Fsync implements gofs.FileFsyncer: there is nothing to write.
func (h *fileHandle) Fsync(context.Context, uint32) syscall.Errno { return 0 }

// Release implements gofs.FileReleaser.
func (h *fileHandle) Release(context.Context) syscall.Errno { return 0 }

// localHandle is a handle on a file on local disk, which the kernel reads
// itself. Should it not, what it inherits reads through the cache.
type localHandle struct {
	fileHandle
	f *os.File
}

// PassthroughFd implements gofs.FilePassthroughFder.
func (h *localHandle) PassthroughFd() (int, bool) { return int(h.f.Fd()), true }

// Release implements gofs.FileReleaser.
func (h *localHandle) Release(context.Context) syscall.Errno {
	_ = h.f.Close() // opened for reading only: nothing can be lost
	return 0
}

// cachedRead answers a read with cached blocks, without copying them.
type cachedRead struct{ slice *cache.Slice }

// Slices is what go-fuse looks for to write the blocks as they are.
func (r *cachedRead) Slices() ([][]byte, fuse.Status) { return r.slice.Slices(), fuse.OK }

// Bytes implements fuse.ReadResult.
func (r *cachedRead) Bytes(buf []byte) ([]byte, fuse.Status) {
	return buf[:r.slice.CopyTo(buf)], fuse.OK
}

// Size implements fuse.ReadResult.
func (r *cachedRead) Size() int { return r.slice.Len() }

// Done implements fuse.ReadResult.
func (r *cachedRead) Done() { r.slice.Release() }
