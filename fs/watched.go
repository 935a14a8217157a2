package fs

import (
	"context"
	"fmt"
	"path"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// watched is a file system whose requests are counted.
type watched struct {
	fuse.RawFileSystem
	*requests
}

// do has f answer a request of a node, by a name in that or by "".
func (w *watched) do(op string, cancel <-chan struct{}, node uint64, name string, f func(req *request) fuse.Status) fuse.Status {
	req := w.begin(op, cancel)
	if w.logged.Load() {
		req.file = path.Join("/", w.path(node), name)
	}
	status := fuse.EIO // if it panics, which go-fuse answers so
	defer func() { w.end(req, status) }()
	status = f(req)
	return status
}

// pathAttr is what a node is asked for its path by. The kernel asks for no attribute.
const pathAttr = "ltxfs.path"

func (w *watched) path(node uint64) string {
	buf := make([]byte, unix.PathMax)
	n, _ := w.RawFileSystem.GetXAttr(nil, &fuse.InHeader{NodeId: node}, pathAttr, buf)
	return string(buf[:n])
}

// Getxattr answers its path below the mountpoint, as long as it has one.
func (n *node) Getxattr(_ context.Context, _ string, dest []byte) (uint32, syscall.Errno) {
	if _, parent := n.Parent(); parent == nil && !n.IsRoot() {
		return uint32(copy(dest, fmt.Sprintf("(deleted %d)", n.StableAttr().Ino))), 0
	}
	return uint32(copy(dest, n.Path(nil))), 0
}

// Lookup has the kernel remember that a name doesn't exist, for as long as the lookup says
// that failed to find it.
func (w *watched) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	s := w.do("LOOKUP", cancel, header.NodeId, name, func(*request) fuse.Status {
		return w.RawFileSystem.Lookup(cancel, header, name, out)
	})
	if s == fuse.ENOENT && out.EntryTimeout() > 0 {
		return fuse.OK // with no inode
	}
	return s
}

func (w *watched) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return w.do("GETATTR", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.GetAttr(cancel, in, out) })
}

func (w *watched) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	return w.do("STATX", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.Statx(cancel, in, out) })
}

func (w *watched) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return w.do("SETATTR", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.SetAttr(cancel, in, out) })
}

func (w *watched) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return w.do("MKNOD", cancel, in.NodeId, name, func(*request) fuse.Status { return w.RawFileSystem.Mknod(cancel, in, name, out) })
}

func (w *watched) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return w.do("MKDIR", cancel, in.NodeId, name, func(*request) fuse.Status { return w.RawFileSystem.Mkdir(cancel, in, name, out) })
}

func (w *watched) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return w.do("UNLINK", cancel, header.NodeId, name, func(*request) fuse.Status { return w.RawFileSystem.Unlink(cancel, header, name) })
}

func (w *watched) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	return w.do("RMDIR", cancel, header.NodeId, name, func(*request) fuse.Status { return w.RawFileSystem.Rmdir(cancel, header, name) })
}

func (w *watched) Rename(cancel <-chan struct{}, in *fuse.RenameIn, name, to string) fuse.Status {
	return w.do("RENAME", cancel, in.NodeId, name, func(req *request) fuse.Status {
		if req.file != "" {
			req.file += " to " + path.Join("/", w.path(in.Newdir), to)
		}
		return w.RawFileSystem.Rename(cancel, in, name, to)
	})
}

func (w *watched) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	return w.do("LINK", cancel, in.NodeId, name, func(*request) fuse.Status { return w.RawFileSystem.Link(cancel, in, name, out) })
}

func (w *watched) Symlink(cancel <-chan struct{}, header *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	return w.do("SYMLINK", cancel, header.NodeId, name, func(*request) fuse.Status { return w.RawFileSystem.Symlink(cancel, header, to, name, out) })
}

func (w *watched) Readlink(cancel <-chan struct{}, header *fuse.InHeader) (out []byte, s fuse.Status) {
	s = w.do("READLINK", cancel, header.NodeId, "", func(*request) (s fuse.Status) {
		out, s = w.RawFileSystem.Readlink(cancel, header)
		return s
	})
	return out, s
}

