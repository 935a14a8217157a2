package cache

import (
	"bytes"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
)

// A version of a file has one LTX timestamp, and a store such as S3 lists another
// time, that of the upload. So a time that is better known than from a listing
// stays, for as long as the store shows the version that it is of: that of a file
// that this mount wrote, and one that was found exactly. Both are in the base, and
// are taken over from there by what comes after it. A client without versions
// can't tell, and what it lists counts.

// maxKept bounds times.own, in files.
const maxKept = 64 << 10

// times are versions of files and their times, beside those in the base.
type times struct {
	// own are files that this mount wrote before any listing.
	own *Snapshot
	// partial are what a listing found exactly before it failed.
	partial *Snapshot
}

// keep takes over the own changes of a level without a base.
func (t *times) keep(own *overlay, level int) {
	if t.own == nil {
		t.own = &Snapshot{level: level}
	}
	t.own = own.apply(t.own)
	if n := t.own.Len(); n > maxKept {
		// Nobody has listed the level, so that nobody knows which are still
		// there. The later ones are the likelier.
		latest := &Snapshot{level: level, columns: makeColumns(maxKept/2, maxKept/2*24)}
		latest.appendRange(&t.own.columns, n-maxKept/2, n)
		latest.trim()
		t.own = latest
	}
}

// keepPartial keeps what a listing has found so far, so that the next one comes
// further.
func (x *Index) keepPartial(level int, build *builder) {
	s := &Snapshot{level: level, columns: build.finish()}
	x.mu.Lock()
	defer x.mu.Unlock()
	t := &x.levels[level].times
	if t.partial == nil || t.partial.Len() < s.Len() {
		t.partial = s
	}
}

// hints are the times that are known at this moment.
func (lv *levelIndex) hints() *hints {
	h := &hints{}
	for _, s := range []*Snapshot{lv.base, lv.times.own, lv.times.partial} {
		if s != nil && s.Len() > 0 {
			h.known = append(h.known, hint{s: s})
		}
	}
	return h
}

// knownTime is the time of a version of a file, if it is known better than a stat
// tells.
func (lv *levelIndex) knownTime(name fileRange, v replica.Version) (time.Time, bool) {
	if c := lv.own.changes[name]; c != nil && c.isVersion(v) {
		return c.file.ModTime, true
	}
	return lv.hints().time(replica.File{MinTXID: name.min, MaxTXID: name.max, Version: v})
}

// hints finds times of versions, fast for files that come in order. It is not for
// use by many goroutines at once.
type hints struct {
	known   []hint
	version []byte // packed
}

type hint struct {
	s    *Snapshot
	next int // after the file that was found last
}

// time is the time of a version of a file.
func (h *hints) time(f replica.File) (time.Time, bool) {
	if len(h.known) == 0 {
		return time.Time{}, false
	}
	h.version = appendVersion(h.version[:0], f.Version)
	ns, ok := h.packed(uint64(f.MinTXID), uint64(f.MaxTXID), h.version)
	return unpackTime(ns), ok
}

// packed is time for who has the version packed already, and the time packed as
// well.
func (h *hints) packed(min, max uint64, version []byte) (ns int64, ok bool) {
	if len(version) == 0 {
		return 0, false
	}
	for i := range h.known {
		k := &h.known[i]
		at, ok := k.next, k.s.is(k.next, min, max)
		if !ok {
			at, ok = k.s.Search(ltx.TXID(min), ltx.TXID(max))
		}
		if k.next = at; !ok {
			continue
		}
		k.next++
		if bytes.Equal(k.s.version(at), version) {
			return k.s.mtime[at], true
		}
	}
	return 0, false
}

// better gives the file that was added last a time that is better known.
func (b *builder) better(h *hints) {
	i := len(b.min) - 1
	if ns, ok := h.packed(b.min[i], b.max[i], b.version(i)); ok {
		b.mtime[i] = ns
	}
}

// is tells whether the i-th file has the name of f.
func (c *columns) is(i int, min, max uint64) bool {
	return i < len(c.min) && c.min[i] == min && c.max[i] == max
}
