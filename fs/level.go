package fs

import (
	"context"
	"errors"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/flight"
)

var (
	_ gofs.NodeLookuper       = (*levelDir)(nil)
	_ gofs.NodeOpendirHandler = (*levelDir)(nil)
	_ gofs.NodeCreater        = (*levelDir)(nil)
	_ gofs.NodeUnlinker       = (*levelDir)(nil)
	_ gofs.NodeRenamer        = (*levelDir)(nil)
)

// levelDir is the directory of a level.
type levelDir struct {
	dirNode
	level int
}

// at is the place of a name in this directory.
func (d *levelDir) at(name string) staging.Place { return staging.Place{Level: d.level, Name: name} }

func (d *levelDir) failed(op string, at staging.Place, err error) syscall.Errno {
	return d.tree.failed(op, d.tree.staged.Path(at), err)
}

func (d *levelDir) Lookup(ctx context.Context, base string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	at := d.at(base)
	if s := d.tree.staged.At(at); s != nil {
		return d.stagedChild(ctx, s, out)
	}
	name, ok := at.LTX()
	if !ok {
		return nil, syscall.ENOENT
	}
	ctx, cancel := flight.Within(ctx, d.tree.within.stat)
	defer cancel()
	f, validFor, err := d.tree.index.Find(ctx, name)
	if err != nil {
		return nil, d.failed("look up", at, err)
	}
	known := d.known(base)
	if known != nil && known.f.Version == f.Version {
		if known.gone.Swap(false) { // the store says that it is there
			known.back.Store(true)
		}
	}
	return d.published(ctx, d.identify(f), known, validFor, out), 0
}

// known is the published file that the kernel knows by a name, or nil.
func (d *levelDir) known(base string) (f *file) {
	if child := d.GetChild(base); child != nil {
		f, _ = child.Operations().(*file)
	}
	return f
}

// published is the inode of a version of a file. known is the one that the kernel
// knows by the name, which may be nil. The kernel may keep the name for validFor,
// so that with the index's own age it is within the freshness interval.
func (d *levelDir) published(ctx context.Context, f published, known *file, validFor time.Duration, out *fuse.EntryOut) *gofs.Inode {
	d.tree.fileAttr(&out.Attr, f.File)
	out.SetEntryTimeout(validFor)
	out.SetAttrTimeout(attrTimeout)
	switch {
	case known == nil:
		d.tree.inodes.add(inodeRef{d.EmbeddedInode(), f.Base()})
	case known.f == f.File:
		return known.EmbeddedInode()
	case known.f.Version != f.Version:
		d.tree.blocks.Drop(d.tree.ID, known.f) // it was replaced
	}
	return d.NewInode(ctx, &file{node: node{tree: d.tree}, f: f.File}, f.id)
}

// stagedChild is the inode of a staged file. The kernel must ask each time:
// once published, the name means another.
func (d *levelDir) stagedChild(ctx context.Context, s *staging.File, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	n := &stagedNode{node{tree: d.tree}, s}
	if e := n.attr(&out.Attr); e != 0 {
		return nil, e
	}
	return d.NewInode(ctx, n, gofs.StableAttr{Mode: syscall.S_IFREG, Ino: n.ino()}), 0
}

// OpendirHandle lists nothing before somebody reads the directory: whoever renames a
// file and fsyncs its directory, as Litestream does, only opens it.
func (d *levelDir) OpendirHandle(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	h := &levelHandle{dir: d}
	h.list = h.listLevel
	return h, 0, 0
}

// Create stages a file. The kernel sends it for a name that it found to be free.
func (d *levelDir) Create(ctx context.Context, base string, flags, mode uint32, out *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	fail := func(e syscall.Errno) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) { return nil, nil, 0, e }
	if !d.tree.opts.ReadWrite {
		return fail(syscall.EROFS)
	}
	at := d.at(base)
	opts := staging.CreateOptions{Mode: mode, Exclusive: flags&syscall.O_EXCL != 0}
	if name, ok := at.LTX(); ok {
		exists, err := d.tree.exists(ctx, name, opts.Exclusive)
		switch {
		case err != nil:
			return fail(d.failed("look up", at, err))
		case exists && opts.Exclusive:
			return fail(syscall.EEXIST)
		case exists && flags&syscall.O_TRUNC == 0:
			return fail(errAgain) // it has come since; to be opened, not made
		}
		opts.Replaces = exists
	}
	s, f, err := d.tree.staged.Create(at, opts)
	switch {
	case errors.Is(err, staging.ErrTaken) && !opts.Exclusive:
		return fail(errAgain)
	case err != nil:
		return fail(d.failed("stage", at, err))
	}
	child, e := d.stagedChild(ctx, s, out)
	if e != 0 {
		s.Release()
		return fail(e)
	}
	return child, newStagedHandle(child.Operations().(*stagedNode), f, flags), d.tree.stagedFlags(flags), 0
}

