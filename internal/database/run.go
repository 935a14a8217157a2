package database

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"sort"
	"sync/atomic"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// entrySize is what a page takes in a run, in bytes: its number (4), its offset (6), its
// frame's size (3), and in which of the run's files it is (3).
const entrySize = 16

const (
	maxOffset = 1<<48 - 1
	maxFiles  = 1<<24 - 1
)

// entry is where a page is.
type entry struct {
	ltxfile.Frame
	file int // of the run's
}

func (e entry) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, e.Pgno)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Offset)<<16|uint64(e.Size)>>8)
	return binary.BigEndian.AppendUint32(b, uint32(e.Size)<<24|uint32(e.file))
}

func entryOf(b []byte) entry {
	high, low := binary.BigEndian.Uint64(b[4:]), binary.BigEndian.Uint32(b[12:])
	return entry{
		Frame: ltxfile.Frame{
			Pgno:   binary.BigEndian.Uint32(b),
			Offset: int64(high >> 16),
			Size:   int64(high&0xffff)<<8 | int64(low>>24),
		},
		file: int(low & maxFiles),
	}
}

// member is a file of a run.
type member struct {
	replica.File
	sum     uint64 // the checksum that it ends with
	damaged bool   // its bytes have another
}

// memberSize is what one takes, and runSize what a run without any does, in bytes.
const (
	memberSize = 128
	runSize    = 256
)

// run is where the pages are that some files have, adjacent ones of a plan: each in the
// last of them that has it, in the order of the page numbers. It never changes, and
// states have runs in common.
type run struct {
	files    []member
	pageSize uint32 // as the header of its file says, if that is one
	n        int    // entries
	first    uint32
	last     uint32
	mem      [][]byte // the entries, in pieces of pieceEntries, or
	disk     *os.File // where they are
	maps     *Maps
	refs     atomic.Int32
}

// overhead is what it takes beside its entries, in bytes.
func (r *run) overhead() int64 { return runSize + int64(len(r.files))*memberSize }

// memory is what it takes in all, if it isn't on disk.
func (r *run) memory() int { return int(r.overhead()) + r.n*entrySize }

func (r *run) hold() *run {
	r.refs.Add(1)
	return r
}

func (r *run) release() {
	if r.refs.Add(-1) > 0 {
		return
	}
	r.dropMemory()
	r.maps.memory.Add(-r.overhead())
	if r.disk != nil {
		_ = r.disk.Close() // it has no name
	}
}

func (r *run) dropMemory() {
	for _, piece := range r.mem {
		r.maps.add(-cap(piece))
	}
	r.mem = nil
}

// entries are those from i on, up to j at the most, or up to where a piece ends. On
// disk, they are read into buf.
func (r *run) entries(i, j int, buf []byte) ([]byte, error) {
	j = min(j, (i/pieceEntries+1)*pieceEntries)
	if r.disk == nil {
		first := i / pieceEntries * pieceEntries
		return r.mem[i/pieceEntries][(i-first)*entrySize : (j-first)*entrySize], nil
	}
	buf = buf[:(j-i)*entrySize]
	_, err := r.disk.ReadAt(buf, int64(i)*entrySize)
	if err != nil {
		return nil, r.maps.failed("read", err)
	}
	return buf, nil
}

// search returns the place of the first page that isn't before pgno. There are no more than
// gaps pages missing among those of the run, so that it needn't look everywhere.
func (r *run) search(pgno uint32) (int, error) {
	if r.n == 0 || pgno > r.last {
		return r.n, nil
	}
	if pgno <= r.first {
		return 0, nil
	}
	most := int(pgno - r.first)
	gaps := int(r.last-r.first) + 1 - r.n
	low, high := max(most-gaps, 0), min(most, r.n)
	var err error
	var one [entrySize]byte
	i := low + sort.Search(high-low, func(i int) bool {
		if err != nil {
			return true
		}
		var b []byte
		if b, err = r.entries(low+i, low+i+1, one[:]); err != nil {
			return true
		}
		return binary.BigEndian.Uint32(b) >= pgno
	})
	return i, err
}

