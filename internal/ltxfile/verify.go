// Package ltxfile reads the bytes of an LTX file from any io.ReaderAt: it verifies
// a whole file, and tells the time in a header.
//
// It is stricter than the decoder of the ltx package, which accepts snapshots
// that lack pages, leaves the index's offsets unchecked and allocates what a
// frame says it needs. Here the file must be exactly what an encoder writes,
// down to the index's last byte, and memory is bounded by the page size,
// whatever the file says.
package ltxfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/superfly/ltx"
)

var (
	// ErrInvalid means that the bytes are no valid LTX file: they are
	// something else, damaged, or cut short.
	ErrInvalid = errors.New("not a valid LTX file")

	// ErrName means that the bytes are a valid LTX file, but of other TXIDs
	// than the name says.
	ErrName = errors.New("the LTX header contradicts the file's name")
)

// minSize is the size in bytes of the smallest LTX file: one without pages.
const minSize = ltx.HeaderSize + ltx.PageHeaderSize + 1 + indexSizeSize + ltx.TrailerSize

// Verify reads the first size bytes of r, which must be all of a file, and
// returns the header if they are a valid LTX file. Otherwise its error wraps
// ErrInvalid, if it is the bytes' fault, ctx.Err(), or the error of r. If r ends
// before size bytes, that is io.ErrUnexpectedEOF.
//
// It reads r once from beginning to end, in large pieces.
func Verify(ctx context.Context, r io.ReaderAt, size int64) (ltx.Header, error) {
	if size < minSize {
		return ltx.Header{}, fmt.Errorf("%w: %d bytes are less than the %d of the smallest", ErrInvalid, size, minSize)
	}
	in := bufio.NewReaderSize(NewReader(ctx, r, size), int(min(size, BufferSize)))
	return VerifyStream(ctx, in, func() (int64, error) { return size, nil })
}

// VerifyStream is Verify for the bytes that r gives in order. size is called once r has
// given all but the page index and the trailer, and may wait until the file is whole.
func VerifyStream(ctx context.Context, r *bufio.Reader, size func() (int64, error)) (ltx.Header, error) {
	return walk(ctx, r, size, &Order{})
}

// Restorable is Verify for a file that isn't valid, as the decoder does it that Litestream
// v0.5.18 restores with (ltx v0.5.2): it takes a page index that says anything, and a snapshot
// that lacks pages, which is an error only of a state that lacks them.
func Restorable(ctx context.Context, r io.ReaderAt, size int64) error {
	in := bufio.NewReaderSize(NewReader(ctx, r, size), int(min(size, BufferSize)))
	_, err := walk(ctx, in, func() (int64, error) { return size, nil }, &Order{lenient: true})
	return err
}

func walk(ctx context.Context, r *bufio.Reader, size func() (int64, error), order *Order) (ltx.Header, error) {
	w := &walker{ctx: ctx, in: &input{br: r, size: size}, order: order}
	if err := w.walk(); err != nil {
		return ltx.Header{}, err
	}
	return w.header, nil
}

// CheckName returns an error that wraps ErrName if the header of a valid file names
// other TXIDs than these, which the file's name says.
func CheckName(h ltx.Header, minTXID, maxTXID ltx.TXID) error {
	if h.MinTXID == minTXID && h.MaxTXID == maxTXID {
		return nil
	}
	return fmt.Errorf("%w: it is %s, not %s: rename it", ErrName,
		ltx.FormatFilename(h.MinTXID, h.MaxTXID), ltx.FormatFilename(minTXID, maxTXID))
}

// ParseHeader returns the header that b begins with, if it is valid.
func ParseHeader(b []byte) (h ltx.Header, err error) {
	if len(b) < ltx.HeaderSize {
		return h, in(Head, invalid("%d bytes are less than a header", len(b)))
	}
	if err := h.UnmarshalBinary(b); err != nil {
		return h, in(Head, invalid("header: %w", err))
	}
	if err := h.Validate(); err != nil {
		return h, in(Head, invalid("header: %w", err))
	}
	return h, nil
}

// IsInvalid reports whether an error is of a file's bytes, and not of reading them.
func IsInvalid(err error) bool { return errors.Is(err, ErrInvalid) || errors.Is(err, ErrName) }

// HeaderTime returns the timestamp of the LTX header that b begins with. ok is
// false if it doesn't begin with a valid one.
func HeaderTime(b []byte) (t time.Time, ok bool) {
	h, err := ParseHeader(b)
	if err != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(h.Timestamp).UTC(), true
}

// Part is a part of an LTX file.
type Part string

// The parts, in order.
const (
	Head    Part = "header"
	Pages   Part = "pages"
	Index   Part = "page index"
	Trailer Part = "trailer"
)

// partError is an error of the bytes of a part.
type partError struct {
	part Part
	err  error
}

func (e *partError) Error() string { return e.err.Error() }
func (e *partError) Unwrap() error { return e.err }

// in adds a part to an error, if that is of the file's bytes.
func in(p Part, err error) error {
	if errors.Is(err, ErrInvalid) {
		return &partError{p, err}
	}
	return err
}

// PartOf returns the part of a file of which its error is, or "" without any.
func PartOf(err error) Part {
	var e *partError
	if errors.As(err, &e) {
		return e.part
	}
	return ""
}

// IsIncomplete reports whether an error is that a snapshot lacks pages.
func IsIncomplete(err error) bool { return errors.Is(err, errIncomplete) }

var errIncomplete = errors.New("a snapshot must hold every page")

// invalid is an error that wraps ErrInvalid.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}
