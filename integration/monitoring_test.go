package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// The alert rules are about metrics that there are, and each fires on what it is about.
func TestAlerts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(ltxfstest.Root(), "contrib")
	ltxfstest.MustRun(t, "promtool", "check", "rules", filepath.Join(dir, "alerts.yml"))
	ltxfstest.MustRun(t, "promtool", "test", "rules", filepath.Join(dir, "alerts_test.yml"))
	rules, err := os.ReadFile(filepath.Join(dir, "alerts.yml"))
	require.NoError(t, err)
	tests, err := os.ReadFile(filepath.Join(dir, "alerts_test.yml"))
	require.NoError(t, err)
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1)
	require.NotEmpty(t, alerts)
	for _, alert := range alerts {
		require.Contains(t, string(tests), "alertname: "+alert[1]+"\n        exp_alerts", "nothing shows that it fires")
	}
	requireMetrics(t, string(rules))
}

// The dashboard asks for metrics that there are, in expressions that Prometheus takes.
func TestDashboard(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join(ltxfstest.Root(), "contrib", "dashboard.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	require.NoError(t, json.Unmarshal(data, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	rules := []map[string]string{}
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Targets)
		for _, target := range p.Targets {
			requireMetrics(t, target.Expr)
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
			rules = append(rules, map[string]string{"record": "ltxfs:panel", "expr": expr})
		}
	}
	// JSON is YAML as well.
	file, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rules.json")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	ltxfstest.MustRun(t, "promtool", "check", "rules", "--lint=none", path)
}

var metricName = regexp.MustCompile(`\bltxfs_\w+`)

// requireMetrics fails the test unless all metrics in a text are in the golden file.
func requireMetrics(t *testing.T, text string) {
	t.Helper()
	golden, err := os.ReadFile(filepath.Join(ltxfstest.Root(), "integration", "testdata", "metrics.txt"))
	require.NoError(t, err)
	names := map[string]bool{}
	for line := range strings.Lines(string(golden)) {
		name, rest, _ := strings.Cut(line, "{")
		names[name] = true
		if strings.Contains(rest, "} histogram:") {
			names[name+"_count"], names[name+"_bucket"] = true, true
		}
	}
	for _, name := range metricName.FindAllString(text, -1) {
		require.Contains(t, names, name)
	}
}
