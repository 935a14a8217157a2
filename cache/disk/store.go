package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// Around returns a store that keeps the content of what is read of s, which is that of the
// replica with an ID. Where nothing but a time and a size tells versions apart, nothing is
// kept: that can be the same for two within a second.
func (c *Cache) Around(s replica.Store, id string) *Store {
	return &Store{replica.Wrapper{Store: s}, c, id}
}

// Store is a store around a store.
type Store struct {
	replica.Wrapper
	cache *Cache
	id    string
}

// content is that of a version of a file.
func (s *Store) content(f replica.File) content {
	return content{
		key:  fmt.Sprintf("file %q %q %d %q %d %d", s.id, f.Name.Base(), f.Level, f.Version.ETag, f.Version.Modified, f.Version.Size),
		size: f.Version.Size,
		verify: func(ctx context.Context, r io.ReaderAt) error {
			h, err := ltxfile.Verify(ctx, r, f.Version.Size)
			if err == nil {
				err = ltxfile.CheckName(h, f.MinTXID, f.MaxTXID)
			}
			return replica.NewFileError("verify", f.Name, err)
		},
	}
}

// OpenLTXFile implements replica.Store.
func (s *Store) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	r := s.reader(ctx, f, offset, size)
	if r == nil {
		return s.Store.OpenLTXFile(ctx, f, offset, size)
	}
	if until := r.lacks(); until > offset {
		if err := r.fetch(until); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// reader returns a reader that hasn't asked the store for anything yet, or nil where the cache has no entry to read
// and fill.
func (s *Store) reader(ctx context.Context, f replica.File, offset, size int64) *reader {
	end := f.Version.Size
	if size > 0 && size < end-offset {
		end = offset + size
	}
	if f.Version.ETag == "" || offset < 0 || size < 0 || offset >= end {
		return nil
	}
	e := s.cache.use(s.content(f), true)
	if e == nil {
		return nil
	}
	return &reader{store: s.Store, ctx: ctx, file: f, entry: e, off: offset, end: end, buf: buffers.Get().(*buffer)}
}

// Forget has nothing that is kept of a file count any more, since it can't be right: the next one
// who reads it gets what the store gives.
func (s *Store) Forget(f replica.File) {
	_, _ = await(s.cache, func() (struct{}, error) { // otherwise it is found to be wrong again
		s.cache.forget(s.content(f))
		return struct{}{}, nil
	}, nil)
}

// OpenComplete opens the entry of a file, if it is complete, for who compares nothing with its
// checksums.
func (s *Store) OpenComplete(f replica.File) (*os.File, error) { return s.cache.openSoon(s.content(f)) }

// reader reads a range of a file, from an entry and what that hasn't got from the store.
type reader struct {
	store    replica.Store
	ctx      context.Context
	file     replica.File
	entry    *entry
	off, end int64 // of what comes next

	buf  *buffer
	have []byte // that was read and isn't given yet

	body  io.ReadCloser // of the store; nil while the entry has what comes next
	until int64         // where it ends
	err   error         // which ends reading
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, replica.NewFileError("read", r.file.Name, context.Cause(r.ctx))
	}
	if len(r.have) == 0 && r.err == nil {
		if r.err = io.EOF; r.off < r.end {
			r.err = r.next()
		}
	}
	if r.err != nil && len(r.have) == 0 {
		return 0, r.err
	}
	n := copy(p, r.have)
	r.have = r.have[n:]
	return n, nil
}

// span is the part of a block that comes next.
func (r *reader) span() (i int64, from, to uint32) {
	i = r.off / blockSize
	return i, uint32(r.off - i*blockSize), uint32(min(r.end-i*blockSize, blockSize))
}

// next reads the next block, or what is asked for of it.
func (r *reader) next() error {
	i, from, to := r.span()
	n := &r.entry.cache.counters
	if r.body == nil {
		if p := r.entry.readSoon(r.off, r.end, r.buf); len(p) > 0 {
			r.have, r.off = p, r.off+int64(len(p))
			n.hits.Add(int64(len(p)))
			return nil
		}
		// What the entry was to have of it, it hasn't.
		if err := r.fetch(max(r.lacks(), min((i+1)*blockSize, r.end))); err != nil {
			return err
		}
	}
	p := r.buf.take(int(to - from))
	if _, err := io.ReadFull(r.body, p); err != nil {
		return err
	}
	r.have, r.off = p, r.off+int64(len(p))
	n.misses.Add(int64(len(p)))
	if _, err := await(r.entry.cache, func() (struct{}, error) {
		r.entry.keep(i, from, p)
		return struct{}{}, nil
	}, nil); err != nil {
		r.buf = new(buffer) // the disk may come back to the other
	}
	if r.off < r.until {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}

// lacks returns up to where the entry doesn't have what comes next.
func (r *reader) lacks() int64 {
	e, off, end := r.entry, r.off, r.end
	until, err := await(e.cache, func() (int64, error) { return e.lacks(off, end), nil }, nil)
	if err != nil {
		return end
	}
	return until
}

// fetch asks the store for what comes next.
func (r *reader) fetch(until int64) (err error) {
	r.until = until
	r.body, err = r.store.OpenLTXFile(r.ctx, r.file, r.off, until-r.off)
	return err
}

// Close implements io.Closer.
func (r *reader) Close() error {
	var err error
	if r.body != nil {
		err = r.body.Close()
	}
	r.entry.cache.release(r.entry, r.off/blockSize)
	buffers.Put(r.buf)
	return err
}
