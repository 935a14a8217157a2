package s3

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// recognise finds out whether an answer that shows an object in other words than a
// version that is read shows that version all the same. It remembers what it finds.
func (at *session) recognise(ctx context.Context, key string, name replica.Name, want, got replica.Version) (bool, error) {
	if got.Size != want.Size && want.Size != anySize {
		return false, nil
	}
	if at.same(name, want, got) {
		return true, nil
	}
	known, noted := at.seen.of(name, want)
	tag, modified := at.tags(got, known.shown), times(got, known.shown)
	if tag == different && (noted || modified == different) || tag == unknown && (known.read || modified == different) {
		return false, nil
	}
	// A listing may be late. It needn't be waited for where the ETag tells, and nothing
	// was read that what follows could be mixed with.
	var late time.Duration
	switch age := at.now().Sub(time.Unix(got.Modified, 0)); {
	case known.read:
		late = settle
	case tag != equal && -settle < age && age < settle:
		late = settle - age
	}
	if err := wait(ctx, late); err != nil {
		return false, err
	}
	listed, err := at.listed(ctx, key)
	switch {
	case err != nil || listed != want && (tag != equal || !known.read):
		return false, err
	case known.read:
		return at.sameContent(ctx, key, name, want, got, listed == want)
	}
	at.learnWords(name, want, got)
	return true, nil
}

// sawCondition notes whether a condition on a version that the store has was accepted. A
// store that is late may refuse one, but not twice in a row.
func (b *bucket) sawCondition(shown replica.Version, accepted bool) {
	l := unmodified
	if shown.ETag != "" && !b.lacks(etags) {
		l = matching
	}
	if b.refused[l].Swap(!accepted) && !accepted {
		b.learn(l, nil)
	}
}

// listed is the version that a listing shows of a key, or none.
func (at *session) listed(ctx context.Context, key string) (replica.Version, error) {
	o, err := at.listOne(ctx, key)
	if err != nil || o == nil || o.Size == nil {
		return replica.Version{}, err
	}
	return at.stored(o.ETag, o.LastModified, *o.Size), nil
}

// sameContent decides whether an object still has the content of a version that was read,
// though an answer shows the same ETag and size with another time. If the bytes at its
// ends are others, no ETag of the store tells anything. Where too little was read to know
// its ends, it is the same if it is listed as before: then, or if its time is ever another,
// no time in such answers is steady.
func (at *session) sameContent(ctx context.Context, key string, name replica.Name, want, got replica.Version, listed bool) (bool, error) {
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
	case was.head != "" && was.head != head, was.tail != "" && was.tail != tail:
		at.learn(etags, fmt.Errorf("two versions of %s have the ETag %s", name.Base(), clip(want.ETag)))
		return false, nil
	case listed, was.again:
		at.learn(steadyTimes, fmt.Errorf("%s is shown with %s, and then with %s", name.Base(), timeText(was.shown), timeText(got)))
	case was.head == "" || was.tail == "":
		return false, nil
	}
	at.seen.note(name, want, func(known *witness) { known.shown, known.again = got, true })
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
		at.learn(headTimes, fmt.Errorf("%s has none", f.Base()))
	case !known.IsZero():
		same, err := at.recognise(ctx, key, f.Name, known, got)
		switch {
		case err != nil:
			return f, false, err
		case same:
			f.Version = known
			return f, true, nil
		}
	}
	if !at.lacks(words) && got.ETag != "" && got.Modified != 0 {
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
	listed, err := at.asTold(ctx, at.newFile(f.Name, o.ETag, o.LastModified, *o.Size))
	v := listed.Version
	tagged := v.ETag != "" && got.ETag != ""
	return listed, v.Size == got.Size && (!tagged || v.ETag == got.ETag) && times(v, got) != different, err
}

// asTold is a listed file in the words in which a HEAD has told of it, before a listing
// has: it must not seem to change. That the words are for one version, another HEAD
// shows, once for all files of a zone.
func (at *session) asTold(ctx context.Context, f replica.File) (replica.File, error) {
	v := f.Version
	told, ok := at.seen.asTold(f.Name)
	if !ok || told == v || told.Size != v.Size || at.tags(told, v) != equal || times(told, v) != alike {
		return f, nil
	}
	if at.seen.shown(f.Name, v) != told && !at.seen.inZone(told.Modified-v.Modified) {
		out, err := at.head(ctx, at.key(f.Name), false)
		if err != nil && !isNotFound(err) {
			return f, err
		}
		if err != nil || at.stored(out.ETag, out.LastModified, *out.ContentLength) != told {
			return f, nil
		}
		at.learnWords(f.Name, v, told)
	}
	f.Version, f.ModTime = told, time.Unix(told.Modified, 0).UTC()
	return f, nil
}

// learnWords notes in which words answers show a listed version.
func (b *bucket) learnWords(name replica.Name, listed, got replica.Version) {
	if got.Modified != listed.Modified {
		b.learn(words, fmt.Errorf("%s is listed with %s, and read with %s", name.Base(), timeText(listed), timeText(got)))
		b.seen.noteZone(got.Modified - listed.Modified)
	}
	b.seen.noteShown(name, listed, got)
}
