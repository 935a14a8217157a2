package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// source is what is to be written. What can be read at any offset, as a staged
// file on disk, is read when it is sent, and again if it must be sent again, so
// that it needs no memory. Anything else is held in memory a part at a time.
type source struct {
	section *io.SectionReader // nil for a stream
	stream  io.Reader

	// looked is section for reading that sends nothing.
	looked *io.SectionReader

	first    []byte    // of a stream: its first part, or all of it
	whole    bool      // first is all of it
	time     time.Time // of the header, or of now if there is none
	consumed bool      // of a stream: more than first has been read
}

// readerAt is what io.SectionReader, os.File and bytes.Reader have.
type readerAt interface {
	io.ReaderAt
	io.Seeker
}

// newSource looks at the beginning of r.
func newSource(ctx context.Context, r io.Reader, partSize int64) (*source, error) {
	src := &source{}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if at, ok := r.(readerAt); ok {
		section, err := sectionOf(at)
		if err != nil {
			return nil, err
		}
		src.section, src.looked = section, section
		if s, ok := r.(replica.Sourcer); ok && section != nil {
			if inner, ok := s.Source().(io.ReaderAt); ok {
				_, start, size := section.Outer()
				src.looked = io.NewSectionReader(inner, start, size)
			}
		}
	}
	var head []byte
	var err error
	if src.section != nil {
		head = make([]byte, min(src.section.Size(), ltx.HeaderSize))
		if _, err = src.looked.ReadAt(head, 0); errors.Is(err, io.EOF) {
			err = nil
		}
	} else {
		src.stream = &contextReader{ctx: ctx, r: r}
		src.first, src.whole, err = readPart(src.stream, nil, partSize)
		head = src.first[:min(len(src.first), ltx.HeaderSize)]
	}
	if err != nil {
		return nil, err
	}
	if t, ok := headerTime(head); ok {
		src.time = t
	} else {
		src.time = time.Now().UTC()
	}
	return src, nil
}

// sectionOf is what r has from where it stands, or nil if it can't seek after
// all, as a pipe. r stands at its end then, as if it had been read.
func sectionOf(r readerAt) (*io.SectionReader, error) {
	start, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, nil
	}
	end, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("find the size of what is to be written: %w", err)
	}
	return io.NewSectionReader(r, start, max(end-start, 0)), nil
}

// readPart reads up to size bytes, into buf if that isn't nil, and reports whether
// r is at its end.
func readPart(r io.Reader, buf []byte, size int64) (part []byte, end bool, err error) {
	if buf == nil {
		// Most files are small: it grows with what there is.
		var b bytes.Buffer
		n, err := io.CopyN(&b, r, size)
		if n < size && err == io.EOF {
			return b.Bytes(), true, nil
		}
		return b.Bytes(), false, err
	}
	// Not io.ReadFull: an ErrUnexpectedEOF of r's own must not pass for its end.
	n := 0
	for n < int(size) {
		m, err := r.Read(buf[n:size])
		if n += m; err == io.EOF {
			return buf[:n], true, nil
		} else if err != nil {
			return nil, false, err
		}
	}
	return buf[:n], false, nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// errShorter means that there is less to write than there was at first.
var errShorter = fmt.Errorf("%w: it has become shorter", io.ErrUnexpectedEOF)

// sourceError is an error of what is to be written, on its way through the SDK,
// which would take it for one of the connection and try again.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

func (e *sourceError) Unwrap() error { return e.err }

// sentBody is the body of a request, whose errors are a sourceError.
type sentBody struct{ *io.SectionReader }

func newSentBody(r io.ReaderAt, off, size int64) sentBody {
	return sentBody{io.NewSectionReader(r, off, size)}
}

// Read implements io.Reader.
func (b sentBody) Read(p []byte) (int, error) {
	n, err := b.SectionReader.Read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		if at, serr := b.Seek(0, io.SeekCurrent); serr == nil && at == b.Size() {
			return n, io.EOF
		}
		err = errShorter
	}
	return n, &sourceError{fmt.Errorf("read what is to be written: %w", err)}
}
