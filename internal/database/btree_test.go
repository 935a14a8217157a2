package database

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// interiorPage is one of 512 bytes.
func interiorPage(kind byte, pgno uint32, children ...uint32) []byte {
	p := make([]byte, 512)
	if pgno == 1 {
		copy(p, magic)
	}
	fillInterior(p, kind, pgno, children)
	return p
}

// TestDamagedPages: what isn't as SQLite writes it names no children.
func TestDamagedPages(t *testing.T) {
	const commit = 1000
	for _, pgno := range []uint32{1, 7} {
		for _, kind := range []byte{interiorTable, interiorIndex} {
			at := btreeAt(pgno)
			good := func() []byte { return interiorPage(kind, pgno, 5, 3, 1000, 4) }
			require.Equal(t, []uint32{5, 3, 1000, 4}, childrenOf(pgno, good(), commit))
			for what, damage := range map[string]func(p []byte){
				"another kind":                 func(p []byte) { p[at] = 0x0d },
				"no cells":                     func(p []byte) { p[at+4] = 0 },
				"many cells":                   func(p []byte) { p[at+3] = 1 },
				"a cell more":                  func(p []byte) { p[at+4]++ },
				"cells in the pointers":        func(p []byte) { p[at+5], p[at+6] = 0, byte(at)+17 },
				"content beyond the page":      func(p []byte) { p[at+5], p[at+6] = 2, 1 },
				"a cell before the content":    func(p []byte) { p[at+12], p[at+13] = 0, byte(at)+30 },
				"a cell that ends beyond":      func(p []byte) { p[at+12], p[at+13] = 1, 252 },
				"the header as a child":        func(p []byte) { p[511-4] = 1 },
				"itself as a child":            func(p []byte) { p[511-4] = byte(pgno) },
				"no child":                     func(p []byte) { p[511-4] = 0 },
				"a child twice":                func(p []byte) { p[511-4] = 3 },
				"a child beyond the database":  func(p []byte) { p[511-5] = 5 },
				"the last child beyond it":     func(p []byte) { p[at+8] = 1 },
				"a free block before the rest": func(p []byte) { p[at+1], p[at+2] = 0, 200 },
				"a free block that is long":    func(p []byte) { p[512-8*3-4+2] = 1 },
				"a free block that is short":   func(p []byte) { p[512-8*3-4+3] = 3 },
				"free blocks in a circle":      func(p []byte) { copy(p[512-8*3-4:], p[at+1:at+3]) },
			} {
				p := good()
				damage(p)
				assert.Nil(t, childrenOf(pgno, p, commit), "%s on page %d of kind %d", what, pgno, kind)
			}
		}
	}
	assert.Nil(t, childrenOf(1, make([]byte, 512), commit))
	p := interiorPage(interiorTable, 1, 5, 3)
	p[0]++
	assert.Nil(t, childrenOf(1, p, commit), "no database")
}

// Whatever the bytes are, the children are other pages of the database, each once.
func FuzzChildren(f *testing.F) {
	f.Add(uint32(1), interiorPage(interiorTable, 1, 5, 3, 4), uint32(9))
	f.Add(uint32(7), interiorPage(interiorIndex, 7, 5, 3, 4), uint32(9))
	f.Fuzz(func(t *testing.T, pgno uint32, page []byte, commit uint32) {
		page = bytes.Clone(append(page, make([]byte, 512)...)[:512])
		children := childrenOf(pgno, page, commit)
		slices.Sort(children)
		for i, c := range children {
			if c < 2 || c > commit || c == pgno || i > 0 && c == children[i-1] {
				t.Fatalf("children %d of page %d of %d", children, pgno, commit)
			}
		}
	})
}
