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
	for _, g := range t.Gaps() {
		to := last // or up to the next state, whatever files there are
		if i, _ := t.Search(g[1] + 1); i < t.Len() {
			to = t.TXID(i) - 1
		}
		v.found(&Finding{Code: Gap, Severity: Damage, Stage: Names, Lost: []Range{{g[0], to}},
			Detail: fmt.Sprintf("no file has the transactions %s", Range{g[0], g[1]}),
			Advice: "look for the missing files; without them, states can be restored again from Litestream's next snapshot on"})
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

// conflicts finds files of the same transactions with other pages.
func (v *verifier) conflicts(t *database.Timeline, uses map[replica.Name]Range) {
	first := map[Range]*result{}
	for f := range t.Files() {
		res := v.results[keyOf(f)]
		if res == nil || !res.whole || res.Err != nil {
			continue
		}
		of := Range{f.MinTXID, f.MaxTXID}
		other := first[of]
		if other == nil {
			first[of] = res
			continue
		}
		if other.content == res.content && other.Header.Commit == res.Header.Commit {
			continue
		}
		n := &Finding{Code: Conflict, Severity: Damage, Stage: Bytes, File: pathOf(f.Name),
			Detail: fmt.Sprintf("%s has the same transactions, and other pages", pathOf(other.Name)),
			Advice: "restore a state that needs them from both, the one or the other moved away, and compare the databases"}
		for _, r := range []*result{other, res} {
			if use, ok := uses[r.Name]; ok {
				n.Doubtful = append(n.Doubtful, use)
			}
		}
		v.found(n)
	}
}