func (w *watched) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return w.do("CREATE", cancel, in.NodeId, name, func(*request) fuse.Status { return w.RawFileSystem.Create(cancel, in, name, out) })
}

func (w *watched) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	return w.do("TMPFILE", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.Tmpfile(cancel, in, out) })
}

func (w *watched) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return w.do("OPEN", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.Open(cancel, in, out) })
}

func (w *watched) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (result fuse.ReadResult, s fuse.Status) {
	s = w.do("READ", cancel, in.NodeId, "", func(req *request) (s fuse.Status) {
		if result, s = w.RawFileSystem.Read(cancel, in, buf); s.Ok() {
			req.bytes = result.Size()
		}
		req.off, req.size = int64(in.Offset), int(in.Size)
		w.read.Add(float64(req.bytes))
		return s
	})
	return result, s
}

func (w *watched) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return w.write(cancel, in, func() (uint32, fuse.Status) { return w.RawFileSystem.Write(cancel, in, data) })
}

func (w *watched) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	return w.write(cancel, in, func() (uint32, fuse.Status) { return w.RawFileSystem.Writev(cancel, in, data) })
}

func (w *watched) write(cancel <-chan struct{}, in *fuse.WriteIn, write func() (uint32, fuse.Status)) (n uint32, s fuse.Status) {
	s = w.do("WRITE", cancel, in.NodeId, "", func(req *request) (s fuse.Status) {
		n, s = write()
		req.off, req.size, req.bytes = int64(in.Offset), int(in.Size), int(n)
		w.written.Add(float64(n))
		return s
	})
	return n, s
}

func (w *watched) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (n uint32, s fuse.Status) {
	s = w.do("COPY_FILE_RANGE", cancel, in.NodeId, "", func(*request) (s fuse.Status) {
		n, s = w.RawFileSystem.CopyFileRange(cancel, in)
		return s
	})
	return n, s
}

func (w *watched) Lseek(cancel <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	return w.do("LSEEK", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.Lseek(cancel, in, out) })
}

func (w *watched) Ioctl(cancel <-chan struct{}, in *fuse.IoctlIn, given []byte, out *fuse.IoctlOut, answer []byte) fuse.Status {
	return w.do("IOCTL", cancel, in.NodeId, "", func(*request) fuse.Status {
		return w.RawFileSystem.Ioctl(cancel, in, given, out, answer)
	})
}

func (w *watched) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return w.do("FALLOCATE", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.Fallocate(cancel, in) })
}

func (w *watched) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return w.do("FLUSH", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.Flush(cancel, in) })
}

func (w *watched) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return w.do("FSYNC", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.Fsync(cancel, in) })
}

func (w *watched) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	w.do("RELEASE", cancel, in.NodeId, "", func(req *request) fuse.Status {
		w.RawFileSystem.Release(cancel, in)
		if req.after != nil {
			req.after()
		}
		return fuse.OK
	})
}

func (w *watched) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return w.do("OPENDIR", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.OpenDir(cancel, in, out) })
}

func (w *watched) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return w.do("READDIR", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.ReadDir(cancel, in, out) })
}

func (w *watched) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return w.do("READDIRPLUS", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.ReadDirPlus(cancel, in, out) })
}

func (w *watched) ReleaseDir(in *fuse.ReleaseIn) {
	w.do("RELEASEDIR", nil, in.NodeId, "", func(*request) fuse.Status {
		w.RawFileSystem.ReleaseDir(in)
		return fuse.OK
	})
}

func (w *watched) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return w.do("FSYNCDIR", cancel, in.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.FsyncDir(cancel, in) })
}

func (w *watched) StatFs(cancel <-chan struct{}, header *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return w.do("STATFS", cancel, header.NodeId, "", func(*request) fuse.Status { return w.RawFileSystem.StatFs(cancel, header, out) })
}
