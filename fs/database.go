package fs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
)

// Names below db.
const (
	dbName     = "db"
	latestName = "latest.db"
	atName     = "at"
	timeName   = "time"
	dbSuffix   = ".db"
)

func stateName(txid ltx.TXID) string { return txid.String() + dbSuffix }

// parseState returns the TXID that a name in at has.
func parseState(name string) (ltx.TXID, bool) {
	digits, ok := strings.CutSuffix(name, dbSuffix)
	if !ok || len(digits) != len(ltx.TXID(0).String()) || strings.ToLower(digits) != digits {
		return 0, false
	}
	txid, err := ltx.ParseTXID(digits)
	return txid, err == nil
}

var (
	_ gofs.NodeLookuper       = (*atDir)(nil)
	_ gofs.NodeOpendirHandler = (*atDir)(nil)
	_ gofs.FileLookuper       = (*namesHandle)(nil)

	_ gofs.NodeReadlinker  = (*latestLink)(nil)
	_ gofs.NodeOpener      = (*stateNode)(nil)
	_ gofs.NodeGetattrer   = (*stateNode)(nil)
	_ gofs.NodeSetattrer   = (*stateNode)(nil)
	_ gofs.NodeStatfser    = (*stateNode)(nil)
	_ gofs.NodeOnForgetter = (*stateNode)(nil)
	_ gofs.FileReader      = (*stateHandle)(nil)
	_ gofs.FileFsyncer     = (*stateHandle)(nil)
	_ gofs.FileReleaser    = (*stateHandle)(nil)
)

// current calls use with the states that there are, for a path below db. It returns how
// long what they show may be taken for true.
func (t *tree) current(ctx context.Context, op, at string, use func(context.Context, *database.Timeline) error) (validFor time.Duration, _ syscall.Errno) {
	ctx, cancel := flight.Within(ctx, t.within.list)
	defer cancel()
	var used *database.Timeline
	err := t.states.Current(ctx, func(tl *database.Timeline) error {
		used = tl
		return use(ctx, tl)
	})
	if err != nil {
		return 0, t.failed(op, path.Join(dbName, at), err)
	}
	return max(t.Freshness-used.Age(time.Now()), 0), 0
}

// newDBDir makes db: the states, by TXID and by time, and a link to the latest.
func newDBDir(t *tree) *fixedDir {
	d, at, times := newFixedDir(t), &atDir{}, &timeDir{}
	for _, n := range []*dirNode{&d.dirNode, &at.dirNode, &times.dirNode} {
		n.tree, n.readOnly, n.changed = t, true, func() time.Time { return t.started }
	}
	d.addDir(atName, inoAt, at)
	d.addDir(timeName, inoTime, times)
	d.add(latestName, inoLatest, syscall.S_IFLNK, &latestLink{link{node{tree: t, readOnly: true}, latestOf(0)}})
	return d
}

// latestLink is a link to the latest state, whichever that is when it is followed.
// Without any, it leads nowhere.
type latestLink struct{ link }

func latestOf(txid ltx.TXID) string { return path.Join(atName, stateName(txid)) }

func (l *latestLink) Readlink(ctx context.Context) (target []byte, _ syscall.Errno) {
	_, e := l.tree.current(ctx, "follow", latestName, func(_ context.Context, t *database.Timeline) error {
		latest := ltx.TXID(0)
		if n := t.Len(); n > 0 {
			latest = t.TXID(n - 1)
		}
		target = []byte(latestOf(latest))
		return nil
	})
	return target, e
}

// atDir is db/at: the states by TXID.
type atDir struct {
	dirNode

	mu      sync.Mutex
	written map[ltx.TXID]int // how often one has become another state while the kernel knew it
}

func (d *atDir) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	txid, ok := parseState(name)
	if !ok {
		return absent(attrTimeout, out) // among them the journals that SQLite looks for
	}
	var inode *gofs.Inode
	validFor, e := d.tree.current(ctx, "look up", path.Join(atName, name), func(ctx context.Context, t *database.Timeline) error {
		i, ok := t.Search(txid)
		if !ok {
			return nil
		}
		s, err := d.tree.states.State(ctx, t, i)
		if err == nil {
			inode = d.inode(ctx, name, s, t)
		}
		return err
	})
	switch {
	case e != 0:
		return nil, e
	case inode == nil:
		return absent(validFor, out)
	}
	inode.Operations().(*stateNode).attr(&out.Attr)
	out.SetEntryTimeout(validFor)
	out.SetAttrTimeout(attrTimeout)
	return inode, 0
}

