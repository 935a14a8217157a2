package replica

import (
	"context"
	"hash"
	"io"

	"github.com/minio/crc64nvme"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// Digest is the checksum of content, which it is given in order.
type Digest interface {
	io.Writer
	Sum64() uint64 // CRC-64/NVME
}

// NewDigest returns the Digest of a store that needs no other checksum.
func NewDigest() Digest { return crc64nvme.New() }

// CheckReader returns a reader of r, which has size bytes. In place of the last of them
// it fails with ErrChanged, unless sum is the CRC-64/NVME of all.
func CheckReader(r io.Reader, size int64, sum uint64) io.Reader {
	return &checkReader{r: r, left: size, want: sum, sum: crc64nvme.New()}
}

type checkReader struct {
	r    io.Reader
	left int64 // bytes
	want uint64
	sum  hash.Hash64
}

func (c *checkReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	_, _ = c.sum.Write(p[:n]) // a hash has no errors
	if c.left -= int64(n); c.left <= 0 && c.sum.Sum64() != c.want {
		return 0, ErrChanged
	}
	return n, err
}

// Reader reads content in order, as a store sends it: at the pace of the options,
// until ctx is done. If content ends before its size, that is
// io.ErrUnexpectedEOF; if it isn't what the digest was given, ErrChanged.
func (o WriteOptions) Reader(ctx context.Context, content Content) io.Reader {
	r := ltxfile.NewReader(ctx, content, content.Size())
	if o.Digest != nil {
		r = CheckReader(r, content.Size(), o.Digest.Sum64())
	}
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
