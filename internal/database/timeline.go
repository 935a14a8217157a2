package database

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/replica"
)

// levels are listings of all levels of a replica.
type levels [replica.MaxLevel + 1]*index.Snapshot

// Timeline is the restorable states of a replica, by ascending TXID, as listings of all its
// levels show them. It never changes.
type Timeline struct {
	levels levels
	before ltx.TXID              // if not 0, only snapshots of earlier states count
	absent map[replica.Name]bool // don't count
	points []point
	gaps   []gap
}

// point is a TXID that can be restored, and a file that ends there: of the lowest
// level, as it was written first. A snapshot, which has the time when it was taken, is
// last.
type point struct {
	txid  ltx.TXID
	i     int32 // of the file in its level
	level int8
}

// gap is TXIDs that no file has, though a state can be restored before them, and a file
// comes after them that none can be restored from.
type gap struct{ min, max ltx.TXID }

// Gaps are the first and the last TXID of each gap: of transactions that no file has,
// though a state can be restored before them, and files come after them.
func (t *Timeline) Gaps() (gaps [][2]ltx.TXID) {
	for _, g := range t.gaps {
		gaps = append(gaps, [2]ltx.TXID{g.min, g.max})
	}
	return gaps
}

// Files are all files that were listed, by level.
func (t *Timeline) Files() iter.Seq[replica.File] {
	return func(yield func(replica.File) bool) {
		for _, l := range t.levels {
			for i := range l.Len() {
				if !yield(l.At(i)) {
					return
				}
			}
		}
	}
}

// Without are the states that could be restored if some of the files weren't there.
func (t *Timeline) Without(files map[replica.Name]bool) *Timeline {
	return newTimeline(t.levels, t.before, files)
}

// Len is the number of states.
func (t *Timeline) Len() int { return len(t.points) }

// TXID is that of the i-th state.
func (t *Timeline) TXID(i int) ltx.TXID { return t.points[i].txid }

// Search returns the place of the first state that isn't before a TXID, and whether it
// is of that TXID.
func (t *Timeline) Search(txid ltx.TXID) (i int, ok bool) {
	return slices.BinarySearchFunc(t.points, txid, func(p point, txid ltx.TXID) int { return cmp.Compare(p.txid, txid) })
}

// Age is how long before now the oldest of the listings began.
func (t *Timeline) Age(now time.Time) (age time.Duration) {
	for _, l := range t.levels {
		age = max(age, l.Age(now))
	}
	return age
}

// End is the file that tells the size and time of the i-th state.
func (t *Timeline) End(i int) replica.File {
	p := t.points[i]
	return t.levels[p.level].At(int(p.i))
}

// isBase reports whether a file is a snapshot that a restore can begin with.
func isBase(n replica.Name) bool { return n.Level == replica.SnapshotLevel && n.MinTXID == 1 }

// counts reports whether a file counts.
func (t *Timeline) counts(n replica.Name) bool {
	if t.absent[n] {
		return false
	}
	return n.Level < replica.SnapshotLevel || n.MinTXID == 1 && (t.before == 0 || n.MaxTXID < t.before)
}

// newTimeline finds the states that listings show: a file's max TXID can be restored if
// the file is a snapshot, or if it begins no later than after a TXID that can.
func newTimeline(l levels, before ltx.TXID, absent map[replica.Name]bool) *Timeline {
	t := &Timeline{levels: l, before: before, absent: absent}
	var at ltx.TXID // the last that can be restored
	for files := t.byEnd(); len(files) > 0; {
		// Those that end at the same TXID.
		n, first := 0, files[0]
		least, base := ltx.TXID(math.MaxUint64), false
		for ; n < len(files) && files[n].MaxTXID == first.MaxTXID; n++ {
			if isBase(files[n].Name) {
				base = true
			} else {
				least = min(least, files[n].MinTXID)
			}
		}
		files = files[n:]
		last := len(t.gaps) - 1
		switch {
		case base || least <= at+1:
			at = first.MaxTXID
			t.points = append(t.points, point{at, first.i, int8(first.Level)})
			// Of what it has itself, files of lower levels may lack some.
			t.gaps = slices.DeleteFunc(t.gaps, func(g gap) bool { return g.min >= least })
		case at == 0: // older than what retention has left
		case last >= 0 && t.gaps[last].min == at+1:
			t.gaps[last].max = min(t.gaps[last].max, least-1)
		default:
			t.gaps = append(t.gaps, gap{at + 1, least - 1})
		}
	}
	return t
}

