package mock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// WriteLTXFile is WriteLTXFileVersion without the version.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	f, err := c.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
	if err != nil {
		return nil, err
	}
	return f.Info(), nil
}

// WriteLTXFileVersion stores what r holds. It shows after the lag; see SetLag.
func (c *ReplicaClient) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	return c.write(ctx, level, minTXID, maxTXID, r, false)
}

// WriteLTXFileExclusive stores what r holds unless a file of that name has been
// stored, shown or not yet.
func (c *ReplicaClient) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	return c.write(ctx, level, minTXID, maxTXID, r, true)
}

func (c *ReplicaClient) write(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader, exclusive bool) (replica.File, error) {
	key := Key{level, minTXID, maxTXID}
	fail := func(err error) (replica.File, error) {
		return replica.File{}, replica.NewFileError("write", level, minTXID, maxTXID, err)
	}
	if err := replica.CheckFile(level, minTXID, maxTXID); err != nil {
		return fail(err)
	}
	if err := c.begin(ctx, OpWrite, &key); err != nil {
		return fail(err)
	}
	var buf bytes.Buffer
	if _, err := io.Copy(&buf, &contextReader{ctx: ctx, r: r}); err != nil {
		return fail(err)
	}
	if err := c.begin(ctx, OpPublish, &key); err != nil {
		return fail(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if exclusive && c.stored[key] != nil {
		return fail(os.ErrExist)
	}
	o := c.newObject(buf.Bytes())
	c.change(key, o)
	f := c.file(key, o)
	f.ModTime = o.created // which the writer knows, whatever a listing tells
	return f, nil
}

// contextReader is a reader that ctx can stop, between two reads.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// DeleteLTXFiles deletes files. They vanish after the lag; see SetLag.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error {
	var errs []error
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("delete files: %d of %d are left: %w", len(files)-i, len(files), err))
			break
		}
		if f == nil {
			errs = append(errs, fmt.Errorf("delete files: number %d of %d is nil: %w", i+1, len(files), os.ErrInvalid))
			continue
		}
		if err := c.delete(ctx, Key{f.Level, f.MinTXID, f.MaxTXID}); err != nil {
			errs = append(errs, replica.NewFileError("delete", f.Level, f.MinTXID, f.MaxTXID, err))
		}
	}
	return errors.Join(errs...)
}

func (c *ReplicaClient) delete(ctx context.Context, key Key) error {
	if err := replica.CheckFile(key.Level, key.MinTXID, key.MaxTXID); err != nil {
		return err
	}
	if err := c.begin(ctx, OpDelete, &key); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stored[key] != nil {
		c.change(key, nil)
	}
	return nil
}

// DeleteAll deletes every file. They vanish after the lag; see SetLag.
func (c *ReplicaClient) DeleteAll(ctx context.Context) error {
	if err := c.begin(ctx, OpDeleteAll, nil); err != nil {
		return fmt.Errorf("delete all: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.stored {
		c.change(key, nil)
	}
	return nil
}
