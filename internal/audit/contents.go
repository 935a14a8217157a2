// Package audit finds out what a replica holds, whether it is sound, and what can be
// restored from it.
package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/internal/offline"
	"github.com/ltxfs/ltxfs/replica"
)

// Contents is what a file tells of itself, beside its pages.
type Contents struct {
	Header  ltx.Header
	Trailer ltx.Trailer
	Pages   int
}

// endSize is how much of a file's end is read at once, in bytes: most page indexes are no
// longer.
const endSize = 64 << 10

// Read reads what a file tells of itself, and checks that its page index can be true. An
// error that wraps ltxfile.ErrInvalid or ltxfile.ErrName is of its bytes, and names the file.
func Read(ctx context.Context, r *offline.Replica, f replica.File) (Contents, error) {
	h := r.Blocks.Open(r.ID, r.Store, f)
	defer h.Close()
	c, err := read(h.Within(ctx), f.Size)
	if err == nil {
		err = ltxfile.CheckName(c.Header, f.MinTXID, f.MaxTXID)
	}
	if ltxfile.IsInvalid(err) {
		err = replica.NewFileError("read", f.Name, err)
	}
	return c, err
}

func read(in io.ReaderAt, size int64) (c Contents, err error) {
	head := make([]byte, min(ltx.HeaderSize, size))
	if _, err := in.ReadAt(head, 0); err != nil {
		return c, err
	}
	h, err := ltxfile.ParseHeader(head)
	if err != nil {
		return c, err
	}
	c.Header = h
	end := make([]byte, min(endSize, size))
	if _, err := in.ReadAt(end, size-int64(len(end))); err != nil {
		return c, err
	}
	off, n, err := ltxfile.IndexAt(end, size)
	if err != nil {
		return c, err
	}
	var index io.Reader = io.NewSectionReader(in, off, n)
	if from := off - (size - int64(len(end))); from >= 0 {
		index = bytes.NewReader(end[from : from+n])
	}
	if err := ltxfile.ReadIndex(index, off, func(ltxfile.Frame) error { c.Pages++; return nil }); err != nil {
		return c, err
	}
	return c, c.Trailer.UnmarshalBinary(end[len(end)-ltx.TrailerSize:])
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
	info.Contents, info.Err = read(f, info.Size)
	if info.Err == nil {
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
