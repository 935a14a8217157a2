package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// ErrVerify means that a store doesn't give back what was written to it.
var ErrVerify = errors.New("verification failed")

// errNotYet means that the store doesn't show a write that it has acknowledged,
// or shows what was there before. It may be a moment late.
var errNotYet = errors.New("the store doesn't show the file as it was written")

// errUnsigned is errNotYet because the object in the file's place doesn't say whose it
// is: a store may keep no metadata, and give no ETags or another with each answer.
var errUnsigned = fmt.Errorf("%w: it shows a file that may be another write's", errNotYet)

// errSuperseded means that another writer has written the file since. There is
// nothing left to verify.
var errSuperseded = errors.New("another writer has written the file since")

// verify makes sure that the store has what was sent, and finds the version that
// it gave it. A store that is late is given time.
func (u *upload) verify(ctx context.Context) error {
	at := u.at
	until := time.Now().Add(at.cfg.Timeouts.Verify)
	for attempt := 1; ; attempt++ {
		err := u.check(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errSuperseded):
			// The last writer wins, and it isn't this one. That the store took what
			// was sent, it has said.
			at.log().Info("another writer has replaced a file since it was written", "key", u.key)
			return nil
		case errors.Is(err, ErrVerify), errors.Is(err, ErrNotEncrypted):
			return u.discard(ctx, err)
		case !errors.Is(err, errNotYet):
			return fmt.Errorf("make sure of the write: %w", err)
		case time.Now().After(until):
			// As text: that the file isn't there is not what the caller asked.
			return fmt.Errorf("%w: for %v, %v", ErrVerify, at.cfg.Timeouts.Verify, err)
		}
		if err := at.pause(ctx, attempt); err != nil {
			return fmt.Errorf("make sure of the write: %w", err)
		}
	}
}

// check looks once whether the store has what was sent.
func (u *upload) check(ctx context.Context) error {
	at, mode, tag := u.at, u.at.cfg.VerifyWrites, u.version.ETag
	u.reworded = false
	var refusal error // of a GET by the version that the store said it had made
	if tag != "" && !at.encrypts() && (mode == config.VerifyFull || mode == config.VerifyAuto && at.lacks(storedChecksums)) {
		if refusal = u.readBack(ctx, false); !errors.Is(refusal, replica.ErrReplaced) {
			return refusal
		}
	}
	out, err := at.head(ctx, u.key, mode != config.VerifySize)
	switch {
	case isNotFound(err):
		return fmt.Errorf("%w: %v", errNotYet, err)
	case errors.Is(err, errNoLength) && !at.encrypts():
		return u.readBack(ctx, tag == "")
	case err != nil:
		return err
	}
	unsigned := u.sameVersion(out)
	if unsigned != nil && !errors.Is(unsigned, errUnsigned) {
		return unsigned
	}
	byBytes := unsigned != nil || refusal != nil || u.version.ETag == ""
	said := u.version
	err = u.compare(ctx, out, byBytes)
	if !byBytes && errors.Is(err, replica.ErrReplaced) {
		byBytes, refusal = true, err
		err = u.compare(ctx, out, byBytes)
	}
	u.reworded = refusal != nil || tag != "" && u.version.ETag != tag
	if !byBytes {
		return err
	}
	switch {
	case err == nil:
		// A HEAD may be late, where a GET has shown what was written.
		shown := at.versionOf(out.ETag, out.LastModified, *out.ContentLength)
		if u.reworded = u.reworded || u.version != said && u.version != shown; u.version == said {
			u.version = shown
		}
	case errors.Is(err, ErrVerify), errors.Is(err, ErrNotEncrypted), errors.Is(err, replica.ErrReplaced):
		// It may be what was there before, or another writer's by now.
		return fmt.Errorf("%w: %v", cmp.Or(unsigned, errNotYet), err)
	}
	return err
}

// compare looks whether an object is what was sent. With byBytes, nothing else than its
// bytes shows whose it is, in whatever version a GET shows it: if they are the same, it
// is as good as this write's.
func (u *upload) compare(ctx context.Context, out *awss3.HeadObjectOutput, byBytes bool) error {
	at, mode := u.at, u.at.cfg.VerifyWrites
	if err := at.checkEncryption(out.ServerSideEncryption, out.SSECustomerAlgorithm); err != nil {
		return err
	}
	switch size := *out.ContentLength; {
	case size == u.sums.size:
	case byBytes:
		return fmt.Errorf("%w: the store has %d bytes of %d", ErrVerify, size, u.sums.size)
	default:
		return u.readBack(ctx, false) // a HEAD alone may lie, and nothing is deleted for that
	}
	same, known := u.sums.ofStore(out)
	switch {
	case mode == config.VerifySize && !byBytes:
		return nil
	case mode == config.VerifyFull:
	case known && same:
		return nil
	case known:
		return fmt.Errorf("%w: the store's checksum is another one", ErrVerify)
	case byBytes, u.adopted:
	case mode == config.VerifyChecksum:
		// Nothing shows that it is wrong, so that it stays.
		return errors.New("the store has no checksum of the whole file: use --verify-writes=full")
	case !u.without[uploadChecksums] || at.lacks(uploadChecksums): // else it may have some of what is sent with one
		at.learn(storedChecksums, nil)
	}
	return u.readBack(ctx, byBytes)
}

