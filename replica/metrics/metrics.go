// Package metrics tells what is asked of a store, by a client around a client,
// and counts it.
package metrics

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Op is a kind of operation.
type Op int

// The operations that are told apart.
const (
	List   Op = iota // a listing, from LTXFiles to its end or Close
	Stat             // StatLTXFile
	Exact            // StatLTXFileExact
	Read             // a body, from opening to its end or Close
	Local            // OpenLocal; what the kernel then reads, nobody tells
	Write            // WriteLTXFile, -Version and -Exclusive
	Delete           // DeleteLTXFiles and DeleteAll
	numOps
)

var opNames = [numOps]string{"list", "stat", "exact", "read", "local", "write", "delete"}

// String is the operation's name: "list", "stat", "exact", "read", "local",
// "write" or "delete".
func (op Op) String() string {
	if op < 0 || op >= numOps {
		return "unknown"
	}
	return opNames[op]
}

// Event is one operation that has ended.
type Event struct {
	Op Op

	// Files is how many files were listed, or were to be deleted, and else 1.
	// DeleteAll has 0: it doesn't tell.
	Files int64

	// Bytes is how much content was read, or written: 0 for a write that
	// failed, and once for what the client had to send again.
	Bytes int64

	// Took is the time spent in the store's calls, and not what the caller
	// took between them.
	Took time.Duration

	// Err is the error that the operation ended with, or nil.
	Err error
}

// Hooks hears of operations.
type Hooks interface {
	// Done is called once for each operation that has ended, by many
	// goroutines at once. The operation waits for it. A body or a listing
	// that is abandoned without Close never ends.
	Done(e Event)
}

// New returns a client that does what c does and tells hooks.
func New(c replica.Client, hooks Hooks) replica.Client {
	return &client{Around: replica.Around{Client: c}, hooks: hooks}
}

var _ replica.LocalOpener = (*client)(nil)

type client struct {
	replica.Around
	hooks Hooks
}

// measure runs fn and tells of it.
func measure[T any](c *client, op Op, fn func() (T, error)) (T, error) {
	begin := time.Now()
	v, err := fn()
	c.hooks.Done(Event{Op: op, Files: 1, Took: time.Since(begin), Err: err})
	return v, err
}

// StatLTXFile implements replica.Stater.
func (c *client) StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	return measure(c, Stat, func() (replica.File, error) { return c.Around.StatLTXFile(ctx, level, minTXID, maxTXID) })
}

// StatLTXFileExact implements replica.ExactStater.
func (c *client) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	return measure(c, Exact, func() (replica.File, error) { return c.Around.StatLTXFileExact(ctx, level, minTXID, maxTXID) })
}

// OpenLocal implements replica.LocalOpener.
func (c *client) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	return measure(c, Local, func() (*os.File, error) {
		local, err := replica.Inner[replica.LocalOpener](c.Client)
		if err != nil {
			return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
		}
		return local.OpenLocal(ctx, f)
	})
}

// DeleteLTXFiles implements replica.Client.
func (c *client) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error {
	begin := time.Now()
	err := c.Client.DeleteLTXFiles(ctx, files)
	c.hooks.Done(Event{Op: Delete, Files: int64(len(files)), Took: time.Since(begin), Err: err})
	return err
}

// DeleteAll implements replica.Client.
func (c *client) DeleteAll(ctx context.Context) error {
	begin := time.Now()
	err := c.Client.DeleteAll(ctx)
	c.hooks.Done(Event{Op: Delete, Took: time.Since(begin), Err: err})
	return err
}

// WriteLTXFile implements replica.Client.
func (c *client) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	begin := time.Now()
	info, err := c.Client.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
	e := Event{Op: Write, Files: 1, Took: time.Since(begin), Err: err}
	if err == nil {
		e.Bytes = info.Size
	}
	c.hooks.Done(e)
	return info, err
}

// WriteLTXFileVersion implements replica.VersionWriter.
func (c *client) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	begin := time.Now()
	f, err := c.Around.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
	c.hooks.Done(Event{Op: Write, Files: 1, Bytes: f.Size, Took: time.Since(begin), Err: err})
	return f, err
}

// WriteLTXFileExclusive implements replica.ExclusiveWriter.
func (c *client) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	begin := time.Now()
	f, err := c.Around.WriteLTXFileExclusive(ctx, level, minTXID, maxTXID, r)
	c.hooks.Done(Event{Op: Write, Files: 1, Bytes: f.Size, Took: time.Since(begin), Err: err})
	return f, err
}
