package replica

import (
	"context"
	"io"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// Reader reads content in order, as a store sends it: at the pace of the options,
// until ctx is done. If content ends before its size, that is
// io.ErrUnexpectedEOF.
func (o WriteOptions) Reader(ctx context.Context, content Content) io.Reader {
	r := ltxfile.NewReader(ctx, content, content.Size())
	if o.Pace == nil {
		return r
	}
	return &pacedReader{ctx, r, o.Pace}
}

type pacedReader struct {
	ctx  context.Context
	r    io.Reader
	pace func(context.Context, int) error
}

func (r *pacedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		if err := r.pace(r.ctx, n); err != nil {
			return 0, err
		}
	}
	return n, err
}
