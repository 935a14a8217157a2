package index

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"runtime"
	"slices"
	"unsafe"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// blockFiles is the number of files in a full block.
const blockFiles = 1024

// block is some files, by column. It never changes.
type block struct {
	min      column
	span     column // from min to max
	size     column
	mtime    column // see packTime
	ends     column // where each version ends in versions
	versions []byte // see appendVersion
	held     int    // bytes
}

// column is numbers, each in as many bytes as the range of all needs.
type column struct {
	least uint64 // which is added to each
	width int
	bytes []byte // with spare ones at the end, so that each can be read as 8
}

const (
	wordSize  = 8
	blockSize = int(unsafe.Sizeof(block{}))
)

// at returns the i-th number.
func (c *column) at(i int) uint64 {
	return c.least + binary.LittleEndian.Uint64(c.bytes[i*c.width:])&(1<<(8*c.width)-1)
}

func (b *block) name(i int) replica.Name {
	n := ltx.TXID(b.min.at(i))
	return replica.Name{MinTXID: n, MaxTXID: n + ltx.TXID(b.span.at(i))}
}

// version is the i-th version, packed.
func (b *block) version(i int) []byte {
	from := uint64(0)
	if i > 0 {
		from = b.ends.at(i - 1)
	}
	return b.versions[from:b.ends.at(i)]
}

// equal reports whether two blocks have the same files.
func (b *block) equal(other *block) bool {
	return b == other || b.min.equal(&other.min) && b.span.equal(&other.span) && b.size.equal(&other.size) &&
		b.mtime.equal(&other.mtime) && b.ends.equal(&other.ends) && bytes.Equal(b.versions, other.versions)
}

func (c *column) equal(other *column) bool {
	return c.least == other.least && c.width == other.width && bytes.Equal(c.bytes, other.bytes)
}

// rows are files that become a block.
type rows struct {
	min, span, size, mtime, ends []uint64
	versions                     []byte
}

func (r *rows) len() int { return len(r.min) }

// add adds a file, but for its version.
func (r *rows) add(name replica.Name, size, mtime uint64) {
	r.min = append(r.min, uint64(name.MinTXID))
	r.span = append(r.span, uint64(name.MaxTXID-name.MinTXID))
	r.size = append(r.size, size)
	r.mtime = append(r.mtime, mtime)
}

// addVersion adds the version of the file that was added last.
func (r *rows) addVersion(f replica.File, mtime int64) {
	r.versions = appendVersion(r.versions, f.Version, f.Size, mtime)
	r.ends = append(r.ends, uint64(len(r.versions)))
}

// addFrom adds the i-th file of a block.
func (r *rows) addFrom(b *block, i int) {
	r.add(b.name(i), b.size.at(i), b.mtime.at(i))
	r.versions = append(r.versions, b.version(i)...)
	r.ends = append(r.ends, uint64(len(r.versions)))
}

// block makes a block of the rows, and leaves none. memory is told of it, and again
// when nobody holds it any more.
func (r *rows) block(memory Memory) *block {
	b := &block{}
	all := [][]uint64{r.min, r.span, r.size, r.mtime, r.ends}
	columns := []*column{&b.min, &b.span, &b.size, &b.mtime, &b.ends}
	room := len(r.versions)
	for i, values := range all {
		columns[i].least, columns[i].width = measure(values)
		room += columns[i].width*len(values) + wordSize
	}
	p := slices.Grow([]byte(nil), room) // which has what it takes up as its capacity
	b.held = cap(p) + blockSize
	for i, values := range all {
		from := len(p)
		p = columns[i].append(p, values)
		columns[i].bytes = p[from:]
	}
	b.versions = append(p[len(p):], r.versions...)
	r.min, r.span, r.size, r.mtime, r.ends = r.min[:0], r.span[:0], r.size[:0], r.mtime[:0], r.ends[:0]
	r.versions = r.versions[:0]
	if memory != nil {
		memory.Add(int64(b.held))
		runtime.AddCleanup(b, memory.Add, -int64(b.held))
	}
	return b
}

// measure returns the least of some numbers, and how many bytes the range of all needs.
func measure(values []uint64) (least uint64, width int) {
	least, most := values[0], values[0]
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	return least, (bits.Len64(most-least) + 7) / 8
}

// append appends the numbers as at reads them.
func (c *column) append(p []byte, values []uint64) []byte {
	var word [wordSize]byte
	for _, v := range values {
		binary.LittleEndian.PutUint64(word[:], v-c.least)
		p = append(p, word[:c.width]...)
	}
	return append(p, make([]byte, wordSize)...)
}
