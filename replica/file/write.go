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
	return c.write(&writing{client: c, ctx: ctx, op: "write"}, level, minTXID, maxTXID, r)
}

// WriteLTXFileExclusive is WriteLTXFileVersion, but returns os.ErrExist if
// anything has the name, a stranger included.
func (c *ReplicaClient) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	return c.write(&writing{client: c, ctx: ctx, op: "write", exclusive: true}, level, minTXID, maxTXID, r)
}

func (c *ReplicaClient) write(w *writing, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	defer w.close()
	f, err := w.run(level, minTXID, maxTXID, r)
	if err != nil {
		return replica.File{}, replica.NewFileError(w.op, level, minTXID, maxTXID, c.whyMissing(err))
	}
	c.log().Debug("wrote LTX file", "ltx_level", level, "name", f.Name(), "bytes", f.Size)
	return f, nil
}

// writing is one call of WriteLTXFileVersion or WriteLTXFileExclusive.
type writing struct {
	client    *ReplicaClient
	ctx       context.Context
	op        string // that is being done, for the error
	exclusive bool   // replace nothing
	dir       *os.File
	p         *pending
}

func (w *writing) run(level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	path, err := w.client.filePath(w.ctx, level, minTXID, maxTXID)
	if err != nil {
		return replica.File{}, err
	}
	dirPath, name := filepath.Split(path)
	dirPath = filepath.Clean(dirPath)
	if err := w.open(dirPath, name); err != nil {
		return replica.File{}, err
	}
	sum, size, err := w.p.fill(w.ctx, r)
	if err != nil {
		return replica.File{}, err
	}
	w.op = "verify"
	if err := w.p.verify(w.ctx, sum, size); err != nil {
		return replica.File{}, err
	}
	w.op = "write"
	if err := w.publish(dirPath); err != nil {
		return replica.File{}, err
	}
	if err := w.client.sys.syncDir(w.dir); err != nil {
		return replica.File{}, fmt.Errorf("the file is there but may not survive a crash, write it again: sync %s: %w",
			dirPath, pathCause(err))
	}
	// A directory that is open can be written to after it was moved away, and
	// nobody would find the file there.
	if err := w.client.checkAvailable(); err != nil {
		return replica.File{}, err
	}
	// This comes last: to give the file its name has changed its ctime, and so
	// its version.
	st, err := stat(w.p.f)
	if err != nil {
		return replica.File{}, err
	}
	return st.file(level, minTXID, maxTXID), nil
}

// open opens the directory, and in it the file to write to.
func (w *writing) open(dirPath, name string) error {
	for i := 1; ; i++ {
		var err error
		if w.dir, err = w.client.makeLevelDir(w.ctx, dirPath); err != nil {
			return err
		}
		w.client.sweeper.sweep(w.ctx, w.client.log(), w.dir)
		w.p, err = w.client.newPending(w.dir, name, w.exclusive)
		if err == nil || !isRemoved(w.dir) || i == dirTries {
			return err
		}
		w.dir.Close()
		if err := pause(w.ctx, i); err != nil {
			return err
		}
	}
}

// publish gives the file its name.
func (w *writing) publish(dirPath string) error {
	for i := 1; ; i++ {
		err := w.p.publish(w.dir)
		if err == nil || w.p.temp != "" || !isRemoved(w.dir) || i == dirTries {
			return err
		}
		if err := pause(w.ctx, i); err != nil {
			return err
		}
		// A file without a name doesn't need the directory that it was made
		// in.
		dir, err := w.client.makeLevelDir(w.ctx, dirPath)
		if err != nil {
			return err
		}
		w.dir.Close()
		w.dir = dir
	}
}

func (w *writing) close() {
	if w.p != nil {
		w.p.close()
	}
	if w.dir != nil {
		w.dir.Close()
	}
}

// fill copies what r holds, sets the file's time, mode and owner, and brings all
// to stable storage. It returns the content's checksum and size.
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
	p.inherit()
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
