package cache

import (
	"errors"
	"math"
	"slices"

	"github.com/ltxfs/ltxfs/replica"
)

// maxVersions bounds columns.versions, so that offsets fit into columns.ends.
const maxVersions = math.MaxUint32 - 1<<16

// errTooLarge is the error of a level with more files than an index can hold,
// which is upwards of a hundred million.
var errTooLarge = errors.New("the level has too many files")

// builder makes the columns of a snapshot from files in the order in which a
// client lists them.
type builder struct {
	columns
	unsorted    bool
	maxVersions int
}

// newBuilder returns a builder with room for as many files as prev has and a
// few, since a level rarely has many more than a moment ago.
func newBuilder(prev *Snapshot) *builder {
	b := &builder{maxVersions: maxVersions}
	if prev == nil || prev.Len() == 0 {
		return b
	}
	b.columns = makeColumns(prev.Len()+prev.Len()/64+16, len(prev.versions)+len(prev.versions)/64+512)
	return b
}

func makeColumns(files, versions int) columns {
	return columns{
		min:      make([]uint64, 0, files),
		max:      make([]uint64, 0, files),
		size:     make([]int64, 0, files),
		mtime:    make([]int64, 0, files),
		ends:     make([]uint32, 0, files),
		versions: make([]byte, 0, versions),
	}
}

// add adds a file.
func (b *builder) add(f replica.File) error {
	if len(b.versions)+len(f.Version) > b.maxVersions {
		return errTooLarge
	}
	b.appendFile(f)
	if n := len(b.min); n > 1 && !b.less(n-2, n-1) {
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
	order := make([]int, len(b.min))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case b.less(i, j):
			return -1
		case b.less(j, i):
			return 1
		}
		return 0
	})
	sorted := makeColumns(len(b.min), len(b.versions))
	for at, i := range order {
		if at+1 < len(order) && !b.less(i, order[at+1]) {
			continue
		}
		sorted.appendRange(&b.columns, i, i+1)
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
