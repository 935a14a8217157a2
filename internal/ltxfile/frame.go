package ltxfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// Files written before encoders put a size before each page hold each page as
// an LZ4 frame (https://github.com/lz4/lz4, doc/lz4_Frame_format.md), whose
// length shows only by walking its blocks. All integers in it are little-endian.
const (
	lz4Magic         = 0x184D2204
	lz4MagicSize     = 4
	lz4DescSize      = 3 // flags, block size, header checksum
	lz4ContentSize   = 8 // where a flag says so
	lz4WordSize      = 4 // a block's size, a checksum
	lz4Uncompressed  = 1 << 31
	lz4MaxBlocks     = 64
	lz4VersionMask   = 3 << 6
	lz4Version       = 1 << 6
	lz4BlockChecksum = 1 << 4
	lz4HasSize       = 1 << 3
	lz4Checksum      = 1 << 2
	lz4Reserved      = 1 << 1
	lz4HasDict       = 1 << 0
)

// maxFrameData is the room that a page's compressed form needs at most, as a
// block or as a frame.
func maxFrameData(pageSize uint32) int {
	const overhead = lz4MagicSize + lz4DescSize + lz4ContentSize + 2*lz4WordSize + lz4MaxBlocks*2*lz4WordSize
	return lz4.CompressBlockBound(int(pageSize)) + overhead
}

// frameDecoder decompresses LZ4 frames. Its zero value is ready for use.
type frameDecoder struct {
	zr *lz4.Reader
}

// readFrame reads a page compressed as an LZ4 frame.
func (w *walker) readFrame(pgno uint32) error {
	f := &frameReader{in: w.in, buf: w.compressed, pgno: pgno}
	if err := f.read(); err != nil {
		return err
	}
	if err := w.frame.decode(f.buf[:f.n], w.page); err != nil {
		return invalid("page %d: %w", pgno, err)
	}
	return nil
}

// decode decompresses a whole frame, which must fill page exactly.
func (d *frameDecoder) decode(frame, page []byte) error {
	r := bytes.NewReader(frame)
	if d.zr == nil {
		d.zr = lz4.NewReader(r)
	} else {
		d.zr.Reset(r)
	}
	if _, err := io.ReadFull(d.zr, page); err != nil {
		return err
	}
	// Reading on checks the frame's own checksum.
	var b [1]byte
	if n, err := d.zr.Read(b[:]); n > 0 || err == nil {
		return fmt.Errorf("it holds more than %d bytes", len(page))
	} else if err != io.EOF {
		return err
	}
	return nil
}

// frameReader reads one LZ4 frame into buf and refuses what doesn't fit.
type frameReader struct {
	in   *input
	buf  []byte
	n    int
	pgno uint32
}

// next reads the next n bytes of the frame.
func (f *frameReader) next(n int) ([]byte, error) {
	if n > len(f.buf)-f.n {
		return nil, invalid("page %d takes more than the %d bytes that a page can", f.pgno, len(f.buf))
	}
	b := f.buf[f.n : f.n+n]
	if err := f.in.full(b, "a page"); err != nil {
		return nil, err
	}
	f.n += n
	return b, nil
}

func (f *frameReader) read() error {
	b, err := f.next(lz4MagicSize + lz4DescSize)
	if err != nil {
		return err
	}
	// Legacy and skippable frames, which an LZ4 reader takes as well, have
	// other magic numbers, and no encoder has written them.
	if binary.LittleEndian.Uint32(b) != lz4Magic {
		return invalid("page %d is no LZ4 frame", f.pgno)
	}
	flags := b[lz4MagicSize]
	switch {
	case flags&lz4VersionMask != lz4Version || flags&lz4Reserved != 0 || flags&lz4HasDict != 0:
		return invalid("page %d has the unknown LZ4 flags %#02x", f.pgno, flags)
	case flags&lz4Checksum == 0:
		// The ltx package finds the next page by it.
		return invalid("page %d is an LZ4 frame without a checksum", f.pgno)
	}
	if flags&lz4HasSize != 0 {
		if _, err := f.next(lz4ContentSize); err != nil {
			return err
		}
	}
	for range lz4MaxBlocks {
		b, err := f.next(lz4WordSize)
		if err != nil {
			return err
		}
		size := binary.LittleEndian.Uint32(b)
		if size == 0 {
			_, err := f.next(lz4WordSize)
			return err
		}
		n := int(size &^ lz4Uncompressed)
		if flags&lz4BlockChecksum != 0 {
			n += lz4WordSize
		}
		if _, err := f.next(n); err != nil {
			return err
		}
	}
	return invalid("page %d has more than %d LZ4 blocks", f.pgno, lz4MaxBlocks)
}
