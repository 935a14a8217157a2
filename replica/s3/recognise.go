package s3

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/document"
)

// compared is what comparing two answers in one respect tells of whether they show one
// version.
type compared int

const (
	unknown   compared = iota // one of them lacks it
	equal                     // word for word
	alike                     // in two zones, or rounded in two ways
	different                 //
)

// tags compares the ETags of two versions.
func (b *bucket) tags(v, other replica.Version) compared {
	switch {
	case v.ETag == "" || other.ETag == "" || b.lacks(goodETags):
		return unknown
	case v.ETag == other.ETag:
		return equal
	}
	return different
}

// times compares the times of modification of two versions.
func times(v, other replica.Version) compared {
	d := max(v.Modified-other.Modified, other.Modified-v.Modified)
	rest := d % quarter
	switch {
	case v.Modified == 0 || other.Modified == 0:
		return unknown
	case d == 0:
		return equal
	case d <= widest+1 && min(rest, quarter-rest) <= 1:
		return alike
	}
	return different
}

// same reports whether an answer to GET shows a version for certain.
func (b *bucket) same(name replica.Name, want, got replica.Version) bool {
	if known, noted := b.seen.of(name, want); noted {
		return b.matches(got, known.shown)
	}
	return b.sameListed(want, got)
}

// sameListed reports whether an answer shows a listed version for certain. A time that is
// the same may be that with which listings show another version, where they have others.
func (b *bucket) sameListed(want, got replica.Version) bool {
	if b.tags(got, want) != equal {
		return false
	}
	sure := want.Size == anySize || !b.lacks(oneWording) || b.lacks(steadyTimes)
	return sure && b.matches(got, want) || got.Size == want.Size && b.seen.inZone(got.Modified-want.Modified)
}

// matches reports whether an answer shows a version in the words of an earlier one. What
// one of the two hasn't got doesn't tell them apart, but there must be an ETag or a time
// that both have.
func (b *bucket) matches(got, shown replica.Version) bool {
	if got.Size != shown.Size && shown.Size != anySize {
		return false
	}
	tag, modified := b.tags(got, shown), times(got, shown)
	if tag == equal && b.lacks(steadyTimes) {
		return true
	}
	return tag <= equal && modified <= equal && (tag == equal || modified == equal)
}

// recognise finds out whether an answer to GET that shows an object in other words than a
// version shows that version all the same. It remembers what it finds.
func (at *session) recognise(ctx context.Context, key string, name replica.Name, want, got replica.Version) (bool, error) {
	if got.Size != want.Size {
		return false, nil
	}
	if at.same(name, want, got) {
		return true, nil
	}
	known, noted := at.seen.of(name, want)
	tag, modified := at.tags(got, known.shown), times(got, known.shown)
	if tag != equal && (known.read || modified == different) {
		return false, nil
	}
	if tag != equal {
		if err := at.settled(ctx, got); err != nil {
			return false, err
		}
	}
	listed, err := at.shownNow(ctx, key, name, want)
	contradicts := noted && tag == equal
	if err == nil && contradicts && (listed == want || listed == known.listed) {
		// A late listing must not make the times of a store count for nothing.
		if err = wait(ctx, settle); err == nil {
			listed, err = at.shownNow(ctx, key, name, want)
		}
	}
	switch {
	case err != nil:
		return false, err
	case contradicts:
		return at.sameContent(ctx, key, name, want, got, listed)
	case listed != want:
		return false, nil
	}
	at.learnWords(name, want, got)
	at.seen.noteShown(name, want, got)
	return true, nil
}

// settled waits until listings can't be late any more to show a version that was written
// just now.
func (at *session) settled(ctx context.Context, got replica.Version) error {
	if age := at.now().Sub(time.Unix(got.Modified, 0)); -settle < age && age < settle {
		return wait(ctx, settle-age)
	}
	return nil
}

// shownNow is the version that the object is now, as far as that is told where want is
// from: by a HEAD, or else by a listing. It is none if the object isn't listed.
func (at *session) shownNow(ctx context.Context, key string, name replica.Name, want replica.Version) (replica.Version, error) {
	if told, _ := at.seen.asTold(name); told == want {
		out, err := at.head(ctx, key, false)
		if err != nil {
			return replica.Version{}, err
		}
		if got := at.stored(out.ETag, out.LastModified, *out.ContentLength); got == want {
			return want, nil
		}
	}
	return at.listed(ctx, key)
}

// listed is the version that a listing shows of a key, or none.
func (at *session) listed(ctx context.Context, key string) (replica.Version, error) {
	o, err := at.listOne(ctx, key)
	if err != nil || o == nil || o.Size == nil {
		return replica.Version{}, err
	}
	return at.stored(o.ETag, o.LastModified, *o.Size), nil
}

