package ltxfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

// BufferSize is how much is read at once, in bytes.
const BufferSize = 256 << 10

// input reads a file in order and counts its bytes. It tells the end of the file,
// io.EOF, from an error of the reader, which is never io.EOF itself.
type input struct {
	br   *bufio.Reader
	pos  int64 // of the next byte that the caller gets
	size func() (int64, error)
}

// remaining is the number of bytes that are left.
func (in *input) remaining() (int64, error) {
	size, err := in.size()
	return size - in.pos, err
}

// full fills b. what is being read goes into the error if the file ends first.
func (in *input) full(b []byte, what string) error {
	n, err := io.ReadFull(in.br, b)
	in.pos += int64(n)
	if err == io.EOF || err == io.ErrUnexpectedEOF { // and nothing that wraps it
		return invalid("it ends within %s, at byte %d", what, in.pos)
	}
	return err
}

// NewReader returns a reader of the first size bytes of r in order, until ctx is
// done. If r ends before, that is io.ErrUnexpectedEOF.
func NewReader(ctx context.Context, r io.ReaderAt, size int64) io.Reader {
	return &sequence{ctx: ctx, r: r, end: size}
}

type sequence struct {
	ctx      context.Context
	r        io.ReaderAt
	pos, end int64
}

func (s *sequence) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.pos >= s.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.end-s.pos)]
	n, err := s.r.ReadAt(p, s.pos)
	s.pos += int64(n)
	if n == len(p) {
		// A ReaderAt may report the end together with the last bytes.
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read at byte %d of %d: %w", s.pos, s.end, err)
}
