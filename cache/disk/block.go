package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/minio/crc64nvme"
	"golang.org/x/sys/unix"
)

const (
	// blockSize is how much content has one record, in bytes.
	blockSize = 128 << 10

	// blocksAtOnce is how many are read of the disk for one who waits.
	blocksAtOnce = 4

	// recordSize is that of a record: which bytes of a block are there, from and to, four
	// bytes each, and their checksum.
	recordSize = 16
)

func (e *entry) blocks() int64 { return (e.size + blockSize - 1) / blockSize }

// blockLen is how many bytes a block has.
func (e *entry) blockLen(i int64) int64 { return min(blockSize, e.size-i*blockSize) }

// records are those of all blocks, from a place in a file on.
type records struct {
	f        *os.File
	at       int64
	complete bool // none of them changes any more
}

// record is what an entry has of a block.
type record struct {
	from, to uint32
	sum      uint64
}

func (r record) has(from, to uint32) bool { return r.to > 0 && r.from <= from && to <= r.to }

// record reads the record of a block. One that can't be is one of nothing.
func (e *entry) record(rs *records, i int64) (r record, err error) {
	var b [recordSize]byte
	if _, err := rs.f.ReadAt(b[:], rs.at+i*recordSize); err != nil {
		return r, err
	}
	if r = parseRecord(b[:]); r.from > r.to || int64(r.to) > e.blockLen(i) {
		return record{}, nil
	}
	return r, nil
}

// put writes the record of a block.
func (rs *records) put(i int64, r record) error {
	var b [recordSize]byte
	binary.LittleEndian.PutUint32(b[:], r.from)
	binary.LittleEndian.PutUint32(b[4:], r.to)
	binary.LittleEndian.PutUint64(b[8:], r.sum)
	_, err := rs.f.WriteAt(b[:], rs.at+i*recordSize)
	return err
}

func parseRecord(b []byte) record {
	return record{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint64(b[8:])}
}

// hasAll reports whether all blocks are there, by what their records say. It looks at those from one on first:
// what is read in order lacks the next, so that the records of the others needn't be read each time.
func (e *entry) hasAll(first int64) bool {
	return e.hasBlocks(first, e.blocks()) && e.hasBlocks(0, first) && !e.forgotten.Load()
}

// hasBlocks reports whether all of the blocks [i, end) are there, by what their records say.
func (e *entry) hasBlocks(i, end int64) bool {
	rs := e.records.Load()
	var some [256 * recordSize]byte
	for i < end {
		p := some[:min(int64(len(some)), (end-i)*recordSize)]
		if _, err := rs.f.ReadAt(p, rs.at+i*recordSize); err != nil {
			return false
		}
		for ; len(p) > 0; p, i = p[recordSize:], i+1 {
			if r := parseRecord(p); r.from > 0 || int64(r.to) != e.blockLen(i) {
				return false
			}
		}
	}
	return true
}

// sum is the checksum of a block's bytes. What was written there for another block or entry, or
// from another place on, doesn't match it.
func (e *entry) sum(i int64, from uint32, p []byte) uint64 {
	var head [20]byte
	binary.LittleEndian.PutUint64(head[:], uint64(i))
	binary.LittleEndian.PutUint32(head[8:], from)
	binary.LittleEndian.PutUint64(head[12:], e.seed)
	return crc64nvme.Update(crc64nvme.Checksum(head[:]), p)
}

// has reports whether the entry says that it has a block's bytes.
func (e *entry) has(i int64, from, to uint32) bool {
	for {
		rs := e.records.Load()
		switch {
		case e.forgotten.Load():
			return false
		case rs.complete:
			return true
		}
		if r, err := e.record(rs, i); err == nil {
			return r.has(from, to)
		} else if e.records.Load() == rs { // otherwise it has become complete
			return false
		}
	}
}

// lacks returns up to where [off, end) isn't there from its beginning on.
func (e *entry) lacks(off, end int64) int64 {
	for off < end {
		i := off / blockSize
		next := min((i+1)*blockSize, end)
		if e.has(i, uint32(off-i*blockSize), uint32(next-i*blockSize)) {
			break
		}
		off = next
	}
	return off
}

// buffer is memory that is used again.
type buffer []byte

// buffers are those of readers that were closed.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

// take returns n bytes of it.
func (b *buffer) take(n int) []byte {
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	return (*b)[:n]
}

// read reads [off, end) from its beginning on, as far as the entry has it undamaged, of blocksAtOnce at most.
// The result is part of buf.
func (e *entry) read(off, end int64, buf *buffer) []byte {
	i := off / blockSize
	end = min(end, (i+blocksAtOnce)*blockSize)
	room := buffer(buf.take(int(min((end+blockSize-1)/blockSize*blockSize, e.size) - i*blockSize)))
	upTo := func() uint32 { return uint32(min(end-i*blockSize, blockSize)) }
	got, ok := e.readBlock(i, uint32(off-i*blockSize), upTo(), &room)
	for i++; ok && i*blockSize < end; i++ {
		room = got[len(got):cap(got)]
		var p []byte
		if p, ok, _ = e.undamaged(i, 0, upTo(), &room); ok {
			got = got[:len(got)+len(p)] // it lies behind, since it is there from its block's beginning on
		}
	}
	return got
}

