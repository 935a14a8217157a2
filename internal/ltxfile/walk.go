package ltxfile

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc64"
	"hash/maphash"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"
)

const (
	blockSizeSize = 4 // the compressed size in a page frame
	indexSizeSize = 8 // the index's size behind it
)

// pagesPerCheck is after how many pages ctx is looked at, beside each read: a
// bufferful of well compressed pages can take a while.
const pagesPerCheck = 256

var crcTable = crc64.MakeTable(crc64.ISO)

// walker goes through a file once, from beginning to end.
type walker struct {
	ctx context.Context
	in  *input

	header ltx.Header
	crc    hash.Hash64 // as the trailer has it

	// The index that the pages walked so far must have, as the hash of its
	// bytes. An encoder writes an index in only one way, so equal bytes are
	// needed, and a hash saves holding an entry for each page. It is seeded
	// at random, so that no index can be made to collide.
	index     maphash.Hash
	indexSize int64

	prevPgno   uint32
	pages      int
	postApply  ltx.Checksum // of the pages, where the file tracks it
	pageHasher hash.Hash64

	compressed []byte // one frame
	page       []byte // decompressed
	frame      frameDecoder
}

func (w *walker) walk() error {
	if err := w.readHeader(); err != nil {
		return err
	}
	for {
		if w.pages%pagesPerCheck == 0 {
			if err := w.ctx.Err(); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
		}
		more, err := w.readPage()
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := w.checkComplete(); err != nil {
		return err
	}
	if err := w.readIndex(); err != nil {
		return err
	}
	return w.readTrailer()
}

func (w *walker) readHeader() error {
	var b [ltx.HeaderSize]byte
	if err := w.in.full(b[:], "the header"); err != nil {
		return err
	}
	if err := w.header.UnmarshalBinary(b[:]); err != nil {
		return invalid("header: %w", err)
	}
	if err := w.header.Validate(); err != nil {
		return invalid("header: %w", err)
	}
	w.crc.Write(b[:])
	w.page = make([]byte, w.header.PageSize)
	w.compressed = make([]byte, maxFrameData(w.header.PageSize))
	if w.header.IsSnapshot() && !w.header.NoChecksum() {
		w.postApply = ltx.ChecksumFlag
		w.pageHasher = ltx.NewHasher()
	}
	return nil
}

// readPage reads one page frame. It returns false at the end of the page block.
func (w *walker) readPage() (more bool, err error) {
	start := w.in.pos
	var b [ltx.PageHeaderSize]byte
	if err := w.in.full(b[:], "a page header"); err != nil {
		return false, err
	}
	w.crc.Write(b[:])
	var h ltx.PageHeader
	if err := h.UnmarshalBinary(b[:]); err != nil {
		return false, invalid("page header at byte %d: %w", start, err)
	}
	if h.IsZero() {
		return false, nil
	}
	if err := h.Validate(); err != nil {
		return false, invalid("page header at byte %d: %w", start, err)
	}
	if err := w.checkPgno(h.Pgno); err != nil {
		return false, err
	}
	if h.Flags&ltx.PageHeaderFlagSize != 0 {
		err = w.readBlock(h.Pgno)
	} else {
		err = w.readFrame(h.Pgno)
	}
	if err != nil {
		return false, err
	}
	w.crc.Write(w.page)
	if w.pageHasher != nil {
		w.postApply = ltx.ChecksumFlag | (w.postApply ^ ltx.ChecksumPageWithHasher(w.pageHasher, h.Pgno, w.page))
	}
	w.addIndex(uint64(h.Pgno), uint64(start), uint64(w.in.pos-start))
	w.prevPgno = h.Pgno
	w.pages++
	return true, nil
}

// checkPgno checks that a page may follow the previous one.
func (w *walker) checkPgno(pgno uint32) error {
	lock := w.header.LockPgno()
	switch {
	case pgno <= w.prevPgno:
		return invalid("page %d follows page %d: pages must ascend", pgno, w.prevPgno)
	case pgno > w.header.Commit:
		return invalid("page %d is beyond the database's end, page %d", pgno, w.header.Commit)
	case pgno == lock:
		// SQLite never writes it, and no encoder takes it.
		return invalid("page %d is SQLite's lock page, which has no content", pgno)
	}
	if !w.header.IsSnapshot() {
		return nil
	}
	want := w.prevPgno + 1
	if want == lock {
		want++
	}
	if pgno != want {
		return invalid("a snapshot must hold every page: page %d is missing", want)
	}
	return nil
}

// checkComplete checks that a snapshot is complete once its last page was read.
//
// Other files may have no page at all: a transaction that only cuts pages off
// the database's end writes none, and neither does one whose pages a later one
// within the same compacted range has cut off.
func (w *walker) checkComplete() error {
	if !w.header.IsSnapshot() {
		return nil
	}
	last := w.header.Commit
	if last == w.header.LockPgno() {
		last--
	}
	if w.prevPgno != last {
		return invalid("a snapshot must hold every page: it ends with page %d of %d", w.prevPgno, w.header.Commit)
	}
	return nil
}

// readBlock reads a page compressed as one LZ4 block behind its size.
func (w *walker) readBlock(pgno uint32) error {
	var b [blockSizeSize]byte
	if err := w.in.full(b[:], "a page's size"); err != nil {
		return err
	}
	w.crc.Write(b[:])
	size := int64(binary.BigEndian.Uint32(b[:]))
	// No encoder makes more of a page than this. What is refused here need
	// not be allocated.
	if bound := int64(lz4.CompressBlockBound(len(w.page))); size > bound {
		return invalid("page %d says it takes %d bytes, but a page of %d can't take more than %d",
			pgno, size, len(w.page), bound)
	}
	data := w.compressed[:size]
	if err := w.in.full(data, "a page"); err != nil {
		return err
	}
	return unpackBlock(data, pgno, w.page)
}

// addIndex adds an entry to the index that the file must have.
func (w *walker) addIndex(fields ...uint64) {
	var b [3 * binary.MaxVarintLen64]byte
	entry := b[:0]
	for _, f := range fields {
		entry = binary.AppendUvarint(entry, f)
	}
	w.index.Write(entry)
	w.indexSize += int64(len(entry))
}

// readIndex reads the page index and its size, and compares them with the
// pages.
func (w *walker) readIndex() error {
	w.addIndex(0) // the end of the index
	// With the size right here, the trailer ends where the file does.
	rest, err := w.in.remaining()
	if err != nil {
		return err
	}
	if want := w.indexSize + indexSizeSize + ltx.TrailerSize; rest != want {
		return invalid("%d bytes follow its %d pages, where index and trailer take %d", rest, w.pages, want)
	}
	var got maphash.Hash
	got.SetSeed(w.index.Seed())
	for left := w.indexSize; left > 0; {
		b := w.compressed[:min(left, int64(len(w.compressed)))]
		if err := w.in.full(b, "the page index"); err != nil {
			return err
		}
		w.crc.Write(b)
		got.Write(b)
		left -= int64(len(b))
	}
	if got.Sum64() != w.index.Sum64() {
		return invalid("the page index doesn't describe the pages")
	}
	var b [indexSizeSize]byte
	if err := w.in.full(b[:], "the page index's size"); err != nil {
		return err
	}
	w.crc.Write(b[:])
	if size := binary.BigEndian.Uint64(b[:]); size != uint64(w.indexSize) {
		return invalid("the page index says it takes %d bytes, but it takes %d", size, w.indexSize)
	}
	return nil
}

func (w *walker) readTrailer() error {
	var b [ltx.TrailerSize]byte
	if err := w.in.full(b[:], "the trailer"); err != nil {
		return err
	}
	w.crc.Write(b[:ltx.TrailerChecksumOffset])
	var t ltx.Trailer
	if err := t.UnmarshalBinary(b[:]); err != nil {
		return invalid("trailer: %w", err)
	}
	if err := t.Validate(w.header); err != nil {
		return invalid("trailer: %w", err)
	}
	if got := ltx.ChecksumFlag | ltx.Checksum(w.crc.Sum64()); got != t.FileChecksum {
		return invalid("%w: the content has %s, the trailer says %s", ltx.ErrChecksumMismatch, got, t.FileChecksum)
	}
	if w.header.NoChecksum() {
		return nil
	}
	switch {
	case w.header.IsSnapshot() && t.PostApplyChecksum != w.postApply:
		return invalid("the database's checksum is %s, the trailer says %s", w.postApply, t.PostApplyChecksum)
	case w.header.Commit == 0 && t.PostApplyChecksum != ltx.ChecksumFlag:
		return invalid("the trailer says that an empty database has the checksum %s", t.PostApplyChecksum)
	}
	return nil
}