// find fills in those of the pages from number first on that found doesn't have yet.
// base is the place of the run's first file in the plan.
func (r *run) find(first uint32, found []entry, base int, buf []byte) error {
	i, err := r.search(first)
	if err != nil {
		return err
	}
	for j := min(i+len(found), r.n); i < j; {
		b, err := r.entries(i, j, buf)
		if err != nil {
			return err
		}
		for ; len(b) > 0; b = b[entrySize:] {
			e := entryOf(b)
			at := int64(e.Pgno) - int64(first)
			if at >= int64(len(found)) {
				return nil
			}
			if found[at].Pgno == 0 {
				e.file += base
				found[at] = e
			}
			i++
		}
	}
	return nil
}

// runWriter makes a run of entries, which come in order.
type runWriter struct {
	run *run
	out *bufio.Writer // to the disk
}

// pieceSize is how much of a run is in one piece of memory, or is read or written at
// once, and leastRun how much memory the smallest takes, in bytes.
const (
	pieceSize    = 64 << 10
	pieceEntries = pieceSize / entrySize
	leastRun     = 16 * entrySize
)

func newRunWriter(maps *Maps, files []member) *runWriter {
	r := &run{files: files, maps: maps}
	maps.memory.Add(r.overhead())
	return &runWriter{run: r}
}

func (w *runWriter) add(e entry) error {
	r := w.run
	if e.Offset > maxOffset {
		return fmt.Errorf("page %d is at byte %d, and a page map has room for offsets up to %d", e.Pgno, e.Offset, int64(maxOffset))
	}
	if r.n == 0 {
		r.first = e.Pgno
	}
	r.last = e.Pgno
	r.n++
	if n := len(r.mem); w.out == nil && (n == 0 || len(r.mem[n-1]) == cap(r.mem[n-1])) {
		if err := w.grow(); err != nil {
			return err
		}
	}
	if n := len(r.mem); w.out == nil {
		r.mem[n-1] = e.appendTo(r.mem[n-1])
		return nil
	}
	var b [entrySize]byte
	if _, err := w.out.Write(e.appendTo(b[:0])); err != nil {
		return r.maps.failed("write", err)
	}
	return nil
}

// grow makes room for more entries, in memory or on disk.
func (w *runWriter) grow() error {
	r := w.run
	size, small := pieceSize, []byte(nil) // the first piece grows until it has that size
	switch {
	case len(r.mem) == 0:
		size = leastRun
	case cap(r.mem[0]) < pieceSize:
		size, small = 2*cap(r.mem[0]), r.mem[0]
	}
	if r.maps.tryAdd(size - cap(small)) {
		piece := append(make([]byte, 0, size), small...)
		if small == nil {
			r.mem = append(r.mem, piece)
		} else {
			r.mem[0] = piece
		}
		return nil
	}
	f, err := os.CreateTemp(r.maps.dir, "ltxfs-pages-")
	if err != nil {
		return r.maps.failed("create", err)
	}
	r.disk = f
	if err := os.Remove(f.Name()); err != nil {
		return r.maps.failed("unlink", err)
	}
	w.out = bufio.NewWriterSize(f, pieceSize)
	for _, piece := range r.mem {
		if _, err := w.out.Write(piece); err != nil {
			return r.maps.failed("write", err)
		}
	}
	r.dropMemory()
	return nil
}

// finish returns the run, held once.
func (w *runWriter) finish() (*run, error) {
	if n := len(w.run.mem); n > 0 {
		last := w.run.mem[n-1]
		w.run.mem[n-1] = append(make([]byte, 0, len(last)), last...)
		w.run.maps.add(len(last) - cap(last))
	}
	if w.out != nil {
		if err := w.out.Flush(); err != nil {
			w.abort()
			return nil, w.run.maps.failed("write", err)
		}
	}
	return w.run.hold(), nil
}

// abort gives up a run that isn't finished.
func (w *runWriter) abort() { w.run.hold().release() }
