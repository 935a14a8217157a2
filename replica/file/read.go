package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

// openFlags open a file for reading, but follow no link and wait for no writer
// of a FIFO.
const openFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK

// StatLTXFile returns a file as it is on disk now.
func (c *ReplicaClient) StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	f, err := c.stat(ctx, level, minTXID, maxTXID)
	return f, replica.NewFileError("stat", level, minTXID, maxTXID, err)
}

func (c *ReplicaClient) stat(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	path, err := c.filePath(ctx, level, minTXID, maxTXID)
	if err != nil {
		return replica.File{}, err
	}
	st, err := statPath(path)
	switch {
	case isMissing(err):
		return replica.File{}, c.whyMissing(os.ErrNotExist)
	case err != nil:
		return replica.File{}, err
	case !st.isRegular():
		return replica.File{}, errNotRegular(path)
	}
	return st.file(level, minTXID, maxTXID), nil
}

func errNotRegular(path string) error {
	return fmt.Errorf("%s is not a regular file: %w", path, os.ErrNotExist)
}

// OpenLTXFile reads a file as it is when it is opened. If the file is replaced
// by another, the reader goes on with the old one.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	r, err := c.openRange(ctx, replica.File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, offset, size)
	if err != nil {
		return nil, replica.NewFileError("open", level, minTXID, maxTXID, err)
	}
	return r, nil
}

// OpenLTXFileVersion reads one version of a file. If another file has replaced
// it before it is opened, or it is written to in place at any time, the error is
// replica.ErrReplaced. If it is deleted or replaced by another file after it was
// opened, the reader goes on with the old one.
func (c *ReplicaClient) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	if f.Version == "" {
		err := fmt.Errorf("the version is empty: %w", os.ErrInvalid)
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	r, err := c.openRange(ctx, f, offset, size)
	if err != nil {
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return r, nil
}

// OpenLocal opens one version of a file for reading. What is written to it in
// place afterwards shows.
func (c *ReplicaClient) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	if f.Version == "" {
		err := fmt.Errorf("the version is empty: %w", os.ErrInvalid)
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	r, _, err := c.open(ctx, f)
	if err != nil {
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return r, nil
}

// open opens a file, of the version in f unless that is empty.
func (c *ReplicaClient) open(ctx context.Context, f replica.File) (*os.File, attributes, error) {
	path, err := c.filePath(ctx, f.Level, f.MinTXID, f.MaxTXID)
	if err != nil {
		return nil, attributes{}, err
	}
	r, err := open(path, openFlags, 0)
	switch {
	case isMissing(err):
		return nil, attributes{}, c.whyMissing(os.ErrNotExist)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO): // a link, a socket
		return nil, attributes{}, errNotRegular(path)
	case err != nil:
		return nil, attributes{}, err
	}
	st, err := checkOpened(r, f.Version)
	if err != nil {
		r.Close()
		return nil, attributes{}, err
	}
	return r, st, nil
}

func checkOpened(r *os.File, want replica.Version) (attributes, error) {
	st, err := stat(r)
	if err != nil {
		return st, err
	}
	if !st.isRegular() {
		return st, errNotRegular(r.Name())
	}
	if want != "" && st.version() != want {
		return st, replica.ErrReplaced
	}
	// It was for the opening only; whoever gets the descriptor expects a
	// usual one.
	if err := withFD(r, func(fd int) error { return unix.SetNonblock(fd, false) }); err != nil {
		return st, &os.PathError{Op: "fcntl", Path: r.Name(), Err: err}
	}
	return st, nil
}

func (c *ReplicaClient) openRange(ctx context.Context, f replica.File, offset, size int64) (*reader, error) {
	if err := replica.CheckRange(offset, size); err != nil {
		return nil, err
	}
	r, st, err := c.open(ctx, f)
	if err != nil {
		return nil, err
	}
	end := st.size
	if size > 0 && offset <= math.MaxInt64-size {
		end = min(end, offset+size)
	}
	return &reader{ctx: ctx, src: r, file: f, want: st, pos: offset, end: end}, nil
}

// reader reads a range of a file. Close may be called while Read runs.
type reader struct {
	ctx  context.Context
	src  *os.File
	file replica.File
	want attributes // if file has a version
	pos  int64      // of the next byte
	end  int64      // of the range
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.read(p)
	if err == io.EOF {
		return n, err // readers are asked for it by ==
	}
	return n, replica.NewFileError("read", r.file.Level, r.file.MinTXID, r.file.MaxTXID, err)
}

func (r *reader) read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.pos >= r.end {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.src.ReadAt(p[:min(int64(len(p)), r.end-r.pos)], r.pos)
	switch {
	case n > 0 && errors.Is(err, io.EOF):
		err = nil // the next Read finds out
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("%s was cut off at byte %d or before: %w", r.src.Name(), r.pos, io.ErrUnexpectedEOF)
	case n == 0:
		return 0, err
	}
	// This comes after the bytes were read, and before anyone gets them:
	// writing to the file changes its time first.
	if replaced := r.checkVersion(); replaced != nil {
		return 0, replaced
	}
	r.pos += int64(n)
	return n, err
}

func (r *reader) checkVersion() error {
	if r.file.Version == "" {
		return nil
	}
	st, err := stat(r.src)
	if err != nil {
		return err
	}
	if st.links < r.want.links {
		// It was deleted, or another file took its name. That changes ctime
		// as well, and it is still what was opened.
		r.want.links, r.want.ctime = st.links, st.ctime
	}
	if st.identity != r.want.identity {
		return fmt.Errorf("%s was changed in place: %w", r.src.Name(), replica.ErrReplaced)
	}
	return nil
}

func (r *reader) Close() error { return r.src.Close() }
