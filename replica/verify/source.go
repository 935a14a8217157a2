package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

// bufferSize is how much is read at once, in bytes.
const bufferSize = 256 << 10

// source reads the first size bytes of a ReaderAt in order and counts them. It
// tells the end of the file, io.EOF, from an error of the ReaderAt, which it
// wraps so that it is never io.EOF itself.
type source struct {
	br  *bufio.Reader
	pos int64 // of the next byte that the caller gets
	end int64
}

func newSource(ctx context.Context, r io.ReaderAt, size int64) *source {
	in := &sequence{ctx: ctx, r: r, end: size}
	return &source{br: bufio.NewReaderSize(in, int(min(size, bufferSize))), end: size}
}

// remaining is the number of bytes that are left.
func (s *source) remaining() int64 { return s.end - s.pos }

// full fills b. what is being read goes into the error if the file ends first.
func (s *source) full(b []byte, what string) error {
	if int64(len(b)) > s.remaining() {
		return invalid("it ends within %s, at byte %d", what, s.end)
	}
	n, err := io.ReadFull(s.br, b)
	s.pos += int64(n)
	return err
}

// sequence turns a ReaderAt into a Reader that ctx can stop.
type sequence struct {
	ctx      context.Context
	r        io.ReaderAt
	pos, end int64
}

func (s *sequence) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, fmt.Errorf("verify: %w", err)
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
