package s3

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/ltxfs/ltxfs/replica"
)

// Names of the metadata of an object. The timestamp is Litestream's; the next
// three are those of its guide for implementers.
const (
	metaTimestamp = "litestream-timestamp" // RFC 3339 with nanoseconds
	metaMinTXID   = "min-txid"             // decimal, as the next two
	metaMaxTXID   = "max-txid"
	metaLevel     = "level"

	// metaWriteID tells a writer its own object from any other of the same name.
	metaWriteID = "ltxfs-write-id"
)

// find asks for a file, and once more under its new key if the root has moved.
func (at *session) find(ctx context.Context, name replica.Name, ask func(key string) error) error {
	if err := name.Check(); err != nil {
		return err
	}
	err := ask(at.key(name))
	if isNotFound(err) {
		if moved, merr := at.rootByListing(ctx, name.Level); merr != nil {
			return merr
		} else if moved {
			err = ask(at.key(name))
		}
	}
	return at.whyMissing(ctx, err)
}

// head asks for what the store knows of an object.
func (at *session) head(ctx context.Context, key string, checksum bool) (*awss3.HeadObjectOutput, error) {
	in := &awss3.HeadObjectInput{Bucket: &at.cfg.Bucket, Key: &key}
	if checksum {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := at.s3.HeadObject(ctx, in)
	if err != nil {
		return nil, storeError(ctx, "HeadObject", err)
	}
	at.sawBucket()
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return nil, strange("HeadObject", 0, "the store doesn't say how large the object is")
	}
	return out, nil
}

// newFile is a file as a store tells of it. The time is in whole seconds, as all
// answers have it.
func (b *bucket) newFile(name replica.Name, etag *string, modified *time.Time, size int64) replica.File {
	f := replica.File{Name: name, Size: size, Version: b.stored(etag, modified, size)}
	if modified != nil {
		f.ModTime = modified.UTC().Truncate(time.Second)
	}
	return f
}

// whyMissing returns err, but if it says that an object is missing and the whole
// bucket is, then an error that says so.
func (at *session) whyMissing(ctx context.Context, err error) error {
	if answered(err).Code == "NoSuchKey" {
		at.sawBucket()
	}
	if !isNotFound(err) || at.sawBucketLately() {
		return err
	}
	_, herr := at.s3.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &at.cfg.Bucket})
	if herr = storeError(ctx, "HeadBucket", herr); isNotFound(herr) {
		return fmt.Errorf("bucket %s: %w", at.cfg.Bucket, ErrNoSuchBucket)
	}
	if herr == nil || errors.Is(herr, os.ErrPermission) {
		at.sawBucket()
	}
	return err
}
