package audit

import (
	"errors"
	"fmt"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

func isOtherName(err error) bool { return errors.Is(err, ltxfile.ErrName) }

// names looks at what the names alone tell.
func (v *verifier) names(t *database.Timeline) {
	var prev replica.File
	files, last := 0, ltx.TXID(0)
	for f := range t.Files() {
		if files > 0 && f.Level == prev.Level && f.Level < replica.SnapshotLevel && f.MinTXID <= prev.MaxTXID {
			v.found(&Finding{Code: Overlap, Severity: Warning, Stage: Names, File: pathOf(f.Name),
				Detail: fmt.Sprintf("it begins before %s ends", pathOf(prev.Name)),
				Advice: "make sure that no second Litestream writes to the replica"})
		}
		if files == 0 || f.Level != prev.Level || f.MaxTXID > prev.MaxTXID {
			prev = f
		}
		files, last = files+1, max(last, f.MaxTXID)
	}
	for _, s := range v.r.Strays() {
		v.found(&Finding{Code: Stray, Severity: Warning, Stage: Names, File: s,
			Detail: "no LTX file has such a name",
			Advice: "delete it if nothing else needs it: neither Litestream nor ltxfs does"})
	}
	for f := range t.Files() {
		if f.Level != replica.SnapshotLevel || f.MinTXID == 1 {
			continue
		}
		n := &Finding{Code: NoSnapshot, Severity: Damage, Stage: Names, File: pathOf(f.Name),
			Detail: "it is among the snapshots, but doesn't begin with the first transaction",
			Advice: "move it away: litestream restore begins with it, and fails or makes another state, where ltxfs passes over it"}
		res := v.results[keyOf(f)]
		canBe := res != nil && res.isTaken() && res.Header.MinTXID == 1
		n.Lost = v.takes(t, f.Name, canBe)
		if canBe && len(n.Lost) > 0 && n.Lost[0].Min == f.MaxTXID {
			n.Doubtful = []Range{{f.MaxTXID, f.MaxTXID}}
			if n.Lost[0].Min++; n.Lost[0].Min > n.Lost[0].Max {
				n.Lost = n.Lost[1:]
			}
		}
		v.found(n)
	}
	for _, n := range v.r.Odd() {
		f := &Finding{Code: NoFile, Severity: Damage, Stage: Names, File: pathOf(n),
			Detail: "it has the name of an LTX file, but is a link, a directory or something else",
			Advice: "put the file itself there, or move it away: litestream restore fails with it, where ltxfs passes over it"}
		if n.Check() == nil {
			f.Lost = v.takes(t, n, false)
		} else {
			f.Detail, f.Doubtful = "its name says that its first transaction comes after its last", v.takes(t, n, false)
			f.Advice = "move it away: litestream restore can fail with it, or make another state, where ltxfs passes over it"
			if len(f.Doubtful) == 0 {
				f.Code, f.Severity = Stray, Warning
			}
		}
		v.found(f)
	}
	for _, g := range t.Gaps() {
		to := last // or up to the next state, whatever files there are
		if i, _ := t.Search(g[1] + 1); i < t.Len() {
			to = t.TXID(i) - 1
		}
		n := &Finding{Code: Gap, Severity: Damage, Stage: Names, Lost: []Range{{g[0], to}},
			Detail: fmt.Sprintf("no file has the transactions %s", Range{g[0], g[1]}),
			Advice: "look for the missing files; without them, states can be restored again from Litestream's next snapshot on"}
		if i, _ := t.Search(g[0]); i == t.Len() {
			n.Advice += fmt.Sprintf("; until then, litestream restore needs -txid %s", t.TXID(i-1))
		}
		v.found(n)
	}
	if t.Len() == 0 {
		detail := "there are no files"
		if files > 0 {
			detail = fmt.Sprintf("of %d files, none is a snapshot or begins with the first transaction", files)
		}
		v.found(&Finding{Code: Nothing, Severity: Damage, Stage: Names, Detail: detail,
			Advice: "check that this is the replica's path, and that Litestream is running"})
	}
}

// takes are the states that Litestream would restore from a file that isn't one, or not the one
// that its name says: of the replica's states, and the one at its end, if that is after them.
func (v *verifier) takes(t *database.Timeline, n replica.Name, canBe bool) []Range {
	var all states
	for _, i := range t.Takes(n, canBe) {
		all.add(i)
	}
	ranges := all.ranges(t)
	if i, _ := t.Search(n.MaxTXID); i == t.Len() {
		ranges = append(ranges, Range{n.MaxTXID, n.MaxTXID})
	}
	return ranges
}

// conflicts finds files of the same transactions with other pages.
func (v *verifier) conflicts(t *database.Timeline, uses map[replica.Name]Range) {
	first, ends := map[Range]*result{}, map[ltx.TXID]*result{}
	for f := range t.Files() {
		res := v.results[keyOf(f)]
		if res == nil || res.Err != nil {
			continue
		}
		if other := ends[f.MaxTXID]; other == nil {
			ends[f.MaxTXID] = res
		} else if a, b := other.Header, res.Header; a.Commit != b.Commit || a.PageSize != b.PageSize {
			v.conflict(other, res, uses, "%s ends with the same transaction, and a database of %d pages of %d bytes, not %d of %d",
				pathOf(other.Name), a.Commit, a.PageSize, b.Commit, b.PageSize)
			continue
		}
		if !res.whole {
			continue
		}
		of := Range{f.MinTXID, f.MaxTXID}
		other := first[of]
		if other == nil {
			first[of] = res
			continue
		}
		if other.content != res.content {
			v.conflict(other, res, uses, "%s has the same transactions, and other pages", pathOf(other.Name))
		}
	}
}

func (v *verifier) conflict(a, b *result, uses map[replica.Name]Range, format string, args ...any) {
	n := &Finding{Code: Conflict, Severity: Damage, Stage: Bytes, File: pathOf(b.Name), Detail: fmt.Sprintf(format, args...),
		Advice: "restore a state that needs them from both, the one or the other moved away, and compare the databases"}
	for _, r := range []*result{a, b} {
		if use, ok := uses[r.Name]; ok {
			n.Doubtful = append(n.Doubtful, use)
		}
	}
	v.found(n)
}
