package ltxfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"
)

// UnpackPage unpacks the frame of a page, all of it, into page, which it must fill. An
// error wraps ErrInvalid.
func UnpackPage(frame []byte, pgno uint32, page []byte) error {
	var h ltx.PageHeader
	if len(frame) <= ltx.PageHeaderSize {
		return invalid("page %d: a frame of %d bytes", pgno, len(frame))
	}
	if err := h.UnmarshalBinary(frame); err != nil {
		return invalid("page %d: %w", pgno, err)
	}
	if h.Pgno != pgno {
		return invalid("page %d is where the page index has page %d", h.Pgno, pgno)
	}
	if err := h.Validate(); err != nil {
		return invalid("page %d: %w", pgno, err)
	}
	data := frame[ltx.PageHeaderSize:]
	if h.Flags&ltx.PageHeaderFlagSize == 0 {
		return unpackFrame(data, pgno, page)
	}
	if len(data) < blockSizeSize || int(binary.BigEndian.Uint32(data)) != len(data)-blockSizeSize {
		return invalid("page %d: its size isn't that of its frame, %d bytes", pgno, len(frame))
	}
	return unpackBlock(data[blockSizeSize:], pgno, page)
}

// unpackBlock unpacks a page compressed as one LZ4 block.
func unpackBlock(data []byte, pgno uint32, page []byte) error {
	n, err := lz4.UncompressBlock(data, page)
	if err != nil {
		return invalid("page %d: %w", pgno, err)
	}
	// The decoder leaves the rest of a page as it was before.
	if n != len(page) {
		return invalid("page %d holds %d bytes of %d", pgno, n, len(page))
	}
	return nil
}

// frameDecoders are kept, since each holds buffers.
var frameDecoders = sync.Pool{New: func() any { return new(frameDecoder) }}

// unpackFrame unpacks a page compressed as an LZ4 frame.
func unpackFrame(data []byte, pgno uint32, page []byte) error {
	f := &frameReader{
		in:   &input{br: bufio.NewReader(bytes.NewReader(data))},
		buf:  make([]byte, maxFrameData(uint32(len(page)))),
		pgno: pgno,
	}
	if err := f.read(); err != nil {
		return err
	}
	if f.n != len(data) {
		return invalid("page %d: %d bytes follow its LZ4 frame", pgno, len(data)-f.n)
	}
	d := frameDecoders.Get().(*frameDecoder)
	defer frameDecoders.Put(d)
	if err := d.decode(data, page); err != nil {
		return invalid("page %d: %w", pgno, err)
	}
	return nil
}
