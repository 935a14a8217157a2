package mock

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// StatLTXFile returns a file as the store shows it.
func (c *ReplicaClient) StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	key := Key{level, minTXID, maxTXID}
	fail := func(err error) (replica.File, error) {
		return replica.File{}, replica.NewFileError("stat", level, minTXID, maxTXID, err)
	}
	if err := replica.CheckFile(level, minTXID, maxTXID); err != nil {
		return fail(err)
	}
	if err := c.begin(ctx, OpStat, &key); err != nil {
		return fail(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	o := c.shown[key]
	if o == nil {
		return fail(os.ErrNotExist)
	}
	return c.file(key, o), nil
}

// OpenLTXFile reads a file as the store shows it. If it is replaced or deleted
// meanwhile, the reader goes on with the old one.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return c.open(ctx, Key{level, minTXID, maxTXID}, "", offset, size)
}

// OpenLTXFileVersion reads one version of a file, or returns
// replica.ErrReplaced. If it is replaced or deleted after it was opened, the
// reader goes on with the old one.
func (c *ReplicaClient) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	if f.Version == "" {
		err := fmt.Errorf("the version is empty: %w", os.ErrInvalid)
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return c.open(ctx, Key{f.Level, f.MinTXID, f.MaxTXID}, f.Version, offset, size)
}

func (c *ReplicaClient) open(ctx context.Context, key Key, version replica.Version, offset, size int64) (io.ReadCloser, error) {
	fail := func(err error) (io.ReadCloser, error) {
		return nil, replica.NewFileError("open", key.Level, key.MinTXID, key.MaxTXID, err)
	}
	if err := replica.CheckFile(key.Level, key.MinTXID, key.MaxTXID); err != nil {
		return fail(err)
	}
	if err := replica.CheckRange(offset, size); err != nil {
		return fail(err)
	}
	if err := c.begin(ctx, OpOpen, &key); err != nil {
		return fail(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	o := c.shown[key]
	switch {
	case o == nil:
		return fail(os.ErrNotExist)
	case version != "" && o.version != version:
		return fail(replica.ErrReplaced)
	}
	data := o.data[min(offset, int64(len(o.data))):]
	if size > 0 && offset <= math.MaxInt64-size {
		data = data[:min(size, int64(len(data)))]
	}
	c.openReaders++
	return &reader{client: c, ctx: ctx, key: key, data: data}, nil
}

// reader reads a range of an object. Close may be called while Read runs.
type reader struct {
	client *ReplicaClient
	ctx    context.Context
	key    Key
	data   []byte // that is left
	read   int64  // bytes handed out

	closed bool // under the client's lock
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.next(p)
	if err == io.EOF {
		return n, err
	}
	return n, replica.NewFileError("read", r.key.Level, r.key.MinTXID, r.key.MaxTXID, err)
}

func (r *reader) next(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	c := r.client
	c.mu.Lock()
	if r.closed {
		c.mu.Unlock()
		return 0, os.ErrClosed
	}
	c.counts[OpRead]++
	c.files[opKey{OpRead, r.key}]++
	faults := c.meet(OpRead, &r.key, r.read)
	// A fault further on in the data must not be read over.
	for _, f := range c.faults {
		if left := f.AfterBytes - r.read; f.Op == OpRead && left > 0 && left < int64(len(p)) {
			p = p[:left]
		}
	}
	c.mu.Unlock()
	if err := suffer(r.ctx, faults); err != nil {
		return 0, err
	}
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data)
	r.data = r.data[n:]
	r.read += int64(n)
	c.mu.Lock()
	c.bytesRead += int64(n)
	c.mu.Unlock()
	return n, nil
}

func (r *reader) Close() error {
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	if r.closed {
		return os.ErrClosed
	}
	r.closed = true
	r.client.openReaders--
	return nil
}
