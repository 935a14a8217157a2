package retry

import (
	"context"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// LTXFiles implements replica.Client.
func (c *client) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	it := &iterator{
		ctx: ctx, try: c.try("list"),
		list: func(seek ltx.TXID) (ltx.FileIterator, error) { return c.Client.LTXFiles(ctx, level, seek, useMetadata) },
		seek: seek,
	}
	inner, err := do(ctx, it.try, func() (ltx.FileIterator, error) { return it.list(seek) })
	if err != nil {
		return nil, err
	}
	it.inner = inner
	if _, ok := inner.(replica.VersionIterator); ok {
		return versionIterator{it}, nil
	}
	return it, nil
}

// iterator goes on with another listing where one failed. Files come in the order
// of their names, so that the last one tells which have been there.
type iterator struct {
	ctx   context.Context
	try   *try
	list  func(seek ltx.TXID) (ltx.FileIterator, error)
	seek  ltx.TXID
	inner ltx.FileIterator

	last *ltx.FileInfo // nil before the first
	err  error
	over bool // ended by an error
}

// Next implements ltx.FileIterator.
func (it *iterator) Next() bool {
	for !it.over {
		for it.inner.Next() {
			if info := it.inner.Item(); it.after(info) {
				it.last = info
				it.try.progress()
				return true
			}
		}
		err := it.inner.Err()
		if err == nil {
			return false
		}
		_ = it.inner.Close() // the error is known
		inner, err := it.resume(err)
		if err != nil {
			it.err, it.over = err, true
			return false
		}
		it.inner = inner
	}
	return false
}

// resume lists from the last file on.
func (it *iterator) resume(err error) (ltx.FileIterator, error) {
	if err := it.try.again(it.ctx, err); err != nil {
		return nil, err
	}
	seek := it.seek
	if it.last != nil {
		seek = it.last.MinTXID
	}
	return do(it.ctx, it.try, func() (ltx.FileIterator, error) { return it.list(seek) })
}

// after tells whether a file comes after the last one.
func (it *iterator) after(info *ltx.FileInfo) bool {
	return it.last == nil || info.MinTXID > it.last.MinTXID ||
		info.MinTXID == it.last.MinTXID && info.MaxTXID > it.last.MaxTXID
}

// Item implements ltx.FileIterator.
func (it *iterator) Item() *ltx.FileInfo {
	if it.over {
		return nil
	}
	return it.inner.Item()
}

// Err implements ltx.FileIterator.
func (it *iterator) Err() error {
	if it.over {
		return it.err
	}
	return it.inner.Err()
}

// Close implements ltx.FileIterator.
func (it *iterator) Close() error {
	if it.over {
		return it.err
	}
	return it.inner.Close()
}

// versionIterator is iterator for a client that knows versions.
type versionIterator struct{ *iterator }

// Version implements replica.VersionIterator.
func (it versionIterator) Version() replica.Version {
	if v, ok := it.inner.(replica.VersionIterator); ok && !it.over {
		return v.Version()
	}
	return ""
}
