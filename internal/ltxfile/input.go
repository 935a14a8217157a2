package ltxfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

// bufferSize is how much is read at once, in bytes.
const bufferSize = 256 << 10

// input reads the first size bytes of a ReaderAt in order and counts them. It
// tells the end of the file, io.EOF, from an error of the ReaderAt, which it
// wraps so that it is never io.EOF itself.
type input struct {
	br  *bufio.Reader
	pos int64 // of the next byte that the caller gets
	end int64
}

func newInput(ctx context.Context, r io.ReaderAt, size int64) *input {
	return &input{br: bufio.NewReaderSize(NewReader(ctx, r, size), int(min(size, bufferSize))), end: size}
}

// remaining is the number of bytes that are left.
func (in *input) remaining() int64 { return in.end - in.pos }

// full fills b. what is being read goes into the error if the file ends first.
func (in *input) full(b []byte, what string) error {
	if int64(len(b)) > in.remaining() {
		return invalid("it ends within %s, at byte %d", what, in.end)
	}
	n, err := io.ReadFull(in.br, b)
	in.pos += int64(n)
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
