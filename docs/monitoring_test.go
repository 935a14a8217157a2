package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The table of metrics has each that a mount tells, by its name or by how it begins, and none else.
func TestMonitoringHasAllMetrics(t *testing.T) {
	golden, err := os.ReadFile("../integration/testdata/metrics.txt")
	require.NoError(t, err)
	_, section, _ := strings.Cut(page(t, "operating.md"), "\n## Monitoring\n")
	section, _, _ = strings.Cut(section, "\n## ")
	told := map[string]bool{} // what the table has, and whether there is such a metric
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`.+?) \| `).FindAllStringSubmatch(section, -1) {
		for _, name := range strings.Split(row[1], ", ") {
			if name = strings.Trim(name, "`"); strings.HasPrefix(name, "ltxfs_") {
				told[name] = false
			}
		}
	}
	for line := range strings.Lines(string(golden)) {
		metric, _, _ := strings.Cut(line, "{")
		in := 0
		for name := range told {
			if start, ok := strings.CutSuffix(name, "…"); metric == name || ok && strings.HasPrefix(metric, start) {
				told[name] = true
				in++
			}
		}
		assert.Equal(t, 1, in, "%s is so often in the table", metric)
	}
	require.NotEmpty(t, told)
	for name, is := range told {
		assert.True(t, is, "there is no metric %s", name)
	}
}
