package s3

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

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
	sameTime := sayTheSame(got.Modified, shown.Modified)
	switch {
	case noted && !refused && sameTag && !sameTime:
		return at.writtenAgain(ctx, key, name, want, got)
	case !sameTime && !sameTag, otherTag && !at.lacks(etags):
		return false, nil
	case noted && got.ETag != "" && shown.ETag != "" && got.ETag != shown.ETag && !at.lacks(etags):
		return false, nil // these aren't other words, since answers have shown it before
	}
	listed, err := at.listed(ctx, key, got, sameTag && sameTime)
	if err != nil {
		return false, err
	}
	if listed == want {
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
