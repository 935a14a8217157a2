package staging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// publishMemory is what one publication may take for buffers, in bytes.
const publishMemory = 1 << 20

// slowestUpload is the pace at which a store must take a large file, in bytes a
// second. One that takes nothing at all is the store's to notice.
const slowestUpload = 512 << 10

// publishWithin is the deadline of publishing so many bytes.
func publishWithin(least time.Duration, size int64) time.Duration {
	return least + time.Duration(float64(size)/slowestUpload*float64(time.Second))
}

// publication is what a staged file is to become.
type publication struct {
	name      replica.Name
	ifWritten bool // not if it is empty
	inPlace   bool // under the name that it has
	exclusive bool // only if the name is free
}

// attempt is an attempt to publish.
type attempt struct {
	gen  uint64       // of the content
	name replica.Name // under which
	err  error
}

// Publish publishes the file under the name that it has, as fsync and close do. A
// file that has no LTX name, or no name any more, stays as it is. With ifWritten,
// so does an empty one: a shell closes a file that it has just made once before it
// writes.
func (s *File) Publish(ctx context.Context, ifWritten bool) error {
	at, linked := s.Place()
	name, ok := at.LTX()
	if !ok || !linked {
		return nil
	}
	return s.publish(ctx, publication{name: name, ifWritten: ifWritten, inPlace: true})
}

// PublishAs publishes the file under another name, as a rename does; with
// exclusive, only if that is free.
func (s *File) PublishAs(ctx context.Context, name replica.Name, exclusive bool) error {
	return s.publish(ctx, publication{name: name, exclusive: exclusive})
}

// publish verifies a staged file and writes it to the store. On success it is
// staged no more; on failure it stays as it was, under its name.
//
// It goes on in the background if its deadline passes, so that what it leaves
// is consistent whenever the store answers.
func (s *File) publish(ctx context.Context, p publication) error {
	st, _ := s.Stat() // without it, the deadline is a small file's
	return s.files.do(ctx, publishWithin(s.files.opts.Publish, st.Size), func(ctx context.Context) error {
		return s.publishAlone(ctx, p)
	})
}

// do changes the store. Drain waits for it, also past its deadline.
func (t *Files) do(ctx context.Context, timeout time.Duration, change func(context.Context) error) error {
	_, err := flight.Do(ctx, t.opts.Calls, timeout, func(ctx context.Context) (struct{}, error) {
		if err := t.changing.Acquire(ctx, 1); err != nil {
			return struct{}{}, err
		}
		defer t.changing.Release(1)
		return struct{}{}, change(ctx)
	}, nil)
	return err
}

// Drain waits until nothing is being published or deleted, or ctx is done.
func (t *Files) Drain(ctx context.Context) error {
	if err := t.changing.Acquire(ctx, wholeLock); err != nil {
		return err
	}
	t.changing.Release(wholeLock)
	return nil
}

// publishAlone publishes once nobody writes to the file, and nobody writes or
// deletes what has the name.
func (s *File) publishAlone(ctx context.Context, p publication) error {
	if err := s.lock.Acquire(ctx, wholeLock); err != nil {
		return fmt.Errorf("wait for writers of the file: %w", err)
	}
	defer s.lock.Release(wholeLock)
	unlock, err := s.files.names.Lock(ctx, p.name)
	if err != nil {
		return err
	}
	defer unlock()

	at, linked := s.Place()
	switch {
	case s.published.Load() != nil && p.inPlace:
		return nil // by an earlier close or fsync
	case s.published.Load() != nil:
		return ErrPublished
	case p.inPlace && (!linked || at != PlaceOf(p.name)):
		return nil // its new name decides
	case !linked:
		return ErrUnlinked
	}
	f, err := s.Open()
	if err != nil {
		return err
	}
	defer s.Release()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if p.ifWritten && info.Size() == 0 {
		return nil
	}
	return s.try(ctx, io.NewSectionReader(f, 0, info.Size()), p)
}

// try publishes, and remembers the outcome: for the same content and name, one
// that can't change is returned again without another look.
func (s *File) try(ctx context.Context, content *io.SectionReader, p publication) error {
	s.files.mu.Lock()
	last := s.tried
	if p.inPlace {
		p.exclusive = s.exclusive
	}
	s.files.mu.Unlock()
	now := attempt{gen: s.gen.Load(), name: p.name}
	refused := errors.Is(last.err, ltxfile.ErrInvalid) || errors.Is(last.err, ltxfile.ErrName)
	if refused && last.gen == now.gen && last.name == now.name {
		return last.err
	}
	now.err = s.write(ctx, content, p)
	s.files.mu.Lock()
	s.tried = now
	s.files.mu.Unlock()
	return now.err
}

// write verifies content and writes it to the store. The locks of the file and of
// the name are held.
func (s *File) write(ctx context.Context, content *io.SectionReader, p publication) error {
	t := s.files
	if err := p.name.Check(); err != nil {
		return fmt.Errorf("%w: %w", ltxfile.ErrName, err)
	}
	c, err := s.checked(ctx, content.Size())
	if err != nil {
		return fmt.Errorf("wait for the verification: %w", err)
	}
	memory := min(publishMemory, t.opts.Memory.Size())
	if err := t.opts.Memory.Acquire(ctx, memory); err != nil {
		return fmt.Errorf("wait for memory: %w", err)
	}
	defer t.opts.Memory.Release(memory)
	if c == nil {
		c = t.newCheck(content, content.Size())
		c.whole = true
		c.header, c.err = c.verify(ctx, content.Size())
	}
	if c.err != nil {
		return c.err
	}
	if err := ltxfile.CheckName(c.header, p.name.MinTXID, p.name.MaxTXID); err != nil {
		return err
	}
	written, err := t.opts.Store.WriteLTXFile(ctx, p.name, content, replica.WriteOptions{Exclusive: p.exclusive, Digest: c.digest})
	if errors.Is(err, os.ErrExist) {
		// Another writer came between, and its file is to show.
		t.opts.Index.Invalidate(p.name.Level)
	}
	if errors.Is(err, replica.ErrChanged) {
		return fmt.Errorf("%w: another program wrote to the staged file, or its disk is damaged: look at the kernel's log, "+
			"and write the file again", err)
	}
	if err != nil {
		return err
	}
	// From here on the file is in the store. The index must know before the
	// name stops to show the staged file.
	t.opts.Index.Put(written)
	t.touch(p.name.Level)
	t.log.Info("published", "file", t.Path(PlaceOf(p.name)), "size", written.Size, "timestamp", written.ModTime)
	t.leave(s, written)
	return nil
}

// Delete deletes a published file from the store.
func (t *Files) Delete(ctx context.Context, name replica.Name) error {
	return t.do(ctx, t.opts.Delete, func(ctx context.Context) error {
		unlock, err := t.names.Lock(ctx, name)
		if err != nil {
			return err
		}
		defer unlock()
		if err := t.opts.Store.DeleteLTXFiles(ctx, name); err != nil {
			return err
		}
		t.opts.Index.Remove(name)
		t.touch(name.Level)
		return nil
	})
}
