package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// multipart sends the content in parts, many at a time. If that fails, it leaves
// none.
func (u *upload) multipart(ctx context.Context) error {
	at := u.at
	in := &awss3.CreateMultipartUploadInput{Bucket: &at.cfg.Bucket, Key: &u.key, Metadata: u.metadata()}
	checksums := !u.lacks(uploadChecksums)
	if checksums {
		in.ChecksumAlgorithm, in.ChecksumType = types.ChecksumAlgorithmCrc64nvme, types.ChecksumTypeFullObject
	}
	out, err := u.at.s3.CreateMultipartUpload(ctx, in)
	if err != nil {
		return storeError(ctx, "CreateMultipartUpload", err)
	}
	if aws.ToString(out.UploadId) == "" {
		return strange("CreateMultipartUpload", 0, "the store names no upload")
	}
	p := &parts{upload: u, id: *out.UploadId, checksums: checksums}
	err = p.send(ctx)
	if err == nil {
		err = p.complete(ctx)
	}
	if err != nil || u.adopted {
		u.abort(ctx, p.id, p.cut.Load() || ctx.Err() != nil)
	}
	return err
}

// partSize is the configured one, or as much more as the number of parts takes.
func (u *upload) partSize() int64 {
	size := u.at.cfg.PartSize
	least := (u.content.Size() + maxParts - 1) / maxParts
	if least > size {
		size = (least + partUnit - 1) / partUnit * partUnit
	}
	return size
}

// parts are those of one upload.
type parts struct {
	*upload
	id        string
	checksums bool

	failed atomic.Bool           // a part has
	cut    atomic.Bool           // one was cut short by what is to be written
	sent   []types.CompletedPart // in order
}

// send sends all parts, and waits for them. If one fails, it begins no other, but
// lets those end that are on their way: of one that is broken off, nobody knows
// whether the store takes it after the upload was aborted.
func (p *parts) send(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(p.at.cfg.Concurrency)
	err := p.sendEach(ctx, &g)
	// What the store said comes before the end of the context that it caused.
	if gerr := g.Wait(); gerr != nil {
		err = gerr
	}
	if cause := ctx.Err(); cause != nil && err != nil {
		return cause
	}
	return err
}

func (p *parts) sendEach(ctx context.Context, g *errgroup.Group) error {
	whole, most := p.content.Size(), p.partSize()
	p.sent = make([]types.CompletedPart, (whole+most-1)/most)
	for i := range p.sent {
		if p.failed.Load() {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		off := int64(i) * most
		size := min(most, whole-off)
		digest, err := p.sum(i, off, size)
		if err != nil {
			return err
		}
		g.Go(func() error { return p.sendPart(ctx, i, p.body(ctx, off, digest), digest) })
	}
	return nil
}

func (p *parts) sendPart(ctx context.Context, i int, body *requestBody, digest *sums) error {
	n := aws.Int32(int32(i + 1))
	in := &awss3.UploadPartInput{
		Bucket: &p.at.cfg.Bucket, Key: &p.key, UploadId: &p.id, PartNumber: n,
		Body: body, ContentLength: aws.Int64(digest.size), ContentMD5: digest.MD5(),
	}
	if p.checksums {
		in.ChecksumCRC64NVME = aws.String(digest.CRC64NVME())
	}
	var out *awss3.UploadPartOutput
	err := p.at.conns.SendBody(ctx, func() (err error) {
		out, err = p.at.s3.UploadPart(ctx, in, digest.signed)
		return err
	})
	if _, cut := errors.AsType[*contentError](err); cut {
		p.cut.Store(true)
	}
	if err != nil {
		p.failed.Store(true)
		return fmt.Errorf("part %d: %w", *n, storeError(ctx, "UploadPart", err))
	}
	p.sent[i] = types.CompletedPart{PartNumber: n, ETag: out.ETag, ChecksumCRC64NVME: in.ChecksumCRC64NVME}
	return nil
}

// complete makes the object of the parts.
func (p *parts) complete(ctx context.Context) error {
	if err := p.unchanged(); err != nil {
		return err
	}
	at := p.at
	in := &awss3.CompleteMultipartUploadInput{
		Bucket: &at.cfg.Bucket, Key: &p.key, UploadId: &p.id, IfNoneMatch: p.ifNoneMatch(),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: p.sent},
	}
	if p.checksums {
		in.ChecksumCRC64NVME, in.ChecksumType = aws.String(p.sums.CRC64NVME()), types.ChecksumTypeFullObject
	}
	if done, err := p.lookFirst(ctx); done || err != nil {
		return err
	}
	out, err := p.at.s3.CompleteMultipartUpload(ctx, in, func(o *awss3.Options) { o.HTTPClient = at.conns.Patient() })
	if err == nil && aws.ToString(out.ETag) != "" {
		at.sawBucket()
		p.done(out.ETag, out.ResultMetadata)
		return nil
	}
	if err = storeError(ctx, "CompleteMultipartUpload", err); err == nil {
		err = strange("CompleteMultipartUpload", http.StatusOK, "the answer names no ETag, and may be no store's")
	}
	// The store may have completed it all the same, and its answer been lost.
	head, herr := at.head(ctx, p.key, false)
	switch {
	case herr != nil:
	case head.Metadata[metaWriteID] == p.upload.id:
		p.done(head.ETag, head.ResultMetadata)
		return nil
	case head.Metadata[metaWriteID] == "" && *head.ContentLength == p.sums.size && errors.Is(err, errNoSuchUpload) && !p.opts.Exclusive:
		p.done(nil, head.ResultMetadata) // its bytes will tell
		return nil
	}
	return p.conflict(ctx, err)
}

// unfinished is an upload whose parts the store still has.
type unfinished struct{ key, id string }

// abort aborts an upload that has failed. It has a deadline of its own, since the
// context of the upload may have ended.
func (u *upload) abort(ctx context.Context, id string, cutOff bool) {
	at := u.at
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), at.cfg.Timeouts.CleanUp)
	defer cancel()
	err := at.abort(ctx, unfinished{u.key, id})
	if err == nil && cutOff {
		// Of a part that was broken off on its way, S3 says that it may arrive after
		// the upload was aborted, and that to abort once more removes it.
		_ = wait(ctx, at.cfg.Retry.MinBackoff)
		err = at.abort(ctx, unfinished{u.key, id})
	}
	if err != nil {
		at.log().Warn("parts of a failed upload are left in the bucket; they go with the next failed upload or at the end, "+
			"or by a lifecycle rule for unfinished uploads", "key", u.key, "upload", id, "error", err)
	}
}

// abort aborts uploads, and those that could not be aborted before: their parts
// cost money, and nobody sees them. What it can't abort, it keeps for the next
// try.
func (at *session) abort(ctx context.Context, uploads ...unfinished) error {
	at.undone.Lock()
	uploads = append(at.abandoned, uploads...)
	at.abandoned = nil
	at.undone.Unlock()
	var errs []error
	for _, u := range uploads {
		_, err := at.s3.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &at.cfg.Bucket, Key: &u.key, UploadId: &u.id})
		if err = storeError(ctx, "AbortMultipartUpload", err); err == nil || errors.Is(err, errNoSuchUpload) || isNotFound(err) {
			continue
		}
		errs = append(errs, fmt.Errorf("abort the upload of %s: %w", u.key, err))
		at.undone.Lock()
		at.abandoned = append(at.abandoned, u)
		at.undone.Unlock()
	}
	return errors.Join(errs...)
}
