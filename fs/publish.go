package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/verify"
)

// publishNamed publishes a staged file under the name that it has, as fsync and
// close do. A file that has no LTX name, or no name any more, stays as it is.
// With ifWritten, so does an empty one: a shell closes a file that it has just
// made once before it writes.
func (fsys *fileSystem) publishNamed(ctx context.Context, s *staged, ifWritten bool) syscall.Errno {
	level, name, linked := s.place()
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil || !linked {
		return 0
	}
	return fsys.publish(ctx, s, publication{
		level: level, name: name, minTXID: minTXID, maxTXID: maxTXID, ifWritten: ifWritten, inPlace: true,
	})
}

// publication is what a staged file is to become.
type publication struct {
	level            int
	name             string
	minTXID, maxTXID ltx.TXID
	ifWritten        bool // not if it is empty
	inPlace          bool // under the name that it has
	exclusive        bool // only if the name is free
}

// publishMemory is what one publication may take for buffers, in bytes.
const publishMemory = 1 << 20

// slowestUpload is the pace at which a store must take a large file, in bytes a
// second. One that takes nothing at all is the client's to notice.
const slowestUpload = 512 << 10

// publishWithin is the deadline of publishing so many bytes.
func (d deadlines) publishWithin(size int64) time.Duration {
	return d.publish + time.Duration(float64(size)/slowestUpload*float64(time.Second))
}

// publish verifies a staged file and writes it to the store. On success it is
// staged no more; on failure it stays as it was, under its name.
//
// It goes on in the background if its deadline passes, so that what it leaves
// is consistent whenever the store answers.
func (fsys *fileSystem) publish(ctx context.Context, s *staged, p publication) syscall.Errno {
	_, err := bounded(ctx, fsys, fsys.within.publishWithin(s.size()), func(ctx context.Context) (struct{}, error) {
		fsys.publishing.add()
		defer fsys.publishing.done()
		return struct{}{}, fsys.publishLocked(ctx, s, p)
	}, nil)
	if err == nil {
		return 0
	}
	e := errno(err)
	if errors.Is(err, errUnlinked) || errors.Is(err, errPublished) {
		return e
	}
	fsys.log.Warn("not published", "file", stagedPath(p.level, p.name), "error", err, "errno", e.Error(),
		"staged", fsys.opts.Staging.FilePath(s.path()))
	return e
}

func (fsys *fileSystem) publishLocked(ctx context.Context, s *staged, p publication) error {
	unlock, err := s.lockWhole(ctx)
	if err != nil {
		return fmt.Errorf("wait for writers of the file: %w", err)
	}
	defer unlock()
	release, err := fsys.names.acquire(ctx, p.level, p.minTXID, p.maxTXID)
	if err != nil {
		return err
	}
	defer release()

	if s.published.Load() != nil {
		if p.inPlace {
			return nil // by an earlier close or fsync
		}
		return errPublished
	}
	level, name, linked := s.place()
	if !linked || p.inPlace && (level != p.level || name != p.name) {
		if p.inPlace {
			return nil // its new name decides
		}
		return errUnlinked
	}
	f, err := s.open()
	if err != nil {
		return err
	}
	defer s.release()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if p.ifWritten && info.Size() == 0 {
		return nil
	}
	if p.inPlace {
		p.exclusive = s.exclusive
	}
	return fsys.try(ctx, s, f, p, info.Size())
}

// try publishes, and remembers the outcome: for the same content and name, one
// that can't change is returned again without another look.
func (fsys *fileSystem) try(ctx context.Context, s *staged, f *os.File, p publication, size int64) error {
	gen, as := s.gen.Load(), stagedPath(p.level, p.name)
	s.tryMu.Lock()
	tried := s.tryGen == gen && s.tryAs == as
	err := s.tryErr
	s.tryMu.Unlock()
	if tried && (errors.Is(err, verify.ErrInvalid) || errors.Is(err, verify.ErrName)) {
		return err
	}
	err = fsys.verifyAndWrite(ctx, s, f, p, size)
	s.tryMu.Lock()
	s.tryGen, s.tryAs, s.tryErr = gen, as, err
	s.tryMu.Unlock()
	return err
}

func (fsys *fileSystem) verifyAndWrite(ctx context.Context, s *staged, f *os.File, p publication, size int64) error {
	if err := replica.CheckFile(p.level, p.minTXID, p.maxTXID); err != nil {
		return fmt.Errorf("%w: %w", verify.ErrName, err)
	}
	memory := min(publishMemory, fsys.budget.Size())
	if err := fsys.budget.Acquire(ctx, memory); err != nil {
		return fmt.Errorf("wait for memory: %w", err)
	}
	defer fsys.budget.Release(memory)
	if _, err := verify.Named(ctx, f, size, p.minTXID, p.maxTXID); err != nil {
		return err
	}
	write := replica.Write
	if p.exclusive {
		write = replica.WriteExclusive
	}
	written, err := write(ctx, fsys.client, p.level, p.minTXID, p.maxTXID, io.NewSectionReader(f, 0, size))
	if errors.Is(err, os.ErrExist) {
		// Another writer came between, and its file is to show.
		fsys.index.Invalidate(p.level)
	}
	if err != nil {
		return err
	}
	// From here on the file is in the store. The index must know before the
	// name stops to show the staged file.
	fsys.index.Put(written)
	fsys.settle(s, written, p.name)
	fsys.touch(p.level)
	fsys.log.Info("published", "file", stagedPath(p.level, p.name), "size", written.Size, "timestamp", written.ModTime)
	return nil
}

// stageFailed is the errno of what went wrong in the staging directory.
func (fsys *fileSystem) stageFailed(path string, err error) syscall.Errno {
	e := stageErrno(err)
	switch e {
	case syscall.EIO, syscall.ENOSPC, syscall.EACCES, syscall.ETIMEDOUT, syscall.EROFS:
		fsys.log.Error("can't stage", "file", path, "staging", fsys.opts.Staging.Path(), "error", err, "errno", e.Error())
	}
	return e
}
