package database

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// timeLayout is how the time of a state is written: RFC 3339 in UTC, with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

// FormatTime writes the time of a state.
func FormatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// ParseTime reads an instant: RFC 3339, or with ISO 8601's shorter offsets, with any fraction or none, of which the seconds,
// the offset, or the whole time of the day may be left out. Without an offset it is
// UTC.
func ParseTime(s string) (t time.Time, ok bool) {
	s = strings.Replace(strings.ToUpper(s), " ", "T", 1)
	for _, clock := range []string{"T15:04:05", "T15:04"} {
		for _, offset := range []string{"Z07:00", "Z0700", "Z07", ""} {
			if t, err := time.Parse(time.DateOnly+clock+offset, s); err == nil {
				return t, true
			}
		}
	}
	t, err := time.Parse(time.DateOnly, s)
	return t, err == nil
}

// Instant is a time from which on a state can be restored, and the place of the last
// state of which that is true.
type Instant struct {
	Time time.Time
	I    int
}

// At returns the place of the state that Litestream restores for an instant, or -1: the
// last one for which no file is needed that has a later timestamp. Where times ascend,
// that is the last one whose time isn't later, and found with few requests; what is
// seen then can show that they don't, and the timestamps of all files are read.
func (d *Database) At(ctx context.Context, t *Timeline, at time.Time) (int, error) {
	d.mu.Lock()
	all := d.unordered || d.instants.of == t
	d.mu.Unlock()
	if !all {
		i, err := d.search(ctx, t, at)
		if !errors.Is(err, errUnordered) && !errors.Is(err, ErrDamaged) {
			return i, err
		}
	}
	known, err := d.Instants(ctx, t)
	n := sort.Search(len(known), func(i int) bool { return known[i].Time.After(at) })
	if n == 0 {
		return -1, err
	}
	return known[n-1].I, nil
}

// search is At by halves. A snapshot has the time when it was taken, after its state:
// if that is too late, it is looked for what can be restored without it.
func (d *Database) search(ctx context.Context, t *Timeline, at time.Time) (int, error) {
	for s := t; ; {
		i, err := d.lastBefore(ctx, s, at)
		if err != nil || i < 0 {
			return i, err
		}
		if base, ok := s.base(s.TXID(i)); ok {
			h, err := d.header(ctx, base)
			if err != nil {
				return -1, err
			}
			if time.UnixMilli(h.time).After(at) {
				s = newTimeline(t.levels, base.MaxTXID, nil)
				continue
			}
		}
		txid := s.TXID(i)
		if err := d.checkPlan(ctx, s.plan(txid), at); err != nil {
			return -1, err
		}
		i, _ = t.Search(txid)
		return i, nil
	}
}

// maxChecked is how many files of a plan are looked at for times that don't ascend, which
// halving can miss.
const maxChecked = 32

// checkPlan returns an error if one of the last files of a plan has a later time than an
// instant at which it is to be restored.
func (d *Database) checkPlan(ctx context.Context, plan []replica.File, at time.Time) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, f := range plan[max(len(plan)-maxChecked, 0):] {
		g.Go(func() error {
			h, err := d.header(gctx, f)
			if err == nil && time.UnixMilli(h.time).After(at) {
				d.foundUnordered(f.MaxTXID, plan[len(plan)-1].MaxTXID)
				err = errUnordered
			}
			return err
		})
	}
	return g.Wait()
}

// lastBefore is the place of the last state whose time isn't after an instant, or -1.
func (d *Database) lastBefore(ctx context.Context, t *Timeline, at time.Time) (int, error) {
	seen := map[int]time.Time{}
	var err error
	n := sort.Search(t.Len(), func(i int) bool {
		if err != nil {
			return true
		}
		var stamp header
		if stamp, err = d.stampOf(ctx, t, i); err != nil {
			return true
		}
		when := d.timeOf(t, i, stamp)
		for j, other := range seen {
			if !stamp.taken && (j < i && other.After(when) || j > i && other.Before(when)) {
				d.foundUnordered(t.TXID(min(i, j)), t.TXID(max(i, j)))
				err = errUnordered
			}
		}
		if !stamp.taken {
			seen[i] = when
		}
		return when.After(at)
	})
	return n - 1, err
}

var errUnordered = errors.New("the times of the states don't ascend")

