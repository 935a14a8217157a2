package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	fileMode = 0o600
	dirMode  = 0o700

	// copySize is how much is copied at once, in bytes, and so how much
	// before ctx is looked at again.
	copySize = 256 << 10

	// writeTries is how often a file is written whose directory others remove
	// meanwhile.
	writeTries = 5
)

// errReadBack means that the disk doesn't return what was written.
var errReadBack = errors.New("the disk returned other data than was written")

// WriteLTXFile stores content. The file has no name, or one that no listing shows,
// until it is complete, on the disk, read back and found to be what was written. Of
// several writers of one name, the last to publish wins. An exclusive write returns
// os.ErrExist if anything has the name, a stranger included.
//
// If bringing the directory to stable storage fails, that is an error although
// the file has become visible: it may be gone after a crash, so write it again.
func (s *Store) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	for try := 1; ; try++ {
		f, op, err := s.write(ctx, name, content, opts)
		if err == nil {
			s.log().Debug("wrote LTX file", "ltx_level", name.Level, "name", name.Base(), "bytes", f.Size)
			return f, nil
		}
		err = s.whyMissing(err)
		if !errors.Is(err, unix.ENOENT) || try == writeTries {
			return replica.File{}, replica.NewFileError(op, name, err)
		}
	}
}

// write writes a file, once. op is what has failed.
func (s *Store) write(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (f replica.File, op string, err error) {
	op = "write"
	path, err := s.filePath(ctx, name)
	if err != nil {
		return f, op, err
	}
	dir := filepath.Dir(path)
	if err := s.makeDir(dir); err != nil {
		return f, op, err
	}
	s.sweep(ctx, dir)
	p, err := s.newPending(path, opts.Exclusive)
	if err != nil {
		return f, op, err
	}
	defer p.close()
	sum, size, err := p.fill(opts.Reader(ctx, content))
	if err != nil {
		return f, op, err
	}
	if err := p.verify(ctx, sum, size); err != nil {
		return f, "verify", err
	}
	before, err := stat(p.f)
	if err != nil {
		return f, op, err
	}
	if err := p.publish(); err != nil {
		return f, op, err
	}
	if err := s.syncDir(dir); err != nil {
		return f, op, fmt.Errorf("the file is there but may not survive a crash, write it again: %w", err)
	}
	// This comes last: to give the file its name has changed its ctime, and so
	// its version. Its file system isn't asked again: mergerfs no more knows the name
	// under which the file was opened.
	st, err := fstat(p.f)
	if err != nil {
		return f, op, err
	}
	st.fuse = before.fuse
	return st.file(name), op, nil
}

// Write writes to the file.
func (p *pending) Write(b []byte) (int, error) { return p.sys.write(p.f, b) }

// fill copies what r holds, sets the file's time, mode and owner, and brings all
// to stable storage. It returns the content's checksum and size.
func (p *pending) fill(r io.Reader) (sum uint64, size int64, err error) {
	crc := crc64nvme.New()
	size, err = io.CopyBuffer(io.MultiWriter(p, crc), r, make([]byte, copySize))
	if err != nil {
		return 0, 0, fmt.Errorf("after %d bytes: %w", size, err)
	}
	var header [ltx.HeaderSize]byte
	n, err := p.f.ReadAt(header[:], 0)
	if err != nil && err != io.EOF {
		return 0, 0, err
	}
	t, ok := ltxfile.HeaderTime(header[:n])
	if !ok {
		// The clock that the kernel stamps files with ticks some hundred
		// times a second, too slowly to tell two uploads apart.
		t = time.Now()
	}
	if err := p.setTime(t); err != nil {
		return 0, 0, err
	}
	p.inherit()
	return crc.Sum64(), size, p.sys.syncFile(p.f)
}

// verify reads the file back and compares it with what was written.
func (p *pending) verify(ctx context.Context, wantSum uint64, wantSize int64) error {
	dropPages(p.f)
	st, err := fstat(p.f)
	if err != nil {
		return err
	}
	crc := crc64nvme.New()
	r := ltxfile.NewReader(ctx, p.f, int64(st.Size))
	size, err := io.CopyBuffer(crc, r, make([]byte, copySize))
	if err != nil {
		return err
	}
	if size != wantSize || crc.Sum64() != wantSum {
		return fmt.Errorf("%w: %d bytes with checksum %016x were written, %d with %016x read back: "+
			"check the disk and the kernel's log", errReadBack, wantSize, wantSum, size, crc.Sum64())
	}
	return nil
}

// setTime sets the file's mtime.
func (p *pending) setTime(t time.Time) error {
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	times := []unix.Timespec{ts, ts}
	err := withFD(p.f, func(fd int) error {
		path := p.temp
		if path == "" {
			path = descriptorPath(fd)
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0)
	})
	if err != nil {
		return &os.PathError{Op: "set the time of", Path: p.path, Err: err}
	}
	return nil
}
