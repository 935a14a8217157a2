package audit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// link is a file of a plan, and what the plan comes to with it.
type link struct {
	res    *result // nil if the file wasn't looked at
	cause  *cost   // what is wrong, for all that follow, beside damage of one file; nil without
	broken bool    // no state can be restored with these files
	proven bool    // all bytes of these files were read, and are sound
	high   uint32  // the most pages that the database had
	holes  []hole  // pages that none of the files has
}

// hole is pages that should be in a file.
type hole struct {
	from, to uint32
	of       *result
}

// cost is what something that a file is the cause of costs.
type cost struct {
	Code
	res            *result
	detail         string
	lost, doubtful states
}

// states are rows of states, from one's place in the timeline to another's.
type states [][2]int

// add adds a state, which comes after those that are there.
func (s *states) add(i int) {
	if n := len(*s); n > 0 && (*s)[n-1][1] == i-1 {
		(*s)[n-1][1] = i
		return
	}
	*s = append(*s, [2]int{i, i})
}

func (s states) ranges(t *database.Timeline) (all []Range) {
	for _, r := range s {
		all = append(all, Range{t.TXID(r[0]), t.TXID(r[1])})
	}
	return all
}

// chains goes through the plans of all states, and finds out which can't be restored since
// their files don't fit together.
type chains struct {
	v     *verifier
	t     *database.Timeline
	costs map[Code]map[*result]*cost
}

// cost is what a file costs, with what is wrong.
func (c *chains) cost(code Code, res *result, format string, args ...any) *cost {
	if c.costs[code] == nil {
		c.costs[code] = map[*result]*cost{}
	}
	if c.costs[code][res] == nil {
		c.costs[code][res] = &cost{Code: code, res: res, detail: fmt.Sprintf(format, args...)}
	}
	return c.costs[code][res]
}

// states finds out which states can be restored, and reports what costs any.
func (v *verifier) states(ctx context.Context, t *database.Timeline) (lost states, err error) {
	c := &chains{v: v, t: t, costs: map[Code]map[*result]*cost{}}
	var plan []*link
	i := 0
	for step := range t.Plans() {
		plan = plan[:step.Keep]
		var prev *link
		if len(plan) > 0 {
			prev = plan[len(plan)-1]
		}
		l, err := c.follow(ctx, prev, v.results[keyOf(step.File)])
		if err != nil {
			return nil, err
		}
		plan = append(plan, l)
		cause, missing := l.cause, c.missing(l)
		if cause == nil {
			cause = missing
		}
		switch {
		case l.broken || missing != nil || l.res != nil && l.res.endsNone():
			lost.add(i)
			if cause != nil {
				cause.lost.add(i)
			}
		case cause != nil:
			cause.doubtful.add(i)
		case l.proven:
			v.report.Proven = stateOf(step.TXID, step.File, l.res)
		}
		v.report.Newest = stateOf(step.TXID, step.File, l.res)
		i++
	}
	v.report.States, v.report.Lost = i, lost.ranges(t)
	for _, res := range v.results {
		// Of which some may cost nothing.
		if isOf := ltxfile.IsIncomplete(res.Err); isOf {
			c.cost(Incomplete, res, "")
		} else if isOtherName(res.Err) {
			c.cost(OtherName, res, "")
		}
	}
	for _, costs := range c.costs {
		for res, cost := range costs {
			f := &Finding{Code: cost.Code, Severity: Damage, Stage: Indexes, File: pathOf(res.Name), Detail: cost.detail, Advice: adviceOf(res.Name)}
			if f.Detail == "" {
				f = ofFile(res.File.File, res.Err)
			}
			f.Lost, f.Doubtful = cost.lost.ranges(t), cost.doubtful.ranges(t)
			v.found(f)
		}
	}
	return lost, nil
}

// follow adds a file to a plan.
func (c *chains) follow(ctx context.Context, prev *link, res *result) (*link, error) {
	l := &link{res: res}
	if prev != nil {
		l.cause, l.broken, l.high, l.holes = prev.cause, prev.broken, prev.high, prev.holes
	}
	if res == nil { // not looked at: it may have any pages
		l.high, l.holes = math.MaxUint32, nil
		return l, nil
	}
	l.proven = (prev == nil || prev.proven) && res.whole && res.Err == nil
	if res.Err != nil && !isOtherName(res.Err) && !ltxfile.IsIncomplete(res.Err) {
		l.broken = l.broken || !res.restorable
		l.high, l.holes = math.MaxUint32, nil
		return l, nil
	}
	c.checkHeaders(prev, l)
	if l.broken {
		return l, nil
	}
	return l, c.fill(ctx, l)
}

// missing is what pages cost that the state at a link lacks, or nil if it has all.
func (c *chains) missing(l *link) *cost {
	if l.res == nil || l.broken {
		return nil
	}
	i := slices.IndexFunc(l.holes, func(h hole) bool { return h.from <= l.res.Header.Commit })
	switch {
	case i < 0:
		return nil
	case ltxfile.IsIncomplete(l.holes[i].of.Err):
		return c.cost(Incomplete, l.holes[i].of, "")
	}
	h := l.holes[i]
	return c.cost(MissingPages, h.of, "the database grew to %d pages, but no file has page %d", h.of.Header.Commit, h.from)
}