// file is a file, and its place in its level.
type file struct {
	replica.Name
	i int32
}

// byEnd are all files that count, by ascending max TXID, and then by level.
func (t *Timeline) byEnd() (files []file) {
	for _, l := range t.levels {
		for i := range l.Len() {
			if n := l.Name(i); t.counts(n) {
				files = append(files, file{n, int32(i)})
			}
		}
	}
	slices.SortStableFunc(files, func(a, b file) int { return cmp.Compare(a.MaxTXID, b.MaxTXID) })
	return files
}

// byPreference compares files by how Litestream chooses which it restores next: the
// better is the greater.
func byPreference(a, b replica.Name) int {
	return cmp.Or(
		cmp.Compare(a.MaxTXID, b.MaxTXID),
		cmp.Compare(b.MinTXID, a.MinTXID),
		cmp.Compare(a.Level, b.Level),
	)
}

// plan is the files that Litestream restores a state from, in order: the last snapshot
// that isn't after it, and then again and again the best of those that go on from
// there. It is nil if the state can't be restored.
func (t *Timeline) plan(txid ltx.TXID) []replica.File {
	base, ok := t.base(txid)
	if !ok {
		return t.planFrom(0, txid)
	}
	rest := t.planFrom(base.MaxTXID, txid)
	if rest == nil && base.MaxTXID < txid {
		return nil
	}
	return append([]replica.File{base}, rest...)
}

// planFrom is the rest of a plan for a state, from one on.
func (t *Timeline) planFrom(at, txid ltx.TXID) (plan []replica.File) {
	var next [replica.SnapshotLevel]int // in each level, the first file that it hasn't come to
	var best replica.Name
	var where int
	for at < txid {
		for level := range next {
			l := t.levels[level]
			for ; next[level] < l.Len(); next[level]++ {
				n := l.Name(next[level])
				if n.MinTXID > at+1 {
					break
				}
				if n.MaxTXID <= txid && byPreference(n, best) > 0 {
					best, where = n, next[level]
				}
			}
		}
		if best.MaxTXID <= at {
			return nil
		}
		at, plan = best.MaxTXID, append(plan, t.levels[best.Level].At(where))
	}
	return plan
}

// needed are the files of a plan that a state is read from: one that begins with the first
// transaction has all pages, or no earlier file has what it lacks.
func (t *Timeline) needed(txid ltx.TXID) []replica.File {
	plan := t.plan(txid)
	for i, f := range slices.Backward(plan) {
		if f.MinTXID == 1 {
			return plan[i:]
		}
	}
	return plan
}

// base is the snapshot that a plan begins with.
func (t *Timeline) base(txid ltx.TXID) (base replica.File, ok bool) {
	snapshots := t.levels[replica.SnapshotLevel]
	for i := range snapshots.Len() {
		if n := snapshots.Name(i); t.counts(n) && n.MaxTXID <= txid {
			base, ok = snapshots.At(i), true
		}
	}
	return base, ok
}

// maxListings is how often all levels are listed until two listings in a row agree.
const maxListings = 3

// Timeline returns the states that the replica has, within the freshness of its index.
// Levels are listed at different moments, and a directory shows files that came
// meanwhile in any order, so that one can be missing that is there: a gap is believed
// once two listings have shown it, and others are looked at again.
func (d *Database) Timeline(ctx context.Context) (*Timeline, error) { return d.settled(ctx, d.list) }

