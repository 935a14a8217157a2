package cache

import (
	"math"
	"sort"
	"time"
	"unsafe"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
)

// Snapshot is the files of one level, by ascending min TXID, then ascending max
// TXID, as one listing found them and with what this mount did since. It never
// changes, so that a directory handle can keep it. It holds its files by column,
// in under 64 bytes each: a level can have a million.
type Snapshot struct {
	level int
	began time.Time // when the listing behind it began
	seq   uint64    // when that was among the index's events
	columns
}

// columns are files, without their level.
type columns struct {
	min, max []uint64
	size     []int64
	mtime    []int64  // see packTime
	ends     []uint32 // where each version ends in versions
	versions []byte   // see appendVersion
}

// Len is the number of files.
func (s *Snapshot) Len() int { return len(s.min) }

// At returns the i-th file.
func (s *Snapshot) At(i int) replica.File {
	return replica.File{
		Level:   s.level,
		MinTXID: ltx.TXID(s.min[i]),
		MaxTXID: ltx.TXID(s.max[i]),
		Size:    s.size[i],
		ModTime: unpackTime(s.mtime[i]),
		Version: unpackVersion(s.version(i)),
	}
}

// Search returns the position of the first file that isn't before (min, max),
// which is Len if all are, and whether it is that file.
func (s *Snapshot) Search(min, max ltx.TXID) (i int, ok bool) {
	lo, hi := uint64(min), uint64(max)
	i = sort.Search(len(s.min), func(i int) bool {
		return s.min[i] > lo || s.min[i] == lo && s.max[i] >= hi
	})
	return i, i < len(s.min) && s.min[i] == lo && s.max[i] == hi
}

// Age is how long before now the listing behind the snapshot began.
func (s *Snapshot) Age(now time.Time) time.Duration { return now.Sub(s.began) }

// Bytes is the memory that the snapshot holds.
func (s *Snapshot) Bytes() int64 {
	words := cap(s.min) + cap(s.max) + cap(s.size) + cap(s.mtime)
	return int64(unsafe.Sizeof(*s)) + int64(words)*8 + int64(cap(s.ends))*4 + int64(cap(s.versions))
}

func (c *columns) version(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = c.ends[i-1]
	}
	return c.versions[from:c.ends[i]]
}

// appendFile appends one file.
func (c *columns) appendFile(f replica.File) {
	c.min = append(c.min, uint64(f.MinTXID))
	c.max = append(c.max, uint64(f.MaxTXID))
	c.size = append(c.size, f.Size)
	c.mtime = append(c.mtime, packTime(f.ModTime))
	c.versions = appendVersion(c.versions, f.Version)
	c.ends = append(c.ends, uint32(len(c.versions)))
}

// appendRange appends the files [from, to) of other.
func (c *columns) appendRange(other *columns, from, to int) {
	if from >= to {
		return
	}
	c.min = append(c.min, other.min[from:to]...)
	c.max = append(c.max, other.max[from:to]...)
	c.size = append(c.size, other.size[from:to]...)
	c.mtime = append(c.mtime, other.mtime[from:to]...)
	base := uint32(0)
	if from > 0 {
		base = other.ends[from-1]
	}
	moved := uint32(len(c.versions)) - base // modulo 2³², as are the sums
	for _, end := range other.ends[from:to] {
		c.ends = append(c.ends, end+moved)
	}
	c.versions = append(c.versions, other.versions[base:other.ends[to-1]]...)
}

// less tells whether the i-th file is before the j-th.
func (c *columns) less(i, j int) bool {
	return c.min[i] < c.min[j] || c.min[i] == c.min[j] && c.max[i] < c.max[j]
}

// noTime stands for the zero time.
const noTime = math.MinInt64

// packTime is t in Unix nanoseconds, cut to those that an int64 can hold: from
// 1677 to 2262.
func packTime(t time.Time) int64 {
	switch {
	case t.IsZero():
		return noTime
	case t.Before(time.Unix(0, noTime+1)):
		return noTime + 1
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func unpackTime(ns int64) time.Time {
	if ns == noTime {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
