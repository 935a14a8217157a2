package s3

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// A version is an ETag, a size, and a last-modified time in whole seconds, as listings
// show them. Other answers of a store may show the same version in other words, and
// some stores give two versions one ETag, or none: witnesses says what is known of it.

// versionOf is a version as an answer of the store tells of it. Stores exist that leave
// out the quotes of an ETag in some answers.
func (b *bucket) versionOf(etag *string, modified *time.Time, size int64) replica.Version {
	v := replica.Version{Size: size}
	if modified != nil {
		v.Modified = modified.Unix()
	}
	if !b.lacks(etags) {
		v.ETag = quoted(etag)
	}
	return v
}

// stored is a version as the store tells of it that has the object before it, and no
// part of it on its way.
func (b *bucket) stored(etag *string, modified *time.Time, size int64) replica.Version {
	v := b.versionOf(etag, modified, size)
	if v.ETag == "" {
		b.learn(someETags, nil)
	}
	if other, ok := b.seen.otherSize(v.ETag, size); ok {
		b.learn(etags, fmt.Errorf("files of %d and of %d bytes have the ETag %s", other, size, clip(v.ETag)))
		v.ETag = ""
	}
	return v
}

// quoted is an ETag with its quotes, or "" if it is none.
func quoted(etag *string) string {
	switch tag := aws.ToString(etag); {
	case tag == "", tag == `""`:
		return ""
	case strings.HasPrefix(tag, `W/`), len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"':
		return tag
	default:
		return `"` + tag + `"`
	}
}

// guard makes a request one for a version and no other, as far as the store knows
// conditions. The answer is compared all the same.
func (b *bucket) guard(in *awss3.GetObjectInput, shown replica.Version) {
	switch {
	case shown.ETag != "" && !b.lacks(etags):
		if !b.lacks(matching) {
			in.IfMatch = &shown.ETag
		}
	case shown.Modified != 0 && !b.lacks(unmodified):
		in.IfUnmodifiedSince = aws.Time(time.Unix(shown.Modified, 0).UTC())
	}
}

// guards reports whether a request for a version has a condition.
func (b *bucket) guards(shown replica.Version) bool {
	in := awss3.GetObjectInput{}
	b.guard(&in, shown)
	return in.IfMatch != nil || in.IfUnmodifiedSince != nil
}

// same reports whether an answer shows a version for certain.
func (b *bucket) same(name replica.Name, want, got replica.Version) bool {
	known, ok := b.seen.of(name, want)
	if !ok && (got.ETag == "" || want.ETag == "" || b.lacks(etags)) {
		return false // the time alone may be that with which listings show another version
	}
	return b.sameShown(got, known.shown, !ok)
}

// sameShown reports whether an answer shows a version as it was shown before. What one
// of the two hasn't got doesn't tell them apart, but there must be an ETag or a time
// that both have. With listed, shown is how listings show it, whose zone may be another.
func (b *bucket) sameShown(got, shown replica.Version, listed bool) bool {
	if got.Size != shown.Size && shown.Size != anySize {
		return false
	}
	tag := got.ETag != "" && shown.ETag != "" && !b.lacks(etags)
	time := got.Modified != 0 && shown.Modified != 0
	if !tag && !time || tag && got.ETag != shown.ETag {
		return false
	}
	return !time || got.Modified == shown.Modified || listed && tag && b.seen.inZone(got.Modified-shown.Modified)
}

// recognise finds out whether an object is a version that is read, though an answer
// shows it in other words, or the store says that a condition on it doesn't hold. got
// is what the answer shows; if it is zero, a HEAD tells. It remembers what it finds.
func (at *session) recognise(ctx context.Context, key string, name replica.Name, want, got replica.Version) (bool, error) {
	known, noted := at.seen.of(name, want)
	shown, refused := known.shown, got.IsZero()
	if refused {
		out, err := at.head(ctx, key, false)
		if err != nil {
			return false, err
		}
		got = at.stored(out.ETag, out.LastModified, *out.ContentLength)
	}
	if got.Size != want.Size && want.Size != anySize {
		return false, nil
	}
	if at.same(name, want, got) {
		if refused {
			at.learnCondition(shown)
		}
		return true, nil
	}
	sameTag := want.ETag != "" && got.ETag != "" && got.ETag == shown.ETag && !at.lacks(etags)
	otherTag := want.ETag == "" && shown.ETag != "" && got.ETag != shown.ETag // which no listing explains
	switch {
	case !sayTheSame(got.Modified, shown.Modified) && sameTag:
		return at.writtenAgain(ctx, key, name, want, got)
	case !sayTheSame(got.Modified, shown.Modified), otherTag && !at.lacks(etags):
		return false, nil
	case noted && got.ETag != "" && shown.ETag != "" && got.ETag != shown.ETag && !at.lacks(etags):
		return false, nil // these aren't other words, since answers have shown it before
	}
	listed, err := at.listed(ctx, key, got, sameTag)
	if err != nil {
		return false, err
	}
	if listed == want || at.lacks(etags) && listed.Size == want.Size && listed.Modified == want.Modified {
		if got.Modified != want.Modified {
			at.learn(words, fmt.Errorf("%s is listed with %s, and read with %s", name.Base(), timeText(want), timeText(got)))
			at.seen.noteZone(got.Modified - want.Modified)
		}
		at.seen.noteShown(name, want, got)
		if refused && at.seen.shown(name, want) == shown {
			at.learnCondition(shown) // which would be sent once more
		}
		return true, nil
	}
	if !sameTag {
		return false, nil
	}
	return at.writtenAgain(ctx, key, name, want, got)
}

