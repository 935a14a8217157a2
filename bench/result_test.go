package bench

import (
	"fmt"
	"path/filepath"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// memoryBound is the most that ltxfs may have resident: its default budget, and
// 64 MiB.
const memoryBound = (128 + 64) << 20

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
func (r *results) contestants(g *group, p place) (able []*contestant) {
	for _, c := range g.contestants(p) {
		if c.absent() == nil {
			able = append(able, c)
		}
	}
	return able
}

// measure has a contestant do all rows of a group once. What fails isn't tried
// again in later rounds.
func (r *results) measure(g *group, p place, c *contestant, round int) {
	var s *session
	end := func() error {
		if s == nil {
			return nil
		}
		err := s.close()
		s = nil
		return err
	}
	usable := false
	var last *cell
	for _, row := range g.rows {
		cell := r.cell(g, p, row, c)
		if row.fresh {
			if err := end(); err != nil && last.err == nil {
				last.err = err
			}
			usable = true
		}
		last = cell
		usable = usable && cell.err == nil
		if !usable {
			continue
		}
		if s == nil {
			if s, cell.err = c.open(r.w, replicaAt{place: p, name: g.replica}); cell.err != nil {
				usable = false
				continue
			}
		}
		measured, err := r.w.measure(s, row, round)
		if err != nil {
			progress("%s, %s: %s: %v", row.name, p.name, c.name, err)
			cell.err, usable = err, false
			continue
		}
		cell.samples[round] = measured
	}
	if err := end(); err != nil && last.err == nil {
		last.err = err
	}
}

// measure does a row once.
func (w *world) measure(s *session, row row, round int) (m sample, err error) {
	j := s.target(row.job, row.level, row.file)
	j.Seed = uint64(round)
	if j.Object != nil && j.Kind == "read" {
		if j.Object.Transfer, err = w.tune(*j.Object); err != nil {
			return m, err
		}
	}
	if s.source != "" && row.fresh && row.file != "" {
		j.Evict = []string{filepath.Join(levelDir(s.source, row.level), row.file)}
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
	m.traffic = w.server.Traffic(w.b).Sub(counted)
	if m.gc = -1; s.daemon == nil {
		return m, nil
	}
	after, err := s.daemon.usage()
	if err != nil {
		return m, err
	}
	m.CPU, m.Memory = (after.cpu - before.cpu).Seconds(), after.memory
	if collected, ok := s.daemon.collected(before.log); ok && m.CPU > 0 {
		m.gc = collected.Seconds() / m.CPU
	}
	return m, nil
}

// faults are what must not be.
func (r *results) faults() (faults []string) {
	for _, g := range r.groups {
		for _, p := range g.places {
			for _, row := range g.rows {
				for _, c := range r.contestants(g, p) {
					cell := r.cell(g, p, row, c)
					if c.kind != subject {
						continue
					}
					if cell.err != nil {
						faults = append(faults, fmt.Sprintf("%s, %s, %s: %s: %v", g.name, p.name, row.name, c.name, cell.err))
					}
					for round, s := range cell.samples {
						if s.Memory > memoryBound {
							faults = append(faults, fmt.Sprintf("%s, %s, %s: round %d: %s had %d MiB resident, more than %d",
								g.name, p.name, row.name, round+1, c.name, s.Memory>>20, memoryBound>>20))
						}
					}
				}
			}
		}
	}
	return faults
}
