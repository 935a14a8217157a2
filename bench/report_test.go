package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// spread is a median with what it lies between.
type spread struct{ least, median, most float64 }

func spreadOf(values []float64) (spread, bool) {
	if len(values) == 0 {
		return spread{}, false
	}
	slices.Sort(values)
	n := len(values)
	return spread{values[0], (values[(n-1)/2] + values[n/2]) / 2, values[n-1]}, true
}

func (s spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.least), number(s.most))
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// values are a metric of all rounds.
func (c *cell) values(m *metric) (values []float64) {
	for _, s := range c.samples {
		values = append(values, m.of(s))
	}
	return values
}

// ratios are those of a metric within each round.
func (c *cell) ratios(m *metric, other *cell) (ratios []float64) {
	for round, s := range c.samples {
		if o, ok := other.samples[round]; ok && m.of(o) > 0 {
			ratios = append(ratios, m.of(s)/m.of(o))
		}
	}
	return ratios
}

// tables are all that was measured, in Markdown.
func (r *results) tables() string {
	var b strings.Builder
	for _, g := range r.groups {
		fmt.Fprintf(&b, "\n## %s\n", g.title)
		for _, p := range g.places {
			fmt.Fprintf(&b, "\n### On %s\n\n", p.name)
			r.values(&b, g, p)
			r.ratios(&b, g, p)
			r.resources(&b, g, p)
			r.absent(&b, g, p)
		}
	}
	return b.String()
}

func header(b *strings.Builder, first string, names []string) {
	fmt.Fprintf(b, "| %s | %s |\n|%s\n", first, strings.Join(names, " | "), strings.Repeat(" --- |", len(names)+1))
}

func names(contestants []*contestant) (names []string) {
	for _, c := range contestants {
		names = append(names, c.name)
	}
	return names
}

