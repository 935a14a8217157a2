package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// WriteLTXFileExclusive implements replica.ExclusiveWriter.
//
// An attempt may have failed only on the way back, with the file in the store, so
// that the next one finds the name taken by its own doing. The file that is there
// is then read and compared. With the same content, the write has succeeded:
// whoever wrote it, that is what was to be there. With another content, the name
// is somebody else's, and os.ErrExist is right. If that can't be found out, the
// error is that of the first attempt, and not os.ErrExist.
func (c *client) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	return writeAgain(ctx, c, r,
		func(r io.Reader) (replica.File, error) {
			return c.Around.WriteLTXFileExclusive(ctx, level, minTXID, maxTXID, r)
		},
		func(s *source, first, err error) (replica.File, bool, error) {
			if !errors.Is(err, os.ErrExist) {
				return replica.File{}, false, nil
			}
			f, same, cmpErr := c.compare(ctx, level, minTXID, maxTXID, s)
			switch {
			case cmpErr != nil:
				err = replica.NewFileError("write", level, minTXID, maxTXID, fmt.Errorf(
					"%w; the name is taken since, perhaps by this very write: look at the file before trying again (%v)",
					cause(first), cmpErr))
				return replica.File{}, true, err
			case same:
				return f, true, nil
			}
			return replica.File{}, true, err
		})
}

// cause is what an error of a file says beside the file.
func cause(err error) error {
	if f, ok := err.(*replica.FileError); ok {
		return f.Err
	}
	return err
}

// compare tells whether the store has a file of that name with the source's
// content, and returns it.
func (c *client) compare(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, s *source) (_ replica.File, same bool, err error) {
	f, err := c.statForWrite(ctx, level, minTXID, maxTXID)
	if err != nil {
		return replica.File{}, false, err
	}
	if err := s.rewind(); err != nil {
		return replica.File{}, false, err
	}
	rc, err := replica.Open(ctx, c, f, 0, 0)
	if err != nil {
		return replica.File{}, false, err
	}
	created, same, err := equal(rc, s.r)
	if err = errors.Join(err, rc.Close()); err != nil || !same {
		return replica.File{}, false, err
	}
	if !created.IsZero() {
		f.ModTime = created
	}
	return f, true, nil
}

// statForWrite finds the file with its time as exactly as the client can.
func (c *client) statForWrite(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	if _, ok := replica.As[replica.ExactStater](c.Client); ok {
		return c.StatLTXFileExact(ctx, level, minTXID, maxTXID)
	}
	return c.StatLTXFile(ctx, level, minTXID, maxTXID)
}

// equal compares two contents, and returns the timestamp in the LTX header that
// they begin with, or no time.
func equal(a, b io.Reader) (created time.Time, same bool, err error) {
	const size = 64 << 10
	p, q := make([]byte, size), make([]byte, size)
	for first := true; ; first = false {
		n, aErr := fill(a, p)
		m, bErr := fill(b, q)
		if err := errors.Join(aErr, bErr); err != nil {
			return time.Time{}, false, err
		}
		if !bytes.Equal(p[:n], q[:m]) {
			return time.Time{}, false, nil
		}
		if first {
			var h ltx.Header
			if h.UnmarshalBinary(p[:n]) == nil && h.Validate() == nil {
				created = time.UnixMilli(h.Timestamp).UTC()
			}
		}
		if n < size {
			return created, true, nil
		}
	}
}

// fill reads until p is full, or to the end, which is no error.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
