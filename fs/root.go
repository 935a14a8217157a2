package fs

import (
	"context"
	"fmt"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/replica"
)

var (
	_ gofs.NodeOnAdder        = (*fixedDir)(nil)
	_ gofs.NodeLookuper       = (*fixedDir)(nil)
	_ gofs.NodeOpendirHandler = (*fixedDir)(nil)

	_ gofs.NodeReadlinker = (*link)(nil)
	_ gofs.NodeGetattrer  = (*link)(nil)
	_ gofs.NodeSetattrer  = (*link)(nil)
	_ gofs.NodeStatfser   = (*link)(nil)
)

// fixedDir is a directory whose entries never change once there are any: the root, a tree's
// and its ltx.
type fixedDir struct {
	dirNode
	children []child
}

// child is an entry of a fixedDir.
type child struct {
	fuse.DirEntry
	node   gofs.InodeEmbedder
	hidden bool // it resolves, and isn't listed
}

func newFixedDir(t *tree) *fixedDir {
	return &fixedDir{dirNode: dirNode{node: node{tree: t}, changed: func() time.Time { return t.started }}}
}

func (d *fixedDir) add(name string, ino uint64, mode uint32, n gofs.InodeEmbedder) {
	d.children = append(d.children, child{DirEntry: fuse.DirEntry{Name: name, Mode: mode, Ino: ino + d.tree.inos}, node: n})
}

func (d *fixedDir) addDir(name string, ino uint64, n gofs.InodeEmbedder) {
	d.add(name, ino, syscall.S_IFDIR, n)
	d.subdirs++
}

func (d *fixedDir) addLink(name string, ino uint64, target string) {
	d.add(name, ino, syscall.S_IFLNK, &link{node{tree: d.tree}, target})
}

// hide leaves the child that was added last out of listings.
func (d *fixedDir) hide() { d.children[len(d.children)-1].hidden = true }

// newRoot makes the mount's root.
func newRoot(m *mount) gofs.InodeEmbedder {
	if m.opts.Databases != nil {
		return newFolder(m.databases, "")
	}
	t, _ := m.add(m.opts.Tree) // the mount isn't closed before it is there
	root := newFixedDir(t)
	root.addTree(t)
	return root
}

// addTree adds what is in the directory of a replica.
func (d *fixedDir) addTree(t *tree) {
	ltx := newFixedDir(t)
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		dir := &levelDir{level: level}
		dir.tree, dir.changed = t, func() time.Time { return t.staged.Changed(level) }
		name := staging.LevelName(level)
		ltx.addDir(name, inoLevel+uint64(level), dir)
		// Litestream's own name for the level. Listed, each file would be
		// found twice.
		ltx.addLink(fmt.Sprint(level), inoLink+uint64(level), name)
		ltx.hide()
	}
	d.addDir("ltx", inoLTX, ltx)
	d.addLink("snapshots", inoSnapshots, staging.Place{Level: replica.SnapshotLevel}.String())
	if t.states != nil {
		d.addDir(dbName, inoDB, newDBDir(t))
	}
}

// OnAdd makes the children, once.
func (d *fixedDir) OnAdd(ctx context.Context) {
	for _, c := range d.children {
		d.AddChild(c.Name, d.NewPersistentInode(ctx, c.node, gofs.StableAttr{Mode: c.Mode, Ino: c.Ino}), false)
	}
}

func (d *fixedDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	inode := d.GetChild(name)
	if inode == nil {
		return absent(attrTimeout, out)
	}
	var attr fuse.AttrOut
	if e := inode.Operations().(gofs.NodeGetattrer).Getattr(ctx, nil, &attr); e != 0 {
		return nil, e
	}
	out.Attr = attr.Attr
	out.SetEntryTimeout(attrTimeout)
	out.SetAttrTimeout(dirTimeout)
	return inode, 0
}

func (d *fixedDir) OpendirHandle(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return &dirHandle{list: func(context.Context) (entries, syscall.Errno) {
		return func(i int) (e fuse.DirEntry, ok bool) {
			if i >= len(d.children) {
				return e, false
			}
			if c := d.children[i]; !c.hidden {
				e = c.DirEntry
			}
			return e, true
		}, 0
	}}, 0, 0
}

// link is one of the tree's own symbolic links.
type link struct {
	node
	target string
}

func (l *link) Readlink(context.Context) ([]byte, syscall.Errno) { return []byte(l.target), 0 }

func (l *link) attr(out *fuse.Attr) {
	out.Mode = syscall.S_IFLNK | 0o777
	out.Nlink = 1
	out.Size = uint64(len(l.target))
	l.tree.ownerAndTimes(out, l.tree.started)
}

func (l *link) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	l.attr(&out.Attr)
	out.SetTimeout(attrTimeout)
	return 0
}

// Setattr refuses: the links are the tree's, not the user's.
func (l *link) Setattr(context.Context, gofs.FileHandle, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return l.refuse()
}
