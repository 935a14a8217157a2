package ltxfile

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
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

// walker goes through a file once, from beginning to end.
type walker struct {
	ctx   context.Context
	in    *input
	order *Order

	header ltx.Header
	sum    Sum

	// The index that the pages walked so far must have, as the hash of its
	// bytes. An encoder writes an index in only one way, so equal bytes are
	// needed, and a hash saves holding an entry for each page. It is seeded
	// at random, so that no index can be made to collide.
	index     maphash.Hash
	indexSize int64

	pages      int
	postApply  ltx.Checksum // of the pages, where the file tracks it
	pageHasher hash.Hash64

	compressed []byte // one frame
	page       []byte // decompressed
	frame      frameDecoder
}

func (w *walker) walk() error {
	if err := w.readHeader(); err != nil {
		return in(Head, err)
	}
	for {
		if w.pages%pagesPerCheck == 0 {
			if err := w.ctx.Err(); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
		}
		more, err := w.readPage()
		if err != nil {
			return in(Pages, err)
		}
		if !more {
			break
		}
	}
	if err := w.order.End(); err != nil {
		return in(Pages, err)
	}
	if err := w.readIndex(); err != nil {
		return in(Index, err)
	}
	return in(Trailer, w.readTrailer())
}

func (w *walker) readHeader() error {
	var b [ltx.HeaderSize]byte
	if err := w.in.full(b[:], "the header"); err != nil {
		return err
	}
	h, err := ParseHeader(b[:])
	if err != nil {
		return err
	}
	w.header = h
	w.sum.Write(b[:])
	w.order.h = w.header
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
	w.sum.Write(b[:])
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
	if err := w.order.Next(h.Pgno); err != nil {
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
	w.sum.Write(w.page)
	if w.pageHasher != nil {
		w.postApply = ltx.ChecksumFlag | (w.postApply ^ ltx.ChecksumPageWithHasher(w.pageHasher, h.Pgno, w.page))
	}
	w.addIndex(uint64(h.Pgno), uint64(start), uint64(w.in.pos-start))
	w.pages++
	return true, nil
}

// readBlock reads a page compressed as one LZ4 block behind its size.
func (w *walker) readBlock(pgno uint32) error {
	var b [blockSizeSize]byte
	if err := w.in.full(b[:], "a page's size"); err != nil {
		return err
	}
	w.sum.Write(b[:])
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
	if w.order.lenient {
		return w.skipIndex()
	}
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
		w.sum.Write(b)
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
	w.sum.Write(b[:])
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
	w.sum.Write(b[:ltx.TrailerChecksumOffset])
	var t ltx.Trailer
	if err := t.UnmarshalBinary(b[:]); err != nil {
		return invalid("trailer: %w", err)
	}
	err := checkTrailer(w.header, t, w.sum.crc, w.postApply)
	if w.order.lenient && errors.Is(err, errTrailer) {
		return nil
	}
	return err
}

// errTrailer means that a field of a trailer can't be true, with which Litestream restores
// nevertheless.
var errTrailer = errors.New("trailer")

// checkTrailer compares a trailer with the header, the checksum of what is before it, and, of
// a snapshot, that of the database.
func checkTrailer(h ltx.Header, t ltx.Trailer, crc uint64, postApply ltx.Checksum) error {
	if got := ltx.ChecksumFlag | ltx.Checksum(crc); got != t.FileChecksum {
		return invalid("%w: the content has %s, the trailer says %s", ltx.ErrChecksumMismatch, got, t.FileChecksum)
	}
	if h.IsSnapshot() && !h.NoChecksum() && t.PostApplyChecksum != postApply {
		return invalid("the database's checksum is %s, the trailer says %s", postApply, t.PostApplyChecksum)
	}
	return trailerFits(h, t)
}

// CheckTrailer checks that a trailer can be of the file that a header is of. An error wraps
// ErrInvalid.
func CheckTrailer(h ltx.Header, t ltx.Trailer) error { return in(Trailer, trailerFits(h, t)) }

func trailerFits(h ltx.Header, t ltx.Trailer) error {
	if err := t.Validate(h); err != nil {
		return invalid("%w: %w", errTrailer, err)
	}
	if !h.NoChecksum() && h.Commit == 0 && t.PostApplyChecksum != ltx.ChecksumFlag {
		return invalid("%w: it says that an empty database has the checksum %s", errTrailer, t.PostApplyChecksum)
	}
	return nil
}

// skipIndex reads the page index for its checksum alone.
func (w *walker) skipIndex() error {
	index := &indexBytes{w: w}
	for fields := 0; ; fields++ {
		v, err := binary.ReadUvarint(index)
		if err != nil {
			return cmp.Or(index.err, invalid("the page index: %w", err))
		}
		if v == 0 && fields%3 == 0 { // in the place of a page number
			break
		}
	}
	var b [indexSizeSize]byte
	if err := w.in.full(b[:], "the page index's size"); err != nil {
		return err
	}
	w.sum.Write(b[:])
	rest, err := w.in.remaining()
	if err == nil && rest != ltx.TrailerSize {
		err = invalid("%d bytes follow the page index, where the trailer takes %d", rest, ltx.TrailerSize)
	}
	return err
}

// indexBytes are those of a page index, which go into the checksum.
type indexBytes struct {
	w   *walker
	err error
}

func (x *indexBytes) ReadByte() (byte, error) {
	var b [1]byte
	if x.err = x.w.in.full(b[:], "the page index"); x.err == nil {
		x.w.sum.Write(b[:])
	}
	return b[0], x.err
}
