package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/flight"
)

// Client is Litestream's ReplicaClient, as its guide for implementers defines it.
// Each store's ReplicaClient also has
//
//	Init(ctx context.Context) error
//	SetLogger(logger *slog.Logger)
//
// and so satisfies Litestream v0.5's interface as it is. What Store promises, these
// methods promise as well.
type Client interface {
	// Type is the store's kind.
	Type() string

	// LTXFiles lists the files of a level whose min TXID is at least seek.
	// CreatedAt is the LTX timestamp with useMetadata, and else the time that
	// the store gives without a request for each file. An error ends the
	// iteration; Err and Close both return it. The iterator must be closed.
	LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error)

	// OpenLTXFile reads a range of whatever bears the name.
	OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error)

	// WriteLTXFile stores what r holds, from where it stands.
	WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error)

	// DeleteLTXFiles deletes files. One that doesn't exist counts as deleted.
	DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error

	// DeleteAll deletes every file of the replica, at every level, and
	// nothing that isn't the replica's, even in the same directory.
	DeleteAll(ctx context.Context) error
}

// ClientOf returns the guide's client of a store, to be embedded in a
// ReplicaClient.
func ClientOf(s Store) Client { return &storeClient{store: s} }

type storeClient struct {
	store Store
	names flight.Locks[Name] // of files that are written or deleted
}

func (c *storeClient) Type() string { return c.store.Type() }

func (c *storeClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	if err := CheckLevel(level); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	it := &fileIterator{}
	it.next, it.stop = iter.Pull2(c.store.LTXFiles(ctx, level, ListOptions{From: seek, ExactTimes: useMetadata}))
	return it, nil
}

// fileIterator is a listing as Litestream's interfaces have it.
type fileIterator struct {
	next func() (File, error, bool)
	stop func()
	item *ltx.FileInfo // nil before the first file and after the last
	err  error
}

func (it *fileIterator) Next() bool {
	it.item = nil
	if it.err != nil {
		return false
	}
	f, err, ok := it.next()
	if it.err = err; !ok || err != nil {
		return false
	}
	it.item = f.Info()
	return true
}

func (it *fileIterator) Item() *ltx.FileInfo { return it.item }

func (it *fileIterator) Err() error { return it.err }

func (it *fileIterator) Close() error {
	it.stop()
	it.item = nil
	return it.err
}

func (c *storeClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return c.store.OpenLTXFile(ctx, File{Name: Name{level, minTXID, maxTXID}}, offset, size)
}

func (c *storeClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	name := Name{level, minTXID, maxTXID}
	if err := name.Check(); err != nil {
		return nil, NewFileError("write", name, err)
	}
	content, done, err := spool(ctx, r)
	if err != nil {
		return nil, NewFileError("write", name, err)
	}
	defer done()
	unlock, err := c.names.Lock(ctx, name)
	if err != nil {
		return nil, NewFileError("write", name, err)
	}
	defer unlock()
	f, err := c.store.WriteLTXFile(ctx, name, content, WriteOptions{})
	if err != nil {
		return nil, err
	}
	return f.Info(), nil
}

func (c *storeClient) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error {
	var errs []error
	names := make([]Name, 0, len(files))
	for i, f := range files {
		if f == nil {
			errs = append(errs, fmt.Errorf("delete files: number %d of %d is nil: %w", i+1, len(files), os.ErrInvalid))
			continue
		}
		names = append(names, Name{f.Level, f.MinTXID, f.MaxTXID})
	}
	return errors.Join(append(errs, c.delete(ctx, names))...)
}

func (c *storeClient) delete(ctx context.Context, names []Name) error {
	unlock, err := c.names.Lock(ctx, names...)
	if err != nil {
		return fmt.Errorf("delete files: all %d are left: %w", len(names), err)
	}
	defer unlock()
	return c.store.DeleteLTXFiles(ctx, names...)
}

// deleteBatch is how many files DeleteAll deletes at once: as many as S3 takes in
// one request.
const deleteBatch = 1000

// DeleteAll lists and deletes. It goes on after an error, unless the store is gone
// or ctx is done; the error it returns has them all.
func (c *storeClient) DeleteAll(ctx context.Context) error {
	var errs []error
	for level := MinLevel; level <= MaxLevel; level++ {
		err := c.deleteLevel(ctx, level)
		errs = append(errs, err)
		if ctx.Err() != nil || errors.Is(err, ErrUnavailable) {
			break
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete all: %w", err)
	}
	return nil
}

// deleteLevel lists the level whole before it deletes: a listing needn't give
// every name if some are deleted while it runs.
func (c *storeClient) deleteLevel(ctx context.Context, level int) error {
	var names []Name
	for f, err := range c.store.LTXFiles(ctx, level, ListOptions{NamesOnly: true}) {
		if err != nil {
			return err
		}
		names = append(names, f.Name)
	}
	var errs []error
	for len(names) > 0 {
		n := min(len(names), deleteBatch)
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("%d files of level %d are left: %w", len(names), level, err))
			break
		}
		errs = append(errs, c.delete(ctx, names[:n]))
		names = names[n:]
	}
	return errors.Join(errs...)
}
