package limit

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/replica"
)

// NewInFlight returns a client that has no more than n operations on c under way
// at a time. More wait for their turn, in the order in which they came, for as
// long as their contexts let them. 0 or less is no limit.
//
// A write, delete or stat holds its place while it runs. A body that is being
// read holds one until its end, an error, or Close, and at the longest until its
// context is done, when it can't be read any more: one that was abandoned doesn't
// starve the others. A listing holds one only while it gets the next file, since
// nobody knows how long its caller takes over each. Who opens several bodies at
// once, or reads the store while it writes to it, needs as many places.
func NewInFlight(c replica.Client, n int) replica.Client {
	if n <= 0 {
		return c
	}
	return &inFlight{Around: replica.Around{Client: c}, places: semaphore.NewWeighted(int64(n))}
}

var _ replica.LocalOpener = (*inFlight)(nil)

type inFlight struct {
	replica.Around
	places *semaphore.Weighted
}

// enter waits for a place, which leave gives back.
func (l *inFlight) enter(ctx context.Context) error {
	if err := l.places.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for requests in flight: %w", err)
	}
	return nil
}

func (l *inFlight) leave() { l.places.Release(1) }

// Init calls the Init of the client inside.
func (l *inFlight) Init(ctx context.Context) error {
	if err := l.enter(ctx); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	defer l.leave()
	return l.Around.Init(ctx)
}

// LTXFiles implements replica.Client.
func (l *inFlight) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := l.enter(ctx); err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	defer l.leave()
	it, err := l.Client.LTXFiles(ctx, level, seek, useMetadata)
	if err != nil {
		return nil, err
	}
	return replica.AroundIterator(&iterator{FileIterator: it, ctx: ctx, level: level, limit: l}, it), nil
}

// iterator takes a place for each file.
type iterator struct {
	ltx.FileIterator
	ctx   context.Context
	level int
	limit *inFlight
	err   error // of waiting
}

func (it *iterator) Next() bool {
	if it.err != nil {
		return it.FileIterator.Next() // which was closed
	}
	if err := it.limit.enter(it.ctx); err != nil {
		it.err = fmt.Errorf("list level %d: %w", it.level, err)
		_ = it.FileIterator.Close() // the first error counts
		return false
	}
	defer it.limit.leave()
	return it.FileIterator.Next()
}

func (it *iterator) Err() error {
	if it.err != nil {
		return it.err
	}
	return it.FileIterator.Err()
}

func (it *iterator) Close() error {
	if err := it.FileIterator.Close(); it.err == nil {
		return err
	}
	return it.err
}

// OpenLTXFile implements replica.Client.
func (l *inFlight) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return l.open(ctx, replica.File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, func() (io.ReadCloser, error) {
		return l.Client.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	})
}

// OpenLTXFileVersion implements replica.VersionOpener.
func (l *inFlight) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	return l.open(ctx, f, func() (io.ReadCloser, error) { return l.Around.OpenLTXFileVersion(ctx, f, offset, size) })
}

func (l *inFlight) open(ctx context.Context, f replica.File, open func() (io.ReadCloser, error)) (_ io.ReadCloser, err error) {
	if err := l.enter(ctx); err != nil {
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	b := &held{leave: sync.OnceFunc(l.leave)}
	defer func() {
		if b.ReadCloser == nil {
			b.leave() // also after a panic
		}
	}()
	if b.ReadCloser, err = open(); err != nil {
		b.ReadCloser = nil
		return nil, err
	}
	b.unwatch = context.AfterFunc(ctx, b.leave)
	return b, nil
}

// held is a body that holds a place.
type held struct {
	io.ReadCloser
	leave   func()
	unwatch func() bool
}

func (b *held) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done()
	}
	return n, err
}

func (b *held) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

func (b *held) done() {
	b.unwatch()
	b.leave()
}

// OpenLocal implements replica.LocalOpener. What the kernel then reads holds no
// place.
func (l *inFlight) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	if err := l.enter(ctx); err != nil {
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	defer l.leave()
	return openLocal(ctx, l.Client, f)
}

// WriteLTXFile implements replica.Client.
func (l *inFlight) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if err := l.enter(ctx); err != nil {
		return nil, replica.NewFileError("write", level, minTXID, maxTXID, err)
	}
	defer l.leave()
	return l.Client.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}

// WriteLTXFileVersion implements replica.VersionWriter.
func (l *inFlight) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	if err := l.enter(ctx); err != nil {
		return replica.File{}, replica.NewFileError("write", level, minTXID, maxTXID, err)
	}
	defer l.leave()
	return l.Around.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
}

// WriteLTXFileExclusive implements replica.ExclusiveWriter.
func (l *inFlight) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	if err := l.enter(ctx); err != nil {
		return replica.File{}, replica.NewFileError("write", level, minTXID, maxTXID, err)
	}
	defer l.leave()
	return l.Around.WriteLTXFileExclusive(ctx, level, minTXID, maxTXID, r)
}

// StatLTXFile implements replica.Stater.
func (l *inFlight) StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	if err := l.enter(ctx); err != nil {
		return replica.File{}, replica.NewFileError("stat", level, minTXID, maxTXID, err)
	}
	defer l.leave()
	return l.Around.StatLTXFile(ctx, level, minTXID, maxTXID)
}

// StatLTXFileExact implements replica.ExactStater.
func (l *inFlight) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	if err := l.enter(ctx); err != nil {
		return replica.File{}, replica.NewFileError("stat", level, minTXID, maxTXID, err)
	}
	defer l.leave()
	return l.Around.StatLTXFileExact(ctx, level, minTXID, maxTXID)
}

// DeleteLTXFiles implements replica.Client.
func (l *inFlight) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error {
	if err := l.enter(ctx); err != nil {
		return fmt.Errorf("delete files: all %d are left: %w", len(files), err)
	}
	defer l.leave()
	return l.Client.DeleteLTXFiles(ctx, files)
}

// DeleteAll implements replica.Client.
func (l *inFlight) DeleteAll(ctx context.Context) error {
	if err := l.enter(ctx); err != nil {
		return fmt.Errorf("delete all: %w", err)
	}
	defer l.leave()
	return l.Client.DeleteAll(ctx)
}
