// Package limit bounds what is asked of a store, by clients around a client:
// bytes by time, and operations at a time.
package limit

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/superfly/ltx"
	"golang.org/x/time/rate"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	// burstsPerSecond is how the limit's second is divided: so much may go at
	// once after a pause.
	burstsPerSecond = 4

	// maxChunk is the most that is read before it is paid for, in bytes.
	maxChunk = 64 << 10
)

// NewBandwidth returns a client that reads and writes no more than so many bytes
// a second of c, all its callers together. 0 or less is no limit.
//
// Only the content of files counts, and of a write what is sent, again when it is
// sent again. What c reads by itself doesn't: the source of a write for its checksum,
// or a file to verify it.
//
// Whoever waits does so for a small part of a second's bytes at a time, and as
// long as its context lets it. With a limit on reading, the client is no
// replica.LocalOpener: the kernel heeds no limit.
func NewBandwidth(c replica.Client, read, write int64) replica.Client {
	if read <= 0 && write <= 0 {
		return c
	}
	b := &bandwidth{Around: replica.Around{Client: c}, read: newBucket(read), write: newBucket(write)}
	if read <= 0 {
		return &unlimitedReading{b}
	}
	return b
}

// bandwidth limits what it reads and writes.
type bandwidth struct {
	replica.Around
	read, write *bucket // nil without a limit
}

// unlimitedReading is bandwidth for which only writing is limited.
type unlimitedReading struct{ *bandwidth }

// OpenLocal implements replica.LocalOpener.
func (b *unlimitedReading) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	return openLocal(ctx, b.Client, f)
}

func openLocal(ctx context.Context, c replica.Client, f replica.File) (*os.File, error) {
	local, err := replica.Inner[replica.LocalOpener](c)
	if err != nil {
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return local.OpenLocal(ctx, f)
}

// OpenLTXFile implements replica.Client.
func (b *bandwidth) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	rc, err := b.Client.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	return b.body(ctx, replica.File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, rc, err)
}

// OpenLTXFileVersion implements replica.VersionOpener.
func (b *bandwidth) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	rc, err := b.Around.OpenLTXFileVersion(ctx, f, offset, size)
	return b.body(ctx, f, rc, err)
}

func (b *bandwidth) body(ctx context.Context, f replica.File, rc io.ReadCloser, err error) (io.ReadCloser, error) {
	if err != nil || b.read == nil {
		return rc, err
	}
	return &body{ReadCloser: rc, ctx: ctx, file: f, bucket: b.read}, nil
}

// body is a body that is read at the limit's pace.
type body struct {
	io.ReadCloser
	ctx    context.Context
	file   replica.File
	bucket *bucket
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(b.bucket.cut(p))
	if waitErr := b.bucket.wait(b.ctx, n); waitErr != nil && (err == nil || err == io.EOF) {
		err = replica.NewFileError("read", b.file.Level, b.file.MinTXID, b.file.MaxTXID, waitErr)
	}
	return n, err
}

// WriteLTXFile implements replica.Client.
func (b *bandwidth) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return b.Client.WriteLTXFile(ctx, level, minTXID, maxTXID, b.source(ctx, r))
}

// WriteLTXFileVersion implements replica.VersionWriter.
func (b *bandwidth) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	return b.Around.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, b.source(ctx, r))
}

// WriteLTXFileExclusive implements replica.ExclusiveWriter.
func (b *bandwidth) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	return b.Around.WriteLTXFileExclusive(ctx, level, minTXID, maxTXID, b.source(ctx, r))
}

// source is r at the limit's pace.
func (b *bandwidth) source(ctx context.Context, r io.Reader) io.Reader {
	if b.write == nil {
		return r
	}
	return replica.AroundReader(r, func(p []byte, read func([]byte) (int, error)) (int, error) {
		n, err := read(b.write.cut(p))
		if waitErr := b.write.wait(ctx, n); waitErr != nil && (err == nil || err == io.EOF) {
			err = waitErr
		}
		return n, err
	})
}

// bucket is one limit.
type bucket struct {
	limiter *rate.Limiter
	chunk   int
}

func newBucket(perSecond int64) *bucket {
	if perSecond <= 0 {
		return nil
	}
	burst := int(max(perSecond/burstsPerSecond, 1))
	return &bucket{limiter: rate.NewLimiter(rate.Limit(perSecond), burst), chunk: min(burst, maxChunk)}
}

// cut cuts a buffer to what may be read before it is paid for.
func (b *bucket) cut(p []byte) []byte { return p[:min(len(p), b.chunk)] }

// wait pays for n bytes, which are no more than a chunk.
func (b *bucket) wait(ctx context.Context, n int) error {
	err := b.limiter.WaitN(ctx, n)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	// The limiter doesn't begin to wait for what will be too late.
	return fmt.Errorf("the bandwidth limit leaves no time for it: %w", context.DeadlineExceeded)
}
