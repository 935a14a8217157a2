package metrics

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// LTXFiles implements replica.Client.
func (c *client) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	begin := time.Now()
	it, err := c.Client.LTXFiles(ctx, level, seek, useMetadata)
	took := time.Since(begin)
	if err != nil {
		c.hooks.Done(Event{Op: List, Took: took, Err: err})
		return nil, err
	}
	return replica.AroundIterator(&iterator{FileIterator: it, hooks: c.hooks, took: took}, it), nil
}

// iterator adds a listing up.
type iterator struct {
	ltx.FileIterator
	hooks Hooks
	files int64
	took  time.Duration
	told  bool
}

func (it *iterator) Next() bool {
	begin := time.Now()
	ok := it.FileIterator.Next()
	it.took += time.Since(begin)
	if ok {
		it.files++
	} else {
		it.tell(it.FileIterator.Err())
	}
	return ok
}

func (it *iterator) Close() error {
	begin := time.Now()
	err := it.FileIterator.Close()
	it.took += time.Since(begin)
	it.tell(err)
	return err
}

func (it *iterator) tell(err error) {
	if it.told {
		return
	}
	it.told = true
	it.hooks.Done(Event{Op: List, Files: it.files, Took: it.took, Err: err})
}

// OpenLTXFile implements replica.Client.
func (c *client) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	begin := time.Now()
	rc, err := c.Client.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	return c.body(rc, err, time.Since(begin))
}

// OpenLTXFileVersion implements replica.VersionOpener.
func (c *client) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	begin := time.Now()
	rc, err := c.Around.OpenLTXFileVersion(ctx, f, offset, size)
	return c.body(rc, err, time.Since(begin))
}

func (c *client) body(rc io.ReadCloser, err error, took time.Duration) (io.ReadCloser, error) {
	if err != nil {
		c.hooks.Done(Event{Op: Read, Files: 1, Took: took, Err: err})
		return nil, err
	}
	b := &body{rc: rc, hooks: c.hooks}
	b.took.Store(int64(took))
	return b, nil
}

// body adds a reading up. Close may be called while Read runs.
type body struct {
	rc    io.ReadCloser
	hooks Hooks
	bytes atomic.Int64
	took  atomic.Int64 // nanoseconds
	told  atomic.Bool
}

func (b *body) Read(p []byte) (int, error) {
	begin := time.Now()
	n, err := b.rc.Read(p)
	b.took.Add(int64(time.Since(begin)))
	b.bytes.Add(int64(n))
	switch err {
	case nil:
	case io.EOF:
		b.tell(nil)
	default:
		b.tell(err)
	}
	return n, err
}

func (b *body) Close() error {
	begin := time.Now()
	err := b.rc.Close()
	b.took.Add(int64(time.Since(begin)))
	b.tell(err)
	return err
}

func (b *body) tell(err error) {
	if b.told.Swap(true) {
		return
	}
	b.hooks.Done(Event{Op: Read, Files: 1, Bytes: b.bytes.Load(), Took: time.Duration(b.took.Load()), Err: err})
}
