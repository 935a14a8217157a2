package file

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	fileMode = 0o600
	dirMode  = 0o700

	// copySize is how much is copied at once, in bytes, and so how much
	// before ctx is looked at again.
	copySize = 256 << 10

	// maxEmptyReads is how many reads without data or error are taken from a
	// reader before it counts as broken.
	maxEmptyReads = 100
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// WriteLTXFile is WriteLTXFileVersion without the version.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	f, err := c.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
	if err != nil {
		return nil, err
	}
	return f.Info(), nil
}

// WriteLTXFileVersion stores what r holds. The file has no name, or one that no
// listing shows, until it is complete, on the disk, read back and found to be
// what was written. Of several writers of one name, the last to publish wins.
//
// If bringing the directory to stable storage fails, that is an error although
// the file has become visible: it may be gone after a crash, so write it again.
//
// ctx is looked at between reads from r; a read that blocks is r's to end.
func (c *ReplicaClient) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	f, err := c.write(ctx, level, minTXID, maxTXID, r)
	if err != nil {
		// An error of the reading back is of another operation.
		if fe := (*replica.FileError)(nil); errors.As(err, &fe) {
			return replica.File{}, err
		}
		return replica.File{}, replica.NewFileError("write", level, minTXID, maxTXID, err)
	}
	c.log().Debug("wrote LTX file", "level", level, "name", f.Name(), "bytes", f.Size)
	return f, nil
}

func (c *ReplicaClient) write(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	path, err := c.filePath(ctx, level, minTXID, maxTXID)
	if err != nil {
		return replica.File{}, err
	}
	dirPath := filepath.Dir(path)
	dir, err := c.makeLevelDir(dirPath)
	if err != nil {
		return replica.File{}, err
	}
	defer func() { dir.Close() }()
	c.sweeper.sweep(c.log(), dir)

	p, err := c.newPending(dir, filepath.Base(path))
	if err != nil {
		return replica.File{}, err
	}
	defer p.close()
	sum, size, err := p.fill(ctx, r)
	if err != nil {
		return replica.File{}, err
	}
	if err := p.verify(ctx, sum, size); err != nil {
		return replica.File{}, replica.NewFileError("verify", level, minTXID, maxTXID, err)
	}
	err = p.publish(dir)
	if errors.Is(err, unix.ENOENT) && p.temp == "" {
		// The directory was removed meanwhile, by a DeleteAll. A file
		// without a name can do without it.
		dir.Close()
		if dir, err = c.makeLevelDir(dirPath); err != nil {
			return replica.File{}, err
		}
		err = p.publish(dir)
	}
	if err != nil {
		return replica.File{}, err
	}
	st, err := stat(p.f)
	if err != nil {
		return replica.File{}, err
	}
	if err := c.sys.syncDir(dir); err != nil {
		return replica.File{}, fmt.Errorf("the file is there but may not survive a crash, write it again: sync %s: %w",
			dirPath, pathCause(err))
	}
	return file(level, minTXID, maxTXID, &st), nil
}

// fill copies what r holds, sets the file's time and brings both to stable
// storage. It returns the content's checksum and size.
func (p *pending) fill(ctx context.Context, r io.Reader) (sum uint64, size int64, err error) {
	buf := make([]byte, copySize)
	var header []byte
	for empty := 0; ; {
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
		n, rerr := r.Read(buf)
		if n > 0 {
			empty = 0
			if _, err := p.sys.write(p.f, buf[:n]); err != nil {
				return 0, 0, fmt.Errorf("after %d bytes: %w", size, err)
			}
			sum = crc64.Update(sum, crcTable, buf[:n])
			size += int64(n)
			if len(header) < ltx.HeaderSize {
				header = append(header, buf[:min(n, ltx.HeaderSize-len(header))]...)
			}
		}
		if rerr == io.EOF {
			break
		} else if rerr != nil {
			return 0, 0, fmt.Errorf("read the content after %d bytes: %w", size, rerr)
		}
		if n == 0 {
			if empty++; empty == maxEmptyReads {
				return 0, 0, fmt.Errorf("read the content after %d bytes: %w", size, io.ErrNoProgress)
			}
		}
	}
	t, ok := headerTime(header)
	if !ok {
		// The clock that the kernel stamps files with ticks some hundred
		// times a second, too slowly to tell two uploads apart.
		t = time.Now()
	}
	if err := p.setTime(t); err != nil {
		return 0, 0, err
	}
	if err := p.sys.syncFile(p.f); err != nil {
		return 0, 0, err
	}
	return sum, size, nil
}

// verify reads the file back and compares it with what was written.
func (p *pending) verify(ctx context.Context, wantSum uint64, wantSize int64) error {
	// What is read should come from the disk, not from the pages just
	// written. The kernel needn't follow the advice, and then it is as good
	// as it gets.
	_ = withFD(p.f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
	buf := make([]byte, copySize)
	var sum uint64
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := p.f.ReadAt(buf, size)
		sum = crc64.Update(sum, crcTable, buf[:n])
		size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if size != wantSize || sum != wantSum {
		return fmt.Errorf("%w: %d bytes with checksum %016x were written, %d with %016x read back: "+
			"check the disk and the kernel's log", errReadBack, wantSize, wantSum, size, sum)
	}
	return nil
}

// errReadBack means that the disk doesn't return what was written.
var errReadBack = errors.New("the disk returned other data than was written")

// setTime sets the file's mtime.
func (p *pending) setTime(t time.Time) error {
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	times := []unix.Timespec{ts, ts}
	var err error
	if p.temp != "" {
		err = withFD(p.dir, func(fd int) error {
			return unix.UtimesNanoAt(fd, p.temp, times, unix.AT_SYMLINK_NOFOLLOW)
		})
	} else {
		err = withFD(p.f, func(fd int) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, descriptorPath(fd), times, 0)
		})
	}
	if err != nil {
		return &os.PathError{Op: "set the time of", Path: p.target(), Err: err}
	}
	return nil
}
