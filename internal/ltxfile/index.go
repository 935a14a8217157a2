package ltxfile

import (
	"bufio"
	"encoding/binary"
	"io"
	"math"

	"github.com/superfly/ltx"
)

// Frame is where a page is in a file, in bytes.
type Frame struct {
	Pgno   uint32
	Offset int64
	Size   int64 // with the page's header
}

const (
	// MinEnd is how much of a file's end follows its page index, in bytes.
	MinEnd = indexSizeSize + ltx.TrailerSize

	// maxPageSize is SQLite's largest page, in bytes.
	maxPageSize = 65536
)

// MaxFrameSize is the largest frame of a page, in bytes.
var MaxFrameSize = int64(ltx.PageHeaderSize + blockSizeSize + maxFrameData(maxPageSize))

// IndexAt returns where the page index of a file of that size is, and how long it is,
// both in bytes. end is how the file ends: all of it, or MinEnd bytes or more. An error
// wraps ErrInvalid.
func IndexAt(end []byte, size int64) (off, n int64, err error) {
	if size < minSize {
		return 0, 0, invalid("%d bytes are less than the %d of the smallest", size, minSize)
	}
	claimed := binary.BigEndian.Uint64(end[len(end)-MinEnd:])
	if most := size - minSize + 1; claimed < 1 || claimed > uint64(most) {
		return 0, 0, in(Index, invalid("the page index says it takes %d bytes, in a file of %d", claimed, size))
	}
	n = int64(claimed)
	return size - MinEnd - n, n, nil
}

// ReadPagesEnd reads what ends the pages of a file, ltx.PageHeaderSize bytes. An error wraps
// ErrInvalid, or is that of r.
func ReadPagesEnd(r io.Reader) error {
	var b [ltx.PageHeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return err
	}
	if b != [ltx.PageHeaderSize]byte{} {
		return in(Pages, invalid("the pages go on where the page index begins: %x", b))
	}
	return nil
}

// ReadIndex reads a page index from r, which gives its n bytes and no more. It begins
// at off in the file. add is called with each frame, in ascending order. Frames must
// fill the file from its header to the index, as encoders write them. An error wraps
// ErrInvalid, or is that of r or add.
func ReadIndex(r io.Reader, off int64, add func(Frame) error) error {
	return in(Index, readIndex(r, off, add))
}

func readIndex(r io.Reader, off int64, add func(Frame) error) error {
	br := bufio.NewReader(r)
	next := Frame{Offset: ltx.HeaderSize}
	for {
		b, err := br.Peek(maxEntry)
		if err != nil && err != io.EOF {
			return err
		}
		left := b
		pgno, err := cutUvarint(&left)
		var offset, size uint64
		if err == nil && pgno > 0 {
			offset, err = cutUvarint(&left)
		}
		if err == nil && pgno > 0 {
			size, err = cutUvarint(&left)
		}
		if err != nil {
			return err
		}
		_, _ = br.Discard(len(b) - len(left)) // they are in the buffer
		if pgno == 0 {
			break
		}
		switch end := off - ltx.PageHeaderSize; {
		case pgno <= uint64(next.Pgno) || pgno > math.MaxUint32:
			return invalid("the page index has page %d after page %d", pgno, next.Pgno)
		case offset != uint64(next.Offset):
			return invalid("the page index has page %d at byte %d, where byte %d comes next", pgno, offset, next.Offset)
		case size <= ltx.PageHeaderSize || size > uint64(min(MaxFrameSize, end-next.Offset)):
			return invalid("the page index has %d bytes for page %d at byte %d of %d", size, pgno, offset, end)
		}
		f := Frame{Pgno: uint32(pgno), Offset: next.Offset, Size: int64(size)}
		if err := add(f); err != nil {
			return err
		}
		next.Pgno, next.Offset = f.Pgno, f.Offset+f.Size
	}
	if _, err := br.ReadByte(); err != io.EOF {
		if err == nil {
			err = invalid("the page index goes on behind its end")
		}
		return err
	}
	if pages := off - ltx.PageHeaderSize; next.Offset != pages {
		return invalid("the page index ends with byte %d, and the pages with byte %d", next.Offset, pages)
	}
	return nil
}

// maxEntry is the longest entry of an index, in bytes.
const maxEntry = 3 * binary.MaxVarintLen64

// cutUvarint takes a number from the beginning of b.
func cutUvarint(b *[]byte) (uint64, error) {
	v, n := binary.Uvarint(*b)
	switch {
	case n == 0:
		return 0, invalid("the page index ends too soon")
	case n < 0:
		return 0, invalid("the page index has a number that is too long")
	}
	*b = (*b)[n:]
	return v, nil
}
