package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Names of the metadata of an object. The timestamp is Litestream's; the others
// are those of its guide for implementers.
const (
	metaTimestamp = "litestream-timestamp" // RFC 3339 with nanoseconds
	metaMinTXID   = "min-txid"             // decimal, as the next two
	metaMaxTXID   = "max-txid"
	metaLevel     = "level"
)

// StatLTXFile returns a file as it is in the store now. Its ModTime is the time of
// the last modification, as a listing has it.
func (c *ReplicaClient) StatLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	f, _, err := c.stat(ctx, level, minTXID, maxTXID)
	return f, replica.NewFileError("stat", level, minTXID, maxTXID, err)
}

// StatLTXFileExact is StatLTXFile with the LTX timestamp: from the metadata, or
// for what was copied without it from the file's header, at the cost of one more
// request. What has neither has the time of the last modification.
func (c *ReplicaClient) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	f, err := c.statExact(ctx, level, minTXID, maxTXID)
	return f, replica.NewFileError("stat", level, minTXID, maxTXID, err)
}

func (c *ReplicaClient) statExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	// A file may be replaced between the HEAD and the look at its header, but
	// hardly again and again.
	for range 3 {
		f, meta, err := c.stat(ctx, level, minTXID, maxTXID)
		if err != nil {
			return replica.File{}, err
		}
		if t, err := time.Parse(time.RFC3339Nano, meta[metaTimestamp]); err == nil {
			f.ModTime = t.UTC()
			return f, nil
		}
		t, ok, err := c.headerTime(ctx, f)
		switch {
		case errors.Is(err, replica.ErrReplaced):
			continue
		case err != nil:
			return replica.File{}, err
		case ok:
			f.ModTime = t
		}
		return f, nil
	}
	return replica.File{}, replica.ErrReplaced
}

// headerTime reads the timestamp in a file's header, if it has one.
func (c *ReplicaClient) headerTime(ctx context.Context, f replica.File) (time.Time, bool, error) {
	if f.Size < ltx.HeaderSize {
		return time.Time{}, false, nil
	}
	r, err := c.open(ctx, f, 0, ltx.HeaderSize)
	if err != nil {
		return time.Time{}, false, err
	}
	defer r.Close()
	head := make([]byte, ltx.HeaderSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return time.Time{}, false, fmt.Errorf("read the header: %w", err)
	}
	t, ok := headerTime(head)
	return t, ok, nil
}

// headerTime is the timestamp in the LTX header that b begins with, if it begins
// with a valid one.
func headerTime(b []byte) (time.Time, bool) {
	var h ltx.Header
	if h.UnmarshalBinary(b) != nil || h.Validate() != nil {
		return time.Time{}, false
	}
	return time.UnixMilli(h.Timestamp).UTC(), true
}

// stat asks for an object, and returns it with its metadata.
func (c *ReplicaClient) stat(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, map[string]string, error) {
	s, key, err := c.fileSession(ctx, level, minTXID, maxTXID)
	if err != nil {
		return replica.File{}, nil, err
	}
	out, err := c.head(ctx, s, key, false)
	if moved, merr := c.rootMoved(ctx, s, level, err); merr != nil {
		return replica.File{}, nil, merr
	} else if moved {
		out, err = c.head(ctx, s, s.key(level, minTXID, maxTXID), false)
	}
	if err != nil {
		return replica.File{}, nil, c.whyMissing(ctx, s, err)
	}
	return replica.File{
		Level: level, MinTXID: minTXID, MaxTXID: maxTXID,
		Size: *out.ContentLength, ModTime: out.LastModified.UTC().Truncate(time.Second), Version: version(out.ETag),
	}, out.Metadata, nil
}

// head asks for what the store knows of an object.
func (c *ReplicaClient) head(ctx context.Context, s *session, key string, checksum bool) (*awss3.HeadObjectOutput, error) {
	in := &awss3.HeadObjectInput{Bucket: &c.cfg.Bucket, Key: &key, RequestPayer: c.payer()}
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.customerKey()
	if checksum {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := s.s3.HeadObject(ctx, in)
	if err != nil {
		return nil, storeError(ctx, "HeadObject", err)
	}
	c.sawBucket()
	if out.ContentLength == nil || *out.ContentLength < 0 || out.LastModified == nil {
		return nil, &StoreError{Op: "HeadObject", text: "the store gives neither size nor time"}
	}
	return out, nil
}

// customerKey are the parameters of SSE-C, all nil without it.
func (c *ReplicaClient) customerKey() (algorithm, key, md5 *string) {
	if c.cfg.SSECustomerKey == "" {
		return nil, nil, nil
	}
	return aws.String(c.cfg.SSECustomerAlgorithm), aws.String(c.cfg.SSECustomerKey.Reveal()), aws.String(c.cfg.SSECustomerKeyMD5)
}

// payer agrees to pay for a request if the user does.
func (c *ReplicaClient) payer() types.RequestPayer {
	if c.cfg.RequesterPays {
		return types.RequestPayerRequester
	}
	return ""
}
