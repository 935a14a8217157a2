package cache

import (
	"cmp"
	"slices"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
)

// minPrune is the number of changes below which it isn't worth looking for those
// that no longer matter.
const minPrune = 1024

// fileRange is a file's name in its level.
type fileRange struct{ min, max ltx.TXID }

// change is what this mount did last to one name.
type change struct {
	file    replica.File // as written; if removed, no more than its name
	removed bool
	at      time.Time
	seq     uint64 // when that was among the index's events
}

// contradicts tells whether what the store says isn't what the change made. The
// mtime doesn't count: a store may tell that of the upload.
func (c *change) contradicts(f replica.File, exists bool) bool {
	if c.removed || !exists {
		return c.removed == exists
	}
	if c.file.Version != "" && f.Version != "" {
		return c.file.Version != f.Version
	}
	return c.file.Size != f.Size
}

// isVersion tells whether the change wrote that version.
func (c *change) isVersion(v replica.Version) bool {
	return !c.removed && v != "" && c.file.Version == v
}

// outlives tells whether the change wins over what the store said when it was
// asked at the time began, the event seq: because it came after, or because the
// store contradicts it before it can be expected to have settled.
func (c *change) outlives(began time.Time, seq uint64, settle time.Duration, f replica.File, exists bool) bool {
	return c.seq > seq || began.Sub(c.at) < settle && c.contradicts(f, exists)
}

// overlay is this mount's own changes to a level, as long as the listing behind
// the base may not have them. Index.mu guards it.
type overlay struct {
	changes map[fileRange]*change
	pending []*change // those that aren't applied to the base
	pruneAt int
}

// put remembers a change and forgets the earlier one of the same name.
func (o *overlay) put(c *change) {
	if o.changes == nil {
		o.changes = map[fileRange]*change{}
	}
	o.changes[fileRange{c.file.MinTXID, c.file.MaxTXID}] = c
	o.pending = append(o.pending, c)
}

// supersede forgets the changes that a listing already has, whatever it says
// about them, and leaves the others to be applied to it.
func (o *overlay) supersede(s *Snapshot, settle time.Duration) {
	o.pending = o.pending[:0]
	for name, c := range o.changes {
		var f replica.File
		i, ok := s.Search(name.min, name.max)
		if ok {
			f = s.At(i)
		}
		if c.outlives(s.began, s.seq, settle, f, ok) {
			o.pending = append(o.pending, c)
		} else {
			delete(o.changes, name)
		}
	}
}

// apply returns base with the pending changes, which is base itself if they
// change nothing.
func (o *overlay) apply(base *Snapshot) *Snapshot {
	if len(o.pending) == 0 {
		return base
	}
	changes := o.latest(base)
	o.pending = nil
	if len(changes) == 0 {
		return base
	}
	merged := &Snapshot{level: base.level, began: base.began, seq: base.seq}
	merged.columns = makeColumns(base.Len()+len(changes), len(base.versions)+len(changes)*24)
	next := 0 // the first file of base that isn't in merged
	for _, c := range changes {
		i, ok := base.Search(c.file.MinTXID, c.file.MaxTXID)
		merged.appendRange(&base.columns, next, i)
		if next = i; ok {
			next++
		}
		if !c.removed {
			merged.appendFile(c.file)
		}
	}
	merged.appendRange(&base.columns, next, base.Len())
	merged.trim()
	return merged
}

// latest returns the pending changes by name, the last one of each, without those
// that base has already.
func (o *overlay) latest(base *Snapshot) []*change {
	changes := make([]*change, 0, len(o.pending))
	for _, c := range o.pending {
		name := fileRange{c.file.MinTXID, c.file.MaxTXID}
		if o.changes[name] != c {
			continue
		}
		i, ok := base.Search(name.min, name.max)
		if c.removed && !ok || !c.removed && ok && c.file == base.At(i) {
			continue
		}
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b *change) int {
		return cmp.Or(cmp.Compare(a.file.MinTXID, b.file.MinTXID), cmp.Compare(a.file.MaxTXID, b.file.MaxTXID))
	})
	return changes
}

// due tells whether there are so many changes that it is time to prune.
func (o *overlay) due() bool {
	return max(len(o.changes), len(o.pending)) >= max(o.pruneAt, minPrune)
}

// prune forgets the changes that happened before the time and the event given:
// when no answer can need them any more. They must have been applied to the base,
// if there is one.
func (o *overlay) prune(before time.Time, seq uint64) {
	for name, c := range o.changes {
		if c.at.Before(before) && c.seq < seq {
			delete(o.changes, name)
		}
	}
	o.pending = nil
	o.pruneAt = 2 * len(o.changes)
}