// readSoon is read, but for a disk that hangs, which may come back to the memory that buf had.
func (e *entry) readSoon(off, end int64, buf *buffer) []byte {
	type result struct {
		got []byte
		buf buffer
	}
	own := *buf
	r, _ := await(e.cache, func() (r result, _ error) {
		r.got = e.read(off, end, &own)
		r.buf = own
		return r, nil
	}, nil)
	*buf = r.buf
	return r.got
}

// readBlock reads [from, to) of a block, if the entry has it undamaged. The result is part of buf.
func (e *entry) readBlock(i int64, from, to uint32, buf *buffer) ([]byte, bool) {
	if !e.has(i, from, to) {
		return nil, false
	}
	p, ok, _ := e.undamaged(i, from, to, buf)
	if !ok { // it may have been written meanwhile
		e.writing.Lock()
		defer e.writing.Unlock()
		there := false
		if p, ok, there = e.undamaged(i, from, to, buf); !ok && there {
			e.noteDamage(i)
		}
	}
	return p, ok
}

// undamaged is readBlock for one attempt. It also reports whether it is there at all, as it must be in
// a complete entry. Of a closed one, which who comes back from a disk that hung may find, nothing is.
func (e *entry) undamaged(i int64, from, to uint32, buf *buffer) (p []byte, ok, there bool) {
	rs := e.records.Load()
	r, err := e.record(rs, i)
	if err == nil && r.has(from, to) {
		there, p = true, buf.take(int(r.to-r.from))
		if _, err = e.f.ReadAt(p, i*blockSize+int64(r.from)); err == nil && e.sum(i, r.from, p) == r.sum {
			return p[from-r.from : to-r.from], true, true
		}
	}
	return nil, false, (there || rs.complete) && !errors.Is(err, os.ErrClosed)
}

// noteDamage counts a block that doesn't match, and has it come again. A complete entry goes, since it isn't
// written to.
func (e *entry) noteDamage(i int64) {
	e.cache.counters.damaged.Add(1)
	if !e.damaged.Swap(true) {
		e.cache.opts.Logger.Warn("a block of the disk cache is damaged; it is read from the replica instead", "entry", e.path)
	}
	if rs := e.records.Load(); rs.complete {
		e.cache.drop(e.content)
		e.cache.remove(e.content)
	} else if err := rs.put(i, record{}); err != nil {
		e.cache.fault(fmt.Errorf("keep %s: %w", e.path, err))
	}
}

// keep keeps bytes of a block, as far as the disk takes them.
func (e *entry) keep(i int64, from uint32, p []byte) {
	if e.forgotten.Load() || !e.cache.writable() {
		return
	}
	e.writing.Lock()
	n, err := e.write(i, from, p)
	e.writing.Unlock()
	if err != nil {
		err = fmt.Errorf("keep %s: %w", e.path, err)
	}
	e.cache.wrote(n, err)
}

// write keeps bytes of a block, together with those that are there if they touch. If they don't,
// the longer ones stay. It returns how many it has written.
func (e *entry) write(i int64, from uint32, p []byte) (int, error) {
	rs := e.records.Load()
	if rs.complete || e.frozen {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(e.f.Fd()), &st); err != nil {
		return 0, err
	}
	if st.Nlink == 0 { // made room, which it mustn't take again
		e.forgotten.Store(true)
		return 0, nil
	}
	r := record{from: from, to: from + uint32(len(p))}
	before, err := e.record(rs, i)
	if err != nil {
		return 0, err
	}
	there, ok, _ := e.undamaged(i, before.from, before.to, new(buffer))
	switch {
	case !ok:
	case before.has(r.from, r.to):
		return 0, nil
	case r.to < before.from || before.to < r.from:
		if len(there) > len(p) {
			return 0, nil
		}
	default:
		p, r = union(there, before.from, p, from)
	}
	if _, err := e.f.WriteAt(p, i*blockSize+int64(r.from)); err != nil {
		return 0, err
	}
	r.sum = e.sum(i, r.from, p)
	return len(p), rs.put(i, r)
}

// union are bytes that touch, of a block, from where each begins. The second ones count.
func union(a []byte, fromA uint32, b []byte, fromB uint32) ([]byte, record) {
	r := record{from: min(fromA, fromB), to: max(fromA+uint32(len(a)), fromB+uint32(len(b)))}
	p := make([]byte, r.to-r.from)
	copy(p[fromA-r.from:], a)
	copy(p[fromB-r.from:], b)
	return p, r
}
