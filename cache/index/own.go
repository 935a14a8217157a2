package index

import (
	"maps"
	"slices"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	// minPrune is the number of changes below which it isn't worth looking for
	// those that no longer matter.
	minPrune = 1024

	// maxKept bounds the base of a level that nobody lists, in files.
	maxKept = 64 << 10
)

// ownChanges are this mount's to a level, as long as the listing behind the base may
// not have them. Index.mu guards them.
type ownChanges struct {
	changes map[replica.Name]*change
	dirty   bool // some may not be in the base
	pruneAt int
}

// put remembers a change and forgets the earlier one of the same name.
func (o *ownChanges) put(c *change) {
	if o.changes == nil {
		o.changes = map[replica.Name]*change{}
	}
	o.changes[c.file.Name] = c
	o.dirty = true
}

// supersede forgets the changes that a listing already has, whatever it says
// about them, and leaves the others to be applied to it.
func (o *ownChanges) supersede(s *Snapshot, settle time.Duration) {
	maps.DeleteFunc(o.changes, func(name replica.Name, c *change) bool {
		return !c.outlives(s.answer(name), settle)
	})
	o.dirty = true
}

// apply returns base with the changes, which is base itself if they change nothing.
func (o *ownChanges) apply(base *Snapshot, memory Memory) *Snapshot {
	if !o.dirty {
		return base
	}
	o.dirty = false
	var changes []*change
	for name, c := range o.changes {
		if had := base.answer(name); c.exists != had.exists || c.file != had.file {
			changes = append(changes, c)
		}
	}
	if len(changes) == 0 {
		return base
	}
	slices.SortFunc(changes, func(a, b *change) int { return a.file.Compare(b.file.Name) })
	b := newBuilder(base, memory)
	next := 0 // the first file of base that isn't in b
	for _, c := range changes {
		i, ok := base.Search(c.file.Name)
		b.appendRange(&base.files, next, i)
		if next = i; ok {
			next++
		}
		if c.exists {
			b.appendFile(c.file)
		}
	}
	b.appendRange(&base.files, next, base.Len())
	return &Snapshot{level: base.level, began: base.began, seq: base.seq, files: b.finish()}
}

// due tells whether there are so many changes that it is time to prune.
func (o *ownChanges) due() bool { return len(o.changes) >= max(o.pruneAt, minPrune) }

// prune forgets the changes that happened before the time and the event given:
// when no answer can need them any more. They must have been applied to the base.
func (o *ownChanges) prune(before time.Time, seq uint64) {
	maps.DeleteFunc(o.changes, func(_ replica.Name, c *change) bool {
		return c.began.Before(before) && c.seq < seq
	})
	o.pruneAt = 2 * len(o.changes)
}

// merge returns the base with all own changes. It becomes the base itself, so that
// the level isn't in memory twice; the changes are still there for what the next
// listing may lack.
func (lv *levelIndex) merge(memory Memory) *Snapshot {
	lv.base = lv.own.apply(lv.base, memory)
	if n := lv.base.Len(); lv.base.began.IsZero() && n > maxKept {
		// Nobody has listed the level, so that nobody knows which files are still
		// there. The later ones are the likelier.
		b := newBuilder(lv.base, memory)
		b.appendRange(&lv.base.files, n-maxKept/2, n)
		lv.base = &Snapshot{level: lv.base.level, files: b.finish()}
	}
	return lv.base
}