// foundUnordered notes that a state has an earlier time than one before it.
func (d *Database) foundUnordered(earlier, later ltx.TXID) {
	d.mu.Lock()
	was := d.unordered
	d.unordered = true
	d.mu.Unlock()
	if !was {
		d.opts.Logger.Warn("the times of transactions don't ascend, as after the clock of who wrote them was set back: "+
			"a transaction can be restored from the latest time on that it or one before it has",
			"txid", earlier.String(), "with an earlier time", later.String())
	}
}

// instants are those of a timeline.
type instants struct {
	of  *Timeline
	all []Instant
}

// Instants returns the times from which on states can be restored, ascending, several
// of one time as one. It reads the headers of all files, once; a damaged one doesn't
// count.
func (d *Database) Instants(ctx context.Context, t *Timeline) ([]Instant, error) {
	d.mu.Lock()
	known := d.instants
	d.mu.Unlock()
	if known.of == t {
		return known.all, nil
	}
	times, err := d.readTimes(ctx, t)
	if err != nil {
		return nil, err
	}
	if earlier, later, ok := t.firstDescent(times); ok {
		d.foundUnordered(earlier, later)
	}
	all := t.instants(times)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setInstants(instants{t, all})
	return all, nil
}

// setInstants keeps instants, or none once d is closed. Database.mu is held.
func (d *Database) setInstants(i instants) {
	if d.closed {
		i = instants{}
	}
	d.opts.Memory.Add(int64(cap(i.all)-cap(d.instants.all)) * instantSize)
	d.instants = i
}

// instantSize is the size of an Instant in bytes.
const instantSize = 32

// readTimes reads the timestamps of all files, by level and place, in Unix
// milliseconds; never is that of a damaged one, or one that is gone.
func (d *Database) readTimes(ctx context.Context, t *Timeline) (times [replica.MaxLevel + 1][]int64, err error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(mostAhead)
	for level, l := range t.levels {
		times[level] = make([]int64, l.Len())
		for i := range times[level] {
			g.Go(func() error {
				h, err := d.header(ctx, l.At(i))
				times[level][i] = h.time
				if errors.Is(err, ErrDamaged) || errors.Is(err, os.ErrNotExist) {
					times[level][i], err = never, nil
				}
				return err
			})
		}
	}
	return times, g.Wait()
}

const never = math.MaxInt64

// firstDescent finds a state with an earlier time than the one before it. Snapshots, which
// are taken later, don't count.
func (t *Timeline) firstDescent(times [replica.MaxLevel + 1][]int64) (earlier, later ltx.TXID, ok bool) {
	last := int64(math.MinInt64)
	for _, p := range t.points {
		at := times[p.level][p.i]
		if at == never || isBase(t.levels[p.level].Name(int(p.i))) {
			continue
		}
		if at < last {
			return earlier, p.txid, true
		}
		earlier, last = p.txid, at
	}
	return 0, 0, false
}

// instants finds from when on each state can be restored: the latest time of the files
// that are needed for it, of those ways to restore it the one where that is earliest.
func (t *Timeline) instants(times [replica.MaxLevel + 1][]int64) []Instant {
	type since struct {
		txid ltx.TXID
		from int64
	}
	// Those that are needed to find the earliest of all from some TXID on: each is
	// later than the one before it.
	var earliest []since
	files, all := t.byEnd(), make([]Instant, 0, t.Len())
	for len(files) > 0 {
		txid, from := files[0].MaxTXID, int64(never)
		for ; len(files) > 0 && files[0].MaxTXID == txid; files = files[1:] {
			f := files[0]
			after := int64(math.MinInt64) // when what it goes on from can be restored
			if !isBase(f.Name) && f.MinTXID > 1 {
				i := sort.Search(len(earliest), func(i int) bool { return earliest[i].txid >= f.MinTXID-1 })
				if after = never; i < len(earliest) {
					after = earliest[i].from
				}
			}
			from = min(from, max(after, times[f.Level][f.i]))
		}
		if from == never {
			continue
		}
		for len(earliest) > 0 && earliest[len(earliest)-1].from >= from {
			earliest = earliest[:len(earliest)-1]
		}
		earliest = append(earliest, since{txid, from})
		if i, ok := t.Search(txid); ok {
			all = append(all, Instant{time.UnixMilli(from).UTC(), i})
		}
	}
	slices.SortStableFunc(all, func(a, b Instant) int { return a.Time.Compare(b.Time) })
	n := 0
	for i, a := range all {
		if i > 0 {
			a.I = max(a.I, all[n-1].I)
			if a.Time.Equal(all[n-1].Time) {
				n--
			}
		}
		all[n] = a
		n++
	}
	return slices.Clip(all[:n])
}
