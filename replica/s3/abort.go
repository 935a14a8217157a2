package s3

import (
	"context"
	"errors"
	"fmt"
	"sync"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// unfinished is an upload whose parts the store still has.
type unfinished struct{ key, id string }

// abandoned are the uploads that could not be aborted, for the next try: their
// parts cost money, and nobody sees them.
type abandoned struct {
	mu      sync.Mutex
	uploads []unfinished
}

func (a *abandoned) add(u ...unfinished) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uploads = append(a.uploads, u...)
}

func (a *abandoned) take() []unfinished {
	a.mu.Lock()
	defer a.mu.Unlock()
	uploads := a.uploads
	a.uploads = nil
	return uploads
}

// abort aborts a failed upload, and others that could not be aborted before. It
// has a deadline of its own, since the context of the upload may have ended.
func (c *ReplicaClient) abort(ctx context.Context, s *session, u unfinished) {
	// Of a part that was broken off on its way, S3 says that it may arrive after
	// the upload was aborted, and that to abort once more removes it.
	cutOff := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Timeouts.CleanUp)
	defer cancel()
	c.uploads.add(u)
	err := c.abortAbandoned(ctx, s)
	if err == nil && cutOff {
		c.uploads.add(u)
		err = c.abortAbandoned(ctx, s)
	}
	if err != nil {
		c.log().Warn("parts of a failed upload are left in the bucket; they go with the next failed upload or at the end, "+
			"or by a lifecycle rule for unfinished uploads", "key", u.key, "upload", u.id, "error", err)
	}
}

// abortAbandoned aborts all that is to be, and keeps what it can't.
func (c *ReplicaClient) abortAbandoned(ctx context.Context, s *session) error {
	var errs []error
	for _, u := range c.uploads.take() {
		_, err := s.s3.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{
			Bucket: &c.cfg.Bucket, Key: &u.key, UploadId: &u.id, RequestPayer: c.payer(),
		})
		if err = storeError(ctx, "AbortMultipartUpload", err); err != nil && !errors.Is(err, errNoSuchUpload) && !isNotFound(err) {
			c.uploads.add(u)
			errs = append(errs, fmt.Errorf("abort the upload of %s: %w", u.key, err))
		}
	}
	return errors.Join(errs...)
}
