package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/replica"
)

// errPrecondition means that an object isn't of the version asked for, or is
// there where none should be.
var errPrecondition = errors.New("the precondition doesn't hold")

// anySize is the size in a version that is known by its ETag alone.
const anySize = -1

// OpenLTXFile reads a range with one GET, and one version by If-Match on its ETag.
// Without a version it reads the file as it is when it is opened. What breaks on
// the way is asked for again, of the same version.
//
// A version without an ETag is one of a store that gives none. Its size and its
// time of modification must be those that it had; within a second, they don't
// tell two files of one size apart.
func (s *Store) OpenLTXFile(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	r, err := s.open(ctx, f, offset, size)
	if err != nil {
		return nil, replica.NewFileError("open", f.Name, err)
	}
	return r, nil
}

func (s *Store) open(ctx context.Context, f replica.File, offset, size int64) (*reader, error) {
	if err := replica.CheckRange(offset, size); err != nil {
		return nil, err
	}
	// A range that no number can name the end of has none.
	toEnd := size == 0 || size > math.MaxInt64-offset
	r := &reader{store: s, ctx: ctx, name: f.Name, version: f.Version, off: offset, left: size, toEnd: toEnd}
	return r, s.find(ctx, f.Name, func(at *session, key string) error {
		r.at, r.key = at, key
		return r.get()
	})
}

// find asks for a file, and once more under its new key if the root has moved.
func (s *Store) find(ctx context.Context, name replica.Name, ask func(at *session, key string) error) error {
	if err := name.Check(); err != nil {
		return err
	}
	at, err := s.init(ctx)
	if err != nil {
		return err
	}
	if err = ask(at, at.key(name)); isNotFound(err) {
		if moved, merr := s.rootByListing(ctx, at, name.Level); merr != nil {
			return merr
		} else if moved {
			err = ask(at, at.key(name))
		}
	}
	return s.whyMissing(ctx, at, err)
}

// get asks for what is left of the range.
func (r *reader) get() error {
	in := &awss3.GetObjectInput{Bucket: &r.store.cfg.Bucket, Key: &r.key}
	if r.version.ETag != "" {
		in.IfMatch = &r.version.ETag
	}
	// The whole file is asked for without a range: of an empty one, there is
	// none that a store would give.
	ranged := r.off > 0 || !r.toEnd
	if ranged {
		in.Range = aws.String(r.rangeHeader())
	}
	out, err := r.at.s3.GetObject(r.ctx, in)
	if err != nil {
		err = storeError(r.ctx, "GetObject", err)
		switch {
		case errors.Is(err, errRange):
			return r.pastEnd()
		case errors.Is(err, errPrecondition):
			return fmt.Errorf("%w: %w", replica.ErrReplaced, err)
		}
		return err
	}
	r.store.sawBucket()
	if err := r.accept(out, ranged); err != nil {
		_ = out.Body.Close() // it has an error already
		return err
	}
	return nil
}

// rangeHeader is the Range header of what is left.
func (r *reader) rangeHeader() string {
	if r.toEnd {
		return fmt.Sprintf("bytes=%d-", r.off)
	}
	return fmt.Sprintf("bytes=%d-%d", r.off, r.off+r.left-1)
}

// accept checks that an answer is what was asked for, and takes its body. A store
// that ignores a header must not lead to wrong bytes.
func (r *reader) accept(out *awss3.GetObjectOutput, ranged bool) error {
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return strange("GetObject", 0, "the store doesn't say how long its answer is")
	}
	length := *out.ContentLength
	got := versionOf(out.ETag, out.LastModified, length)
	contentRange := aws.ToString(out.ContentRange)
	var first, last int64
	if contentRange != "" {
		var err error
		if first, last, got.Size, err = parseContentRange(contentRange); err != nil {
			return strange("GetObject", 0, "%v", err)
		}
	}
	if err := r.checkVersion("GetObject", got); err != nil {
		return err
	}
	switch {
	case contentRange != "":
		want := got.Size - r.off
		if !r.toEnd {
			want = min(want, r.left)
		}
		if first != r.off || last-first+1 != length || length != want {
			return strange("GetObject", http.StatusPartialContent, "the store gives the range %q in %d bytes for %q",
				clip(contentRange), length, r.rangeHeader())
		}
	case ranged && r.off > 0:
		return strange("GetObject", http.StatusOK, "the store doesn't give ranges of objects")
	case !r.toEnd:
		// The whole object, of which the beginning was asked for.
		length = min(length, r.left)
	}
	r.version, r.body, r.left, r.toEnd = got, out.Body, length, false
	return nil
}

// checkVersion returns an error unless what the store shows may be of the version
// that is read. By the ETag, it is that one whenever it was last modified.
func (r *reader) checkVersion(op string, got replica.Version) error {
	want := r.version
	switch {
	case want.IsZero(): // it is being found out
	case want.ETag != "" && got.ETag == "":
		return strange(op, http.StatusOK, "the answer has no ETag, and may be no object")
	case want.ETag != "" && got.ETag != want.ETag,
		want.ETag == "" && got.Size != want.Size,
		want.ETag == "" && got.Modified != want.Modified && got.Modified != 0 && want.Modified != 0:
		return replica.ErrReplaced
	case want.Size != anySize && got.Size != want.Size:
		return strange(op, http.StatusOK, "the store says that the object has %d bytes, and said before that it has %d", got.Size, want.Size)
	}
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
func (r *reader) pastEnd() error {
	out, err := r.store.head(r.ctx, r.at, r.key, false)
	if err != nil {
		return err
	}
	got := versionOf(out.ETag, out.LastModified, *out.ContentLength)
	if err := r.checkVersion("HeadObject", got); err != nil {
		return err
	}
	if got.Size > r.off {
		return strange("GetObject", http.StatusRequestedRangeNotSatisfiable,
			"the store refuses a range from %d on of an object of %d bytes", r.off, got.Size)
	}
	r.version, r.body, r.left, r.toEnd = got, io.NopCloser(bytes.NewReader(nil)), 0, false
	return nil
}
