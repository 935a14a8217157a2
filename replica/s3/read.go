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

// maxResumes is how often at least an answer is asked for again that gives not a
// byte more; a store that repeats requests more often does so here, too. One that
// gives some may be resumed for as long as its context lasts.
const maxResumes = 5

// reader reads a range of an object. If the answer breaks off, it asks for the
// rest, of the same version.
type reader struct {
	at      *session
	ctx     context.Context
	key     string
	name    replica.Name
	version replica.Version // from the first answer on, what is read

	body    io.ReadCloser // of the last answer
	off     int64         // of the next byte
	left    int64         // bytes to come, unless toEnd
	toEnd   bool          // before the first answer: all that the object has
	resumes int           // since the last byte
	err     error
}

// open asks for a range of a file.
func (at *session) open(ctx context.Context, f replica.File, offset, size int64) (*reader, error) {
	if err := replica.CheckRange(offset, size); err != nil {
		return nil, err
	}
	// A range that no number can name the end of has none.
	toEnd := size == 0 || size > math.MaxInt64-offset
	r := &reader{at: at, ctx: ctx, name: f.Name, version: f.Version, off: offset, left: size, toEnd: toEnd}
	return r, at.find(ctx, f.Name, func(key string) error {
		r.key = key
		return r.get()
	})
}

// get asks for what is left of the range.
func (r *reader) get() error {
	in := &awss3.GetObjectInput{Bucket: &r.at.cfg.Bucket, Key: &r.key}
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
	r.at.sawBucket()
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
	out, err := r.at.head(r.ctx, r.key, false)
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

// Read implements io.Reader. It returns io.EOF only once all bytes are there.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.read(p)
	if err == io.EOF {
		r.err = err
	} else {
		r.err = replica.NewFileError("read", r.name, err)
	}
	return n, r.err
}

func (r *reader) read(p []byte) (int, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if r.left == 0 {
			return 0, io.EOF
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.left)])
		r.off += int64(n)
		r.left -= int64(n)
		if n > 0 {
			r.resumes = 0
			return n, nil // what went wrong besides comes again
		}
		if err == nil {
			continue
		}
		if err := r.resume(err); err != nil {
			return 0, err
		}
	}
}

// resume asks for the rest, after an answer has ended too early because of cause.
func (r *reader) resume(cause error) error {
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	at := r.at
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if at.life.Err() != nil {
		return errStoreClosed
	}
	most := max(maxResumes, at.cfg.Retry.Attempts)
	if r.resumes++; r.resumes > most {
		return fmt.Errorf("the answer broke off at %d, %d times: %w", r.off, most, storeError(r.ctx, "GetObject", cause))
	}
	if r.version.ETag == "" {
		return fmt.Errorf("the answer broke off at %d, and without an ETag nothing tells whether the rest is of the same object: %w",
			r.off, storeError(r.ctx, "GetObject", cause))
	}
	at.log().Debug("the answer broke off; asking for the rest", "key", r.key, "offset", r.off, "left", r.left, "error", rootText(cause))
	_ = r.body.Close() // it is broken
	if r.resumes > 1 {
		if err := at.pause(r.ctx, r.resumes); err != nil {
			return err
		}
	}
	return r.get()
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	_ = r.body.Close() // of what was read, all is known
	r.body = nil
	if r.err == nil {
		r.err = errClosed
	}
	return nil
}

// errClosed is returned by Read after Close.
var errClosed = errors.New("read after close")