// checkHeaders compares a file with the one before it as Litestream does, and the checksums of
// the database, where files have them.
func (c *chains) checkHeaders(prev, l *link) {
	h := l.res.Header
	if isOtherName(l.res.Err) && l.cause == nil {
		l.cause = c.cost(OtherName, l.res, "")
	}
	if prev == nil {
		l.broken = l.broken || h.MinTXID != 1
		return
	}
	if prev.res == nil || prev.res.Header.MinTXID == 0 {
		return
	}
	before := prev.res.Header
	switch post := prev.res.Trailer.PostApplyChecksum; {
	case !ltx.IsContiguous(before.MaxTXID, h.MinTXID, h.MaxTXID):
		// Names follow each other, so that one of them is wrong.
		l.broken = true
	case before.PageSize != h.PageSize:
		l.cause = c.cost(PageSize, l.res, "its pages have %d bytes, those of %s %d", h.PageSize, pathOf(prev.res.Name), before.PageSize)
		l.broken = true
	case l.cause == nil && !h.NoChecksum() && !before.NoChecksum() && before.MaxTXID+1 == h.MinTXID && post != h.PreApplyChecksum:
		l.cause = c.cost(Chain, l.res, "it was made from a database with the checksum %s, but after %s it is %s", h.PreApplyChecksum, pathOf(prev.res.Name), post)
		l.proven = false
	}
}

// fill updates which pages no file has.
func (c *chains) fill(ctx context.Context, l *link) error {
	res := l.res
	if l.high < res.Header.Commit {
		if len(l.holes) == 0 && res.Err == nil && res.Tail <= l.high+1 {
			l.high = res.Header.Commit
			return nil
		}
		l.holes = append(slices.Clone(l.holes), hole{l.high + 1, res.Header.Commit, res})
		l.high = res.Header.Commit
	}
	if len(l.holes) == 0 {
		return nil
	}
	pages, err := c.v.pages(ctx, res.File.File)
	if err != nil {
		return err
	}
	lock := res.Header.LockPgno()
	var left []hole
	for _, h := range l.holes {
		i, _ := slices.BinarySearch(pages, h.from)
		for from := h.from; ; i++ {
			to := h.to // the last that is missing before the next page
			if i < len(pages) {
				to = min(to, pages[i]-1)
			}
			if from <= lock && lock <= to { // which has no content
				left = addHole(left, hole{from, lock - 1, h.of})
				from = lock + 1
			}
			left = addHole(left, hole{from, to, h.of})
			if to == h.to {
				break
			}
			from = pages[i] + 1
		}
	}
	l.holes = left
	return nil
}

func addHole(all []hole, h hole) []hole {
	if h.from > h.to {
		return all
	}
	return append(all, h)
}

// pages are the numbers of the pages of a file.
func (v *verifier) pages(ctx context.Context, f replica.File) (pages []uint32, err error) {
	h := v.r.Blocks.Open(v.r.ID, v.r.Store, f)
	defer h.Close()
	err = readIndex(partly(ctx, v.r, h, f), f.Size, func(fr ltxfile.Frame) error {
		pages = append(pages, fr.Pgno)
		return nil
	})
	return pages, err
}

func stateOf(txid ltx.TXID, f replica.File, res *result) *State {
	s := &State{TXID: txid, Time: f.ModTime.UTC()}
	if res != nil && res.Header.MinTXID > 0 {
		s.Time, s.Size = time.UnixMilli(res.Header.Timestamp).UTC(), int64(res.Header.PageSize)*int64(res.Header.Commit)
	}
	return s
}

// databases has SQLite check the newest states, but for those that can't be restored.
func (v *verifier) databases(ctx context.Context, t *database.Timeline, lost states) (StageReport, error) {
	n := t.Len()
	if v.opts.States >= 0 {
		n = min(n, v.opts.States)
	}
	stage := StageReport{Stage: Databases, Of: n}
	for i := t.Len() - 1; i >= t.Len()-n; i-- {
		if slices.ContainsFunc(lost, func(r [2]int) bool { return r[0] <= i && i <= r[1] }) {
			continue
		}
		txid := t.TXID(i)
		faults, err := v.check(ctx, txid)
		if errors.Is(err, database.ErrDamaged) || errors.Is(err, database.ErrIncomplete) {
			faults, err = []string{err.Error()}, nil
		}
		if err != nil {
			return stage, err
		}
		stage.Done++
		if len(faults) > 0 {
			v.found(&Finding{Code: BadDatabase, Severity: Damage, Stage: Databases, Doubtful: []Range{{txid, txid}},
				Detail: fmt.Sprintf("SQLite's %s check of state %s: %s", v.opts.Check, txid, strings.Join(faults, "; ")),
				Advice: "find the newest state that passes with --states all, and restore that; if the database itself doesn't pass either, repair it with sqlite3's .recover"})
			if p := v.report.Proven; p != nil && p.TXID == txid {
				v.report.Proven = nil
			}
		}
	}
	return stage, nil
}

func (v *verifier) check(ctx context.Context, txid ltx.TXID) (faults []string, err error) {
	err = v.r.States.Current(ctx, func(t *database.Timeline) error {
		i, ok := t.Search(txid)
		if !ok {
			faults = nil // retention deleted it meanwhile
			return nil
		}
		s, err := v.r.States.State(ctx, t, i)
		if err == nil {
			faults, err = v.opts.Check.State(ctx, s)
		}
		return err
	})
	return faults, err
}
