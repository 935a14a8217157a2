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

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// openFlags open a file for reading, but follow no link and wait for no writer
// of a FIFO.
const openFlags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK

// StatLTXFile returns a file as it is on disk now. With ExactTime, it opens it.
func (s *Store) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	stat := s.stat
	if opts.ExactTime {
		stat = s.exact
	}
	f, err := stat(ctx, name)
	return f, replica.NewFileError("stat", name, err)
}

func (s *Store) stat(ctx context.Context, name replica.Name) (replica.File, error) {
	path, err := s.filePath(ctx, name)
	if err != nil {
		return replica.File{}, err
	}
	st, err := statPath(path)
	if err == nil {
		err = st.checkRegular(path)
	}
	if isMissing(err) {
		err = s.whyMissing(os.ErrNotExist)
	}
	if err != nil {
		return replica.File{}, err
	}
	return st.file(name), nil
}

// exact is stat, with the time in the header.
func (s *Store) exact(ctx context.Context, name replica.Name) (replica.File, error) {
	r, st, err := s.open(ctx, replica.File{Name: name})
	if err != nil {
		return replica.File{}, err
	}
	defer r.Close()
	var b [ltx.HeaderSize]byte
	n, err := r.ReadAt(b[:], 0)
	if err != nil && err != io.EOF {
		return replica.File{}, err
	}
	f := st.file(name)
	if t, ok := ltxfile.HeaderTime(b[:n]); ok {
		f.ModTime = t
	}
	return f, nil
}

// checkRegular returns an error unless what is at a path is a file.
func (a attributes) checkRegular(path string) error {
	if a.isRegular() {
		return nil
	}
	return errNotRegular(path)
}

func errNotRegular(path string) error { return fmt.Errorf("%s %w", path, errOdd) }

// errOdd means that there is something else than a file.
var errOdd = fmt.Errorf("is not a regular file: %w", os.ErrNotExist)

// OpenLTXFile reads a file as it is when it is opened. If the file is deleted or
// replaced by another after that, the reader goes on with the old one. If it is
// written to in place, a version's reader returns replica.ErrReplaced.
func (s *Store) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	if err := replica.CheckRange(offset, size); err != nil {
		return nil, replica.NewFileError("open", f.Name, err)
	}
	r, st, err := s.open(ctx, f)
	if err != nil {
		return nil, replica.NewFileError("open", f.Name, err)
	}
	end := int64(st.Size)
	if size > 0 && offset <= math.MaxInt64-size {
		end = min(end, offset+size)
	}
	return &reader{ctx: ctx, src: r, file: f, opened: st, pos: offset, end: end}, nil
}

// OpenLocal opens one version of a file for reading. What is written to it in
// place afterwards shows.
func (s *Store) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	if f.Version.IsZero() {
		return nil, replica.NewFileError("open", f.Name, fmt.Errorf("the version is missing: %w", os.ErrInvalid))
	}
	r, _, err := s.open(ctx, f)
	return r, replica.NewFileError("open", f.Name, err)
}

// open opens a file, of the version in f if there is one.
func (s *Store) open(ctx context.Context, f replica.File) (*os.File, attributes, error) {
	path, err := s.filePath(ctx, f.Name)
	if err != nil {
		return nil, attributes{}, err
	}
	r, err := open(path, openFlags, 0)
	switch {
	case isMissing(err):
		return nil, attributes{}, s.whyMissing(os.ErrNotExist)
	case isNoFile(err):
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
	if err := st.checkRegular(r.Name()); err != nil {
		return st, err
	}
	if !want.IsZero() && st.version() != want {
		return st, replica.ErrReplaced
	}
	// It was for the opening only; whoever gets the descriptor expects a
	// usual one.
	if err := withFD(r, func(fd int) error { return unix.SetNonblock(fd, false) }); err != nil {
		return st, &os.PathError{Op: "fcntl", Path: r.Name(), Err: err}
	}
	return st, nil
}

// reader reads a range of a file. Close may be called while Read runs.
type reader struct {
	ctx    context.Context
	src    *os.File
	file   replica.File
	opened attributes
	pos    int64 // of the next byte
	end    int64 // of the range
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.read(p)
	if err == io.EOF {
		return n, err // readers are asked for it by ==
	}
	return n, replica.NewFileError("read", r.file.Name, err)
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
	if r.file.Version.IsZero() {
		return nil
	}
	st, err := fstat(r.src)
	if err != nil {
		return err
	}
	st.fuse = r.opened.fuse
	if st.Nlink < r.opened.Nlink {
		// It was deleted, or another file took its name. That changes ctime
		// as well, and it is still what was opened.
		r.opened.Nlink, r.opened.Ctime = st.Nlink, st.Ctime
	}
	if st.version() != r.opened.version() {
		return fmt.Errorf("%s was changed in place: %w", r.src.Name(), replica.ErrReplaced)
	}
	return nil
}

func (r *reader) Close() error { return r.src.Close() }