// settled is Timeline, of which the first listings come from list.
func (d *Database) settled(ctx context.Context, list func(context.Context) (*Timeline, error)) (*Timeline, error) {
	t, err := list(ctx)
	for n := 1; n < maxListings && err == nil && !d.believes(t.gaps); n++ {
		before := t.gaps
		if t, err = d.listAnew(ctx); err == nil {
			d.believe(before, t.gaps)
		}
	}
	return t, err
}

// maxTries is how many listings are tried, one after the other, while files of each are
// gone.
const maxTries = 4

// Current calls use with the states that there are. Where a file that was listed is
// gone, or has become another version, as by Litestream's setting its time after it is
// there, it does so again, with new listings.
func (d *Database) Current(ctx context.Context, use func(*Timeline) error) error {
	return d.current(ctx, d.list, use)
}

// current is Current, but that the first listings come from list.
func (d *Database) current(ctx context.Context, list func(context.Context) (*Timeline, error), use func(*Timeline) error) error {
	var gone error
	for range maxTries {
		t, err := d.settled(ctx, list)
		if err != nil {
			return err
		}
		if gone = use(t); !IsGone(gone) {
			return gone
		}
		list = d.listAnew
	}
	return fmt.Errorf("files of the replica change faster than they can be read: %w: %v", replica.ErrReplaced, gone)
}

// listAnew lists all levels past what the index remembers.
func (d *Database) listAnew(ctx context.Context) (*Timeline, error) {
	for level := range (levels{}) {
		d.opts.Index.Invalidate(level)
	}
	return d.list(ctx)
}

func (d *Database) list(ctx context.Context) (*Timeline, error) {
	var l levels
	g, ctx := errgroup.WithContext(ctx)
	for level := range l {
		g.Go(func() (err error) {
			l[level], err = d.opts.Index.Level(ctx, level)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	d.building.Lock()
	defer d.building.Unlock()
	d.mu.Lock()
	d.used()
	t := d.timeline
	d.mu.Unlock()
	if t != nil && t.levels == l {
		return t, nil
	}
	before := t
	same := before != nil && before.levels.same(&l)
	if same {
		t = &Timeline{levels: l, points: before.points, gaps: before.gaps} // listed later
	} else {
		t = newTimeline(l, 0, nil)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if same && d.instants.of == before {
		d.instants.of = t
	}
	d.setTimeline(t)
	d.forgetGone(t)
	return t, nil
}

// same reports whether two listings of all levels found the same files.
func (l *levels) same(other *levels) bool {
	for i := range l {
		if !l[i].SameFiles(other[i]) {
			return false
		}
	}
	return true
}

// setTimeline keeps a timeline, or none once d is closed. Database.mu is held.
func (d *Database) setTimeline(t *Timeline) {
	if d.closed {
		t = nil
	}
	n := 0
	if t != nil {
		n += len(t.points)
	}
	if d.timeline != nil {
		n -= len(d.timeline.points)
	}
	d.opts.Memory.Add(int64(n) * pointSize)
	d.timeline = t
}

// pointSize is what a state takes in a timeline, in bytes.
const pointSize = 16

// believes reports whether all gaps are real. One that isn't there any more is forgotten.
func (d *Database) believes(gaps []gap) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gaps = slices.DeleteFunc(d.gaps, func(g gap) bool { return !slices.Contains(gaps, g) })
	return !slices.ContainsFunc(gaps, func(g gap) bool { return !slices.Contains(d.gaps, g) })
}

// believe takes those gaps for real that a listing shows as the one before did, and
// warns of those that are news.
func (d *Database) believe(before, now []gap) {
	var believed, news []gap
	d.mu.Lock()
	for _, g := range now {
		switch known := slices.Contains(d.gaps, g); {
		case !known && !slices.Contains(before, g):
			continue
		case !known:
			news = append(news, g)
		}
		believed = append(believed, g)
	}
	d.gaps = believed
	d.mu.Unlock()
	for _, g := range news {
		d.opts.Logger.Warn("no file has these transactions: nothing after them can be restored until the next snapshot",
			"from", g.min.String(), "to", g.max.String(), "last restorable", (g.min - 1).String())
	}
}
