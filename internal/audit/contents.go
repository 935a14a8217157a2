// Package audit finds out what a replica holds, whether it is sound, and what can be
// restored from it.
package audit

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/replica"
)

// Contents is what a file tells of itself, beside its pages.
type Contents struct {
	Header  ltx.Header
	Trailer ltx.Trailer
	Pages   int
	Frames  int64  // bytes of the file that its pages take
	Tail    uint32 // the first of the pages that it has all of to the end of the database

	before, after ltxfile.Sum // of what is before the pages and behind them
}

// Time is the timestamp in the header, or zero if that is none that can be written.
func (c *Contents) Time() (at time.Time) {
	if t := time.UnixMilli(c.Header.Timestamp).UTC(); c.Header.MinTXID > 0 && t.Year() > 0 && t.Year() <= 9999 {
		at = t
	}
	return at
}

// endSize is how much of a file's end is read at once, in bytes: most page indexes are no
// longer.
const endSize = 64 << 10

// indexPart is how much of a longer one is read at once, in bytes.
const indexPart = 256 << 10

// Read reads what a file tells of itself, and checks that its page index can be true, twice
// if it can't. An error that wraps ltxfile.ErrInvalid or ltxfile.ErrName is of its bytes, and
// names the file.
func Read(ctx context.Context, r *offline.Replica, f replica.File) (c Contents, err error) {
	h := r.Blocks.Open(r.ID, r.Store, f)
	defer h.Close()
	for range 2 {
		if c, err = readNamed(ctx, r, h, f, nil); !ltxfile.IsInvalid(err) {
			break
		}
		h.Forget(0, f.Size) // the store can have given something else, and may not the next time
	}
	return c, err
}

// smallFile is up to which size a file is read by one request, in bytes.
const smallFile = 128 << 10

const (
	// readTimeout is the deadline of a request, and slowest is how many bytes a second have to
	// come beyond that.
	readTimeout = 30 * time.Second
	slowest     = 16 << 10
)

// straight reads a file without a cache, which would read ahead of it.
type straight struct {
	ctx context.Context
	r   *offline.Replica
	f   replica.File
}

func (s *straight) ReadAt(p []byte, off int64) (int, error) {
	// Parts are read at the same time, and may be limited together.
	within := readTimeout + time.Duration(len(p))*time.Second/slowest
	if err := s.r.States.ReadFile(s.ctx, within, s.f, off, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// partly reads parts of a file: of a small one through a handle on it, so that it comes whole
// with the first.
func partly(ctx context.Context, r *offline.Replica, h *blocks.Handle, f replica.File) io.ReaderAt {
	if f.Size <= smallFile {
		return h.Within(ctx)
	}
	return &straight{ctx, r, f}
}

func readNamed(ctx context.Context, r *offline.Replica, h *blocks.Handle, f replica.File, add func(ltx.Header, ltxfile.Frame) error) (Contents, error) {
	c, err := read(partly(ctx, r, h, f), f.Size, add)
	return c, named(f.Name, c.Header, err)
}

// named compares the header of a file that is valid, but for err, with its name, and names
// the file in an error of its bytes.
func named(n replica.Name, h ltx.Header, err error) error {
	if err == nil {
		err = ltxfile.CheckName(h, n.MinTXID, n.MaxTXID)
	}
	if ltxfile.IsInvalid(err) {
		err = replica.NewFileError("read", n, err)
	}
	return err
}

// read calls add, if that isn't nil, with each frame that the page index has.
func read(in io.ReaderAt, size int64, add func(ltx.Header, ltxfile.Frame) error) (c Contents, err error) {
	head := make([]byte, min(ltx.HeaderSize, size))
	if _, err := in.ReadAt(head, 0); err != nil {
		return c, err
	}
	if c.Header, err = ltxfile.ParseHeader(head); err != nil {
		return c, err
	}
	c.before = ltxfile.SumOf(head)
	end := make([]byte, min(endSize, size))
	endOff := size - int64(len(end))
	if _, err := in.ReadAt(end, endOff); err != nil {
		return c, err
	}
	off, n, err := ltxfile.IndexAt(end, size)
	if err != nil {
		return c, err
	}
	// Before the index is what ends the pages.
	from := off - ltx.PageHeaderSize
	c.Frames = from - ltx.HeaderSize
	var tail io.Reader
	if from >= endOff {
		tail = bytes.NewReader(end[from-endOff : off+n-endOff])
	} else {
		tail = bufio.NewReaderSize(io.NewSectionReader(in, from, ltx.PageHeaderSize+n), indexPart)
	}
	tail = io.TeeReader(tail, &c.after)
	if err := ltxfile.ReadPagesEnd(tail); err != nil {
		return c, err
	}
	order := ltxfile.NewOrder(c.Header)
	err = ltxfile.ReadIndex(tail, off, func(f ltxfile.Frame) error {
		if err := order.Next(f.Pgno); err != nil {
			return err
		}
		c.Pages++
		if add != nil {
			return add(c.Header, f)
		}
		return nil
	})
	if err == nil {
		err = order.End()
	}
	if err != nil {
		return c, err
	}
	c.Tail = order.Tail()
	trailer := end[len(end)-ltx.TrailerSize:]
	c.after.Write(end[len(end)-ltxfile.MinEnd : len(end)-ltx.ChecksumSize])
	if err := c.Trailer.UnmarshalBinary(trailer); err != nil {
		return c, err
	}
	return c, ltxfile.CheckTrailer(c.Header, c.Trailer)
}

// readIndex calls add with each frame that the page index of a file has, whatever they are.
func readIndex(in io.ReaderAt, size int64, add func(ltxfile.Frame) error) error {
	end := make([]byte, min(ltxfile.MinEnd, size))
	if _, err := in.ReadAt(end, size-int64(len(end))); err != nil {
		return err
	}
	off, n, err := ltxfile.IndexAt(end, size)
	if err != nil {
		return err
	}
	return ltxfile.ReadIndex(bufio.NewReaderSize(io.NewSectionReader(in, off, n), int(min(n, indexPart))), off, add)
}

// FileInfo is a file on disk, and why it isn't sound, if it isn't.
type FileInfo struct {
	Contents
	Size int64 // bytes
	Err  error
}

// LookAtFile reads all of a file on disk and checks it.
func LookAtFile(ctx context.Context, path string) (*FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	info := &FileInfo{Size: st.Size()}
	if info.Contents, info.Err = read(f, info.Size, nil); info.Err == nil {
		_, info.Err = ltxfile.Verify(ctx, f, info.Size)
	}
	if minTXID, maxTXID, err := ltx.ParseFilename(filepath.Base(path)); err == nil && info.Err == nil {
		info.Err = ltxfile.CheckName(info.Header, minTXID, maxTXID)
	}
	if info.Err != nil && !ltxfile.IsInvalid(info.Err) {
		return nil, fmt.Errorf("read %s: %w", path, info.Err)
	}
	return info, nil
}
