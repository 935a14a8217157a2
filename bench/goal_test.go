package bench

import (
	"fmt"
	"slices"
	"strings"
)

// goal is a ratio, or a figure, that ltxfs is to reach.
type goal struct {
	work    string
	group   string
	rows    []string // of the group
	place   func(w *world) place
	metric  *metric
	against string // a contestant, "best peer", or "" for the figure itself
	bound   float64
}

const bestPeer = "best peer"

// goals are in the order of their table.
var goals = []goal{
	{"sequential, cold", "sequential", []string{"one reader, cold", "four readers, cold"}, near, speed, "SDK", 0.7},
	{"sequential, cold", "sequential", []string{"one reader, cold", "four readers, cold"}, near, speed, bestPeer, 1.5},
	{"sequential, cold", "sequential", []string{"one reader, cold", "four readers, cold"}, far, speed, "SDK", 0.85},
	{"sequential, cold", "sequential", []string{"one reader, cold", "four readers, cold"}, far, speed, bestPeer, 1.5},
	{"4 KiB random, cold", "random", []string{"one thread"}, near, p50, "SDK", 1.3},
	{"4 KiB random, cold", "random", []string{"one thread"}, far, p50, "SDK", 1.1},
	{"4 KiB random, cold", "random", []string{"one thread", "32 threads"}, near, fetched, "SDK", 1.01}, // a hundredth for looking the file up
	{"re-read from the kernel's cache", "sequential", []string{"one reader, again", "four readers, again"}, near, speed, "file", 0.9},
	{"second read, complete, passthrough", "kept", []string{"one reader, cold", "four readers, cold"}, far, speed, "file", 0.8},
	{"second read, complete, passthrough", "kept", []string{"one reader, cold", "four readers, cold"}, far, speed, bestPeer, 1},
	{"second read, checked", "kept-checked", []string{"one reader, cold", "four readers, cold"}, far, speed, "file", 0.4},
	{"file replica, sequential", "sequential", []string{"one reader, cold", "four readers, cold"}, disk, speed, "file", 0.9},
	{"file replica, random", "random", []string{"one thread", "32 threads"}, disk, rate, "file", 0.75},
	{"listing", "list", []string{"ls -l, first"}, near, seconds, "SDK", 1.3},
	{"listing", "list", []string{"ls -l, second"}, near, seconds, "baseline", 0.6},
	{"listing a million files", "list-million", []string{"ls -f, first", "ls -f, second", "find, first", "find, second"}, disk, seconds, "file", 3},
	{"listing a million files", "list-million", []string{"ls -l, first", "ls -l, second"}, disk, seconds, "file", 2.5},
	{"listing a million files, 50 ms a page", "list-paged", []string{"ls -f, first"}, paged, seconds, "SDK", 1. / 4},
	{"writing, verified", "write", []string{"large file"}, near, seconds, "rclone copy", 1.1},
	{"start to mounted", "start", []string{"start"}, disk, seconds, "", 0.1},
	{"start to mounted", "start", []string{"start"}, near, requests, "", 3},
	{"a database", "database", []string{"an indexed lookup, from the start"}, near, seconds, "Litestream", 1. / 40},
	{"a database", "database", []string{"an indexed lookup, from the start"}, near, seconds, "VFS", 1. / 2},
	{"a database", "database", []string{"20,000 rows, cold"}, near, seconds, "VFS", 1. / 20},
	{"a database", "database", []string{"full scan, cold", "cp to /dev/null"}, near, seconds, "Litestream", 1. / 4},
	{"a database", "database", []string{"cp to a file"}, near, seconds, "Litestream", 1. / 3},
	{"a database", "database", []string{"an indexed lookup, from the start"}, far, seconds, "Litestream", 1. / 40},
	{"a database", "database", []string{"an indexed lookup, from the start"}, far, seconds, "VFS", 1. / 2},
	{"a database", "database", []string{"full scan, cold", "cp to /dev/null"}, far, seconds, "Litestream", 1. / 4},
	{"a database", "database", []string{"cp to a file"}, far, seconds, "Litestream", 1. / 3},
	{"a database", "database", []string{"full scan, again"}, near, seconds, "file", 1.25},
	{"a scattered index", "database-scan", []string{"covering scan, ASC", "covering scan, DESC"}, far, seconds, "baseline", 1. / 8},
	{"a database", "offline-restore", []string{"restore to memory"}, near, seconds, "Litestream", 1. / 4},
	{"a replica", "offline-verify", []string{"verify"}, near, speed, "SDK", 0.8},
	{"a replica", "offline-verify", []string{"verify"}, near, speed, "unpacking", 0.8},
	{"sequential, while GETs stall", "stalled", []string{"one reader, cold", "four readers, cold"}, nearStalling, speed, "none stalled", 0.8},
	{"sequential, while GETs stall", "stalled", []string{"one reader, cold", "four readers, cold"}, farStalling, speed, "none stalled", 0.8},
	{"litestream restore through the mount", "restore", []string{"restore, cold"}, near, seconds, "Litestream", 1.1},
}

func near(w *world) place  { return w.near }
func far(w *world) place   { return w.far }
func disk(w *world) place  { return w.disk }
func paged(w *world) place { return w.paged }

func nearStalling(w *world) place { return w.nearStalling }
func farStalling(w *world) place  { return w.farStalling }

