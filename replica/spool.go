package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	// spoolMemory is how much of a stream is held in memory, in bytes. More goes
	// to a file in os.TempDir.
	spoolMemory = 1 << 20

	// maxEmptyReads is how many reads in a row without data or error are taken
	// before a reader counts as broken.
	maxEmptyReads = 100
)

// spool makes Content of what r holds, from where it stands: r itself where it can
// be read anywhere, and else a copy. done must be called once the content isn't
// needed any more.
func spool(ctx context.Context, r io.Reader) (content Content, done func(), err error) {
	if section, ok := sectionOf(r); ok {
		return section, func() {
			_, _ = r.(io.Seeker).Seek(0, io.SeekEnd) // as if it had been read
		}, nil
	}
	in := &contextReader{ctx: ctx, r: r}
	var head bytes.Buffer
	n, err := io.CopyN(&head, in, spoolMemory)
	if err == io.EOF { // and nothing that wraps it, which is an error of r
		return bytes.NewReader(head.Bytes()), func() {}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the content after %d bytes: %w", n, err)
	}
	f, err := os.CreateTemp("", "ltxfs-spool-*")
	if err != nil {
		return nil, nil, fmt.Errorf("keep the content on disk until it is written: %w", err)
	}
	// Without a name, it goes with its descriptor, whatever happens.
	err = os.Remove(f.Name())
	if err == nil {
		n, err = io.Copy(f, io.MultiReader(&head, in))
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("keep the content on disk until it is written, after %d bytes: %w", n, err), f.Close())
	}
	return io.NewSectionReader(f, 0, n), func() { f.Close() }, nil
}

// sectionOf returns what is left of r, if it can be read anywhere and says how much
// that is. A device says 0. Of other types, such as one that embeds a file, Read may
// give other bytes than ReadAt.
func sectionOf(r io.Reader) (*io.SectionReader, bool) {
	switch r.(type) {
	case *os.File, *bytes.Reader, *strings.Reader, *io.SectionReader:
	default:
		return nil, false
	}
	at, seeker := r.(io.ReaderAt), r.(io.Seeker)
	start, err := seeker.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, false // such as a pipe
	}
	end, err := seeker.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, false
	}
	if _, err := seeker.Seek(start, io.SeekStart); err != nil || end <= start {
		return nil, false
	}
	return io.NewSectionReader(at, start, end-start), true
}

// contextReader is a reader that fails once ctx is done, or r makes no progress.
type contextReader struct {
	ctx   context.Context
	r     io.Reader
	empty int // reads in a row
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if n > 0 || err != nil {
		r.empty = 0
	} else if r.empty++; r.empty == maxEmptyReads {
		err = io.ErrNoProgress
	}
	return n, err
}
