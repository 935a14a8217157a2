package disk

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/ltxfs/ltxfs/replica"
)

// Complete has all of a file kept and verified. What is there isn't asked for again.
func (s *Store) Complete(ctx context.Context, f replica.File) error {
	rc, err := s.OpenLTXFile(ctx, f, 0, 0)
	if err != nil {
		return err
	}
	r, ok := rc.(*reader)
	if !ok {
		return errors.Join(ErrIncomplete, rc.Close())
	}
	for r.off < r.end && err == nil && s.cache.writable() {
		if i, from, to := r.span(); r.body == nil && r.entry.has(i, from, to) {
			r.off += int64(to - from) // it is read when it is verified
		} else {
			err = r.next()
		}
	}
	if err == nil {
		err = r.entry.finish(ctx)
	}
	return errors.Join(err, r.Close())
}

// MakeCopy makes an entry of what read gives, which a key tells from all else: a state of a database,
// out of files that are complete.
func (c *Cache) MakeCopy(ctx context.Context, key string, size int64, read func(p []byte, off int64) error) error {
	e := c.use(copyOf(key, size), true)
	if e == nil {
		return ErrIncomplete
	}
	defer c.letGo(e)
	buf := make([]byte, blockSize)
	for i := range e.blocks() {
		p := buf[:e.blockLen(i)]
		switch {
		case e.has(i, 0, uint32(len(p))):
			continue
		case !c.writable():
			return ErrIncomplete
		}
		if err := read(p, i*blockSize); err != nil {
			return err
		}
		e.keep(i, 0, p)
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
	return c.openFile(copyOf(key, size))
}

// Copy is a complete entry whose bytes are compared with their checksums. Many goroutines may use
// it at once. It is to be closed.
type Copy struct{ entry *entry }

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
	return &Copy{e}
}

// Close lets go of the entry.
func (k *Copy) Close() { k.entry.cache.letGo(k.entry) }

// ReadAt implements io.ReaderAt. After an error, what it has isn't there any more.
func (k *Copy) ReadAt(p []byte, off int64) (int, error) {
	n, err := k.entry.ReadAt(p, off)
	k.entry.cache.counters.hits.Add(int64(n))
	return n, err
}
