package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/replica"
)

// write writes a file.
func (at *session) write(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	u := &upload{at: at, key: at.keyToWrite(name), name: name, content: content, opts: opts, id: newWriteID()}
	var err error
	if u.time, err = timeOf(content); err != nil {
		return replica.File{}, err
	}
	began := time.Now()
	if err := u.send(ctx); err != nil {
		return replica.File{}, err
	}
	if err := u.verify(ctx); err != nil {
		return replica.File{}, err
	}
	if err := at.rootByWrite(ctx, name); err != nil {
		return replica.File{}, err
	}
	at.log().Debug("wrote", "key", u.key, "size", content.Size(), "took", time.Since(began))
	f, err := at.inListing(ctx, at.key(name), replica.File{Name: name, Size: content.Size(), Version: u.version}, replica.Version{})
	if err != nil {
		// It is written. Under another version than listings show, it is found anew.
		at.log().Debug("can't tell how the file is listed", "key", u.key, "error", err)
	}
	f.ModTime = u.time
	return f, nil
}

func newWriteID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// send sends the content. If the store refuses the request because of headers that
// it doesn't know, it leaves them out, and learns which it was. The condition of an
// exclusive write goes last: without it, another's file may be replaced.
func (u *upload) send(ctx context.Context) error {
	var sent []lack // that may be why it is refused
	for _, l := range []lack{uploadChecksums, conditions} {
		if !u.lacks(l) && (l != conditions || u.opts.Exclusive) {
			sent = append(sent, l)
		}
	}
	err := u.sendOnce(ctx)
	refusal := err
	for _, l := range sent {
		if !refusesHeaders(err) {
			break
		}
		u.without[l] = true
		if err = u.sendOnce(ctx); err == nil {
			u.at.learn(l, refusal)
		}
	}
	return err
}

// sendOnce sends the content.
func (u *upload) sendOnce(ctx context.Context) error {
	u.sums = newSums()
	if u.content.Size() < u.at.cfg.PartSize {
		return u.put(ctx)
	}
	return u.multipart(ctx)
}

// put sends the content in one request.
func (u *upload) put(ctx context.Context) error {
	at, size := u.at, u.content.Size()
	digest := at.newBodySums()
	if err := sum(u.content, 0, size, digest); err != nil {
		return err
	}
	u.sums = digest
	in := &awss3.PutObjectInput{
		Bucket: &at.cfg.Bucket, Key: &u.key, Body: u.body(ctx, 0, size), ContentLength: aws.Int64(size), ContentMD5: digest.MD5(),
		Metadata: u.metadata(), IfNoneMatch: u.ifNoneMatch(),
	}
	if !u.lacks(uploadChecksums) {
		in.ChecksumCRC64NVME = aws.String(digest.CRC64NVME())
	}
	if done, err := u.lookFirst(ctx); done || err != nil {
		return err
	}
	out, err := u.at.s3.PutObject(ctx, in, digest.signed)
	if err != nil {
		return u.conflict(ctx, storeError(ctx, "PutObject", err))
	}
	at.sawBucket()
	u.done(out.ETag, out.ResultMetadata)
	return nil
}
