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

	// maxVersions bounds what the versions of a level take up, in bytes.
	maxVersions = math.MaxUint32
)

// errTooLarge is the error of a level with more files than an index holds.
var errTooLarge = errors.New("the store lists more files than a level can have")

// builder makes the files of a snapshot from those that a store lists, in its order.
type builder struct {
	files            // whole blocks
	open        rows // and those after them
	last        replica.Name
	before      *Snapshot // what is known of the level already
	next        int       // which file of before is likely to come next
	unsorted    bool
	versions    int // bytes of theirs in blocks
	maxVersions int
	memory      Memory
}

func newBuilder(before *Snapshot, memory Memory) *builder {
	return &builder{before: before, maxVersions: maxVersions, memory: memory}
}

// begin has what is known of the files before a TXID at the beginning.
func (b *builder) begin(from ltx.TXID) {
	if from == 0 {
		return
	}
	b.next, _ = b.before.Search(replica.Name{MinTXID: from})
	b.appendRange(&b.before.files, 0, b.next)
	if b.next > 0 {
		b.last = b.before.name(b.next - 1)
	}
}

// Len is the number of files so far.
func (b *builder) Len() int { return b.n + b.open.len() }

// add adds a file, with its known time if it has one.
func (b *builder) add(f replica.File) error {
	if b.Len() >= maxFiles || b.versions+len(b.open.versions) > b.maxVersions {
		return errTooLarge
	}
	i, ok := b.before.searchFrom(b.next, f.Name)
	if ok && b.before.isVersion(i, f.Version) {
		block, at := b.before.at(i)
		f.ModTime = unpackTime(int64(block.mtime.at(at)))
	}
	b.next = i + 1
	name := f.Name
	name.Level = 0
	if b.Len() > 0 && b.last.Compare(name) >= 0 {
		b.unsorted = true
	}
	b.last = name
	b.appendFile(f)
	return nil
}

// searchFrom is Search, for a file that is likely to be the i-th.
func (s *Snapshot) searchFrom(i int, name replica.Name) (at int, ok bool) {
	if i < s.Len() {
		if n := s.name(i); n.MinTXID == name.MinTXID && n.MaxTXID == name.MaxTXID {
			return i, true
		}
	}
	return s.Search(name)
}

// appendFile appends a file after all others.
func (b *builder) appendFile(f replica.File) {
	mtime := packTime(f.ModTime)
	b.open.add(f.Name, uint64(f.Size), uint64(mtime))
	b.open.addVersion(f, mtime)
	b.closeFull()
}

// appendRange appends the files [from, to) of other. It shares whole blocks.
func (b *builder) appendRange(other *files, from, to int) {
	for i := from; i < to; {
		block, at := other.at(i)
		if at == 0 && b.open.len() == 0 && to-i >= blockFiles {
			b.blocks = append(b.blocks, block)
			b.n += blockFiles
			i += blockFiles
			continue
		}
		b.open.addFrom(block, at)
		b.closeFull()
		i++
	}
}

func (b *builder) closeFull() {
	if b.open.len() == blockFiles {
		b.close()
	}
}

// close makes the last block.
func (b *builder) close() {
	b.n += b.open.len()
	b.versions += len(b.open.versions)
	b.blocks = append(b.blocks, b.open.block(b.memory))
}

// finish returns the files sorted, each name once. Of one that was listed twice, as a
// store may while it changes, the last one counts.
func (b *builder) finish() files {
	if b.open.len() > 0 {
		b.close()
	}
	if b.unsorted {
		return b.sorted()
	}
	return b.files
}

func (b *builder) sorted() files {
	order := make([]uint32, b.n)
	for i := range order {
		order[i] = uint32(i)
	}
	compare := func(i, j uint32) int { return b.name(int(i)).Compare(b.name(int(j))) }
	slices.SortStableFunc(order, compare)
	sorted := builder{memory: b.memory}
	for at, i := range order {
		if at+1 == len(order) || compare(i, order[at+1]) < 0 {
			sorted.appendRange(&b.files, int(i), int(i)+1)
		}
	}
	return sorted.finish()
}