// sameContent decides whether an object has the content of a version, though an answer
// shows the ETag and size of that one with another time than an earlier answer did. If the
// bytes at its ends are others, no ETag of the store tells anything. Where too little was
// read to know its ends, it isn't. If it is listed as before, and shown with a third time,
// no time in such answers is steady: a store that is late has two to show.
func (at *session) sameContent(ctx context.Context, key string, name replica.Name, want, got, listed replica.Version) (bool, error) {
	was, _ := at.seen.of(name, want)
	now := replica.Version{ETag: got.ETag, Size: anySize} // of any time
	head, err := at.section(ctx, key, name, now, 0, min(ltx.HeaderSize, got.Size))
	if err != nil {
		return false, err
	}
	tail, err := at.section(ctx, key, name, now, max(got.Size-ltx.TrailerSize, 0), min(ltx.TrailerSize, got.Size))
	switch {
	case err != nil:
		return false, err
	case was.contradicts(head, tail):
		at.learn(goodETags, twoVersions(name, want))
		return false, nil
	}
	unmoved := listed == want || listed == was.listed && !listed.IsZero()
	same := !was.read && unmoved || was.head != "" && was.tail != ""
	if unmoved && was.other != 0 && got.Modified != was.other {
		at.learn(steadyTimes, fmt.Errorf("%s is shown with %s, and then with %s", name.Base(), timeText(was.shown), timeText(got)))
		same = true
	}
	at.seen.note(name, want, func(known *witness) {
		if known.other = got.Modified; same {
			known.shown, known.listed, known.other = got, listed, was.shown.Modified
		}
	})
	return same, nil
}

func twoVersions(name replica.Name, v replica.Version) error {
	return fmt.Errorf("two versions of %s have the ETag %s", name.Base(), clip(v.ETag))
}

// section reads some bytes of the object as it is shown now.
func (at *session) section(ctx context.Context, key string, name replica.Name, v replica.Version, off, size int64) (string, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	r := &reader{at: at, ctx: ctx, end: end, key: key, name: name, want: v, off: off, left: size}
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
	told, _ := at.seen.asTold(f.Name)
	switch {
	case got == known && got == told:
		return f, true, nil // in the words of a HEAD both times
	case got.Modified == 0:
		at.learn(headTimes, fmt.Errorf("%s has none", f.Base()))
	case !known.IsZero():
		same, err := at.isListed(ctx, key, f.Name, known, got)
		switch {
		case err != nil:
			return f, false, err
		case same:
			f.Version = known
			if known.Modified != 0 {
				f.ModTime = time.Unix(known.Modified, 0).UTC()
			}
			return f, true, nil
		}
	}
	otherTag := got.Modified == known.Modified && got.Size == known.Size // and else the same
	// No LTX file is empty, but to some HEADs they all are.
	if !at.lacks(oneWording) && got.ETag != "" && got.Modified != 0 && !otherTag && (got.Size > 0 || !known.IsZero()) {
		at.seen.noteTold(f.Name, got)
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
	listed, err := at.listedFile(ctx, f.Name, o)
	v := listed.Version
	tagged := v.ETag != "" && got.ETag != ""
	return listed, v.Size == got.Size && (!tagged || v.ETag == got.ETag) && times(v, got) != different, err
}

// listedFile is a file as a listing shows it, but in the words in which a HEAD has told of
// it before, in another zone: it must not seem to change. That the words are for one
// version, another HEAD shows, once for the zone.
func (at *session) listedFile(ctx context.Context, name replica.Name, o *document.Object) (replica.File, error) {
	f := at.newFile(name, o.ETag, o.LastModified, *o.Size)
	v := f.Version
	told, ok := at.seen.asTold(f.Name)
	zone := told.Modified - v.Modified
	if !ok || told == v || told.Size != v.Size || at.tags(told, v) != equal || times(told, v) != alike || zone%quarter != 0 {
		return f, nil
	}
	if !at.seen.inZone(zone) {
		out, err := at.head(ctx, at.key(f.Name), false)
		if err != nil || at.stored(out.ETag, out.LastModified, *out.ContentLength) != told {
			return f, ctx.Err()
		}
		at.learnWords(f.Name, v, told)
	}
	f.Version, f.ModTime = told, time.Unix(told.Modified, 0).UTC()
	return f, nil
}

// isListed finds out whether an answer to HEAD shows a listed version, though it may do so
// in other words. It remembers no more of those than a zone: a listing may be late, and
// what it shows for a moment must not stay.
func (at *session) isListed(ctx context.Context, key string, name replica.Name, want, got replica.Version) (bool, error) {
	switch tag, modified := at.tags(got, want), times(got, want); {
	case got.Size != want.Size, tag != equal && modified == different:
		return false, nil
	case at.sameListed(want, got):
		return true, nil
	case tag != equal:
		if err := at.settled(ctx, got); err != nil {
			return false, err
		}
	}
	listed, err := at.listed(ctx, key)
	if err != nil || listed != want {
		return false, err
	}
	at.learnWords(name, want, got)
	return true, nil
}

// learnWords notes that answers show a listed version with another time.
func (b *bucket) learnWords(name replica.Name, listed, got replica.Version) {
	if got.Modified != listed.Modified {
		b.learn(oneWording, fmt.Errorf("%s is listed with %s, and read with %s", name.Base(), timeText(listed), timeText(got)))
		b.seen.noteZone(got.Modified - listed.Modified)
	}
}
