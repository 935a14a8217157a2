package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// Complete has all of a file kept and verified, and returns that. What is there isn't asked for
// again. It ends once the store has given nothing for as long as patience. What has come is verified until ctx ends, and
// written out and linked for as long as the disk takes.
func (s *Store) Complete(ctx context.Context, f replica.File, patience time.Duration) (*Whole, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(patience, func() { cancel(fmt.Errorf("nothing came for %v: %w", patience, context.DeadlineExceeded)) })
	e, err := s.fill(ctx, f, func() { late.Reset(patience) })
	if late.Stop(); err == nil {
		err = e.finish(ctx)
	}
	if err == nil {
		return &Whole{e}, nil
	}
	if e != nil {
		s.cache.letGo(e)
	}
	if ctx.Err() != nil {
		err = replica.NewFileError("keep", f.Name, context.Cause(ctx))
	}
	return nil, err
}

// fill has all of a file kept. It calls progress for each block.
func (s *Store) fill(ctx context.Context, f replica.File, progress func()) (*entry, error) {
	r := s.reader(ctx, f, 0, 0)
	if r == nil {
		return nil, ErrIncomplete
	}
	var err error
	for r.off < r.end && err == nil && s.cache.writable() {
		progress()
		if i, from, to := r.span(); r.body == nil && r.entry.has(i, from, to) {
			r.off += int64(to - from) // it is read when it is verified
		} else {
			err = r.next()
		}
	}
	if r.body != nil {
		err = errors.Join(err, r.body.Close())
	}
	return r.entry, err
}

// Whole is a complete entry. What is read of it is compared with its checksums, and comes from
// nowhere else, also once the entry has been unlinked. Many goroutines may use it at once. It is to
// be closed.
type Whole struct{ entry *entry }

// ReadAt implements io.ReaderAt. After an error, the entry isn't there any more.
func (w *Whole) ReadAt(p []byte, off int64) (int, error) { return w.entry.ReadAt(p, off) }

// Close lets go of the entry.
func (w *Whole) Close() { w.entry.cache.letGo(w.entry) }

// MakeCopy makes an entry of what r gives until it ends, which a key tells from all else: a state of
// a database, out of files that are complete.
func (c *Cache) MakeCopy(ctx context.Context, key string, size int64, r io.Reader) error {
	e := c.use(copyOf(key, size), true)
	if e == nil {
		return ErrIncomplete
	}
	defer c.letGo(e)
	if e.records.Load().complete {
		return nil
	}
	buf := make([]byte, blockSize)
	for i := range e.blocks() {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !c.writable():
			return ErrIncomplete
		}
		p := buf[:e.blockLen(i)]
		if _, err := io.ReadFull(r, p); err != nil {
			return err
		}
		e.keep(i, 0, p)
	}
	if _, err := io.ReadFull(r, buf[:1]); err != io.EOF {
		return cmp.Or(err, fmt.Errorf("it is larger than %d bytes", size))
	}
	return e.finish(ctx)
}

// copyOf is the content of a copy.
func copyOf(key string, size int64) content {
	return content{key: "copy " + key, size: size, verify: func(ctx context.Context, r io.ReaderAt) error {
		p := make([]byte, blockSize)
		for off := int64(0); off < size && ctx.Err() == nil; off += blockSize {
			if _, err := r.ReadAt(p[:min(blockSize, size-off)], off); err != nil {
				return err
			}
		}
		return ctx.Err()
	}}
}

// OpenCopy opens what has a key, if it is complete, for who compares nothing with its checksums.
func (c *Cache) OpenCopy(key string, size int64) (*os.File, error) {
	return c.openSoon(copyOf(key, size))
}

// Copy is a Whole that counts what is read of it.
type Copy struct{ Whole }

// Copy opens what has a key, or returns nil unless it is complete.
func (c *Cache) Copy(key string, size int64) *Copy {
	e := c.use(copyOf(key, size), false)
	if e == nil {
		return nil
	}
	if !e.records.Load().complete {
		c.letGo(e)
		return nil
	}
	return &Copy{Whole{e}}
}

// Close lets go of the entry.
func (k *Copy) Close() { k.entry.cache.release(k.entry, 0) }

// ReadAt is that of a Whole, which also fails while the disk hangs.
func (k *Copy) ReadAt(p []byte, off int64) (int, error) {
	n, err := k.entry.readAt(p, off, k.entry.readSoon)
	k.entry.cache.counters.hits.Add(int64(n))
	return n, err
}