// learnCondition notes that a condition on a version was refused though it holds.
func (b *bucket) learnCondition(shown replica.Version) {
	if shown.ETag != "" && !b.lacks(etags) {
		b.learn(matching, nil)
	} else {
		b.learn(unmodified, nil)
	}
}

// listed is the version that a listing shows of a key, or none. One that has only just
// been written, listings may show late: without an ETag to tell, it waits until they
// don't.
func (at *session) listed(ctx context.Context, key string, got replica.Version, certain bool) (replica.Version, error) {
	if age := at.now().Sub(time.Unix(got.Modified, 0)); !certain && -settle < age && age < settle {
		select {
		case <-time.After(settle - age):
		case <-ctx.Done():
			return replica.Version{}, ctx.Err()
		}
	}
	o, err := at.listOne(ctx, key)
	if err != nil || o == nil || o.Size == nil {
		return replica.Version{}, err
	}
	return at.stored(o.ETag, o.LastModified, *o.Size), nil
}

// writtenAgain decides whether an object that was written again, and has the same ETag
// and size, has the same content. If the bytes at its ends are others, no ETag of the
// store tells anything. Where too little of the version was read to know its ends, it
// counts as another.
func (at *session) writtenAgain(ctx context.Context, key string, name replica.Name, want, got replica.Version) (bool, error) {
	was, _ := at.seen.of(name, want)
	if was.head == "" && was.tail == "" {
		return false, nil
	}
	at.seen.noteShown(name, got, got)
	head, err := at.section(ctx, key, name, got, 0, int64(ltx.HeaderSize))
	if err != nil {
		return false, err
	}
	tail, err := at.section(ctx, key, name, got, max(got.Size-ltx.TrailerSize, 0), ltx.TrailerSize)
	if err != nil {
		return false, err
	}
	if was.head != "" && was.head != head || was.tail != "" && was.tail != tail {
		at.learn(etags, fmt.Errorf("two versions of %s have the ETag %s", name.Base(), clip(want.ETag)))
		return false, nil
	}
	if was.head == "" || was.tail == "" {
		return false, nil
	}
	at.seen.noteShown(name, want, got)
	return true, nil
}

// section reads some bytes of the object as it is shown now.
func (at *session) section(ctx context.Context, key string, name replica.Name, v replica.Version, off, size int64) (string, error) {
	r := &reader{at: at, ctx: ctx, key: key, name: name, want: v, off: off, left: size}
	if err := r.get(); err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func timeText(v replica.Version) string {
	if v.Modified == 0 {
		return "an unknown time"
	}
	return time.Unix(v.Modified, 0).UTC().Format(time.RFC3339)
}

// inListing is a file that an answer to HEAD shows, as listings show it. known is the
// version that the caller knows by the name, if any. Where a listing shows another version
// than the HEAD, one of the two is late; certain is false then.
func (at *session) inListing(ctx context.Context, key string, f replica.File, known replica.Version) (_ replica.File, certain bool, err error) {
	got := f.Version
	switch {
	case got == known:
		return f, true, nil
	case got.Modified == 0:
		at.learn(words, fmt.Errorf("%s has no time of modification in the answer to a HEAD", f.Base()))
	case !known.IsZero() && got.Size == known.Size:
		same := at.same(f.Name, known, got)
		if !same {
			if same, err = at.recognise(ctx, key, f.Name, known, got); err != nil {
				return f, false, err
			}
		}
		if same {
			f.Version = known
			return f, true, nil
		}
	}
	if !at.lacks(words) && got.ETag != "" {
		return f, true, nil
	}
	o, err := at.listOne(ctx, key)
	switch {
	case err != nil:
		return f, false, err
	case o == nil || o.LastModified == nil || o.Size == nil:
		// Not listed yet; it has the time of now, unless HEAD has another.
		if f.ModTime.IsZero() {
			f.ModTime = at.now().UTC().Truncate(time.Second)
		}
		return f, true, nil
	}
	listed := at.newFile(f.Name, o.ETag, o.LastModified, *o.Size)
	v := listed.Version
	tagged := v.ETag != "" && got.ETag != ""
	return listed, v.Size == got.Size && (!tagged || v.ETag == got.ETag) && sayTheSame(v.Modified, got.Modified), nil
}
