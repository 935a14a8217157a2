package database

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/ltxfs/ltxfs/cache/blocks"
)

// compareUnit is how much of a state is compared at once, in bytes.
const compareUnit = 1 << 20

// compare returns an error unless what is still cached of files that after isn't read
// from any more is the same in it. All of that is hashed before after is read, which has
// it evicted.
func (s *State) compare(ctx context.Context, before, after *content) error {
	seed := maphash.MakeSeed()
	was, err := s.cachedOf(before, after, seed)
	size := int64(cap(was)) * pageHashSize
	s.d.opts.Memory.Add(size)
	defer s.d.opts.Memory.Add(-size)
	if err != nil {
		return err
	}
	slices.SortFunc(was, func(a, b pageHash) int { return cmp.Compare(a.pgno, b.pgno) })
	files := s.d.open(after)
	defer files.close()
	pageSize := int(s.stamp.pageSize)
	buf := make([]byte, compareUnit)
	for len(was) > 0 {
		n := 1
		for n < len(was) && was[n].pgno == was[0].pgno+uint32(n) && (n+1)*pageSize <= len(buf) {
			n++
		}
		if err := s.readPages(ctx, files, buf[:n*pageSize], int64(was[0].pgno-1)*int64(pageSize)); err != nil {
			return err
		}
		for i, w := range was[:n] {
			if maphash.Bytes(seed, buf[i*pageSize:(i+1)*pageSize]) != w.hash {
				return s.failed(fmt.Errorf("%w: page %d has another content now", errLost, w.pgno))
			}
		}
		was = was[n:]
	}
	return nil
}

// pageHash is a hash of a page's content.
type pageHash struct {
	pgno uint32
	hash uint64
}

const pageHashSize = 16

// cachedOf hashes the pages of a content that are cached of files which a later one
// isn't read from.
func (s *State) cachedOf(before, later *content, seed maphash.Seed) (all []pageHash, err error) {
	kept := map[version]bool{}
	for _, f := range later.files() {
		kept[versionOf(f.File)] = true
	}
	lost := make([]*blocks.Handle, before.len())
	for i, f := range before.files() {
		if !kept[versionOf(f.File)] && !f.damaged {
			lost[i] = s.d.openFile(f.File)
			defer lost[i].Close()
		}
	}
	content := make([]byte, s.stamp.pageSize)
	base := 0
	for _, r := range before.runs {
		cur := cursor{run: r, base: base}
		base += len(r.files)
		for err = cur.next(); err == nil && !cur.end; err = cur.next() {
			e := cur.e
			if lost[e.file] == nil || e.Pgno > s.stamp.commit {
				continue
			}
			slice := lost[e.file].Cached(e.Offset, e.Size)
			if slice == nil {
				continue
			}
			err := s.unpack(slice.Slices(), e.Offset, []page{{e, content, 0}})
			slice.Release()
			if err != nil {
				continue // nobody was given that
			}
			found, err := before.find(e.Pgno, 1)
			if err != nil {
				return all, err
			}
			if found[0].file == e.file { // and no later one has the page as well
				all = append(all, pageHash{e.Pgno, maphash.Bytes(seed, content)})
			}
		}
		if err != nil {
			return all, err
		}
	}
	return all, nil
}
