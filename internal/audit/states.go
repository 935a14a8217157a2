package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

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

func (s states) has(i int) bool {
	return slices.ContainsFunc(s, func(r [2]int) bool { return r[0] <= i && i <= r[1] })
}

func (s states) ranges(t *database.Timeline) (all []Range) {
	for _, r := range s {
		all = append(all, Range{t.TXID(r[0]), t.TXID(r[1])})
	}
	return all
}

// chains goes through the plans of all states, and finds out which can't be restored.
type chains struct {
	v *verifier
	t *database.Timeline

	lost   states
	proven []int // states
	costs  []*cost
}

// cost is what a file costs by what is wrong.
func (c *chains) cost(code Code, res *result, format string, args ...any) *cost {
	i := slices.IndexFunc(c.costs, func(known *cost) bool { return known.Code == code && known.res == res })
	if i < 0 {
		i = len(c.costs)
		c.costs = append(c.costs, &cost{Code: code, res: res, detail: fmt.Sprintf(format, args...)})
	}
	return c.costs[i]
}

func (c *chains) result(f replica.File) *result { return c.v.results[keyOf(f)] }

func (c *chains) walk(ctx context.Context) error {
	for f := range c.t.Files() { // of which some may cost nothing
		switch res := c.result(f); {
		case res == nil || !res.inChains():
		case isOtherName(res.Err):
			c.cost(OtherName, res, "")
		default:
			c.cost(Incomplete, res, "")
		}
	}
	var plan []*link
	i := 0
	for step := range c.t.Plans() {
		plan = plan[:step.Keep]
		var prev *link
		if len(plan) > 0 {
			prev = plan[len(plan)-1]
		}
		l, err := c.follow(ctx, prev, c.result(step.File))
		if err != nil {
			return err
		}
		plan = append(plan, l)
		cause, missing := l.cause, c.missing(l)
		if cause == nil {
			cause = missing
		}
		if cause == nil && l.res != nil && l.res.Err == nil && l.res.endsNone() {
			cause = c.cost(BadHeader, l.res, "it says that the database has no pages")
		}
		switch {
		case l.broken || missing != nil || l.res != nil && l.res.endsNone():
			c.lost.add(i)
			if cause != nil {
				cause.lost.add(i)
			}
		case cause != nil:
			cause.doubtful.add(i)
		case l.proven && (l.res.Header.NoChecksum() || l.res.Header.IsSnapshot()):
			// Otherwise nothing shows that the database has the checksum that the file says.
			c.proven = append(c.proven, i)
		}
		i++
	}
	return nil
}

// found reports what is wrong with files beside others.
func (c *chains) found() {
	slices.SortFunc(c.costs, func(a, b *cost) int { return cmp.Or(a.res.Compare(b.res.Name), cmp.Compare(a.Code, b.Code)) })
	for _, cost := range c.costs {
		f := &Finding{Code: cost.Code, Severity: Damage, Stage: Indexes, File: pathOf(cost.res.Name), Detail: cost.detail, Advice: adviceOf(cost.res.Name)}
		if f.Detail == "" {
			f = ofFile(cost.res.File.File, cost.res.Err)
		}
		if cost.Code == BadHeader {
			f.Stage = Headers
		}
		if cost.Code == Incomplete && len(cost.doubtful) > 0 {
			f.Advice = "litestream restore takes what it lacks from files before it, and ltxfs refuses that; " + f.Advice
		}
		f.Lost, f.Doubtful = cost.lost.ranges(c.t), cost.doubtful.ranges(c.t)
		c.v.found(f)
	}
}

// movable are the states that can be restored once all files are moved away that states are
// lost by.
func (c *chains) movable(ctx context.Context) []Range {
	bad := map[replica.Name]bool{}
	for f := range c.t.Files() {
		if res := c.result(f); res != nil && res.Err != nil && !res.inChains() && (!res.restorable || res.endsNone()) {
			bad[f.Name] = true
		}
	}
	for _, cost := range c.costs {
		if len(cost.lost) > 0 {
			bad[cost.res.Name] = true
		}
	}
	without := &chains{v: c.v, t: c.t.Without(bad)}
	if without.walk(ctx) != nil {
		return nil // it is advice, which isn't given then
	}
	var all states
	for _, r := range c.lost {
		for i := r[0]; i <= r[1]; i++ {
			if at, ok := without.t.Search(c.t.TXID(i)); ok && !without.lost.has(at) {
				all.add(i)
			}
		}
	}
	return all.ranges(c.t)
}

// addLost adds states that are lost for another reason than those of walk.
func (c *chains) addLost() {
	var all states
	for i := range c.t.Len() {
		if c.lost.has(i) || c.in(c.v.lost, i) {
			all.add(i)
		}
	}
	c.lost = all
}

// in reports whether a state is in some ranges.
func (c *chains) in(ranges []Range, i int) bool {
	txid := c.t.TXID(i)
	return slices.ContainsFunc(ranges, func(r Range) bool { return r.Min <= txid && txid <= r.Max })
}

// state is what is known of a state.
func (c *chains) state(i int) *State {
	f := c.t.End(i)
	s := &State{TXID: f.MaxTXID, Time: f.ModTime.UTC()}
	if res := c.result(f); res != nil && res.Err == nil {
		s.Time, s.Size = res.Time(), int64(res.Header.PageSize)*int64(res.Header.Commit)
	}
	return s
}

func (c *chains) newest() *State {
	if c.t.Len() == 0 {
		return nil
	}
	return c.state(c.t.Len() - 1)
}