// sameVersion returns an error unless the store shows the object of this write: by
// its ID, or by the version that the store said it had made.
func (u *upload) sameVersion(out *awss3.HeadObjectOutput) error {
	got := u.at.versionOf(out.ETag, out.LastModified, *out.ContentLength)
	id := out.Metadata[metaWriteID]
	unsigned := id == "" || u.adopted
	switch {
	case id == u.id, unsigned && u.version.ETag != "" && got.ETag == u.version.ETag && !u.isLater(out):
		u.version = got // which the store may not have said, or not yet
		return nil
	case u.version.ETag != "" && u.isLater(out): // else nothing shows that the store ever took it
		return errSuperseded
	case unsigned:
		return errUnsigned
	}
	return fmt.Errorf("%w: it shows another write", errNotYet)
}

// isLater reports whether an object was written after this write, by the store's own
// clock, in whole seconds.
func (u *upload) isLater(out *awss3.HeadObjectOutput) bool {
	return out.LastModified != nil && !u.sent.IsZero() && out.LastModified.After(u.sent.Add(time.Second)) && !u.at.isAhead(*out.LastModified)
}

// readBack reads the file and compares: the version that the store said it had made, or
// with any the one that it has. It is replica.ErrReplaced if the store shows another.
func (u *upload) readBack(ctx context.Context, any bool) error {
	at := u.at
	f := replica.File{Name: u.name}
	if !any && u.version.ETag != "" {
		f.Version = replica.Version{ETag: u.version.ETag, Size: anySize}
	}
	r, err := at.open(ctx, f, 0, 0)
	if err == nil {
		defer r.Close()
		got := newSums()
		if _, err = io.CopyBuffer(got, struct{ io.Reader }{r}, make([]byte, copyBuffer)); err == nil {
			if got.size != u.sums.size || got.CRC64NVME() != u.sums.CRC64NVME() {
				return fmt.Errorf("%w: the store gives back other bytes: %d of %d, with another checksum", ErrVerify, got.size, u.sums.size)
			}
			u.version = r.want
			return nil
		}
	}
	if isNotFound(err) {
		return fmt.Errorf("%w: %v", errNotYet, err)
	}
	return err
}

// encrypts reports whether the store is asked to encrypt.
func (b *bucket) encrypts() bool { return b.cfg.SSECustomerKey != "" || b.cfg.SSEKMSKeyID != "" }

// checkEncryption makes sure that a store says of an object that it is encrypted as
// was asked for. One that doesn't know the header ignores it.
func (b *bucket) checkEncryption(kind types.ServerSideEncryption, customer *string) error {
	switch {
	case b.cfg.SSECustomerKey != "" && aws.ToString(customer) != b.cfg.SSECustomerAlgorithm:
		return fmt.Errorf("%w: it ignores sseCustomerKey", ErrNotEncrypted)
	case b.cfg.SSEKMSKeyID != "" && kind != types.ServerSideEncryptionAwsKms && kind != types.ServerSideEncryptionAwsKmsDsse:
		return fmt.Errorf("%w: it ignores sseKmsKeyId", ErrNotEncrypted)
	}
	return nil
}

// discard deletes what is known to be wrong, so that nobody takes it for the file.
func (u *upload) discard(ctx context.Context, err error) error {
	at := u.at
	if u.adopted {
		return fmt.Errorf("the store has such a file, with the same content: %w", os.ErrExist)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), at.cfg.Timeouts.CleanUp)
	defer cancel()
	out, herr := at.head(ctx, u.key, false)
	if herr != nil || u.sameVersion(out) != nil {
		return err // it is gone, or another's by now
	}
	in := &awss3.DeleteObjectInput{Bucket: &at.cfg.Bucket, Key: &u.key}
	if u.version.ETag != "" {
		in.IfMatch = &u.version.ETag
	}
	remove := func() error {
		_, err := at.s3.DeleteObject(ctx, in)
		return storeError(ctx, "DeleteObject", err)
	}
	derr := remove()
	if refusesForm(derr) {
		derr = remove() // it may have had another reason, and pass
	}
	if refusesHeaders(derr) {
		in.IfMatch = nil
		derr = remove()
	}
	if derr != nil {
		at.log().Error("the store has something else than was written, and can't delete it", "key", u.key, "error", derr)
		return fmt.Errorf("%w; and what the store has can't be deleted: %w", err, derr)
	}
	at.log().Error("the store has something else than was written; it is deleted", "key", u.key, "error", err)
	return err
}
