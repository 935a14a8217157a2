package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/document"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
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
	at   *session
	ctx  context.Context
	end  context.CancelFunc // of ctx, and so of all that was asked
	key  string
	name replica.Name
	want replica.Version // that is read; without one, what the first answer shows
	own  bool            // that it is, which says nothing to others

	body    io.ReadCloser // of the last answer
	off     int64         // of the next byte
	come    atomic.Int64  // off, for who asks for the rest meanwhile
	left    int64         // bytes to come, unless toEnd
	toEnd   bool          // before the first answer: all that the object has
	resumes int           // since the last byte
	err     error
	lag
}

// open asks for a range of a file.
func (at *session) open(ctx context.Context, f replica.File, offset, size int64) (*reader, error) {
	if err := replica.CheckRange(offset, size); err != nil {
		return nil, err
	}
	// A range that no number can name the end of has none.
	toEnd := size == 0 || size > math.MaxInt64-offset
	r := &reader{at: at, name: f.Name, want: f.Version, off: offset, left: size, toEnd: toEnd}
	r.ctx, r.end = context.WithCancel(ctx)
	err := at.find(r.ctx, f.Name, func(key string) error {
		r.key = key
		return r.get()
	})
	if err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

// get asks for what is left of the range. An answer that shows another version may be
// of the same one in other words. A store may refuse a condition that it doesn't know, or
// that holds: what it answers without shows that.
func (r *reader) get() error {
	bare := false   // without the condition, which the store may refuse
	inside := false // it has refused a range that the object has
	for words := 0; words < maxWords; {
		in, condition, guarded := r.input()
		if bare {
			in.IfMatch, in.IfUnmodifiedSince = nil, nil
		}
		got, err := r.ask(in, r.at.hedge)
		if errors.Is(err, errRange) {
			got, err = r.pastEnd()
		}
		switch {
		case guarded && !bare && refusesCondition(err):
			bare = true
			continue
		case errors.Is(err, errInside) && !inside:
			inside = true
			continue // it may have been replaced meanwhile
		case guarded && err == nil:
			r.at.sawCondition(condition, !bare)
		}
		if !errors.Is(err, errPrecondition) && !errors.Is(err, errOtherwise) {
			return err
		}
		if errors.Is(err, errPrecondition) || r.own || r.want.IsZero() || r.want.Size == anySize {
			return fmt.Errorf("%w: %w", replica.ErrReplaced, err)
		}
		same, rerr := r.at.recognise(r.ctx, r.key, r.name, r.want, got)
		switch cause := r.ctx.Err(); {
		case cause != nil:
			return cause
		case isNotFound(rerr):
			return rerr
		case rerr != nil:
			return fmt.Errorf("find out whether it was replaced (%v): %w", err, rerr)
		case !same:
			return fmt.Errorf("%w: %w", replica.ErrReplaced, err)
		}
		words++
	}
	return strange("GetObject", 0, "the store shows one version of the file in ever other words")
}

// maxWords is how often an answer may show the same version in words that are news.
const maxWords = 4

// errOtherwise means that an answer doesn't show the version that is read as it was
// shown before.
var errOtherwise = errors.New("the answer shows another version")

// input asks for what is left, on the condition that it is of the version that is read.
func (r *reader) input() (in *awss3.GetObjectInput, condition lack, guarded bool) {
	in = &awss3.GetObjectInput{Bucket: &r.at.cfg.Bucket, Key: &r.key}
	// The whole file is asked for without a range: of an empty one, there is
	// none that a store would give.
	if r.off > 0 || !r.toEnd {
		in.Range = aws.String(r.rangeHeader())
	}
	shown := r.want
	if !r.own {
		shown = r.at.seen.shown(r.name, r.want)
	}
	condition, guarded = r.at.guard(in, shown)
	return in, condition, guarded
}

// ask makes one request, in its own way, and takes its answer, if that shows the version that
// is read. It returns what else the answer shows.
func (r *reader) ask(in *awss3.GetObjectInput, way func(*awss3.Options)) (replica.Version, error) {
	out, err := r.at.s3.GetObject(r.ctx, in, way)
	if err != nil {
		return replica.Version{}, storeError(r.ctx, "GetObject", err)
	}
	r.at.sawBucket()
	got, err := r.accept(out, in.Range != nil)
	if err != nil {
		_ = out.Body.Close() // it has an error already
	}
	return got, err
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
func (r *reader) accept(out *awss3.GetObjectOutput, ranged bool) (got replica.Version, err error) {
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return got, strange("GetObject", 0, "the store doesn't say how long its answer is")
	}
	length := *out.ContentLength
	size := length
	contentRange := aws.ToString(out.ContentRange)
	var first, last int64
	if contentRange != "" {
		if first, last, size, err = document.ContentRange(contentRange); err != nil {
			return got, strange("GetObject", 0, "%v", err)
		}
		if size == document.UnknownSize {
			if size = r.want.Size; size <= last {
				return got, strange("GetObject", http.StatusPartialContent, "the store doesn't say how large the object is: %q", clip(contentRange))
			}
		}
	}
	got = r.at.versionOf(out.ETag, out.LastModified, size)
	if err := r.check(got); err != nil {
		return got, err
	}
	switch {
	case contentRange != "":
		want := size - r.off
		if !r.toEnd {
			want = min(want, r.left)
		}
		if first != r.off || last-first+1 != length || length != want {
			return got, strange("GetObject", http.StatusPartialContent, "the store gives the range %q in %d bytes for %q",
				clip(contentRange), length, r.rangeHeader())
		}
	case ranged && r.off > 0:
		return got, strange("GetObject", http.StatusOK, "the store doesn't give ranges of objects")
	case !r.toEnd:
		// The whole object, of which the beginning was asked for.
		length = min(length, r.left)
	}
	return got, r.take(got, out.Body, length)
}

// check returns an error unless an answer shows the version that is read.
func (r *reader) check(got replica.Version) error {
	if got.ETag == "" && got.Modified == 0 {
		return strange("GetObject", 0, "the answer has neither an ETag nor a time of modification, so that nothing tells versions of the file apart: check the endpoint")
	}
	if r.want.IsZero() || r.own && r.at.matches(got, r.want) || !r.own && r.at.same(r.name, r.want, got) {
		return nil
	}
	return otherwise(got)
}

func otherwise(got replica.Version) error {
	return fmt.Errorf("%w, of %d bytes from %s, ETag %s", errOtherwise, got.Size, timeText(got), clip(got.ETag))
}

// take goes on with the body of an answer, whose words all later ones must show.
func (r *reader) take(got replica.Version, body io.ReadCloser, length int64) error {
	if got.ETag == "" {
		r.at.learn(allETags, fmt.Errorf("%s was read without one", r.name.Base()))
	}
	switch {
	case r.want.IsZero() || r.want.Size == anySize:
		r.want, r.own = got, true
	case !r.own && !r.at.noteRead(r.name, r.want, got):
		return otherwise(got) // than one that came meanwhile
	}
	r.body, r.left, r.toEnd = body, length, false
	r.lag = lag{began: time.Now(), from: r.off}
	return nil
}

// errInside means that the store refused a range for being outside of the object, which a
// HEAD shows to be inside.
var errInside = errors.New("the store contradicts itself")

// pastEnd is for a range that the store says is outside of the object. That is an
// empty answer if it is, and else a mistake of the store.
func (r *reader) pastEnd() (replica.Version, error) {
	out, err := r.at.head(r.ctx, r.key, false)
	if err != nil {
		return replica.Version{}, err
	}
	got := r.at.versionOf(out.ETag, out.LastModified, *out.ContentLength)
	if r.at.tags(got, r.want) == different || !r.want.IsZero() && r.want.Size != anySize && r.want.Size != got.Size {
		return got, otherwise(got)
	}
	if got.Size > r.off {
		return got, fmt.Errorf("%w: %w", errInside, strange("GetObject", http.StatusRequestedRangeNotSatisfiable,
			"the store refuses a range from %d on of an object of %d bytes", r.off, got.Size))
	}
	r.body, r.left, r.toEnd = io.NopCloser(bytes.NewReader(nil)), 0, false
	return got, nil
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
		n, err := r.next(p[:min(int64(len(p)), r.left)])
		if !r.own && r.at.seen.noteEnds(r.name, r.want, r.off, p[:n]) {
			r.at.learn(goodETags, twoVersions(r.name, r.want))
		}
		r.off += int64(n)
		r.come.Store(r.off)
		r.left -= int64(n)
		if n > 0 {
			r.resumes = 0
			r.notePace()
			return n, nil // what went wrong besides comes again
		}
		if err == nil || r.rest != nil && r.goOn(r.awaitRest()) {
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
		return transport.ErrClosed
	}
	at.conns.Tally.Failed(r.ctx, cause)
	most := max(maxResumes, at.cfg.Retry.Attempts)
	if r.resumes++; r.resumes > most {
		return fmt.Errorf("the answer broke off at %d, %d times: %w", r.off, most, storeError(r.ctx, "GetObject", cause))
	}
	at.log().Debug("the answer broke off; asking for the rest", "key", r.key, "offset", r.off, "left", r.left, "error", rootText(cause))
	_ = r.body.Close() // it is broken
	at.conns.Tally.Resumed.Inc()
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
	r.end()
	r.body = nil
	if r.err == nil {
		r.err = errClosed
	}
	return nil
}

// errClosed is returned by Read after Close.
var errClosed = errors.New("read after close")
