package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// table is the result of the comparisons of one benchmark.
type table struct {
	title string
	rows  []string
}

func newTable(title, ratio string) *table {
	return &table{title: title, rows: []string{"\tdirect\tmount\t" + ratio + "\tspread\taim\tload"}}
}

// print prints the table, unless nothing was measured.
func (t *table) print(b *testing.B) {
	b.Helper()
	if len(t.rows) == 1 {
		return
	}
	fmt.Printf("\n%s\n", t.title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range t.rows {
		fmt.Fprintf(w, "%s\t\n", row)
	}
	if err := w.Flush(); err != nil {
		b.Error(err)
	}
	fmt.Println()
}

// scale is how a result is told: seconds, or how many units of work a second.
type scale struct {
	work float64 // what one run does, in units; 0 for seconds
	unit string
	aim  string
}

// of is the ratio of two times: of speeds, or for seconds, of the times.
func (s scale) of(direct, mounted float64) float64 {
	if s.work > 0 {
		return direct / mounted
	}
	return mounted / direct
}

func (s scale) String(seconds float64) string {
	if s.work > 0 {
		return fmt.Sprintf("%.0f %s", s.work/seconds, s.unit)
	}
	return fmt.Sprintf("%.3f s", seconds)
}

// sample is the times of one thing done directly and through a mount, in seconds.
type sample struct{ direct, mounted float64 }

// comparison collects samples. They are taken in turns, and by turns either comes
// first.
type comparison struct {
	scale
	samples []sample
	loads   [2]string // of the machine, at the beginning and the end
}

func (c *comparison) add(direct, mounted func() float64) {
	if c.loads[1] = load(); len(c.samples) == 0 {
		c.loads[0] = c.loads[1]
	}
	var s sample
	if len(c.samples)%2 == 0 {
		s.direct = direct()
		s.mounted = mounted()
	} else {
		s.mounted = mounted()
		s.direct = direct()
	}
	c.samples = append(c.samples, s)
}

// report reports the medians, to the benchmark and as a row of the table.
func (c *comparison) report(b *testing.B, t *table, name string) {
	b.Helper()
	var direct, mounted, ratios []float64
	for _, s := range c.samples {
		direct = append(direct, s.direct)
		mounted = append(mounted, s.mounted)
		ratios = append(ratios, c.of(s.direct, s.mounted))
	}
	t.rows = append(t.rows, fmt.Sprintf("%s\t%s\t%s\t%.2f\t%.2f to %.2f\t%s\t%s to %s", name,
		c.String(median(direct)), c.String(median(mounted)), median(ratios),
		slices.Min(ratios), slices.Max(ratios), c.aim, c.loads[0], c.loads[1]))
	b.ReportMetric(0, "ns/op") // of both together, it says nothing
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(direct), "direct-s")
	b.ReportMetric(median(mounted), "mount-s")
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// load is the machine's load over the last minute, ours included.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Fields(string(data))[0]
}