func (r *results) values(b *strings.Builder, g *group, p place) {
	contestants := r.contestants(g, p)
	header(b, "median (least–most)", names(contestants))
	for _, row := range g.rows {
		for _, m := range row.metricsOn(p) {
			fmt.Fprintf(b, "| %s, %s |", row.name, m.unit)
			for _, c := range contestants {
				fmt.Fprintf(b, " %s |", told(r.cell(g, p, row, c).values(m)))
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("\n")
}

// told is the spread of values, or a dash.
func told(values []float64) string {
	switch s, ok := spreadOf(values); {
	case !ok:
		return "–"
	case len(values) == 1:
		return number(s.median)
	default:
		return s.String()
	}
}

// ratios divides what ltxfs does by what others do in the same round.
func (r *results) ratios(b *strings.Builder, g *group, p place) {
	contestants := r.contestants(g, p)
	var subjects, others []*contestant
	for _, c := range contestants {
		if c.kind == subject {
			subjects = append(subjects, c)
		} else {
			others = append(others, c)
		}
	}
	if len(others) == 0 {
		return
	}
	header(b, "ltxfs, as a ratio to", names(others))
	for _, row := range g.rows {
		for _, m := range row.metricsOn(p) {
			for _, c := range subjects {
				name := row.name
				if c != ltxfs {
					name = c.name + ": " + name
				}
				better := "less is better"
				if m.more {
					better = "more is better"
				}
				fmt.Fprintf(b, "| %s, %s; %s |", name, m.unit, better)
				for _, o := range others {
					fmt.Fprintf(b, " %s |", told(r.cell(g, p, row, c).ratios(m, r.cell(g, p, row, o))))
				}
				b.WriteString("\n")
			}
		}
	}
	b.WriteString("\n")
}

// resources are what the work took: the greatest memory, and medians of the rest.
func (r *results) resources(b *strings.Builder, g *group, p place) {
	columns := []string{"who", "peak memory, MiB", "CPU, s", "of it the collector, %"}
	if p.endpoint != "" {
		columns = append(columns, "requests", "MB to the store", "MB from it")
	}
	header(b, "what it took", columns)
	for _, row := range g.rows {
		for _, c := range r.contestants(g, p) {
			cell := r.cell(g, p, row, c)
			if len(cell.samples) == 0 {
				continue
			}
			of := func(value func(s sample) float64) (spread, bool) {
				var values []float64
				for _, s := range cell.samples {
					if v := value(s); v >= 0 {
						values = append(values, v)
					}
				}
				return spreadOf(values)
			}
			memory, _ := of(func(s sample) float64 { return s.MiB() })
			cpu, _ := of(func(s sample) float64 { return s.CPU })
			collecting := "–"
			if gc, ok := of(func(s sample) float64 { return s.gc * 100 }); ok {
				collecting = number(gc.median)
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |", row.name, c.name, number(memory.most), number(cpu.median), collecting)
			if p.endpoint != "" {
				requests, _ := of(func(s sample) float64 { return float64(s.traffic.Requests) })
				up, _ := of(func(s sample) float64 { return float64(s.traffic.Received) / 1e6 })
				down, _ := of(func(s sample) float64 { return float64(s.traffic.Sent) / 1e6 })
				fmt.Fprintf(b, " %.0f | %s | %s |", requests.median, number(up.median), number(down.median))
			}
			b.WriteString("\n")
		}
	}
}

// absent says who can't run, and what has failed.
func (r *results) absent(b *strings.Builder, g *group, p place) {
	var lines []string
	for _, c := range g.contestants(r.w, p) {
		if !c.chosen() {
			continue
		}
		if err := c.absent(); err != nil {
			lines = append(lines, fmt.Sprintf("%s is absent: %v", c.name, err))
		}
		for _, row := range g.rows {
			if err := r.cell(g, p, row, c).err; err != nil {
				why := strings.ReplaceAll(err.Error(), r.w.dir+"/", "")
				lines = append(lines, fmt.Sprintf("%s failed at %s: %s", c.name, row.name, strings.Join(strings.Fields(why), " ")))
			}
		}
	}
	if len(lines) > 0 {
		fmt.Fprintf(b, "\n- %s\n", strings.Join(lines, "\n- "))
	}
}

// write writes the results: those of a whole run to RESULTS.md, others to bench.out.
func (r *results) write() error {
	path := "../bench.out"
	if *rowsFlag == "" && *peersFlag == "" && !r.w.quick && r.w.rounds >= 7 {
		path = "RESULTS.md"
	}
	text := r.head() + r.goals() + r.tables()
	fmt.Print(text)
	return os.WriteFile(path, []byte(text), 0o644)
}

// head says where and when this was measured, and how to read it.
func (r *results) head() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What make bench measured\n\n%s, in %v. Medians of %d rounds; 1 MB is 1,000,000 bytes.\n\n",
		time.Now().UTC().Format(time.DateOnly), time.Since(r.w.began).Round(time.Minute), r.w.rounds)
	for _, line := range append(machine(), versions(r.w)...) {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, p := range []place{r.w.near, r.w.far} {
		if best, ok := r.w.tuned[p.endpoint]; ok {
			fmt.Fprintf(&b, "- the SDK alone, on %s: fastest with %v\n", p.name, best)
		}
	}
	fmt.Fprintf(&b, `
The peers run with their defaults. What took one of them, or the baseline, more than %v in the first round was measured in that alone, and so was
what follows on the same mount: it has no spread. rclone isn't measured at random 20 ms away, where what it asks for and gives up
fills the memory of Toxiproxy. The SDK alone gets ranges into memory, lists, or gets a block of 128 KiB where others
read 4 KiB. "file" is the same file on disk, "go-fuse" a file that go-fuse serves from memory, "rclone copy" is without
verification, and "ltxfs, cached" a mount by a user who isn't root. Cold is a new mount; of a replica on disk the kernel has
nothing cached. The collector's share is of the time in which the program's threads ran or waited for a core, since that is how
the collector counts.
`, patience)
	return b.String()
}
