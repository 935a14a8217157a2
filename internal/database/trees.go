package database

import (
	"container/list"
	"maps"
	"slices"
	"sync"

	"github.com/ltxfs/ltxfs/cache/index"
)

// trees is the memory of the interior pages of a mount's states. Of those that were used
// longest ago, it forgets as many as it must.
type trees struct {
	most   int64 // bytes
	memory index.Memory

	mu     sync.Mutex
	used   int64
	recent list.List // of *interior, the most recently used last
}

// tree is the interior pages of a state's B-trees that have been seen. What the kernel has of
// them is not asked for again, so that they are known for as long as it knows the state.
// trees.mu guards it.
type tree struct {
	*trees
	of      *Database
	pages   map[uint32]*interior
	parents map[uint32]uint32 // the interior page that names a page
	peak    int               // of parents since the maps were made
}

// interior is an interior page of a B-tree.
type interior struct {
	tree     *tree
	pgno     uint32
	children []uint32 // in the order of their keys
	elem     *list.Element
}

// interiorSize is what an interior page takes beside its children, and childSize what each
// of those does, in bytes.
const (
	interiorSize = 256
	childSize    = 32
)

func (i *interior) size() int64 { return interiorSize + int64(len(i.children))*childSize }

// shrinkAt is what part of its children a tree must lose for its maps to be made anew.
const shrinkAt = 4

// maxHeight is more levels than a B-tree has.
const maxHeight = 20

func (ts *trees) newTree(d *Database) *tree { return &tree{trees: ts, of: d} }

// see looks at a page that passes by, of a database of so many pages.
func (t *tree) see(pgno uint32, page []byte, commit uint32) {
	if !isInterior(pgno, page) || t.knows(pgno) {
		return
	}
	children := childrenOf(pgno, page, commit)
	if children == nil {
		return
	}
	n := &interior{tree: t, pgno: pgno, children: children}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pages[pgno] != nil || n.size() > t.most {
		return
	}
	for t.used+n.size() > t.most {
		t.drop(t.recent.Front().Value.(*interior))
	}
	t.add(n.size())
	n.elem = t.recent.PushBack(n)
	if t.pages == nil {
		t.pages, t.parents = map[uint32]*interior{}, map[uint32]uint32{}
	}
	t.pages[pgno] = n
	for _, c := range children {
		t.parents[c] = pgno
	}
	t.peak = max(t.peak, len(t.parents))
}

func (t *tree) knows(pgno uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.page(pgno) != nil
}

// page is an interior page, if it is known, which is used now.
func (t *tree) page(pgno uint32) *interior {
	n := t.pages[pgno]
	if n != nil {
		t.recent.MoveToBack(n.elem)
	}
	return n
}

func (ts *trees) add(n int64) {
	ts.used += n
	ts.memory.Add(n)
}

func (ts *trees) drop(n *interior) {
	ts.add(-n.size())
	ts.recent.Remove(n.elem)
	t := n.tree
	if delete(t.pages, n.pgno); len(t.pages) == 0 {
		t.pages, t.parents, t.peak = nil, nil, 0
		return
	}
	for _, c := range n.children {
		if t.parents[c] == n.pgno {
			delete(t.parents, c)
		}
	}
	if len(t.parents) < t.peak/shrinkAt {
		t.pages, t.parents, t.peak = smaller(t.pages), smaller(t.parents), len(t.parents)
	}
}

// smaller is a copy of a map in no more memory than it needs: no map gives back what it once took.
func smaller[V any](m map[uint32]V) map[uint32]V {
	s := make(map[uint32]V, len(m))
	maps.Copy(s, m)
	return s
}

// forget forgets all pages.
func (t *tree) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.pages {
		t.drop(n)
	}
}

// forget forgets all pages of a database's states.
func (ts *trees) forget(d *Database) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for e := ts.recent.Front(); e != nil; {
		n := e.Value.(*interior)
		if e = e.Next(); n.tree.of == d {
			ts.drop(n)
		}
	}
}

// next returns the page that follows one on its level of a B-tree, or if dir is -1 that comes
// before it. Where that isn't known, unknown is the interior page that would tell; it is 0 if
// none is known to.
func (t *tree) next(pgno uint32, dir int) (next, unknown uint32) {
	for height := range maxHeight {
		parent := t.page(t.parents[pgno])
		if parent == nil {
			return 0, 0
		}
		if i := slices.Index(parent.children, pgno) + dir; i >= 0 && i < len(parent.children) {
			return t.down(parent.children[i], height, dir)
		}
		pgno = parent.pgno
	}
	return 0, 0
}

// down is the first page, or if dir is -1 the last, that is so far below another.
func (t *tree) down(pgno uint32, height, dir int) (page, unknown uint32) {
	for range height {
		n := t.page(pgno)
		if n == nil {
			return 0, pgno
		}
		pgno = n.children[0]
		if dir < 0 {
			pgno = n.children[len(n.children)-1]
		}
	}
	return pgno, 0
}

// following returns up to n pages that follow one on its level, or come before it if dir is -1.
// Where they aren't known, unknown are the interior pages, as far as is known which, that would
// tell of as many.
func (t *tree) following(pgno uint32, dir, n int) (pages, unknown []uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	siblings := 1
	next, above := t.next(pgno, dir)
	for ; next != 0 && len(pages) < n; next, above = t.next(pgno, dir) {
		pgno = next
		pages = append(pages, pgno)
	}
	if parent := t.page(t.parents[pgno]); parent != nil {
		siblings = len(parent.children)
	}
	for lacking := n - len(pages); lacking > 0 && above != 0; lacking -= siblings {
		if t.pages[above] == nil {
			unknown = append(unknown, above)
		}
		if above, next = t.next(above, dir); above == 0 {
			above = next
		}
	}
	return pages, unknown
}
