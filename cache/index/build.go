package index

import (
	"errors"
	"math"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	// maxFiles bounds the files of a level. A replica has some ten thousand; a
	// store that lists without end must not fill the memory.
	maxFiles = 2_000_000

	// maxVersions bounds columns.versions, so that offsets fit into columns.ends
	// whatever one more version is.
	maxVersions = math.MaxUint32 - 1<<20
)

// errTooLarge is the error of a level with more files than an index holds.
var errTooLarge = errors.New("the store lists more files than a level can have")

// builder makes the columns of a snapshot from files in the order in which a
// store lists them.
type builder struct {
	columns
	before      *Snapshot // what is known of the level already
	unsorted    bool
	maxVersions int
}

// newBuilder returns a builder with room for as many files as before has and a
// few, since a level rarely has many more than a moment ago.
func newBuilder(before *Snapshot) *builder {
	b := &builder{before: before, maxVersions: maxVersions}
	if n := before.Len(); n > 0 {
		b.columns = makeColumns(n+n/64+16, len(before.versions)+len(before.versions)/64+512)
	}
	return b
}

func makeColumns(files, versions int) columns {
	return columns{
		min:      make([]ltx.TXID, 0, files),
		max:      make([]ltx.TXID, 0, files),
		size:     make([]int64, 0, files),
		mtime:    make([]int64, 0, files),
		ends:     make([]uint32, 0, files),
		versions: make([]byte, 0, versions),
	}
}

// add adds a file, with its known time if it has one.
func (b *builder) add(f replica.File) error {
	if b.Len() >= maxFiles || len(b.versions) > b.maxVersions {
		return errTooLarge
	}
	if t, ok := b.before.known(f); ok {
		f.ModTime = t
	}
	b.appendFile(f)
	if n := b.Len(); n > 1 && b.compare(n-2, n-1) >= 0 {
		b.unsorted = true
	}
	return nil
}

// finish returns the files sorted, each name once, without spare room. Of one
// that was listed twice, as a store may while it changes, the last one counts.
func (b *builder) finish() columns {
	if b.unsorted {
		b.columns = b.sorted()
	}
	b.trim()
	return b.columns
}

func (b *builder) sorted() columns {
	order := make([]int, b.Len())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, b.compare)
	sorted := makeColumns(b.Len(), len(b.versions))
	for at, i := range order {
		if at+1 == len(order) || b.compare(i, order[at+1]) < 0 {
			sorted.appendRange(&b.columns, i, i+1)
		}
	}
	return sorted
}

// trim makes the columns let go of their spare room, one after the other, so that
// no more than one is there twice.
func (c *columns) trim() {
	c.min, c.max = trim(c.min), trim(c.max)
	c.size, c.mtime = trim(c.size), trim(c.mtime)
	c.ends, c.versions = trim(c.ends), trim(c.versions)
}

// trim copies a slice to one of its length if a good part of it is spare.
func trim[T any](s []T) []T {
	if cap(s)-len(s) <= len(s)/32+16 {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}
