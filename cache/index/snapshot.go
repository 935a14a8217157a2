package index

import (
	"bytes"
	"sort"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Snapshot is the files of one level, by ascending min TXID, then ascending max
// TXID, as one listing found them and with what this mount did since. It never
// changes, so that a directory handle can keep it. It holds its files by column,
// in under 64 bytes each: a level can have a million.
type Snapshot struct {
	level int
	began time.Time // when the listing behind it began
	seq   uint64    // when that was among the index's events; 0 if it is no answer
	columns
}

// columns are files, without their level.
type columns struct {
	min, max []ltx.TXID
	size     []int64
	mtime    []int64  // see packTime
	ends     []uint32 // where each version ends in versions
	versions []byte   // see appendVersion
}

// Len is the number of files.
func (c *columns) Len() int { return len(c.min) }

// At returns the i-th file.
func (s *Snapshot) At(i int) replica.File {
	name := s.name(i)
	name.Level = s.level
	return replica.File{
		Name:    name,
		Size:    s.size[i],
		ModTime: unpackTime(s.mtime[i]),
		Version: unpackVersion(s.version(i), s.size[i], s.mtime[i]),
	}
}

// Search returns the position of the first file that isn't before name, whatever its
// level, which is Len if all are, and whether it is of that name.
func (s *Snapshot) Search(name replica.Name) (i int, ok bool) {
	name.Level = 0
	i = sort.Search(s.Len(), func(i int) bool { return s.name(i).Compare(name) >= 0 })
	return i, i < s.Len() && s.name(i) == name
}

// Age is how long before now the listing behind the snapshot began.
func (s *Snapshot) Age(now time.Time) time.Duration { return now.Sub(s.began) }

// name is the i-th name, without its level.
func (c *columns) name(i int) replica.Name {
	return replica.Name{MinTXID: c.min[i], MaxTXID: c.max[i]}
}

// version is the i-th version, packed.
func (c *columns) version(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = c.ends[i-1]
	}
	return c.versions[from:c.ends[i]]
}

func (c *columns) isVersion(i int, v replica.Version) bool {
	var buf [64]byte
	return bytes.Equal(c.version(i), appendVersion(buf[:0], v, c.size[i], c.mtime[i]))
}

// compare orders the i-th and the j-th file.
func (c *columns) compare(i, j int) int { return c.name(i).Compare(c.name(j)) }

// appendFile appends one file.
func (c *columns) appendFile(f replica.File) {
	mtime := packTime(f.ModTime)
	c.min = append(c.min, f.MinTXID)
	c.max = append(c.max, f.MaxTXID)
	c.size = append(c.size, f.Size)
	c.mtime = append(c.mtime, mtime)
	c.versions = appendVersion(c.versions, f.Version, f.Size, mtime)
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
