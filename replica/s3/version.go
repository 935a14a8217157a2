package s3

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/hashicorp/golang-lru/v2/simplelru"
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
	if !b.lacks(goodETags) {
		v.ETag = quoted(etag)
	}
	return v
}

// stored is a version as the store tells of it that has the object before it, and no
// part of it on its way.
func (b *bucket) stored(etag *string, modified *time.Time, size int64) replica.Version {
	v := b.versionOf(etag, modified, size)
	if v.ETag == "" {
		b.learn(allETags, nil)
	}
	if other, ok := b.seen.otherSize(v.ETag, size); ok {
		b.learn(goodETags, fmt.Errorf("files of %d and of %d bytes have the ETag %s", other, size, clip(v.ETag)))
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
func (b *bucket) guard(in *awss3.GetObjectInput, shown replica.Version) (condition lack, guarded bool) {
	switch {
	case shown.ETag != "" && !b.lacks(goodETags):
		if condition = ifMatch; !b.lacks(ifMatch) {
			in.IfMatch = &shown.ETag
		}
	case shown.Modified != 0:
		if condition = ifUnmodifiedSince; !b.lacks(ifUnmodifiedSince) {
			in.IfUnmodifiedSince = aws.Time(time.Unix(shown.Modified, 0).UTC())
		}
	}
	return condition, in.IfMatch != nil || in.IfUnmodifiedSince != nil
}

// sawCondition notes whether a condition that holds was accepted. A store that is late may
// refuse one, but not twice in a row.
func (b *bucket) sawCondition(l lack, accepted bool) {
	if b.refused[l].Swap(!accepted) && !accepted {
		b.learn(l, nil)
	}
}

const (
	// maxWitnesses is of how many versions it is remembered how answers show them.
	// A reader has few files open at a time.
	maxWitnesses = 4096

	// maxSizes is how many ETags are remembered with their sizes.
	maxSizes = 1024
)

// witnesses are what answers have shown of versions.
type witnesses struct {
	mu    sync.Mutex
	known *simplelru.LRU[witnessKey, witness]
	seed  maphash.Seed
	sizes [maxSizes]struct {
		etag uint64 // a hash
		size int64
	}
	told  *simplelru.LRU[replica.Name, replica.Version] // by a HEAD, before a listing
	last  *simplelru.LRU[replica.Name, replica.Version] // of which an end was read
	zones []int64                                       // by how many seconds answers differ from listings
}

type witnessKey struct {
	name    replica.Name
	version replica.Version // as a listing shows it, or what else it is read by
}

// witness is what answers to GET have shown of a version.
type witness struct {
	shown      replica.Version // in their words
	listed     replica.Version // how it is listed since it was written again with the same content
	other      int64           // the time that another of them showed
	read       bool            // one of them gave bytes, so that others must show the same
	head, tail string          // the header and the trailer, or ""
}

func newWitnesses() *witnesses {
	known, err := simplelru.NewLRU[witnessKey, witness](maxWitnesses, nil)
	told, terr := simplelru.NewLRU[replica.Name, replica.Version](maxWitnesses, nil)
	last, lerr := simplelru.NewLRU[replica.Name, replica.Version](maxWitnesses, nil)
	if err := cmp.Or(err, terr, lerr); err != nil {
		panic(err) // its one error is a size below 1
	}
	return &witnesses{known: known, told: told, last: last, seed: maphash.MakeSeed()}
}

// noteTold notes what a HEAD tells of a file.
func (w *witnesses) noteTold(name replica.Name, v replica.Version) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told.Add(name, v)
}

// asTold is what a HEAD told of a file last, if any.
func (w *witnesses) asTold(name replica.Name) (replica.Version, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told.Get(name)
}

// otherSize notes an ETag's size. It returns the one that it had before, if that was
// another. Not all are remembered.
func (w *witnesses) otherSize(etag string, size int64) (int64, bool) {
	if etag == "" {
		return 0, false
	}
	sum := maphash.String(w.seed, etag)
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &w.sizes[sum%maxSizes]
	before := *e
	e.etag, e.size = sum, size
	return before.size, before.etag == sum && before.size != size
}

// of is what is known of a version; without anything, that answers show it as it is.
func (w *witnesses) of(name replica.Name, v replica.Version) (_ witness, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known, ok := w.known.Get(witnessKey{name, v}); ok {
		return known, true
	}
	return witness{shown: v}, false
}

// shown is how answers to GET show a version, as far as is known.
func (w *witnesses) shown(name replica.Name, v replica.Version) replica.Version {
	known, _ := w.of(name, v)
	return known.shown
}

// noteShown notes in which words answers show a version of which nothing was read yet.
func (w *witnesses) noteShown(name replica.Name, v, shown replica.Version) {
	w.note(name, v, func(known *witness) {
		if !known.read {
			known.shown = shown
		}
	})
}

// noteRead notes in which words an answer shows a version whose bytes it gives. It
// reports whether an answer has given others before.
func (b *bucket) noteRead(name replica.Name, v, got replica.Version) (ok bool) {
	b.seen.note(name, v, func(known *witness) {
		if ok = !known.read || b.matches(got, known.shown); ok && !known.read {
			known.shown, known.read = got, true
		}
	})
	return ok
}

// note changes what is known of a version.
func (w *witnesses) note(name replica.Name, v replica.Version, change func(*witness)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	known, ok := w.known.Get(witnessKey{name, v})
	if !ok {
		known = witness{shown: v}
	}
	change(&known)
	w.known.Add(witnessKey{name, v}, known)
}

const (
	// quarter is what zones differ by, in seconds, and widest the most.
	quarter, widest = 15 * 60, 14 * 60 * 60

	// maxZones is more than a zone has in a year.
	maxZones = 4
)

// noteZone remembers by how much listings differ from answers, if that can be a zone.
func (w *witnesses) noteZone(seconds int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seconds%quarter == 0 && max(seconds, -seconds) <= widest && len(w.zones) < maxZones && !slices.Contains(w.zones, seconds) {
		w.zones = append(w.zones, seconds)
	}
}

// inZone reports whether listings are known to differ from answers by so much.
func (w *witnesses) inZone(seconds int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.zones, seconds)
}

// noteEnds remembers the bytes of a version that a reader passes at its ends. It reports
// whether an earlier version of the file, with the same ETag and size, had others.
func (w *witnesses) noteEnds(name replica.Name, v replica.Version, off int64, p []byte) bool {
	head := off == 0 && len(p) >= ltx.HeaderSize
	tail := off+int64(len(p)) == v.Size && len(p) >= ltx.TrailerSize
	if !head && !tail {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now, ok := w.known.Get(witnessKey{name, v})
	if !ok {
		return false // forgotten meanwhile
	}
	if head {
		now.head = string(p[:ltx.HeaderSize])
	}
	if tail {
		now.tail = string(p[len(p)-ltx.TrailerSize:])
	}
	w.known.Add(witnessKey{name, v}, now)
	last, _ := w.last.Get(name)
	w.last.Add(name, v)
	if last == v || last.ETag != v.ETag || last.Size != v.Size || v.ETag == "" {
		return false
	}
	was, _ := w.known.Get(witnessKey{name, last})
	return was.contradicts(now.head, now.tail)
}

// contradicts reports whether a version's bytes at its ends are others, as far as they are
// known.
func (w witness) contradicts(head, tail string) bool {
	other := func(a, b string) bool { return a != "" && b != "" && a != b }
	return other(w.head, head) || other(w.tail, tail)
}
