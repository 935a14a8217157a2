package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// maxResumes is how often at least a body is asked for again that gives not a byte
// more; a client that repeats requests more often does so here, too.
// One that gives some may be resumed for as long as its context lasts.
const maxResumes = 5

// body is what is read of an object. If the answer breaks off, it asks for the
// rest, of the same version.
type body struct {
	client  *ReplicaClient
	session *session
	ctx     context.Context
	key     string
	file    replica.File // its version is that of the first answer

	body    io.ReadCloser
	off     int64 // of the next byte
	left    int64 // bytes to come, unless toEnd
	toEnd   bool  // before the first answer: all that the object has
	known   bool  // after it: left is what the version has, whatever else is said
	resumes int   // since the last byte
	err     error
}

// Read implements io.Reader. It returns io.EOF only once all bytes are there.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if err != nil {
		b.err = err
		if err != io.EOF {
			b.err = replica.NewFileError("read", b.file.Level, b.file.MinTXID, b.file.MaxTXID, err)
		}
	}
	return n, b.err
}

func (b *body) read(p []byte) (int, error) {
	for {
		if err := b.ctx.Err(); err != nil {
			return 0, err
		}
		if b.left == 0 {
			return 0, io.EOF
		}
		n, err := b.body.Read(p[:min(int64(len(p)), b.left)])
		b.off += int64(n)
		b.left -= int64(n)
		if n > 0 {
			b.resumes = 0
			return n, nil // what went wrong besides comes again
		}
		if err == nil {
			continue
		}
		if err := b.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume asks for the rest, after a body has ended too early because of cause.
func (b *body) resume(cause error) error {
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if b.client.life.Err() != nil {
		return errClientClosed
	}
	most := max(maxResumes, b.client.cfg.Retry.Attempts)
	if b.resumes++; b.resumes > most {
		return fmt.Errorf("the answer broke off at %d, %d times: %w", b.off, most, storeError(b.ctx, "GetObject", cause))
	}
	if b.file.Version == "" {
		return fmt.Errorf("the answer broke off at %d, and without an ETag nothing tells whether the rest is of the same object: %w",
			b.off, storeError(b.ctx, "GetObject", cause))
	}
	b.client.log().Debug("the answer broke off; asking for the rest", "key", b.key, "offset", b.off, "left", b.left,
		"error", rootText(cause))
	_ = b.body.Close() // it is broken
	if b.resumes > 1 {
		if err := sleep(b.ctx, b.client.cfg.Retry.delay(b.resumes)); err != nil {
			return err
		}
	}
	return b.get()
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.body == nil {
		return nil
	}
	_ = b.body.Close() // of what was read, all is known
	b.body = nil
	if b.err == nil {
		b.err = errClosed
	}
	return nil
}

// errClosed is returned by Read after Close.
var errClosed = errors.New("read after close")

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
