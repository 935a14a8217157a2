package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	// maxParts is how many parts an upload may have.
	maxParts = 10_000

	// partUnit is what the size of parts is a multiple of, once there would be
	// too many, in bytes.
	partUnit = 1 << 20
)

// errNoSuchUpload means that an upload was completed or aborted.
var errNoSuchUpload = errors.New("no such upload")

// multipart uploads in parts, many at a time. If that fails, it leaves none.
func (u *upload) multipart(ctx context.Context) error {
	c := u.client
	in := &awss3.CreateMultipartUploadInput{
		Bucket: &c.cfg.Bucket, Key: &u.key, Metadata: u.metadata(),
		StorageClass: types.StorageClass(c.cfg.StorageClass), RequestPayer: c.payer(),
	}
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.customerKey()
	in.ServerSideEncryption, in.SSEKMSKeyId = c.kmsKey()
	checksums := !c.refusesChecksums.Load()
	if checksums {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject
	}
	out, err := u.session.s3.CreateMultipartUpload(ctx, in)
	if err != nil {
		return storeError(ctx, "CreateMultipartUpload", err)
	}
	if aws.ToString(out.UploadId) == "" {
		return &StoreError{Op: "CreateMultipartUpload", text: "the store names no upload"}
	}
	p := &parts{upload: u, id: *out.UploadId, size: u.partSize(), checksums: checksums}
	err = p.send(ctx)
	if err == nil {
		err = p.complete(ctx)
	}
	if err != nil || u.adopted {
		c.abort(ctx, u.session, unfinished{u.key, p.id})
	}
	return err
}

// partSize is the configured one, or as much more as the number of parts takes.
func (u *upload) partSize() int64 {
	size := u.client.cfg.PartSize
	if u.src.section == nil {
		return size
	}
	least := (u.src.section.Size() + maxParts - 1) / maxParts
	if least > size {
		size = (least + partUnit - 1) / partUnit * partUnit
	}
	return size
}

// parts are those of one upload.
type parts struct {
	*upload
	id        string
	size      int64 // of each but the last
	checksums bool

	failed atomic.Bool // a part has

	mu   sync.Mutex
	sent []types.CompletedPart // by number, from 1 on
}

// send sends all parts, and waits for them. If one fails, it begins no other, but
// lets those end that are on their way: of one that is broken off, nobody knows
// whether the store takes it after the upload was aborted.
func (p *parts) send(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(p.client.cfg.Concurrency)
	var err error
	if p.src.section != nil {
		err = p.sendSection(ctx, &g)
	} else {
		err = p.sendStream(ctx, &g)
	}
	// What the store said comes before the end of the context that it caused.
	if gerr := g.Wait(); gerr != nil {
		err = gerr
	}
	if cause := ctx.Err(); cause != nil && err != nil {
		return cause
	}
	return err
}

// sendSection sends the parts of what can be read at any offset.
func (p *parts) sendSection(ctx context.Context, g *errgroup.Group) error {
	section, looked := p.src.section, p.src.looked
	for off := int64(0); off < section.Size() && !p.failed.Load(); off += p.size {
		if err := ctx.Err(); err != nil {
			return err
		}
		size := min(p.size, section.Size()-off)
		body := newSentBody(section, off, size)
		digest := p.client.newBodySums()
		if err := sum(io.NewSectionReader(looked, off, size), digest, p.sums); err != nil {
			return err
		}
		if digest.size != size {
			return fmt.Errorf("read what is to be written: %w", errShorter)
		}
		n := p.next()
		g.Go(func() error { return p.sendPart(ctx, n, body, digest) })
	}
	return nil
}

// sendStream sends the parts of a stream, by way of as many buffers as parts are
// on their way, and one that is being filled.
func (p *parts) sendStream(ctx context.Context, g *errgroup.Group) error {
	p.src.consumed = true
	free := make(chan []byte, p.client.cfg.Concurrency+1)
	for range cap(free) - 1 {
		free <- nil // made when it is needed
	}
	part, end := p.src.first, false
	p.src.first = nil
	for !p.failed.Load() {
		if len(p.sent) == maxParts {
			return fmt.Errorf("more than %d parts of %d bytes: set a larger partSize", maxParts, p.size)
		}
		digest := p.client.newBodySums()
		if err := sum(bytes.NewReader(part), digest, p.sums); err != nil {
			return err
		}
		n, data := p.next(), part
		g.Go(func() error {
			defer func() { free <- data[:0] }()
			return p.sendPart(ctx, n, bytes.NewReader(data), digest)
		})
		if end {
			return nil
		}
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		if int64(cap(buf)) < p.size {
			buf = make([]byte, p.size)
		}
		var err error
		if part, end, err = readPart(p.src.stream, buf[:p.size], p.size); err != nil {
			return err
		}
		if end && len(part) == 0 {
			return nil
		}
	}
	return nil // the part that failed says why
}

// next is the number of the next part.
func (p *parts) next() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = append(p.sent, types.CompletedPart{})
	return int32(len(p.sent))
}

func (p *parts) sendPart(ctx context.Context, n int32, body io.ReadSeeker, digest *sums) error {
	c := p.client
	in := &awss3.UploadPartInput{
		Bucket: &c.cfg.Bucket, Key: &p.key, UploadId: &p.id, PartNumber: &n, RequestPayer: c.payer(),
		Body: body, ContentLength: aws.Int64(digest.size), ContentMD5: digest.MD5(),
	}
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.customerKey()
	done := types.CompletedPart{PartNumber: &n}
	if p.checksums {
		in.ChecksumCRC64NVME = aws.String(digest.CRC64NVME())
		done.ChecksumCRC64NVME = in.ChecksumCRC64NVME
	}
	out, err := p.session.s3.UploadPart(ctx, in, digest.signed)
	if err != nil {
		p.failed.Store(true)
		return fmt.Errorf("part %d: %w", n, storeError(ctx, "UploadPart", err))
	}
	done.ETag = out.ETag
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[n-1] = done
	return nil
}

// complete makes the object of the parts.
func (p *parts) complete(ctx context.Context) error {
	c := p.client
	in := &awss3.CompleteMultipartUploadInput{
		Bucket: &c.cfg.Bucket, Key: &p.key, UploadId: &p.id, RequestPayer: c.payer(),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: p.sent},
	}
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.customerKey()
	if p.checksums {
		in.ChecksumCRC64NVME, in.ChecksumType = aws.String(p.sums.CRC64NVME()), types.ChecksumTypeFullObject
	}
	in.IfNoneMatch = p.ifNoneMatch()
	if done, err := p.hold(ctx); done || err != nil {
		return err
	}
	out, err := p.session.s3.CompleteMultipartUpload(ctx, in, c.patiently)
	if err == nil && aws.ToString(out.ETag) != "" {
		c.sawBucket()
		p.done(out.ETag, out.ResultMetadata)
		return nil
	}
	if err = storeError(ctx, "CompleteMultipartUpload", err); err == nil {
		err = &StoreError{Op: "CompleteMultipartUpload", Status: http.StatusOK, text: "the answer names no ETag, and may be no store's"}
	}
	// The store may have completed it all the same, and its answer been lost.
	if head, herr := c.head(ctx, p.session, p.key, false); herr == nil && head.Metadata[metaWriteID] == p.upload.id {
		p.done(head.ETag, head.ResultMetadata)
		return nil
	}
	return p.conflict(ctx, err)
}
