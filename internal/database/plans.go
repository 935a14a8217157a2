package database

import (
	"iter"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Step is how the plan of a state comes from that of the state before: the first Keep files
// of it stay, and File follows them.
type Step struct {
	TXID ltx.TXID
	Keep int
	File replica.File
}

// Plans are the files that Litestream restores each state from, by ascending TXID. All of
// them take no longer than one pass over the files.
func (t *Timeline) Plans() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		at := []ltx.TXID{0} // at[n] is the state after n files of the plan
		based := 0          // 1 if the first of them is a snapshot
		files := t.byEnd()
		for _, p := range t.points {
			for files[0].MaxTXID < p.txid {
				files = files[1:]
			}
			best := files[0].Name
			for n := 1; n < len(files) && files[n].MaxTXID == p.txid && !isBase(best); n++ {
				if isBase(files[n].Name) || byPreference(files[n].Name, best) > 0 {
					best = files[n].Name
				}
			}
			// A restore takes it as soon as it can.
			keep := 0
			if isBase(best) {
				based = 1
			} else {
				n, _ := slices.BinarySearch(at[based:], max(best.MinTXID, 1)-1)
				keep = based + n
			}
			at = append(at[:keep+1], p.txid)
			l := t.levels[best.Level]
			i, _ := l.Search(best)
			if !yield(Step{p.txid, keep, l.At(i)}) {
				return
			}
		}
	}
}

// Takes are the states, in order, that Litestream would restore from a file of a name if it
// were one. Among the snapshots, it takes any for one, the last by its name; where that can be,
// since its header is of another, a later file that has all pages makes up for it.
func (t *Timeline) Takes(n replica.Name, canBe bool) (all []int) {
	i := -1
	var plan []replica.Name
	for step := range t.Plans() {
		i++
		plan = append(plan[:step.Keep], step.File.Name)
		switch {
		case n.MaxTXID > step.TXID:
		case n.Level < replica.SnapshotLevel:
			if takes(n, plan) {
				all = append(all, i)
			}
		case isBase(plan[0]) && n.Compare(plan[0]) < 0:
		case !canBe || !slices.ContainsFunc(t.planFrom(n.MaxTXID, step.TXID), func(f replica.File) bool { return f.MinTXID == 1 }):
			all = append(all, i)
		}
	}
	return all
}

// takes reports whether a restore with a plan would take another file that is no snapshot.
func takes(n replica.Name, plan []replica.Name) bool {
	var at ltx.TXID
	for _, f := range plan {
		if !isBase(f) && n.MinTXID <= at+1 && n.MaxTXID > at && byPreference(n, f) > 0 {
			return true
		}
		at = f.MaxTXID
	}
	return false
}
