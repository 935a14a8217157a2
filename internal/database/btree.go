package database

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/superfly/ltx"
)

// See "B-tree Pages" in SQLite's description of its file format, in bytes.
const (
	fileHeaderSize     = 100 // before the B-tree on page 1
	interiorHeaderSize = 12
	cellPointerSize    = 2
	leastCell          = 5 // a child's page number and a key of one byte
	leastFreeblock     = 4

	interiorIndex, interiorTable = 0x02, 0x05
)

// isInterior reports whether a page may be an interior one of a B-tree: what a look tells.
func isInterior(pgno uint32, page []byte) bool {
	return page[btreeAt(pgno)] == interiorIndex || page[btreeAt(pgno)] == interiorTable
}

func btreeAt(pgno uint32) int {
	if pgno == 1 {
		return fileHeaderSize
	}
	return 0
}

// childrenOf returns the children of an interior page of a B-tree, in the order of their keys,
// or nil if it isn't one, or a damaged one. commit is how many pages the database has.
func childrenOf(pgno uint32, page []byte, commit uint32) []uint32 {
	if !isInterior(pgno, page) || pgno == 1 && !bytes.HasPrefix(page, []byte(magic)) {
		return nil
	}
	at := btreeAt(pgno)
	h := page[at:]
	n := int(binary.BigEndian.Uint16(h[3:]))
	content := int(binary.BigEndian.Uint16(h[5:]))
	if content == 0 {
		content = 1 << 16
	}
	pointers := at + interiorHeaderSize
	if n == 0 || content < pointers+n*cellPointerSize || content > len(page) || !freeblocksFit(page, int(binary.BigEndian.Uint16(h[1:])), content) {
		return nil
	}
	children := make([]uint32, 0, n+1)
	for i := range n {
		cell := int(binary.BigEndian.Uint16(page[pointers+i*cellPointerSize:]))
		if cell < content || cell+leastCell > len(page) {
			return nil
		}
		children = append(children, binary.BigEndian.Uint32(page[cell:]))
	}
	children = append(children, binary.BigEndian.Uint32(h[8:]))
	lock := ltx.LockPgno(uint32(len(page)))
	sorted := slices.Sorted(slices.Values(children))
	for i, c := range sorted {
		if c < 2 || c > commit || c == pgno || c == lock || i > 0 && c == sorted[i-1] {
			return nil
		}
	}
	return children
}

// freeblocksFit reports whether a page's freeblocks, from the first on, are where they may be.
func freeblocksFit(page []byte, at, content int) bool {
	for at != 0 {
		if at < content || at+leastFreeblock > len(page) {
			return false
		}
		next, size := int(binary.BigEndian.Uint16(page[at:])), int(binary.BigEndian.Uint16(page[at+2:]))
		if size < leastFreeblock || at+size > len(page) || next != 0 && next < at+size {
			return false
		}
		at = next
	}
	return true
}
