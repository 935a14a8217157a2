package retry

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// source is what a write reads from, to be read again from where it began.
type source struct {
	r      io.Reader // what the client inside gets
	seeker io.Seeker // nil if it can't be read again
	start  int64
	broken atomic.Bool // the source itself failed
}

func newSource(r io.Reader) *source {
	s := &source{}
	if seeker, ok := r.(io.Seeker); ok {
		// A pipe is an io.Seeker as well, and can't.
		if start, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			s.seeker, s.start = seeker, start
		}
	}
	s.r = replica.AroundReader(r, func(p []byte, read func([]byte) (int, error)) (int, error) {
		n, err := read(p)
		if err != nil && err != io.EOF {
			s.broken.Store(true)
		}
		return n, err
	})
	return s
}

// canRewind tells whether the source can be read again. One that failed would
// fail again, and that is no fault of the store.
func (s *source) canRewind() bool { return s.seeker != nil && !s.broken.Load() }

func (s *source) rewind() error {
	_, err := s.seeker.Seek(s.start, io.SeekStart)
	return err
}

// writeAgain tries a write until it succeeds or is not to be tried again.
// retried, if not nil, is asked about an error that came after another attempt
// had failed: it returns the result in its place, or done false.
func writeAgain[T any](ctx context.Context, c *client, r io.Reader, write func(io.Reader) (T, error),
	retried func(s *source, first, err error) (v T, done bool, e error)) (T, error) {
	var none T
	s, t := newSource(r), c.try("write")
	var first error
	for {
		v, err := write(s.r)
		if err == nil {
			return v, nil
		}
		if first != nil && retried != nil {
			if v, done, err := retried(s, first, err); done {
				return v, err
			}
		}
		if !s.canRewind() {
			return none, err
		}
		if againErr := t.again(ctx, err); againErr != nil {
			return none, againErr
		}
		if first == nil {
			first = err
		}
		if seekErr := s.rewind(); seekErr != nil {
			return none, t.say(err, "can't be tried again, since its source can't be read again: %v", seekErr)
		}
	}
}

// WriteLTXFile implements replica.Client.
func (c *client) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return writeAgain(ctx, c, r, func(r io.Reader) (*ltx.FileInfo, error) {
		return c.Client.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
	}, nil)
}

// WriteLTXFileVersion implements replica.VersionWriter.
func (c *client) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	return writeAgain(ctx, c, r, func(r io.Reader) (replica.File, error) {
		return c.Around.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
	}, nil)
}
