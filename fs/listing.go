package fs

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

var (
	_ gofs.FileReaddirenter = (*dirHandle)(nil)
	_ gofs.FileSeekdirer    = (*dirHandle)(nil)
	_ gofs.FileFsyncdirer   = (*dirHandle)(nil)
	_ gofs.FileLookuper     = (*levelHandle)(nil)
)

// entries are the content of a directory at one moment: the i-th, and whether there
// are so many. One without a name is a place where there is nothing.
type entries func(i int) (e fuse.DirEntry, ok bool)

// dirHandle is an open directory: its entries and a place among them. The offset of
// an entry is its place + 1, so that reading can go on from any. go-fuse calls
// its methods one at a time.
type dirHandle struct {
	list func(context.Context) (entries, syscall.Errno)
	cur  entries
	pos  int
	out  fuse.DirEntry // which go-fuse copies

	// more, if set, tells whether the i-th entry is known, or that there is none. It may wait until it is.
	more  func(ctx context.Context, i int, wait bool) (known bool, e syscall.Errno)
	given bool // an entry, since there was none to give
}

// dots are what every directory has before its own entries.
var dots = [2]string{".", ".."}

func (h *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if h.cur == nil {
		l, e := h.list(ctx)
		if e != 0 {
			return nil, e
		}
		h.cur = l
	}
	for {
		if h.pos < len(dots) {
			h.out = fuse.DirEntry{Name: dots[h.pos], Mode: syscall.S_IFDIR}
		} else {
			i := h.pos - len(dots)
			if h.more != nil {
				// An answer with entries ends rather than that it waits for more: they are there, and the
				// kernel counts from when it has the answer how long their attributes hold.
				if known, e := h.more(ctx, i, !h.given); e != 0 || !known {
					h.given = false
					return nil, e
				}
			}
			var ok bool
			if h.out, ok = h.cur(i); !ok {
				return nil, 0
			}
		}
		h.pos++
		if h.out.Name != "" {
			h.given = true
			h.out.Off = uint64(h.pos)
			return &h.out, 0
		}
	}
}

// Seekdir moves to an entry. Back at the start, the directory is read anew, as
// rewinddir promises.
func (h *dirHandle) Seekdir(_ context.Context, off uint64) syscall.Errno {
	if off == 0 {
		h.cur = nil
	}
	h.pos, h.given = int(off), false
	return 0
}

// Fsyncdir has nothing to write: what is in a directory is published, and so in the
// store.
func (h *dirHandle) Fsyncdir(context.Context, uint32) syscall.Errno { return 0 }

// levelHandle is an open level directory. Once it is read, it has the published files,
// then the staged ones, of which each hides a published one of its name, and can answer
// for them without asking the index once for each.
type levelHandle struct {
	dirHandle
	dir      *levelDir
	taken    time.Time
	until    time.Time        // it answers for names
	snapshot *index.Snapshot  // once somebody reads the directory, or
	growing  *index.Growing   // if it isn't listed to its end by then
	staged   []staging.Listed // by name

	// The entry given out last is the one asked for next.
	last     published
	lastName string
}

// published is a published file, and its identity.
type published struct {
	replica.File
	id gofs.StableAttr
}

func (d *levelDir) identify(f replica.File) published { return published{f, d.tree.fileID(f)} }

// listLevel lists the level.
func (h *levelHandle) listLevel(ctx context.Context) (entries, syscall.Errno) {
	t := h.dir.tree
	ctx, cancel := flight.Within(ctx, t.within.list)
	defer cancel()
	// First what is staged: what is published meanwhile is in the level then, if not in both.
	taken, staged := time.Now(), t.staged.Level(h.dir.level)
	snapshot, growing, err := t.index.Begin(ctx, h.dir.level)
	if err != nil {
		return nil, h.dir.failed("list", h.dir.at(""), err)
	}
	h.taken, h.snapshot, h.growing, h.staged, h.lastName = taken, snapshot, growing, staged, ""
	if h.more = nil; growing != nil {
		h.more = h.grow
	} else {
		now := time.Now()
		h.until = now.Add(max(t.Freshness-snapshot.Age(now), 0) + listedFor + time.Duration(snapshot.Len())*listedForEach)
	}
	return h.entry, 0
}