// inode is that of a state that was found in a timeline: the one that the kernel knows by the
// name, if that is the same state, or else another one.
func (d *atDir) inode(ctx context.Context, name string, s *database.State, t *database.Timeline) *gofs.Inode {
	child := d.GetChild(name)
	switch {
	case child == nil:
		d.tree.inodes.add(inodeRef{d.EmbeddedInode(), name})
	case child.Operations().(*stateNode).state.Is(s, t):
		return child
	default:
		d.mu.Lock()
		if d.written == nil {
			d.written = map[ltx.TXID]int{}
		}
		d.written[s.TXID]++
		d.mu.Unlock()
	}
	return d.NewInode(ctx, &stateNode{node: node{tree: d.tree, readOnly: true}, state: s}, gofs.StableAttr{Mode: syscall.S_IFREG, Ino: d.ino(s.TXID)})
}

// ino is the inode number of the state that has a TXID now.
func (d *atDir) ino(txid ltx.TXID) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tree.hashedIno(atName, txid.String(), strconv.Itoa(d.written[txid]))
}

func (d *atDir) OpendirHandle(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return d.tree.namesHandle(atName, func(_ context.Context, t *database.Timeline) (entries, error) {
		return func(i int) (fuse.DirEntry, bool) {
			if i >= t.Len() {
				return fuse.DirEntry{}, false
			}
			return fuse.DirEntry{Name: stateName(t.TXID(i)), Mode: syscall.S_IFREG, Ino: d.ino(t.TXID(i))}, true
		}, nil
	}), 0, 0
}

// namesHandle lists names without attributes, which would cost requests. The kernel
// asks for those of the first entries whatever the program wants, and for others when
// it looks them up.
type namesHandle struct{ dirHandle }

// namesHandle lists what list finds in the states that there are, for a path below db.
func (t *tree) namesHandle(at string, list func(context.Context, *database.Timeline) (entries, error)) *namesHandle {
	return &namesHandle{dirHandle{list: func(ctx context.Context) (all entries, _ syscall.Errno) {
		_, e := t.current(ctx, "list", at, func(ctx context.Context, tl *database.Timeline) (err error) {
			all, err = list(ctx, tl)
			return err
		})
		return all, e
	}}}
}

func (h *namesHandle) Lookup(context.Context, string, *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, syscall.ENOENT
}

// hashedIno is an inode number for what has these words in the tree.
func (t *tree) hashedIno(words ...string) uint64 {
	return xxhash.Sum64String(string(t.hash[:])+strings.Join(words, "\x00"))>>2 | 1<<62
}

// stateNode is a state of the database.
type stateNode struct {
	node
	state *database.State
	mode  openMode
	read  coverage
}

func (n *stateNode) path() string { return path.Join(dbName, atName, stateName(n.state.TXID)) }

func (n *stateNode) attr(out *fuse.Attr) {
	out.Mode = syscall.S_IFREG | n.tree.opts.FileMode&^0o222
	out.Nlink = 1
	out.Size = uint64(n.state.Size())
	n.tree.ownerAndTimes(out, n.state.Time())
	// It takes no room of its own. With none at all, tar -S would take it for one hole.
	out.Blocks = min(out.Blocks, 8)
}

func (n *stateNode) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.attr(&out.Attr)
	out.SetTimeout(attrTimeout)
	return 0
}

func (n *stateNode) Setattr(context.Context, gofs.FileHandle, *fuse.SetAttrIn, *fuse.AttrOut) syscall.Errno {
	return n.refuse()
}

func (n *stateNode) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0 {
		return nil, 0, syscall.EROFS
	}
	ctx, cancel := flight.Within(ctx, n.tree.within.open)
	defer cancel()
	r, err := n.state.Open(ctx)
	if err != nil {
		return nil, 0, n.tree.failed("open", n.path(), err)
	}
	h := stateHandle{n, r}
	if n.tree.disk != nil {
		return h.kept(ctx), fuse.FOPEN_KEEP_CACHE, 0
	}
	return &h, fuse.FOPEN_KEEP_CACHE, 0
}

// key tells what the state is from all else, given the identity of its files.
func (n *stateNode) key(files [sha256.Size]byte) string {
	return fmt.Sprintf("%q %s %x exact=%t", n.tree.ID, n.state.TXID, files, n.tree.opts.ExactDB)
}

// OnForget is called when the kernel has no pages of it any more.
func (n *stateNode) OnForget() { n.state.Forget() }

// stateHandle reads a state.
type stateHandle struct {
	node   *stateNode
	reader *database.Reader
}

func (h *stateHandle) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	ctx, cancel := flight.Within(h.node.tree.requests.traced(ctx), h.node.tree.within.list)
	defer cancel()
	n, err := h.reader.ReadAt(ctx, dest, off)
	if err != nil {
		return nil, h.node.tree.failed("read", h.node.path(), err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Fsync has nothing to write.
func (h *stateHandle) Fsync(context.Context, uint32) syscall.Errno { return 0 }

func (h *stateHandle) Release(context.Context) syscall.Errno {
	h.reader.Close()
	return 0
}