// goals tells which goals were met, in Markdown.
func (r *results) goals() string {
	var b strings.Builder
	b.WriteString("\n## To reach\n\nRatios are ltxfs's, within each round.\n\n")
	header(&b, "work", []string{"where", "goal", "measured", "met"})
	for _, goal := range goals {
		i := slices.IndexFunc(r.groups, func(g *group) bool { return g.name == goal.group })
		if i < 0 {
			continue
		}
		g, p := r.groups[i], goal.place(r.w)
		sign, than := "≤", ""
		if goal.metric.more {
			sign = "≥"
		}
		if goal.against != "" {
			than = " × " + goal.against
		}
		for _, row := range g.rows {
			if !slices.Contains(goal.rows, row.name) {
				continue
			}
			fmt.Fprintf(&b, "| %s: %s | %s | %s %s%s, %s |", goal.work, row.name, p.name, sign, number(goal.bound), than, goal.metric.unit)
			s, ok := spreadOf(r.against(g, p, row, goal))
			if !ok {
				b.WriteString(" – | not measured |\n")
				continue
			}
			fmt.Fprintf(&b, " %v | %s |\n", s, met(s.median, goal.bound, goal.metric.more))
		}
	}
	r.growthGoals(&b)
	r.resourceGoals(&b)
	return b.String()
}

// growthBound is the most that a file may cost in a level of a million, as a multiple of what it costs in one of a thousand.
const growthBound = 1.2

// growthGoals are those of what a file costs where there are many more.
func (r *results) growthGoals(b *strings.Builder) {
	few := slices.IndexFunc(r.groups, func(g *group) bool { return g.name == "list-thousand" })
	many := slices.IndexFunc(r.groups, func(g *group) bool { return g.name == "list-million" })
	if few < 0 || many < 0 {
		return
	}
	for _, row := range r.groups[many].rows {
		var ratios []float64
		for round, s := range r.cell(r.groups[many], r.w.disk, row, ltxfs).samples {
			if one, ok := r.cell(r.groups[few], r.w.disk, row, ltxfs).samples[round]; ok {
				ratios = append(ratios, perFile.of(s)/perFile.of(one))
			}
		}
		if s, ok := spreadOf(ratios); ok {
			fmt.Fprintf(b, "| a file of a million: %s | disk | ≤ %s × one of a thousand, s | %v | %s |\n", row.name, number(growthBound), s, met(s.median, growthBound, false))
		}
	}
}

// met says whether a bound was kept, or by how much it was missed.
func met(value, bound float64, more bool) string {
	switch {
	case more && value < bound:
		return fmt.Sprintf("missed by %.0f %%", (1-value/bound)*100)
	case !more && value > bound:
		return fmt.Sprintf("missed by %.0f %%", (value/bound-1)*100)
	default:
		return "met"
	}
}

// against are the ratios that a goal is about, by round.
func (r *results) against(g *group, p place, row row, goal goal) (ratios []float64) {
	all := r.contestants(g, p)
	mine := r.cell(g, p, row, all[slices.IndexFunc(all, func(c *contestant) bool { return c.kind == subject })])
	if goal.against == "" {
		return mine.values(goal.metric)
	}
	for round, s := range mine.samples {
		best := 0.0
		for _, c := range r.contestants(g, p) {
			if c.name != goal.against && (goal.against != bestPeer || c.kind != peer) {
				continue
			}
			o, ok := r.cell(g, p, row, c).samples[round]
			if !ok {
				continue
			}
			if v := goal.metric.of(o); best == 0 || (v > best) == goal.metric.more {
				best = v
			}
		}
		if best > 0 {
			ratios = append(ratios, goal.metric.of(s)/best)
		}
	}
	return ratios
}

const (
	// memoryBound is the most that ltxfs may have resident, in MiB: its default
	// budget, and 64 MiB.
	memoryBound = 128 + 64
	// gcBound is the most of its CPU time that ltxfs's collector may take, in percent.
	gcBound = 10
	// gcLeast is the least CPU time, in seconds, of which a share means something:
	// the kernel counts it in hundredths.
	gcLeast = 0.2
)

// resourceGoals are those of every row.
func (r *results) resourceGoals(b *strings.Builder) {
	var memory, gc float64
	var memoryAt, gcAt string
	r.each(func(at string, c *contestant, s sample) {
		if c.kind != subject {
			return
		}
		if v := s.MiB(); v > memory {
			memory, memoryAt = v, at
		}
		if v := s.gc * 100; v > gc && s.CPU >= gcLeast {
			gc, gcAt = v, at
		}
	})
	fmt.Fprintf(b, "| resident memory, the most | %s | ≤ %d MiB: the budget + 64 | %s | %s |\n", memoryAt, memoryBound, number(memory), met(memory, memoryBound, false))
	fmt.Fprintf(b, "| the collector's share of the CPU, the most | %s | ≤ %d %% | %s | %s |\n", gcAt, gcBound, number(gc), met(gc, gcBound, false))
}

// each calls fn with all samples, and where they were taken.
func (r *results) each(fn func(at string, c *contestant, s sample)) {
	for _, g := range r.groups {
		for _, p := range g.places {
			for _, row := range g.rows {
				for _, c := range r.contestants(g, p) {
					for _, s := range r.cell(g, p, row, c).samples {
						fn(fmt.Sprintf("%s, %s, %s, %s", c.name, g.name, row.name, p.name), c, s)
					}
				}
			}
		}
	}
}

// MiB is the peak of the resident memory.
func (s sample) MiB() float64 { return float64(s.Memory) / (1 << 20) }
