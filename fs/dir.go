package fs

import (
	"context"
	"fmt"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/replica"
)

// refuse is the errno for what the tree never allows.
func (fsys *fileSystem) refuse() syscall.Errno {
	if !fsys.opts.ReadWrite {
		return syscall.EROFS
	}
	return syscall.EPERM
}

// dirNode refuses what no directory of the tree allows. Left out, some of
// these would succeed without doing anything.
type dirNode struct{ node }

// Mkdir implements gofs.NodeMkdirer. The kernel itself answers EEXIST for a
// name that exists.
func (d *dirNode) Mkdir(context.Context, string, uint32, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.fsys.refuse()
}

// Rmdir implements gofs.NodeRmdirer.
func (d *dirNode) Rmdir(context.Context, string) syscall.Errno { return d.fsys.refuse() }

// Mknod implements gofs.NodeMknoder.
func (d *dirNode) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.fsys.refuse()
}

// Link implements gofs.NodeLinker.
func (d *dirNode) Link(context.Context, gofs.InodeEmbedder, string, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.fsys.refuse()
}

// Symlink implements gofs.NodeSymlinker.
func (d *dirNode) Symlink(context.Context, string, string, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, d.fsys.refuse()
}

var (
	_ gofs.NodeOnAdder        = (*fixedDir)(nil)
	_ gofs.NodeLookuper       = (*fixedDir)(nil)
	_ gofs.NodeOpendirHandler = (*fixedDir)(nil)
	_ gofs.NodeGetattrer      = (*fixedDir)(nil)
	_ gofs.NodeSetattrer      = (*fixedDir)(nil)
	_ gofs.NodeStatfser       = (*fixedDir)(nil)
	_ gofs.NodeCreater        = (*fixedDir)(nil)
	_ gofs.NodeMkdirer        = (*fixedDir)(nil)
	_ gofs.NodeMknoder        = (*fixedDir)(nil)
	_ gofs.NodeLinker         = (*fixedDir)(nil)
	_ gofs.NodeSymlinker      = (*fixedDir)(nil)
	_ gofs.NodeUnlinker       = (*fixedDir)(nil)
	_ gofs.NodeRmdirer        = (*fixedDir)(nil)
	_ gofs.NodeRenamer        = (*fixedDir)(nil)
)

// fixedDir is a directory whose entries never change: the root and ltx.
type fixedDir struct {
	dirNode
	subdirs  uint32
	populate func(ctx context.Context, d *fixedDir)
	entries  []fuse.DirEntry
	// hidden are names that resolve but aren't listed.
	hidden map[string]child
}

// child is an entry of a fixedDir with the attributes that never change.
type child struct {
	inode *gofs.Inode
	attr  func(*fuse.Attr)
}

func newRoot(fsys *fileSystem) *fixedDir {
	root := &fixedDir{subdirs: 1}
	root.fsys = fsys
	root.populate = func(ctx context.Context, root *fixedDir) {
		ltxDir := &fixedDir{subdirs: replica.MaxLevel + 1, hidden: make(map[string]child)}
		ltxDir.fsys = fsys
		ltxDir.populate = populateLTX
		root.add(ctx, "ltx", ltxDir, gofs.StableAttr{Mode: syscall.S_IFDIR, Ino: inoLTX})
		snapshots := &link{target: "ltx/" + levelName(replica.SnapshotLevel)}
		snapshots.fsys = fsys
		root.add(ctx, "snapshots", snapshots, gofs.StableAttr{Mode: syscall.S_IFLNK, Ino: inoSnapshots})
	}
	return root
}

func populateLTX(ctx context.Context, d *fixedDir) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		dir := &levelDir{level: level}
		dir.fsys = d.fsys
		d.add(ctx, levelName(level), dir, gofs.StableAttr{Mode: syscall.S_IFDIR, Ino: inoLevel + uint64(level)})

		// Litestream's own name for the level. Listed, each file would be
		// found twice.
		l := &link{target: levelName(level)}
		l.fsys = d.fsys
		inode := d.NewPersistentInode(ctx, l, gofs.StableAttr{Mode: syscall.S_IFLNK, Ino: inoLink + uint64(level)})
		d.hidden[fmt.Sprint(level)] = child{inode, l.attr}
	}
}

// levelName is the name of a level's directory in the mount.
func levelName(level int) string { return fmt.Sprintf("%04d", level) }

func (d *fixedDir) add(ctx context.Context, name string, n gofs.InodeEmbedder, attr gofs.StableAttr) {
	d.AddChild(name, d.NewPersistentInode(ctx, n, attr), false)
	d.entries = append(d.entries, fuse.DirEntry{Name: name, Mode: attr.Mode, Ino: attr.Ino})
}

// OnAdd implements gofs.NodeOnAdder: it makes the children, once.
func (d *fixedDir) OnAdd(ctx context.Context) { d.populate(ctx, d) }

// Lookup implements gofs.NodeLookuper.
func (d *fixedDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	out.SetEntryTimeout(attrTimeout)
	out.SetAttrTimeout(dirTimeout)
	if c, ok := d.hidden[name]; ok {
		c.attr(&out.Attr)
		return c.inode, 0
	}
	inode := d.GetChild(name)
	if inode == nil {
		return nil, syscall.ENOENT
	}
	var attr fuse.AttrOut
	if e := inode.Operations().(gofs.NodeGetattrer).Getattr(ctx, nil, &attr); e != 0 {
		return nil, e
	}
	out.Attr = attr.Attr
	return inode, 0
}

// OpendirHandle implements gofs.NodeOpendirHandler.
func (d *fixedDir) OpendirHandle(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return &dirHandle{list: func(context.Context) (listing, error) { return fixedListing(d.entries), nil }}, 0, 0
}

// Getattr implements gofs.NodeGetattrer.
func (d *fixedDir) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.fsys.dirAttr(&out.Attr, 2+d.subdirs, d.fsys.started)
	out.SetTimeout(dirTimeout)
	return 0
}

// Setattr implements gofs.NodeSetattrer. Tools that copy a tree set times and
// modes of its directories last; there is nowhere to keep them.
func (d *fixedDir) Setattr(ctx context.Context, f gofs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if !d.fsys.opts.ReadWrite {
		return syscall.EROFS
	}
	return d.setattr(out, d.Getattr(ctx, f, out))
}

// Create implements gofs.NodeCreater: files are in the level directories.
func (d *fixedDir) Create(context.Context, string, uint32, uint32, *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, d.fsys.refuse()
}

// Unlink implements gofs.NodeUnlinker.
func (d *fixedDir) Unlink(context.Context, string) syscall.Errno { return d.fsys.refuse() }

// Rename implements gofs.NodeRenamer.
func (d *fixedDir) Rename(context.Context, string, gofs.InodeEmbedder, string, uint32) syscall.Errno {
	return d.fsys.refuse()
}

// levelTime is a level directory's mtime.
func (fsys *fileSystem) levelTime(level int) time.Time {
	return time.Unix(0, fsys.changed[level].Load())
}