// grow is more of a level that is being listed.
func (h *levelHandle) grow(ctx context.Context, i int, wait bool) (known bool, _ syscall.Errno) {
	t := h.dir.tree
	if known = h.growing.Has(i); known || !wait {
		return known, 0
	}
	ctx, cancel := flight.Within(ctx, t.within.list)
	defer cancel()
	if err := h.growing.Reach(ctx, i); err != nil {
		return false, h.dir.failed("list", h.dir.at(""), err)
	}
	return true, 0
}

func (h *levelHandle) entry(i int) (fuse.DirEntry, bool) {
	f, exists, n := h.file(i)
	if i >= n {
		if i -= n; i >= len(h.staged) {
			return fuse.DirEntry{}, false
		}
		return fuse.DirEntry{Name: h.staged[i].Name, Mode: syscall.S_IFREG, Ino: h.dir.tree.stages + h.staged[i].ID}, true
	}
	name := f.Base()
	if !exists || h.hides(name) {
		return fuse.DirEntry{}, true
	}
	h.last, h.lastName = h.dir.identify(f), name
	if h.growing != nil {
		h.until = time.Now().Add(listedFor)
	}
	return fuse.DirEntry{Name: name, Mode: syscall.S_IFREG, Ino: h.last.id.Ino}, true
}

// file is the i-th published file, if it is one of the n that there are.
func (h *levelHandle) file(i int) (f replica.File, exists bool, n int) {
	if h.growing != nil {
		if n = h.growing.Len(); i < n {
			f, exists = h.growing.At(i)
		}
		return f, exists, n
	}
	if n = h.snapshot.Len(); i < n {
		f, exists = h.snapshot.At(i), true
	}
	return f, exists, n
}

func (h *levelHandle) hides(name string) bool {
	_, ok := slices.BinarySearchFunc(h.staged, name, func(s staging.Listed, name string) int {
		return strings.Compare(s.Name, name)
	})
	return ok
}

const (
	// listedTimeout is how long the kernel may keep a name from a directory
	// that takes longer to read than the freshness interval, so that ls -l gets
	// from the name to the attributes without another request.
	listedTimeout = 50 * time.Millisecond

	// listedFor and, for each file, listedForEach is for how long after that
	// interval a listing answers for names at all: as long as it may take to read.
	listedFor     = 5 * time.Second
	listedForEach = 100 * time.Microsecond
)

func (h *levelHandle) Lookup(ctx context.Context, base string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	t := h.dir.tree
	// What this mount has changed since shows at once.
	if h.cur != nil && t.staged.Changed(h.dir.level).Before(h.taken) && t.staged.At(h.dir.at(base)) == nil {
		now := time.Now()
		if f, age, ok := h.find(base, now); ok {
			validFor := max(t.Freshness-age, min(listedTimeout, t.Freshness))
			return h.dir.published(ctx, f, h.dir.known(base), validFor, out), 0
		}
	}
	return h.dir.Lookup(ctx, base, out)
}

// find returns the published file that the listing has under a name, and how old that is.
func (h *levelHandle) find(base string, now time.Time) (f published, age time.Duration, ok bool) {
	if !now.Before(h.until) {
		return published{}, 0, false
	}
	if h.growing != nil {
		return h.last, h.growing.Age(now), base == h.lastName
	}
	age = h.snapshot.Age(now)
	if base == h.lastName {
		return h.last, age, true
	}
	name, ok := h.dir.at(base).LTX()
	if !ok || h.hides(base) {
		return published{}, 0, false
	}
	i, ok := h.snapshot.Search(name)
	if !ok {
		return published{}, 0, false
	}
	return h.dir.identify(h.snapshot.At(i)), age, true
}
