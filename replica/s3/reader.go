package s3

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ltxfs/ltxfs/replica"
)

// maxResumes is how often at least an answer is asked for again that gives not a
// byte more; a store that repeats requests more often does so here, too. One that
// gives some may be resumed for as long as its context lasts.
const maxResumes = 5

// reader reads a range of an object. If the answer breaks off, it asks for the
// rest, of the same version.
type reader struct {
	store   *Store
	at      *session
	ctx     context.Context
	key     string
	name    replica.Name
	version replica.Version // from the first answer on, what is read

	body    io.ReadCloser // of the last answer
	off     int64         // of the next byte
	left    int64         // bytes to come, unless toEnd
	toEnd   bool          // before the first answer: all that the object has
	resumes int           // since the last byte
	err     error
}

// Read implements io.Reader. It returns io.EOF only once all bytes are there.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	if err == io.EOF {
		r.err = err
	} else {
		r.err = replica.NewFileError("read", r.name, err)
	}
	return n, r.err
}

func (r *reader) read(p []byte) (int, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if r.left == 0 {
			return 0, io.EOF
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
		r.off += int64(n)
		r.left -= int64(n)
		if n > 0 {
			r.resumes = 0
			return n, nil // what went wrong besides comes again
		}
		if err == nil {
			continue
		}
		if err := r.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume asks for the rest, after an answer has ended too early because of cause.
func (r *reader) resume(cause error) error {
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	s := r.store
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if s.life.Err() != nil {
		return errStoreClosed
	}
	most := max(maxResumes, s.cfg.Retry.Attempts)
	if r.resumes++; r.resumes > most {
		return fmt.Errorf("the answer broke off at %d, %d times: %w", r.off, most, storeError(r.ctx, "GetObject", cause))
	}
	if r.version.ETag == "" {
		return fmt.Errorf("the answer broke off at %d, and without an ETag nothing tells whether the rest is of the same object: %w",
			r.off, storeError(r.ctx, "GetObject", cause))
	}
	s.log().Debug("the answer broke off; asking for the rest", "key", r.key, "offset", r.off, "left", r.left, "error", rootText(cause))
	_ = r.body.Close() // it is broken
	if r.resumes > 1 {
		if err := s.pause(r.ctx, r.resumes); err != nil {
			return err
		}
	}
	return r.get()
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	_ = r.body.Close() // of what was read, all is known
	r.body = nil
	if r.err == nil {
		r.err = errClosed
	}
	return nil
}

// errClosed is returned by Read after Close.
var errClosed = errors.New("read after close")
