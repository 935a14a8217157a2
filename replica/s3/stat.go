package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
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

// StatLTXFile costs a HEAD. Its ModTime is the time of the last modification, as a
// listing has it.
//
// With ExactTime, it is the LTX timestamp: from the metadata, or for what was
// copied without it from the file's header, at the cost of one more request. What
// has neither has the time of the last modification.
func (s *Store) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	f, err := s.stat(ctx, name, opts.ExactTime)
	return f, replica.NewFileError("stat", name, err)
}

func (s *Store) stat(ctx context.Context, name replica.Name, exact bool) (replica.File, error) {
	// A file may be replaced between the HEAD and the look at its header, but
	// hardly again and again.
	for range 3 {
		var out *awss3.HeadObjectOutput
		err := s.find(ctx, name, func(at *session, key string) (err error) {
			out, err = s.head(ctx, at, key, false)
			return err
		})
		if err != nil {
			return replica.File{}, err
		}
		f := newFile(name, out.ETag, out.LastModified, *out.ContentLength)
		if !exact {
			return f, nil
		}
		if t, err := time.Parse(time.RFC3339Nano, out.Metadata[metaTimestamp]); err == nil {
			f.ModTime = t.UTC()
			return f, nil
		}
		f.ModTime, err = s.headerTime(ctx, f)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, replica.ErrReplaced) {
			return replica.File{}, err
		}
	}
	return replica.File{}, replica.ErrReplaced
}

// headerTime reads the timestamp in a file's header, or returns the file's time if
// it has none.
func (s *Store) headerTime(ctx context.Context, f replica.File) (time.Time, error) {
	if f.Size < ltx.HeaderSize {
		return f.ModTime, nil
	}
	r, err := s.open(ctx, f, 0, ltx.HeaderSize)
	if err != nil {
		return time.Time{}, err
	}
	defer r.Close()
	head := make([]byte, ltx.HeaderSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return time.Time{}, fmt.Errorf("read the header: %w", err)
	}
	if t, ok := ltxfile.HeaderTime(head); ok {
		return t, nil
	}
	return f.ModTime, nil
}

// head asks for what the store knows of an object.
func (s *Store) head(ctx context.Context, at *session, key string, checksum bool) (*awss3.HeadObjectOutput, error) {
	in := &awss3.HeadObjectInput{Bucket: &s.cfg.Bucket, Key: &key}
	if checksum {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := at.s3.HeadObject(ctx, in)
	if err != nil {
		return nil, storeError(ctx, "HeadObject", err)
	}
	s.sawBucket()
	if out.ContentLength == nil || *out.ContentLength < 0 || out.LastModified == nil {
		return nil, strange("HeadObject", 0, "the store gives neither size nor time")
	}
	return out, nil
}

// newFile is a file as a store tells of it. The time is in whole seconds, as all
// answers have it.
func newFile(name replica.Name, etag *string, modified *time.Time, size int64) replica.File {
	return replica.File{
		Name: name, Size: size, ModTime: modified.UTC().Truncate(time.Second), Version: versionOf(etag, modified, size),
	}
}

// versionOf is a version as a store tells of it. Stores exist that leave out the
// quotes of an ETag in some answers.
func versionOf(etag *string, modified *time.Time, size int64) replica.Version {
	v := replica.Version{Size: size}
	if modified != nil {
		v.Modified = modified.Unix()
	}
	switch tag := aws.ToString(etag); {
	case tag == `""`:
	case tag == "", strings.HasPrefix(tag, `W/`), len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"':
		v.ETag = tag
	default:
		v.ETag = `"` + tag + `"`
	}
	return v
}

// aliveFor is how long the bucket counts as there once it was seen, when a store
// says that an object isn't: its answer to HEAD doesn't tell which is missing.
const aliveFor = 5 * time.Second

func (s *Store) sawBucket() { s.alive.Store(time.Now().UnixNano()) }

// whyMissing returns err, but if it says that an object is missing and the whole
// bucket is, then an error that says so.
func (s *Store) whyMissing(ctx context.Context, at *session, err error) error {
	if answered(err).Code == "NoSuchKey" {
		s.sawBucket()
	}
	if !isNotFound(err) || time.Since(time.Unix(0, s.alive.Load())) < aliveFor {
		return err
	}
	_, herr := at.s3.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &s.cfg.Bucket})
	if herr = storeError(ctx, "HeadBucket", herr); isNotFound(herr) {
		return fmt.Errorf("bucket %s: %w", s.cfg.Bucket, ErrNoSuchBucket)
	}
	if herr == nil || errors.Is(herr, os.ErrPermission) {
		s.sawBucket()
	}
	return err
}
