package fs

import (
	"context"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

var (
	_ gofs.FileReaddirenter = (*dirHandle)(nil)
	_ gofs.FileSeekdirer    = (*dirHandle)(nil)
	_ gofs.FileFsyncdirer   = (*dirHandle)(nil)
	_ gofs.FileLookuper     = (*levelHandle)(nil)
)

// listing is the content of a directory at one moment. What it holds never
// changes.
type listing interface {
	// entry is the i-th entry. ok is false past the last; an empty name is
	// a place where there is nothing.
	entry(i int) (e fuse.DirEntry, ok bool)
}

type fixedListing []fuse.DirEntry

func (l fixedListing) entry(i int) (fuse.DirEntry, bool) {
	if i >= len(l) {
		return fuse.DirEntry{}, false
	}
	return l[i], true
}

// dirHandle is an open directory: a listing and a place in it. The offset of
// an entry is its place + 1, so that reading can go on from any. go-fuse calls
// its methods one at a time.
type dirHandle struct {
	list func(context.Context) (listing, error)
	cur  listing
	pos  int
}

// dots is how many entries every directory has before its own.
const dots = 2

// Readdirent implements gofs.FileReaddirenter.
func (h *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if h.cur == nil {
		l, err := h.list(ctx)
		if err != nil {
			return nil, errno(err)
		}
		h.cur = l
	}
	for {
		var e fuse.DirEntry
		switch {
		case h.pos == 0:
			e = fuse.DirEntry{Name: ".", Mode: syscall.S_IFDIR}
		case h.pos == 1:
			e = fuse.DirEntry{Name: "..", Mode: syscall.S_IFDIR}
		default:
			var ok bool
			if e, ok = h.cur.entry(h.pos - dots); !ok {
				return nil, 0
			}
		}
		h.pos++
		if e.Name != "" {
			e.Off = uint64(h.pos)
			return &e, 0
		}
	}
}

// Seekdir implements gofs.FileSeekdirer. Back at the start, the directory is
// read anew, as rewinddir promises.
func (h *dirHandle) Seekdir(_ context.Context, off uint64) syscall.Errno {
	if off == 0 {
		h.cur = nil
	}
	h.pos = int(off)
	return 0
}

// Fsyncdir implements gofs.FileFsyncdirer. What is in a directory is published,
// and so in the store.
func (h *dirHandle) Fsyncdir(context.Context, uint32) syscall.Errno { return 0 }

// levelHandle is an open level directory, which can answer for its entries
// without asking the index once for each.
type levelHandle struct {
	dirHandle
	dir *levelDir
}

// Lookup implements gofs.FileLookuper.
func (h *levelHandle) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	// What this mount has changed since shows at once.
	l, ok := h.cur.(*levelListing)
	if ok && h.dir.fsys.levelTime(h.dir.level).Before(l.taken) && h.dir.fsys.stagedFile(h.dir.level, name) == nil {
		validFor, fresh := l.validFor(h.dir.fsys)
		if f, ok := l.find(name); ok && fresh {
			return h.dir.published(ctx, f, validFor, out), 0
		}
	}
	return h.dir.Lookup(ctx, name, out)
}
