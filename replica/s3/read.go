package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// errPrecondition means that an object isn't of the version asked for, or is
// there where none should be.
var errPrecondition = errors.New("the precondition doesn't hold")

// OpenLTXFile reads a file as it is when it is opened, with one GET. What breaks
// on the way is asked for again, of the same version.
func (c *ReplicaClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	return c.openFile(ctx, replica.File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, offset, size)
}

// OpenLTXFileVersion reads one version of a file, by If-Match on its ETag.
func (c *ReplicaClient) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	if f.Version == "" {
		err := fmt.Errorf("the version is empty: %w", os.ErrInvalid)
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return c.openFile(ctx, f, offset, size)
}

func (c *ReplicaClient) openFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	r, err := c.open(ctx, f, offset, size)
	if err != nil {
		return nil, replica.NewFileError("open", f.Level, f.MinTXID, f.MaxTXID, err)
	}
	return r, nil
}

// open opens a range of a file, of the version in f unless that is empty.
func (c *ReplicaClient) open(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	if err := replica.CheckRange(offset, size); err != nil {
		return nil, err
	}
	s, key, err := c.fileSession(ctx, f.Level, f.MinTXID, f.MaxTXID)
	if err != nil {
		return nil, err
	}
	// A range that no number can name the end of has none.
	toEnd := size == 0 || size > math.MaxInt64-offset
	b := &body{client: c, session: s, ctx: ctx, key: key, file: f, off: offset, left: size, toEnd: toEnd}
	err = b.get()
	if moved, merr := c.rootMoved(ctx, s, f.Level, err); merr != nil {
		return nil, merr
	} else if moved {
		b.key = s.key(f.Level, f.MinTXID, f.MaxTXID)
		err = b.get()
	}
	if err != nil {
		return nil, c.whyMissing(ctx, s, err)
	}
	return b, nil
}

// get asks for what is left of the range.
func (b *body) get() error {
	c := b.client
	in := &awss3.GetObjectInput{
		Bucket: &c.cfg.Bucket, Key: &b.key, IfMatch: etag(b.file.Version), RequestPayer: c.payer(),
	}
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.customerKey()
	// The whole file is asked for without a range: of an empty one, there is
	// none that a store would give.
	ranged := b.off > 0 || !b.toEnd
	if ranged {
		in.Range = aws.String(rangeHeader(b.off, b.left, b.toEnd))
	}
	out, err := b.session.s3.GetObject(b.ctx, in)
	if err != nil {
		err = storeError(b.ctx, "GetObject", err)
		switch {
		case errors.Is(err, errRange):
			return b.pastEnd()
		case errors.Is(err, errPrecondition):
			return fmt.Errorf("%w: %w", replica.ErrReplaced, err)
		}
		return err
	}
	c.sawBucket()
	if err := b.accept(out, ranged); err != nil {
		_ = out.Body.Close() // it has an error already
		return err
	}
	return nil
}

// rangeHeader is the Range header of size bytes from off on, or all from there.
func rangeHeader(off, size int64, toEnd bool) string {
	if toEnd {
		return fmt.Sprintf("bytes=%d-", off)
	}
	return fmt.Sprintf("bytes=%d-%d", off, off+size-1)
}

// accept checks that an answer is what was asked for, and takes its body. A store
// that ignores a header must not lead to wrong bytes.
func (b *body) accept(out *awss3.GetObjectOutput, ranged bool) error {
	got := version(out.ETag)
	switch {
	case b.file.Version != "" && got == "":
		return &StoreError{Op: "GetObject", Status: http.StatusOK, text: "the answer has no ETag, and may be no object"}
	case b.file.Version != "" && got != b.file.Version:
		return replica.ErrReplaced
	case out.ContentLength == nil || *out.ContentLength < 0:
		return &StoreError{Op: "GetObject", text: "the store doesn't say how long its answer is"}
	}
	length := *out.ContentLength
	switch contentRange := aws.ToString(out.ContentRange); {
	case contentRange != "":
		first, last, total, err := parseContentRange(contentRange)
		if err != nil {
			return &StoreError{Op: "GetObject", text: err.Error()}
		}
		want := total - b.off
		if !b.toEnd {
			want = min(want, b.left)
		}
		if first != b.off || last-first+1 != length || length != want {
			return &StoreError{Op: "GetObject", Status: http.StatusPartialContent, text: fmt.Sprintf(
				"the store gives the range %q in %d bytes for %q", clip(contentRange), length, rangeHeader(b.off, b.left, b.toEnd))}
		}
		if size := b.file.Size; size > 0 && total != size {
			return &StoreError{Op: "GetObject", Status: http.StatusPartialContent, text: fmt.Sprintf(
				"the store says that the object has %d bytes, and said before that it has %d", total, size)}
		}
	case ranged && b.off > 0:
		return &StoreError{Op: "GetObject", Status: http.StatusOK, text: "the store doesn't give ranges of objects"}
	case !b.toEnd:
		// The whole object, of which the beginning was asked for.
		length = min(length, b.left)
	}
	b.file.Version = got
	if b.known && length != b.left {
		return &StoreError{Op: "GetObject", Status: http.StatusOK, text: fmt.Sprintf(
			"the store gives %d bytes of a version that has %d", length, b.left)}
	}
	b.body, b.left, b.toEnd, b.known = out.Body, length, false, true
	return nil
}

// parseContentRange parses "bytes FIRST-LAST/TOTAL".
func parseContentRange(s string) (first, last, total int64, err error) {
	spec, ok := strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(spec, "/")
	from, to, ok3 := strings.Cut(span, "-")
	if ok && ok2 && ok3 {
		var errs [3]error
		first, errs[0] = parseNumber(from)
		last, errs[1] = parseNumber(to)
		total, errs[2] = parseNumber(size)
		if errors.Join(errs[:]...) == nil && first <= last && last < total {
			return first, last, total, nil
		}
	}
	return 0, 0, 0, fmt.Errorf("not a range: %q", clip(s))
}

// parseNumber parses digits alone, of a number that an int64 can hold.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// pastEnd is for a range that the store says is outside of the object. That is an
// empty answer if it is, and else a mistake of the store.
func (b *body) pastEnd() error {
	out, err := b.client.head(b.ctx, b.session, b.key, false)
	if err != nil {
		return err
	}
	if v := version(out.ETag); b.file.Version != "" && v != b.file.Version {
		return replica.ErrReplaced
	}
	if b.known || *out.ContentLength > b.off {
		return &StoreError{Op: "GetObject", Status: http.StatusRequestedRangeNotSatisfiable, text: fmt.Sprintf(
			"the store refuses a range from %d on of an object of %d bytes", b.off, *out.ContentLength)}
	}
	b.body, b.left, b.toEnd = io.NopCloser(bytes.NewReader(nil)), 0, false
	return nil
}
