package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/ltxfs/ltxfs/replica"
)

// ErrVerify means that a store doesn't give back what was written to it.
var ErrVerify = errors.New("verification failed")

// errNotYet means that the store doesn't show a write that it has acknowledged,
// or shows what was there before. It may be a moment late.
var errNotYet = errors.New("the store doesn't show the file as it was written")

// errSuperseded means that another writer has written the file since. There is
// nothing left to verify.
var errSuperseded = errors.New("another writer has written the file since")

// done notes what the store said of a finished upload.
func (u *upload) done(etag *string, metadata middleware.Metadata) {
	u.file.Version = version(etag)
	u.sent, _ = awsmiddleware.GetServerTime(metadata)
}

// verify makes sure that the store has what was sent, and finds the version that
// it gave it. A store that is late is given time.
func (u *upload) verify(ctx context.Context) error {
	c := u.client
	until := time.Now().Add(c.cfg.Timeouts.Verify)
	for attempt := 1; ; attempt++ {
		err := u.check(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errSuperseded):
			// The last writer wins, and it isn't this one. That the store took what
			// was sent, it has said.
			c.log().Info("another writer has replaced a file since it was written", "key", u.key)
			return nil
		case errors.Is(err, ErrVerify), errors.Is(err, ErrNotEncrypted):
			return u.discard(ctx, err)
		case !errors.Is(err, errNotYet):
			return fmt.Errorf("make sure of the write: %w", err)
		case time.Now().After(until):
			// As text: that the file isn't there is not what the caller asked.
			return fmt.Errorf("%w: for %v, %v", ErrVerify, c.cfg.Timeouts.Verify, err)
		}
		if err := sleep(ctx, c.cfg.Retry.delay(attempt)); err != nil {
			return fmt.Errorf("make sure of the write: %w", err)
		}
	}
}

// check looks once whether the store has what was sent.
func (u *upload) check(ctx context.Context) error {
	c := u.client
	mode := c.cfg.VerifyWrites
	if u.file.Version != "" && !c.encrypts() && (mode == VerifyFull || mode == VerifyAuto && c.lacksChecksums.Load()) {
		return u.readBack(ctx)
	}
	out, err := c.head(ctx, u.session, u.key, mode != VerifySize)
	if isNotFound(err) {
		return fmt.Errorf("%w: %v", errNotYet, err)
	} else if err != nil {
		return err
	}
	if err := u.sameVersion(out); err != nil {
		return err
	}
	if err := c.checkEncryption(out.ServerSideEncryption, out.SSECustomerAlgorithm); err != nil {
		return err
	}
	if *out.ContentLength != u.sums.size {
		return u.differs("the store has %d bytes of %d", *out.ContentLength, u.sums.size)
	}
	if mode == VerifySize {
		return nil
	}
	same, known := u.sums.ofStore(out)
	switch {
	case mode == VerifyFull:
		return u.readBack(ctx)
	case known && same:
		return nil
	case known:
		return u.differs("the store's checksum is another one")
	case mode == VerifyChecksum:
		// Nothing shows that it is wrong, so that it stays.
		return errors.New("the store has no checksum of the whole file: use --verify-writes=full")
	}
	if !c.lacksChecksums.Swap(true) {
		c.log().Info("the store has no checksums of whole files: what is written is read back")
	}
	return u.readBack(ctx)
}

// sameVersion returns an error unless the store shows the object of this write: by
// its ID, or by the version that the store said it had made.
func (u *upload) sameVersion(out *awss3.HeadObjectOutput) error {
	got := version(out.ETag)
	switch {
	case out.Metadata[metaWriteID] == u.id:
		u.file.Version = got // which the store may not have said, or not yet
		return nil
	case u.file.Version == "":
		// Nothing shows that the store ever took it.
		return fmt.Errorf("%w: it shows another write", errNotYet)
	case got == u.file.Version:
		return nil
	case !u.sent.IsZero() && out.LastModified.After(u.sent.Add(time.Second)):
		// By the store's own clock, in whole seconds.
		return errSuperseded
	}
	return fmt.Errorf("%w: it shows another version", errNotYet)
}

// readBack reads the file and compares.
func (u *upload) readBack(ctx context.Context) error {
	r, err := u.client.open(ctx, u.file, 0, 0)
	if err == nil {
		defer r.Close()
		got := newSums()
		if _, err = io.CopyBuffer(got, struct{ io.Reader }{r}, make([]byte, copyBuffer)); err == nil {
			if got.size != u.sums.size || got.CRC64NVME() != u.sums.CRC64NVME() {
				return u.differs("the store gives back other bytes: %d of %d, with another checksum", got.size, u.sums.size)
			}
			u.file.Version = r.(*body).file.Version
			return nil
		}
	}
	switch {
	case errors.Is(err, replica.ErrReplaced):
		out, herr := u.client.head(ctx, u.session, u.key, false)
		if herr == nil {
			if serr := u.sameVersion(out); serr != nil {
				return serr
			}
		}
		return fmt.Errorf("%w: %v", errNotYet, err)
	case isNotFound(err):
		return fmt.Errorf("%w: %v", errNotYet, err)
	}
	return err
}

// differs is the error for a store that has other bytes under our version.
func (u *upload) differs(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrVerify, fmt.Sprintf(format, args...))
}

// discard deletes what is known to be wrong, lest anybody take it for the file.
func (u *upload) discard(ctx context.Context, err error) error {
	c := u.client
	if u.adopted {
		return fmt.Errorf("the store has such a file, with the same content: %w", os.ErrExist)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Timeouts.CleanUp)
	defer cancel()
	out, herr := c.head(ctx, u.session, u.key, false)
	if herr != nil || version(out.ETag) != u.file.Version {
		return err // it is gone, or another's by now
	}
	in := &awss3.DeleteObjectInput{Bucket: &c.cfg.Bucket, Key: &u.key, IfMatch: etag(u.file.Version), RequestPayer: c.payer()}
	_, derr := u.session.s3.DeleteObject(ctx, in)
	if derr = storeError(ctx, "DeleteObject", derr); refusesHeaders(derr) {
		in.IfMatch = nil
		_, derr = u.session.s3.DeleteObject(ctx, in)
		derr = storeError(ctx, "DeleteObject", derr)
	}
	if derr != nil {
		c.log().Error("the store has something else than was written, and can't delete it", "key", u.key, "error", derr)
		return fmt.Errorf("%w; and what the store has can't be deleted: %w", err, derr)
	}
	c.log().Error("the store has something else than was written; it is deleted", "key", u.key, "error", err)
	return err
}
