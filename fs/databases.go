package fs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/singleflight"

	"github.com/ltxfs/ltxfs/internal/flight"
)

var (
	_ gofs.NodeLookuper       = (*folder)(nil)
	_ gofs.NodeOpendirHandler = (*folder)(nil)
	_ gofs.NodeLookuper       = (*databaseDir)(nil)
	_ gofs.NodeOpendirHandler = (*databaseDir)(nil)
)

// Databases are the replicas of many databases, of which each is a directory. A replica is
// opened when its directory is used for the first time.
type Databases struct {
	// List returns the paths of their directories below the mount's root, such as a or b/c,
	// in any order. What would be below another's isn't shown. One goroutine calls it at a
	// time. It must not look into the mount, which waits for it.
	List func(ctx context.Context) ([]string, error)

	// Freshness is how old what List has returned may be.
	Freshness time.Duration

	// Open opens the replica of a directory, for which one goroutine calls it at a time. The
	// tree's Name is left to the mount. What was opened stays so until the mount's end.
	Open func(ctx context.Context, name string) (Tree, error)
}

// openAgain is for how long a replica that couldn't be opened isn't tried again: who looks
// into a thousand directories doesn't wait for the same deadline in each file of each.
const openAgain = 5 * time.Second

// catalog is the databases that there are.
type catalog struct {
	*Databases
	mount   *mount
	calls   *flight.Group // apart from those of the stores, which one disk with many databases shall not hold up
	listing singleflight.Group
	asking  sync.Mutex // is held until List has really returned

	mu      sync.Mutex
	dirs    *directories
	listed  time.Time
	dropped int    // how often what was listed was dropped
	reason  string // of the last listing's failure, which was logged

	unopened map[string]bool // what couldn't be opened when that was tried last
}

// directories are those of databases and those above them. They never change.
type directories struct {
	names      []string            // of databases, as List returned them
	isDatabase map[string]bool     // by path
	hidden     []string            // what is below another database
	below      map[string][]string // base names, by the path of the directory that has them; "" is the root
}

func newDirectories(names []string) *directories {
	d := &directories{names: names, isDatabase: map[string]bool{}, below: map[string][]string{}}
	parts := make([][]string, len(names))
	for i, name := range names {
		parts[i] = strings.Split(name, "/")
	}
	slices.SortFunc(parts, slices.Compare[[]string])
	for _, p := range parts {
		d.add(p)
	}
	return d
}

func (d *directories) add(parts []string) {
	dir := ""
	for i, base := range parts {
		full, last := path.Join(dir, base), i == len(parts)-1
		isDatabase, known := d.isDatabase[full]
		switch {
		case !known:
			d.isDatabase[full] = last
			d.below[dir] = append(d.below[dir], base)
		case isDatabase && !last:
			d.hidden = append(d.hidden, strings.Join(parts, "/"))
			return
		}
		dir = full
	}
}

func newCatalog(m *mount, d *Databases) *catalog {
	return &catalog{Databases: d, mount: m, calls: flight.NewGroup(), unopened: map[string]bool{}}
}

// current returns the directories, and for how long they may be taken for true: those that
// were there last, if a listing fails.
func (c *catalog) current(ctx context.Context) (*directories, time.Duration, error) {
	if d, validFor := c.known(); validFor > 0 {
		return d, validFor, nil
	}
	if r := <-c.list(ctx); r.Err != nil {
		return nil, 0, r.Err
	}
	d, validFor := c.known()
	return d, validFor, nil
}