func (c *chains) lastProven() *State {
	for _, i := range slices.Backward(c.proven) {
		if !c.lost.has(i) && !c.in(c.v.doubtful, i) {
			return c.state(i)
		}
	}
	return nil
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
	if prev != nil && l.cause == nil && ltxfile.IsIncomplete(res.Err) && res.restorable {
		l.cause = c.cost(Incomplete, res, "") // what it lacks is taken from files before it
	}
	if res.Err != nil && !res.inChains() {
		if l.broken = l.broken || !res.restorable; !l.broken {
			c.checkHeaders(prev, l)
		}
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
	if err := ltxfile.CheckName(h, l.res.MinTXID, l.res.MaxTXID); err != nil && l.cause == nil {
		if isOtherName(l.res.Err) {
			l.cause = c.cost(OtherName, l.res, "")
		} else { // beside what is wrong with it otherwise
			l.cause = c.cost(OtherName, l.res, "%v", err)
		}
	}
	if prev == nil {
		l.broken = l.broken || h.MinTXID != 1
		return
	}
	if prev.res == nil || prev.res.Header.MinTXID == 0 {
		return
	}
	before := prev.res.Header
	known := prev.res.Err == nil || isOtherName(prev.res.Err)
	switch post := prev.res.Trailer.PostApplyChecksum; {
	case !ltx.IsContiguous(before.MaxTXID, h.MinTXID, h.MaxTXID):
		// Names follow each other, so that one of them is wrong.
		l.broken = true
	case before.PageSize != h.PageSize:
		l.cause = c.cost(PageSize, l.res, "its pages have %d bytes, those of %s %d", h.PageSize, pathOf(prev.res.Name), before.PageSize)
		l.broken = true
	case l.cause == nil && known && !h.NoChecksum() && !before.NoChecksum() && before.MaxTXID+1 == h.MinTXID && post != h.PreApplyChecksum:
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
	var left []hole
	rest := slices.Clone(l.holes)
	has := func(pgno uint32) {
		for len(rest) > 0 && rest[0].to < pgno {
			left, rest = addHole(left, rest[0]), rest[1:]
		}
		if len(rest) > 0 && rest[0].from <= pgno {
			left = addHole(left, hole{rest[0].from, pgno - 1, rest[0].of})
			rest[0].from = pgno + 1
		}
	}
	lock := res.Header.LockPgno() // which has no content
	err := c.v.pages(ctx, res, func(pgno uint32) {
		if pgno > lock {
			has(lock)
		}
		has(pgno)
	})
	switch {
	case ltxfile.IsInvalid(err) && ltxfile.IsIncomplete(res.Err): // whichever those are that it lacks
		return nil
	case ltxfile.IsInvalid(err): // its index, which a restore doesn't need
		l.high, l.holes = math.MaxUint32, nil
		return nil
	case err != nil:
		return err
	}
	has(lock)
	for _, h := range rest {
		left = addHole(left, h)
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

// pages calls has with the number of each page of a file.
func (v *verifier) pages(ctx context.Context, res *result, has func(pgno uint32)) error {
	if !res.many && !ltxfile.IsInvalid(res.Err) {
		for _, pgno := range res.pages {
			has(pgno)
		}
		return nil
	}
	f := res.File.File
	h := v.r.Blocks.Open(v.r.ID, v.r.Store, f)
	defer h.Close()
	err := readIndex(partly(ctx, v.r, h, f), f.Size, func(fr ltxfile.Frame) error {
		has(fr.Pgno)
		return nil
	})
	if ltxfile.IsInvalid(err) {
		err = replica.NewFileError("read", f.Name, err)
	}
	return err
}

// databases has SQLite check the newest states, but for those that can't be restored.
func (v *verifier) databases(ctx context.Context, c *chains) (StageReport, error) {
	n := c.t.Len()
	if v.opts.States >= 0 {
		n = min(n, v.opts.States)
	}
	stage := StageReport{Stage: Databases, Of: n}
	for i := c.t.Len() - 1; i >= c.t.Len()-n; i-- {
		if c.lost.has(i) {
			continue
		}
		txid := c.t.TXID(i)
		faults, err := v.check(ctx, txid)
		switch {
		case errors.Is(err, errDeleted):
			continue
		case errors.Is(err, database.ErrDamaged) || errors.Is(err, database.ErrIncomplete):
			faults, err = []string{err.Error()}, nil
		case err != nil:
			return stage, fmt.Errorf("SQLite's %s check of state %s: %w", v.opts.Check, txid, err)
		}
		stage.Done++
		if len(faults) == 0 {
			continue
		}
		v.found(&Finding{Code: BadDatabase, Severity: Damage, Stage: Databases, Doubtful: []Range{{txid, txid}},
			Detail: fmt.Sprintf("SQLite's %s check of state %s: %s", v.opts.Check, txid, strings.Join(faults, "; ")),
			Advice: "find the newest state that passes with --states all, and restore that; if the database itself doesn't pass either, repair it with sqlite3's .recover"})
	}
	return stage, nil
}

// errDeleted means that retention has deleted a state meanwhile.
var errDeleted = errors.New("the state isn't there any more")

func (v *verifier) check(ctx context.Context, txid ltx.TXID) (faults []string, err error) {
	err = v.r.States.Current(ctx, func(t *database.Timeline) error {
		i, ok := t.Search(txid)
		if !ok {
			return errDeleted
		}
		s, err := v.r.States.State(ctx, t, i)
		if err != nil {
			return err
		}
		left := s.Size() // SQLite can read a page more than once, and others never
		done := func(n int64) {
			n = min(n, left)
			left -= n
			v.opts.Done(0, n)
		}
		v.opts.Begin(0, left)
		defer func() { done(left) }()
		faults, err = v.opts.Check.State(ctx, s, done)
		return err
	})
	return faults, err
}
