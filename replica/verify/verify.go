// Package verify decides whether bytes are an LTX file that may be published.
//
// It is stricter than the decoder of the ltx package, which accepts snapshots
// that lack pages, leaves the index's offsets unchecked and allocates what a
// frame says it needs. Here the file must be exactly what an encoder writes,
// down to the index's last byte, and memory is bounded by the page size,
// whatever the file says.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

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

// MinSize is the size in bytes of the smallest LTX file: one without pages.
const MinSize = ltx.HeaderSize + ltx.PageHeaderSize + 1 + indexSizeSize + ltx.TrailerSize

// File reads the first size bytes of r, which must be all of a file, and
// returns the header if they are a valid LTX file. Otherwise its error wraps
// ErrInvalid, if it is the bytes' fault, ctx.Err(), or the error of r. If r ends
// before size bytes, that is io.ErrUnexpectedEOF.
//
// It reads r once from beginning to end, in large pieces.
func File(ctx context.Context, r io.ReaderAt, size int64) (ltx.Header, error) {
	if size < MinSize {
		return ltx.Header{}, fmt.Errorf("%w: %d bytes are less than the %d of the smallest", ErrInvalid, size, MinSize)
	}
	w := newWalker(ctx, r, size)
	if err := w.walk(); err != nil {
		return ltx.Header{}, err
	}
	return w.header, nil
}

// Named is File for a file whose name says minTXID and maxTXID. If the header
// of a valid file names others, the error wraps ErrName and the header is
// returned with it.
func Named(ctx context.Context, r io.ReaderAt, size int64, minTXID, maxTXID ltx.TXID) (ltx.Header, error) {
	h, err := File(ctx, r, size)
	if err != nil {
		return h, err
	}
	if h.MinTXID != minTXID || h.MaxTXID != maxTXID {
		return h, fmt.Errorf("%w: it is %s, not %s: rename it", ErrName,
			ltx.FormatFilename(h.MinTXID, h.MaxTXID), ltx.FormatFilename(minTXID, maxTXID))
	}
	return h, nil
}

// invalid is an error that wraps ErrInvalid.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}
