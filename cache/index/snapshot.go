package index

import (
	"bytes"
	"slices"
	"sort"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// Snapshot is the files of one level, by ascending min TXID, then ascending max
// TXID, as one listing found them and with what this mount did since. It never
// changes, so that a directory handle can keep it. It holds its files in blocks, in
// some 30 bytes each: a level can have a million.
type Snapshot struct {
	level int
	began time.Time // when the listing behind it began
	seq   uint64    // when that was among the index's events; 0 if it is no answer
	files
}

// files are files without their level. Every block but the last is full. Snapshots
// share blocks.
type files struct {
	blocks []*block
	n      int
}

// Len is the number of files.
func (s *files) Len() int { return s.n }

// at is the block of the i-th file, and its place in there.
func (s *files) at(i int) (b *block, at int) { return s.blocks[i/blockFiles], i % blockFiles }

// Name returns the name of the i-th file, at less than what At costs.
func (s *Snapshot) Name(i int) replica.Name {
	n := s.name(i)
	n.Level = s.level
	return n
}

// At returns the i-th file.
func (s *Snapshot) At(i int) replica.File {
	b, at := s.at(i)
	name := b.name(at)
	name.Level = s.level
	size, mtime := int64(b.size.at(at)), int64(b.mtime.at(at))
	return replica.File{Name: name, Size: size, ModTime: unpackTime(mtime), Version: unpackVersion(b.version(at), size, mtime)}
}

// Search returns the position of the first file that isn't before name, whatever its
// level, which is Len if all are, and whether it is of that name.
func (s *Snapshot) Search(name replica.Name) (i int, ok bool) {
	name.Level = 0
	i = sort.Search(s.Len(), func(i int) bool { return s.name(i).Compare(name) >= 0 })
	return i, i < s.Len() && s.name(i) == name
}

// SameFiles reports whether two snapshots have the same files, at less than what comparing those would cost.
func (s *Snapshot) SameFiles(other *Snapshot) bool {
	return s.n == other.n && slices.EqualFunc(s.blocks, other.blocks, (*block).equal)
}

// Age is how long before now the listing behind the snapshot began.
func (s *Snapshot) Age(now time.Time) time.Duration { return now.Sub(s.began) }

// name is the i-th name, without its level.
func (s *files) name(i int) replica.Name {
	b, at := s.at(i)
	return b.name(at)
}

func (s *files) isVersion(i int, v replica.Version) bool {
	b, at := s.at(i)
	var buf [64]byte
	return bytes.Equal(b.version(at), appendVersion(buf[:0], v, int64(b.size.at(at)), int64(b.mtime.at(at))))
}