// list lists the databases, once for all who ask meanwhile.
func (c *catalog) list(ctx context.Context) <-chan singleflight.Result {
	return c.listing.DoChan("", func() (any, error) {
		c.mu.Lock()
		dropped := c.dropped
		c.mu.Unlock()
		names, err := alone(ctx, c.calls, &c.asking, c.mount.within.list, c.List)
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil && c.dirs == nil {
			return nil, err
		}
		// From now on, or looking that takes longer would never be over.
		if c.listed = time.Now(); c.dropped != dropped {
			c.listed = time.Time{}
		}
		if err != nil {
			if c.reason != err.Error() && !errors.Is(err, errClosed) {
				c.reason = err.Error()
				c.mount.log.Warn("can't list the databases; those that were there before are shown", "error", err)
			}
			return nil, nil
		}
		c.reason = ""
		if c.dirs != nil && slices.Equal(c.dirs.names, names) {
			return nil, nil
		}
		c.dirs = newDirectories(names)
		for _, name := range c.dirs.hidden {
			c.mount.log.Warn("a database isn't shown, since its path leads through another database's", "database", name)
		}
		return nil, nil
	})
}

// knownBy is what is known once a listing has ended that is needed, or else by the end of
// ctx. It is nil if there was none.
func (c *catalog) knownBy(ctx context.Context) *directories {
	d, validFor := c.known()
	if validFor > 0 {
		return d
	}
	select {
	case <-c.list(ctx): // if it fails, what was known stays
	case <-ctx.Done():
	}
	d, _ = c.known()
	return d
}

// alone calls ask, unless an earlier call hasn't returned though its deadline has passed: a
// disk that hangs shall hold no more than one.
func alone[T any](ctx context.Context, g *flight.Group, asking *sync.Mutex, timeout time.Duration, ask func(context.Context) (T, error)) (T, error) {
	return flight.Do(ctx, g, timeout, func(ctx context.Context) (T, error) {
		if !asking.TryLock() {
			var none T
			return none, fmt.Errorf("an earlier call hasn't returned: %w", context.DeadlineExceeded)
		}
		defer asking.Unlock()
		return ask(ctx)
	}, nil)
}

// drop has the next call of current ask.
func (c *catalog) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed, c.dropped = time.Time{}, c.dropped+1
}

func (c *catalog) known() (*directories, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dirs, max(c.Freshness-time.Since(c.listed), 0)
}

// tried notes whether the replica of a database could be opened.
func (c *catalog) tried(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.unopened, name); err != nil {
		c.unopened[name] = true
	}
}

// countUnopened is of how many of the databases that there are the replica couldn't be opened.
func (c *catalog) countUnopened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.unopened, func(name string, _ bool) bool { return !c.dirs.isDatabase[name] })
	return len(c.unopened)
}

// placeholder stands for the tree of a directory before there is one, or where there is none.
func (m *mount) placeholder(name string) *tree {
	return &tree{mount: m, Tree: Tree{Name: name}, log: m.log, inos: dirInos(name)}
}

// folder is a directory of databases, and of such directories.
type folder struct {
	dirNode
	all *catalog
}

func newFolder(all *catalog, name string) *folder {
	f := &folder{all: all}
	f.tree, f.changed = all.mount.placeholder(name), func() time.Time { return all.mount.started }
	return f
}

func (f *folder) path(base string) string { return path.Join(f.tree.Name, base) }

// ino is the inode number of the directory of a database, or of a folder.
func ino(name string, isDatabase bool) uint64 {
	if isDatabase {
		return dirInos(name) + inoRoot
	}
	return dirInos(name) + inoFolder
}

// Getattr says 1 for the number of links, as directories whose number of directories isn't
// counted do.
func (f *folder) Getattr(ctx context.Context, h gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	e := f.dirNode.Getattr(ctx, h, out)
	out.Nlink = 1
	return e
}

func (f *folder) failed(err error) syscall.Errno {
	return f.tree.failed("list the databases", cmp.Or(f.tree.Name, "."), err)
}

