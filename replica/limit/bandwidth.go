// Package limit bounds what is asked of a store, by stores around a store: bytes by
// time, and operations at a time.
package limit

import (
	"context"
	"fmt"
	"io"
	"os"

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

// Bandwidth is a limit on the bytes that are read and written in a second, of all callers of
// all stores that it is put around.
//
// Only the content of files counts, and of a write what is sent, again when it is
// sent again. What s reads by itself doesn't: content for its checksum, or a file to
// verify it.
//
// Whoever waits does so for a small part of a second's bytes at a time, and as
// long as its context lets it. With a limit on reading there is no OpenLocal: the
// kernel keeps to no limit.
type Bandwidth struct {
	read, write *bucket // nil without a limit
}

// NewBandwidth returns a limit in bytes a second. 0 or less is none.
func NewBandwidth(read, write int64) *Bandwidth {
	return &Bandwidth{newBucket(read), newBucket(write)}
}

// Around returns a store that keeps to the limit.
func (b *Bandwidth) Around(s replica.Store) replica.Store {
	if b.read == nil && b.write == nil {
		return s
	}
	return &bandwidth{replica.Wrapper{Store: s}, b}
}

type bandwidth struct {
	replica.Wrapper
	*Bandwidth
}

func (b *bandwidth) OpenLocal(ctx context.Context, f replica.File) (*os.File, error) {
	if b.read != nil {
		return b.Wrapper.OpenLocal(ctx, f)
	}
	return b.Store.OpenLocal(ctx, f)
}

func (b *bandwidth) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	rc, err := b.Store.OpenLTXFile(ctx, f, offset, size)
	if err != nil || b.read == nil {
		return rc, err
	}
	return &body{ReadCloser: rc, ctx: ctx, name: f.Name, bucket: b.read}, nil
}

// body is a body that is read at the limit's pace.
type body struct {
	io.ReadCloser
	ctx    context.Context
	name   replica.Name
	bucket *bucket
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.bucket.chunk)])
	if waitErr := b.bucket.wait(b.ctx, n); waitErr != nil && (err == nil || err == io.EOF) {
		err = replica.NewFileError("read", b.name, waitErr)
	}
	return n, err
}

func (b *bandwidth) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	if b.write != nil {
		pace := opts.Pace
		opts.Pace = func(ctx context.Context, n int) error {
			if pace != nil {
				if err := pace(ctx, n); err != nil {
					return err
				}
			}
			return b.write.wait(ctx, n)
		}
	}
	return b.Store.WriteLTXFile(ctx, name, content, opts)
}

// bucket is one limit.
type bucket struct {
	limiter *rate.Limiter
	chunk   int // what is paid for at once
}

func newBucket(perSecond int64) *bucket {
	if perSecond <= 0 {
		return nil
	}
	burst := int(max(perSecond/burstsPerSecond, 1))
	return &bucket{limiter: rate.NewLimiter(rate.Limit(perSecond), burst), chunk: min(burst, maxChunk)}
}

// wait pays for n bytes.
func (b *bucket) wait(ctx context.Context, n int) error {
	for ; n > 0; n -= b.chunk {
		if err := b.limiter.WaitN(ctx, min(n, b.chunk)); err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The limiter doesn't begin to wait for what will be too late.
		return fmt.Errorf("the bandwidth limit leaves no time for it: %w", context.DeadlineExceeded)
	}
	return nil
}
