package fs

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cache"
	"github.com/ltxfs/ltxfs/replica"
)

var (
	_ gofs.NodeLookuper       = (*levelDir)(nil)
	_ gofs.NodeOpendirHandler = (*levelDir)(nil)
	_ gofs.NodeGetattrer      = (*levelDir)(nil)
	_ gofs.NodeSetattrer      = (*levelDir)(nil)
	_ gofs.NodeStatfser       = (*levelDir)(nil)
	_ gofs.NodeCreater        = (*levelDir)(nil)
	_ gofs.NodeUnlinker       = (*levelDir)(nil)
	_ gofs.NodeRenamer        = (*levelDir)(nil)
	_ gofs.NodeMkdirer        = (*levelDir)(nil)
	_ gofs.NodeMknoder        = (*levelDir)(nil)
	_ gofs.NodeLinker         = (*levelDir)(nil)
	_ gofs.NodeSymlinker      = (*levelDir)(nil)
	_ gofs.NodeRmdirer        = (*levelDir)(nil)
)

// levelDir is the directory of a level. What it does to files is in
// levelwrite.go.
type levelDir struct {
	dirNode
	level int
}

// Lookup implements gofs.NodeLookuper.
func (d *levelDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if s := d.fsys.stagedFile(d.level, name); s != nil {
		return d.stagedChild(ctx, s, out)
	}
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil {
		return nil, syscall.ENOENT
	}
	f, validFor, err := d.fsys.find(ctx, d.level, minTXID, maxTXID)
	if err != nil {
		return nil, d.fsys.failed("look up", d.path(name), err)
	}
	if child := d.GetChild(name); child != nil {
		if known, ok := child.Operations().(*file); ok && known.file.Version == f.Version {
			known.gone.Store(false) // the store says that it is there
		}
		return d.inode(ctx, f, validFor, out), 0
	}
	return d.published(ctx, f, validFor, out), 0
}

// published is inode for a file that the kernel may not know yet.
func (d *levelDir) published(ctx context.Context, f replica.File, validFor time.Duration, out *fuse.EntryOut) *gofs.Inode {
	d.fsys.inodes.add(inodeRef{d, f.MinTXID, f.MaxTXID})
	return d.inode(ctx, f, validFor, out)
}

// inode is the inode of a version of a file. The kernel may keep the name
// for validFor, so that with the index's own age it is within the freshness
// interval.
func (d *levelDir) inode(ctx context.Context, f replica.File, validFor time.Duration, out *fuse.EntryOut) *gofs.Inode {
	n := &file{file: f}
	n.fsys = d.fsys
	d.fsys.fileAttr(&out.Attr, f)
	out.SetEntryTimeout(validFor)
	out.SetAttrTimeout(attrTimeout)
	return d.NewInode(ctx, n, fileID(f))
}

// stagedChild is the inode of a staged file. The kernel must ask each time:
// once published, the name means another.
func (d *levelDir) stagedChild(ctx context.Context, s *staged, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if e := s.attr(&out.Attr); e != 0 {
		return nil, e
	}
	n := &stagedNode{s: s}
	n.fsys = d.fsys
	return d.NewInode(ctx, n, gofs.StableAttr{Mode: syscall.S_IFREG, Ino: s.ino}), 0
}

// path is a name in this directory as the user knows it, below the mountpoint.
func (d *levelDir) path(name string) string { return stagedPath(d.level, name) }

// OpendirHandle implements gofs.NodeOpendirHandler. Nothing is listed before
// somebody reads the directory: whoever renames a file and fsyncs its directory,
// as Litestream does, only opens it.
func (d *levelDir) OpendirHandle(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	h := &levelHandle{dir: d}
	h.list = d.listing
	return h, 0, 0
}

func (d *levelDir) listing(ctx context.Context) (listing, error) {
	// Longer than the index's own deadline, so that its error comes first.
	ctx, cancel := detached(ctx, 2*d.fsys.within.list)
	defer cancel()
	taken := time.Now()
	snapshot, err := d.fsys.index.Level(ctx, d.level)
	if err != nil {
		d.fsys.failed("list", d.path(""), err) // which logs it
		return nil, err
	}
	return &levelListing{taken: taken, snapshot: snapshot, staged: d.fsys.stagedEntries(d.level)}, nil
}