func (f *folder) Lookup(ctx context.Context, base string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	dirs, validFor, err := f.all.current(ctx)
	if err != nil {
		return nil, f.failed(err)
	}
	name := f.path(base)
	isDatabase, ok := dirs.isDatabase[name]
	if !ok {
		return absent(validFor, out)
	}
	inode := f.GetChild(base)
	if id := ino(name, isDatabase); inode == nil || inode.StableAttr().Ino != id {
		var n gofs.InodeEmbedder = newFolder(f.all, name)
		if isDatabase {
			n = newDatabaseDir(f.all, name)
		}
		// It stays: the replica isn't opened again because the kernel has forgotten.
		inode = f.NewPersistentInode(ctx, n, gofs.StableAttr{Mode: syscall.S_IFDIR, Ino: id})
	}
	var attr fuse.AttrOut
	if e := inode.Operations().(gofs.NodeGetattrer).Getattr(ctx, nil, &attr); e != 0 {
		return nil, e
	}
	out.Attr = attr.Attr
	out.SetEntryTimeout(validFor)
	out.SetAttrTimeout(dirTimeout)
	return inode, 0
}

func (f *folder) OpendirHandle(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return &dirHandle{list: func(ctx context.Context) (entries, syscall.Errno) {
		dirs, _, err := f.all.current(ctx)
		if err != nil {
			return nil, f.failed(err)
		}
		below := dirs.below[f.tree.Name]
		return func(i int) (e fuse.DirEntry, ok bool) {
			if i >= len(below) {
				return e, false
			}
			name := f.path(below[i])
			return fuse.DirEntry{Name: below[i], Mode: syscall.S_IFDIR, Ino: ino(name, dirs.isDatabase[name])}, true
		}, 0
	}}, 0, 0
}

// databaseDir is the directory of a database, whose replica is opened when it is used.
type databaseDir struct {
	fixedDir
	all     *catalog
	opening singleflight.Group
	asking  sync.Mutex // is held until Open has really returned

	mu     sync.Mutex
	opened bool
	errno  syscall.Errno // of the last try
	failed time.Time
	reason string // that was logged last
}

func newDatabaseDir(all *catalog, name string) *databaseDir {
	d := &databaseDir{all: all}
	d.tree, d.changed = all.mount.placeholder(name), func() time.Time { return all.mount.started }
	if d.subdirs = 1; !all.mount.opts.NoDB {
		d.subdirs++
	}
	return d
}

func (d *databaseDir) Lookup(ctx context.Context, base string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if e := d.open(ctx); e != 0 {
		return nil, e
	}
	return d.fixedDir.Lookup(ctx, base, out)
}

func (d *databaseDir) OpendirHandle(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if e := d.open(ctx); e != 0 {
		return nil, 0, e
	}
	return d.fixedDir.OpendirHandle(ctx, flags)
}

// open opens the replica, unless it is open, or has failed a moment ago.
func (d *databaseDir) open(ctx context.Context) syscall.Errno {
	if e, known := d.result(); known {
		return e
	}
	_, _, _ = d.opening.Do("", func() (any, error) {
		if _, known := d.result(); known {
			return nil, nil
		}
		m := d.all.mount
		opts, err := alone(ctx, d.all.calls, &d.asking, m.within.replica, func(ctx context.Context) (Tree, error) { return d.all.Open(ctx, d.tree.Name) })
		var t *tree
		if err == nil {
			opts.Name = d.tree.Name
			t, err = m.add(opts)
		}
		d.all.tried(d.tree.Name, err)
		d.mu.Lock()
		defer d.mu.Unlock()
		if err != nil {
			if d.errno, d.failed = errno(err), time.Now(); d.reason != err.Error() && !errors.Is(err, errClosed) {
				d.reason = err.Error()
				m.log.Error("can't open the replica of a database", "database", d.tree.Name, "error", err, "errno", d.errno.Error())
			}
			return nil, nil
		}
		inside := newFixedDir(t)
		inside.addTree(t)
		d.children, d.opened, d.errno = inside.children, true, 0
		d.OnAdd(ctx)
		return nil, nil
	})
	e, _ := d.result()
	return e
}

// result is the errno of the last try, if it still counts.
func (d *databaseDir) result() (e syscall.Errno, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errno, d.opened || d.errno != 0 && time.Since(d.failed) < openAgain
}