// Unlink removes a staged file, or deletes a published one. Where the one hides the
// other, it is the staged file that goes, and the other shows again.
func (d *levelDir) Unlink(ctx context.Context, base string) syscall.Errno {
	if !d.tree.opts.ReadWrite {
		return syscall.EROFS
	}
	at := d.at(base)
	if s := d.tree.staged.At(at); s != nil {
		err := s.Remove(ctx)
		if err == nil {
			return 0
		}
		if !errors.Is(err, staging.ErrPublished) {
			return d.failed("stage", at, err)
		}
		if f := s.Published(); f != nil && staging.PlaceOf(f.Name) != at {
			return syscall.ENOENT // a rename came first, and what it hid shows again
		}
	}
	name, ok := at.LTX()
	if !ok {
		return syscall.ENOENT
	}
	if err := d.tree.staged.Delete(ctx, name); err != nil {
		return d.failed("delete", at, err)
	}
	d.tree.log.Info("deleted", "file", d.tree.staged.Path(at))
	return 0
}

// Rename publishes a staged file if its new name is an LTX name. A published file
// keeps its name.
func (d *levelDir) Rename(ctx context.Context, base string, newParent gofs.InodeEmbedder, newBase string, flags uint32) syscall.Errno {
	if !d.tree.opts.ReadWrite {
		return syscall.EROFS
	}
	target, ok := newParent.(*levelDir)
	switch {
	case flags&^unix.RENAME_NOREPLACE != 0:
		return syscall.EINVAL
	case !ok:
		return syscall.EPERM
	case target.tree != d.tree:
		return syscall.EXDEV // mv copies then
	}
	at, to := d.at(base), target.at(newBase)
	noReplace := flags&unix.RENAME_NOREPLACE != 0
	if noReplace {
		if e := target.checkFree(ctx, to); e != 0 {
			return e
		}
	}
	s := d.tree.staged.At(at)
	if s == nil {
		return d.renamePublished(ctx, at, to)
	}
	if name, ok := to.LTX(); ok {
		if err := s.PublishAs(ctx, name, noReplace); err != nil {
			return d.tree.notPublished(s, d.tree.staged.Path(to), err)
		}
		return 0
	}
	err := s.Rename(ctx, to)
	if errors.Is(err, staging.ErrPublished) {
		return d.renamePublished(ctx, at, to)
	}
	if err != nil {
		return d.failed("stage", at, err)
	}
	return 0
}

// checkFree returns EEXIST if a name is taken, by whomever.
func (d *levelDir) checkFree(ctx context.Context, at staging.Place) syscall.Errno {
	if d.tree.staged.At(at) != nil {
		return syscall.EEXIST
	}
	name, ok := at.LTX()
	if !ok {
		return 0
	}
	exists, err := d.tree.exists(ctx, name, true)
	switch {
	case err != nil:
		return d.failed("look up", at, err)
	case exists:
		return syscall.EEXIST
	}
	return 0
}

// renamePublished refuses to rename a published file, and says why: its header
// has the TXIDs of the name it has.
func (d *levelDir) renamePublished(ctx context.Context, at, to staging.Place) syscall.Errno {
	name, ok := at.LTX()
	if !ok {
		return syscall.ENOENT
	}
	exists, err := d.tree.exists(ctx, name, false)
	switch {
	case err != nil:
		return d.failed("look up", at, err)
	case !exists:
		return syscall.ENOENT
	}
	if _, ok := to.LTX(); ok && to.Name != at.Name {
		return syscall.EINVAL
	}
	return syscall.EPERM
}
