package bench

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// results are what was measured.
type results struct {
	w      *world
	groups []*group
	cells  map[cellKey]*cell
}

type cellKey struct {
	group string
	place string
	row   string
	who   *contestant
}

// cell is all that was measured of a contestant at a row in a place.
type cell struct {
	samples map[int]sample // by round
	err     error          // that ended the measuring
}

// sample is one measurement.
type sample struct {
	outcome
	traffic s3test.Traffic
	gc      float64 // the collector's share of the CPU time, or -1 if unknown
}

// patience is how long a peer or the baseline may take in the first round for what it is to
// do again.
const patience = 5 * time.Second

// once reports whether a contestant does a row, and what follows it on the same mount,
// in the first round alone. Whom a goal of the group is against does all of it in each.
func (r *results) once(g *group, p place, row row, c *contestant) bool {
	first, ok := r.cell(g, p, row, c).samples[0]
	if !ok || c.kind != peer && c.kind != baseline || first.Seconds <= patience.Seconds() {
		return false
	}
	return !slices.ContainsFunc(goals, func(goal goal) bool {
		against := goal.against == c.name || goal.against == bestPeer && c.kind == peer
		return against && goal.group == g.name && goal.place(r.w) == p
	})
}

func newResults(w *world, groups []*group) *results {
	return &results{w: w, groups: groups, cells: map[cellKey]*cell{}}
}

func (r *results) cell(g *group, p place, row row, c *contestant) *cell {
	key := cellKey{g.name, p.name, row.name, c}
	if r.cells[key] == nil {
		r.cells[key] = &cell{samples: map[int]sample{}}
	}
	return r.cells[key]
}

// contestants are who take part, those that can't run left out.
func (r *results) contestants(g *group, p place) []*contestant {
	return slices.DeleteFunc(g.contestants(r.w, p), func(c *contestant) bool { return !c.chosen() || c.absent() != nil })
}

// measure has a contestant do all rows of a group once. What fails isn't tried
// again in later rounds, and neither is what comes after it.
func (r *results) measure(g *group, p place, c *contestant, round int) {
	replica := replicaAt{place: p, name: g.replica, write: g.write}
	if g.write {
		replica.name += "-" + rand.Text() // one of its own
		defer func() {
			if err := r.w.discard(replica); err != nil {
				r.w.b.Error(err)
			}
		}()
	}
	var s *session
	var last *cell // that s worked for
	end := func() {
		if s == nil {
			return
		}
		if err := s.close(); err != nil && last.err == nil {
			last.err = err
		}
		s = nil
	}
	defer end()
	usable := false
	for _, row := range g.rows {
		if c == sdk && !row.fresh {
			continue // it caches nothing
		}
		if c == vfs && row.job.Query == "" {
			continue // it has no file to copy
		}
		cell := r.cell(g, p, row, c)
		if row.fresh {
			end()
			usable = true
		}
		if cell.err != nil {
			break
		}
		if usable = usable && (round == 0 || !r.once(g, p, row, c)); !usable {
			continue
		}
		last = cell
		var measured sample
		err := error(nil)
		if s == nil {
			s, err = r.w.open(c, replica)
		}
		if err == nil {
			measured, err = r.w.measure(s, row, round)
		}
		if err == nil && g.write {
			err = r.w.stored(replica, row.level, row.job.Source)
		}
		if err != nil {
			r.w.progress("%s failed at %s: %v", c.name, row.name, err)
			cell.err = err
			break
		}
		cell.samples[round] = measured
	}
}

// open makes a contestant ready.
func (w *world) open(c *contestant, r replicaAt) (*session, error) {
	if r.write && r.endpoint == "" {
		if err := os.MkdirAll(filepath.Join(w.dir, r.name), 0o755); err != nil {
			return nil, err
		}
	}
	before := w.server.Traffic(w.b)
	s, err := c.open(w, r)
	if err == nil {
		s.opening = w.server.Traffic(w.b).Sub(before)
	}
	return s, err
}

// measure does a row once.
func (w *world) measure(s *session, row row, round int) (m sample, err error) {
	if row.job.Kind == "" {
		used, err := s.daemon.usage()
		return sample{
			outcome: outcome{Seconds: s.daemon.took.Seconds(), CPU: used.cpu.Seconds(), Memory: used.memory},
			traffic: s.opening, gc: -1,
		}, err
	}
	j := s.target(row.job, row.level, row.file)
	j.Seed = uint64(round)
	if j.Object != nil && (j.Kind == "read" || j.Kind == "verified") {
		if j.Object.Transfer, err = w.tune(*j.Object); err != nil {
			return m, err
		}
	}
	if s.source != "" && row.evict {
		j.Evict = inTree(s.source, onDisk)(job{}, row.level, row.file).Path
	}
	if row.evict && s.kept != "" {
		j.Evict = s.kept
	}
	var before usage
	if s.daemon != nil {
		if err := s.daemon.resetMemory(); err != nil {
			return m, err
		}
		if before, err = s.daemon.usage(); err != nil {
			return m, err
		}
	}
	counted := w.server.Traffic(w.b)
	if m.outcome, err = w.do(j, s.daemon, s.cred); err != nil {
		return m, err
	}
	if m.Entries < row.entries {
		return m, fmt.Errorf("%d entries listed, not %d", m.Entries, row.entries)
	}
	m.traffic = w.server.Traffic(w.b).Sub(counted)
	if row.start && s.daemon != nil {
		m.Seconds += s.daemon.took.Seconds()
	}
	if m.gc = -1; s.daemon == nil {
		return m, nil
	}
	after, err := s.daemon.usage()
	if err != nil {
		return m, err
	}
	m.CPU, m.Memory = (after.cpu - before.cpu).Seconds(), after.memory
	if collected, ok := s.daemon.collected(before.log); ok && after.ready > before.ready {
		m.gc = float64(collected) / float64(after.ready-before.ready)
	}
	return m, nil
}

// faults are what must not be.
func (r *results) faults() (faults []string) {
	for key, cell := range r.cells {
		if key.who.kind == subject && cell.err != nil {
			faults = append(faults, fmt.Sprintf("%s, %s, %s, %s: %v", key.who.name, key.group, key.row, key.place, cell.err))
		}
	}
	r.each(func(at string, c *contestant, s sample) {
		if c.kind == subject && s.MiB() > memoryBound {
			faults = append(faults, fmt.Sprintf("%s: %.0f MiB resident, more than the budget + 64 MiB, which is %d", at, s.MiB(), memoryBound))
		}
	})
	return faults
}