// Getattr implements gofs.NodeGetattrer.
func (d *levelDir) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.fsys.dirAttr(&out.Attr, 2, d.fsys.levelTime(d.level))
	out.SetTimeout(dirTimeout)
	return 0
}

// Setattr implements gofs.NodeSetattrer, like that of fixedDir.
func (d *levelDir) Setattr(ctx context.Context, f gofs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if !d.fsys.opts.ReadWrite {
		return syscall.EROFS
	}
	return d.setattr(out, d.Getattr(ctx, f, out))
}

// levelListing is the published files of a level, then the staged ones. A
// staged file hides a published one of its name.
//
// Only the handle that it was taken for uses it.
type levelListing struct {
	taken    time.Time
	snapshot *cache.Snapshot
	staged   []fuse.DirEntry // by name

	// The entry given out last is the one asked for next.
	last     replica.File
	lastName string
}

func (l *levelListing) entry(i int) (fuse.DirEntry, bool) {
	n := l.snapshot.Len()
	if i >= n {
		if i -= n; i >= len(l.staged) {
			return fuse.DirEntry{}, false
		}
		return l.staged[i], true
	}
	f := l.snapshot.At(i)
	name := f.Name()
	if len(l.staged) > 0 && l.hides(name) {
		return fuse.DirEntry{}, true
	}
	l.last, l.lastName = f, name
	return fuse.DirEntry{Name: name, Mode: syscall.S_IFREG, Ino: fileID(f).Ino}, true
}

func (l *levelListing) hides(name string) bool {
	_, ok := slices.BinarySearchFunc(l.staged, name, func(e fuse.DirEntry, name string) int {
		switch {
		case e.Name < name:
			return -1
		case e.Name > name:
			return 1
		}
		return 0
	})
	return ok
}

// find returns the published file that the listing has under a name.
func (l *levelListing) find(name string) (replica.File, bool) {
	if name == l.lastName {
		return l.last, true
	}
	if len(l.staged) > 0 && l.hides(name) {
		return replica.File{}, false
	}
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil {
		return replica.File{}, false
	}
	i, ok := l.snapshot.Search(minTXID, maxTXID)
	if !ok {
		return replica.File{}, false
	}
	return l.snapshot.At(i), true
}

const (
	// listedTimeout is how long the kernel may keep a name from a directory
	// that takes longer to read than the freshness interval, so that ls -l gets
	// from the name to the attributes without another request.
	listedTimeout = 50 * time.Millisecond

	// listedFor is for how long after that interval a listing answers for
	// names at all.
	listedFor = 5 * time.Second
)

// validFor is how long the kernel may keep a name that it has from the listing.
// ok is false once it is too old to answer.
func (l *levelListing) validFor(fsys *fileSystem) (d time.Duration, ok bool) {
	left := fsys.opts.Freshness - l.snapshot.Age(time.Now())
	return max(left, min(listedTimeout, fsys.opts.Freshness)), left > -listedFor
}

// find asks the index for a file.
func (fsys *fileSystem) find(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, time.Duration, error) {
	ctx, cancel := detached(ctx, 2*fsys.within.list)
	defer cancel()
	return fsys.index.Find(ctx, level, minTXID, maxTXID)
}

// findNow asks the store for a file, past what the index remembers of other
// writers' work.
func (fsys *fileSystem) findNow(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	ctx, cancel := detached(ctx, 2*fsys.within.list)
	defer cancel()
	return fsys.index.FindNow(ctx, level, minTXID, maxTXID)
}

// failed is the errno of an operation, whose error it logs unless it is one
// that callers provoke every day.
func (fsys *fileSystem) failed(op, path string, err error) syscall.Errno {
	e := errno(err)
	switch {
	case e == 0, e == syscall.EEXIST, errors.Is(err, os.ErrNotExist), errors.Is(err, errPublished):
	default:
		fsys.log.Error("can't "+op, "file", path, "error", err, "errno", e.Error())
	}
	return e
}
