package fs

import (
	"context"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

var (
	_ gofs.NodeGetattrer = (*dirNode)(nil)
	_ gofs.NodeSetattrer = (*dirNode)(nil)
	_ gofs.NodeStatfser  = (*dirNode)(nil)
	_ gofs.NodeCreater   = (*dirNode)(nil)
	_ gofs.NodeMkdirer   = (*dirNode)(nil)
	_ gofs.NodeMknoder   = (*dirNode)(nil)
	_ gofs.NodeLinker    = (*dirNode)(nil)
	_ gofs.NodeSymlinker = (*dirNode)(nil)
	_ gofs.NodeUnlinker  = (*dirNode)(nil)
	_ gofs.NodeRmdirer   = (*dirNode)(nil)
	_ gofs.NodeRenamer   = (*dirNode)(nil)
)

// dirNode is what all directories have in common. It refuses what none allows:
// left out, some of these would succeed without doing anything.
type dirNode struct {
	node
	subdirs uint32
	changed func() time.Time
}

// Getattr asks nobody.
func (d *dirNode) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = syscall.S_IFDIR | d.tree.opts.DirMode
	out.Nlink = 2 + d.subdirs
	d.tree.ownerAndTimes(&out.Attr, d.changed())
	out.Blksize = dirRead
	out.SetTimeout(dirTimeout)
	return 0
}

// Setattr changes nothing. Tools that copy a tree set times and modes of its
// directories last; there is nowhere to keep them.
func (d *dirNode) Setattr(ctx context.Context, f gofs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if !d.writable() {
		return syscall.EROFS
	}
	return d.setattr(out, d.Getattr(ctx, f, out))
}

// Mkdir refuses. The kernel itself answers EEXIST for a name that exists.
func (d *dirNode) Mkdir(context.Context, string, uint32, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.refuse()
}

func (d *dirNode) Rmdir(context.Context, string) syscall.Errno { return d.refuse() }

func (d *dirNode) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.refuse()
}

func (d *dirNode) Link(context.Context, gofs.InodeEmbedder, string, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.refuse()
}

func (d *dirNode) Symlink(context.Context, string, string, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.refuse()
}

// Create refuses: files are in the level directories.
func (d *dirNode) Create(context.Context, string, uint32, uint32, *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, d.refuse()
}

func (d *dirNode) Unlink(context.Context, string) syscall.Errno { return d.refuse() }

func (d *dirNode) Rename(context.Context, string, gofs.InodeEmbedder, string, uint32) syscall.Errno {
	return d.refuse()
}

// absent is the answer for a name that doesn't exist, which the kernel may remember for
// a while.
func absent(validFor time.Duration, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	out.SetEntryTimeout(validFor)
	return nil, syscall.ENOENT
}
