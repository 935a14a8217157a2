// Package audit finds out what a replica holds, whether it is sound, and what can be
// restored from it.
package audit

import (
	"bytes"
	"context"
	"io"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/replica"
)

// Contents is what a file tells of itself, beside its pages.
type Contents struct {
	Header  ltx.Header
	Trailer ltx.Trailer
	Pages   int
}

// endSize is how much of a file's end is read at once, in bytes: most page indexes are no
// longer.
const endSize = 64 << 10

// Read reads what a file tells of itself, and checks that its page index can be true. An
// error that wraps ltxfile.ErrInvalid or ltxfile.ErrName is of its bytes.
func Read(ctx context.Context, r *offline.Replica, f replica.File) (c Contents, err error) {
	h := r.Blocks.Open(r.ID, r.Store, f)
	defer h.Close()
	in := &reader{ctx, h}
	head := make([]byte, min(ltx.HeaderSize, f.Size))
	if _, err := in.ReadAt(head, 0); err != nil {
		return c, err
	}
	if c.Header, err = ltxfile.ParseHeader(head, f.MinTXID, f.MaxTXID); err != nil {
		return c, err
	}
	end := make([]byte, min(endSize, f.Size))
	if _, err := in.ReadAt(end, f.Size-int64(len(end))); err != nil {
		return c, err
	}
	off, n, err := ltxfile.IndexAt(end, f.Size)
	if err != nil {
		return c, err
	}
	var index io.Reader = io.NewSectionReader(in, off, n)
	if from := off - (f.Size - int64(len(end))); from >= 0 {
		index = bytes.NewReader(end[from : from+n])
	}
	if err := ltxfile.ReadIndex(index, off, func(ltxfile.Frame) error { c.Pages++; return nil }); err != nil {
		return c, err
	}
	return c, c.Trailer.UnmarshalBinary(end[len(end)-ltx.TrailerSize:])
}

// reader reads a file until a context is done.
type reader struct {
	ctx context.Context
	h   *blocks.Handle
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	s, err := r.h.Read(r.ctx, p, off)
	if err != nil {
		return 0, err
	}
	defer s.Release()
	n := s.CopyTo(p)
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}
