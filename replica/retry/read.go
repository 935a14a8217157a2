package retry

import (
	"context"
	"io"
	"math"
	"os"
	"sync"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// OpenLTXFile implements replica.Client. What it opens may be replaced meanwhile,
// so that a body that breaks off isn't gone on with.
func (c *client) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return do(ctx, c.try("open"), func() (io.ReadCloser, error) {
		return c.Client.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	})
}

// OpenLTXFileVersion implements replica.VersionOpener.
func (c *client) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &body{
		ctx: ctx, cancel: cancel, try: c.try("read"), file: f, offset: offset, left: math.MaxInt64,
		open: func(offset, size int64) (io.ReadCloser, error) {
			return c.Around.OpenLTXFileVersion(ctx, f, offset, size)
		},
	}
	if size > 0 {
		b.left = size
	}
	rc, err := do(ctx, b.try, func() (io.ReadCloser, error) { return b.open(offset, size) })
	if err != nil {
		cancel()
		return nil, err
	}
	b.rc = rc
	return b, nil
}

// body goes on with another one where one broke off. Close may be called while
// Read runs.
type body struct {
	ctx    context.Context
	cancel context.CancelFunc
	try    *try
	file   replica.File
	open   func(offset, size int64) (io.ReadCloser, error)

	offset int64 // of the next byte
	left   int64 // math.MaxInt64: to the file's end
	broken error // of rc, to be mended before the next byte
	failed error // for good

	mu     sync.Mutex
	rc     io.ReadCloser
	closed bool
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for b.failed == nil {
		if b.broken != nil {
			if b.left == 0 {
				b.failed = io.EOF // it broke when all was there
				break
			}
			if err := b.resume(); err != nil {
				b.failed = err
				break
			}
		}
		rc, err := b.current()
		if err != nil {
			return 0, err
		}
		n, err := rc.Read(p)
		b.offset += int64(n)
		if b.left != math.MaxInt64 {
			b.left -= int64(n)
		}
		if n > 0 {
			b.try.progress()
		}
		switch {
		case err == nil || err == io.EOF:
			return n, err
		case b.isClosed():
			return n, err
		}
		if b.broken = err; n > 0 {
			return n, nil
		}
	}
	return 0, b.failed
}

// current is the body to read from.
func (b *body) current() (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, replica.NewFileError("read", b.file.Level, b.file.MinTXID, b.file.MaxTXID, os.ErrClosed)
	}
	return b.rc, nil
}

func (b *body) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// resume opens the rest in the place of a body that broke off.
func (b *body) resume() error {
	err := b.broken
	if err := b.try.again(b.ctx, err); err != nil {
		return b.readError(err)
	}
	size := b.left
	if size == math.MaxInt64 {
		size = 0
	}
	rc, err := do(b.ctx, b.try, func() (io.ReadCloser, error) { return b.open(b.offset, size) })
	if err != nil {
		return b.readError(err)
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		_ = rc.Close() // nobody reads it
		return replica.NewFileError("read", b.file.Level, b.file.MinTXID, b.file.MaxTXID, os.ErrClosed)
	}
	old := b.rc
	b.rc, b.broken = rc, nil
	b.mu.Unlock()
	_ = old.Close() // it is known to be broken
	return nil
}

// readError is an error of reading, whatever failed for it.
func (b *body) readError(err error) error {
	if f, ok := err.(*replica.FileError); ok && f.Op == "read" {
		return err
	}
	if f, ok := err.(*replica.FileError); ok {
		err = f.Err
	}
	return replica.NewFileError("read", b.file.Level, b.file.MinTXID, b.file.MaxTXID, err)
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.mu.Lock()
	rc := b.rc
	b.closed = true
	b.mu.Unlock()
	defer b.cancel()
	return rc.Close()
}
