package remote

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// requireRequests holds what a mount counts of its requests against what the proxy has counted.
func (c *counted) requireRequests(t *testing.T, m ltxfstest.Metrics) {
	t.Helper()
	want, got := map[string]float64{}, map[string]float64{}
	answered := map[string]float64{}
	for _, r := range c.proxy.Requests() {
		request := strings.Replace(string(r.Operation), "ListObjects", "ListObjectsV2", 1)
		want[fmt.Sprint(request, " ", r.Status)]++
		answered[request]++
	}
	for request, n := range answered {
		require.Equal(t, n, m.Sum("ltxfs_s3_first_byte_seconds", "request="+request), request)
	}
	for _, metric := range m["ltxfs_s3_requests_total"].GetMetric() {
		l := metric.GetLabel()
		got[l[0].GetValue()+" "+l[1].GetValue()] = metric.GetCounter().GetValue()
	}
	require.Equal(t, want, got)
}

// What a mount tells of itself is what can be counted from outside.
func TestMetrics(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		m := c.mount(t, "--rw", "--http=127.0.0.1:0")
		p := m.Process(t)
		// A request that is refused once is made again, and both are counted.
		defer c.proxy.Intercept(s3test.On(s3test.GetObject, s3test.Times(1, s3test.Fail(http.StatusServiceUnavailable, "SlowDown"))))()

		var size, files float64
		for _, f := range ltxfstest.OrdersFiles(t) {
			data, err := p.ReadFile(f.Path())
			require.NoError(t, err)
			size, files = size+float64(len(data)), files+1
		}
		_, err := p.ReadFile("ltx/0000/0000000000000fff-0000000000000fff.ltx")
		require.ErrorIs(t, err, syscall.ENOENT)
		_, err = p.Open("ltx/0000/staged.tmp", os.O_WRONLY|os.O_CREATE, 0o600)
		require.NoError(t, err)

		// The first asks the store how old the states are, and for a minute nothing does again.
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the kernel's last requests have ended", func() bool {
			now, _ := m.Metrics(t)
			return now.Sum("ltxfs_fuse_requests_under_way") == 0
		})
		now, text := m.Metrics(t)
		c.requireRequests(t, now)
		require.Equal(t, 1.0, now.Sum("ltxfs_s3_retries_total", "request=GetObject"))
		bodies := c.bodies()
		require.Equal(t, float64(len(bodies)), now.Sum("ltxfs_store_operation_seconds", "operation=read"))
		require.Equal(t, sumOf(bodies), now.Sum("ltxfs_store_bytes_total", "operation=read"))
		content := slices.DeleteFunc(slices.Clone(bodies), func(n int64) bool { return n == ltx.HeaderSize })
		require.Equal(t, sumOf(content), now.Sum("ltxfs_cache_fetched_bytes_total"))
		require.Equal(t, blocksOf(content), now.Sum("ltxfs_cache_misses_total"), "and nothing was read ahead")
		require.Equal(t, 2.0, now.Sum("ltxfs_fuse_errors_total", "operation=LOOKUP", "errno=ENOENT"), "what isn't there, and what is created")
		require.Equal(t, size, now.Sum("ltxfs_fuse_read_bytes_total"))
		require.Equal(t, files+1, now.Sum("ltxfs_fuse_request_seconds", "operation=OPEN")+now.Sum("ltxfs_fuse_request_seconds", "operation=CREATE"))
		require.Equal(t, 1.0, now.Sum("ltxfs_unpublished_files"))
		require.Equal(t, 1.0, now.Sum("ltxfs_healthy"))
		require.Equal(t, float64(128<<20), now.Sum("ltxfs_budget_bytes"))
		require.Zero(t, now.Sum("ltxfs_fuse_errors_total", "errno=EIO"))

		byTXID, _ := ltxfstest.OrdersStates(t)
		require.Equal(t, float64(len(byTXID)), now.Sum("ltxfs_states"))
		require.Zero(t, now.Sum("ltxfs_gaps"))
		newest, oldest := times(t)
		require.Equal(t, float64(newest.UnixMilli())/1000, now.Sum("ltxfs_newest_state_timestamp_seconds"))
		require.Equal(t, float64(oldest.UnixMilli())/1000, now.Sum("ltxfs_oldest_state_timestamp_seconds"))

		before := len(c.proxy.Requests())
		_, _ = m.Metrics(t)
		require.Len(t, c.proxy.Requests(), before, "within a minute, the store isn't asked again")

		requireGolden(t, now)
		check := ltxfstest.Shell(t, `promtool check metrics 2>&1 <<'EOF'`+"\n"+ltxfsOnly(text)+"EOF")
		require.Empty(t, check)
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/settings": 404, "/debug/pprof/cmdline": 404, "/debug/pprof/heap": 200} {
			status, _ := m.HTTP(t, path)
			require.Equal(t, want, status, path)
		}

		data := storetest.LTX(t, 0x40, 0x40)
		require.NoError(t, p.WriteFile(ltxfstest.LevelPath(0, ltx.FormatFilename(0x40, 0x40)), data))
		now, _ = m.Metrics(t)
		c.requireRequests(t, now)
		require.Equal(t, float64(len(data)), now.Sum("ltxfs_fuse_written_bytes_total"))
		require.Equal(t, float64(len(data)), now.Sum("ltxfs_store_bytes_total", "operation=write"))
		require.Equal(t, 1.0, now.Sum("ltxfs_unpublished_files"))
	})
}

// A budget that is too small for a file evicts as many blocks of it as it can't hold.
func TestMetricsOfSmallCache(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		const budget = 4 << 20
		data := storetest.LTX(t, 1, 1, storetest.Commit(3000), storetest.Noise())
		c.put(t, 0, 1, 1, data)
		m := c.mount(t, "--http=127.0.0.1:0", fmt.Sprint("--cache-size=", budget))
		p := m.Process(t)
		got, err := p.ReadFile(ltxfstest.LevelPath(0, ltx.FormatFilename(1, 1)))
		require.NoError(t, err)
		require.Equal(t, len(data), len(got))
		now, _ := m.Metrics(t)
		content := slices.DeleteFunc(c.bodies(), func(n int64) bool { return n == ltx.HeaderSize })
		held := now.Sum("ltxfs_cache_bytes")
		require.Positive(t, now.Sum("ltxfs_cache_evictions_total"))
		require.Equal(t, blocksOf(content)-now.Sum("ltxfs_cache_evictions_total"), held/maxBlock)
		require.Equal(t, float64(budget), now.Sum("ltxfs_budget_bytes"))
		require.LessOrEqual(t, now.Sum("ltxfs_budget_used_bytes"), float64(budget))
		require.GreaterOrEqual(t, now.Sum("ltxfs_budget_used_bytes"), held)
	})
}

// To be asked for metrics costs a listing of each level and the times of two states, and within
// a minute nothing more.
func TestMetricsBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		m := c.mount(t, "--http=127.0.0.1:0")
		c.requireCosts(t, "the first time", costs{s3test.ListObjects: 10, s3test.GetObject: 2}, func() { m.Metrics(t) })
		c.requireCosts(t, "again", costs{}, func() { m.Metrics(t) })
		c.requireEndForFree(t, m)
	})
}

// bodies are the sizes of what came of files, in bytes.
func (c *counted) bodies() (sizes []int64) {
	for _, r := range c.proxy.Requests() {
		if r.Operation == s3test.GetObject && r.Status < 300 {
			sizes = append(sizes, r.Down)
		}
	}
	return sizes
}

func sumOf(sizes []int64) (sum float64) {
	for _, n := range sizes {
		sum += float64(n)
	}
	return sum
}

// blocksOf is how many blocks the sizes fill, each by itself.
func blocksOf(sizes []int64) (blocks float64) {
	for _, n := range sizes {
		blocks += float64((n + maxBlock - 1) / maxBlock)
	}
	return blocks
}

// times are those of the newest and the oldest state of the sample: of the file of the lowest
// level that ends there.
func times(t *testing.T) (newest, oldest time.Time) {
	t.Helper()
	files := ltxfstest.OrdersFiles(t) // by level
	end := func(f ltxfstest.OrdersFile) string { return strings.SplitN(f.Name, "-", 2)[1] }
	byEnd := func(a, b ltxfstest.OrdersFile) int { return strings.Compare(end(a), end(b)) }
	last, first := slices.MaxFunc(files, byEnd), slices.MinFunc(files, byEnd)
	return last.ModTime, first.ModTime
}

// requireGolden compares names, kinds and labels of the metrics of ltxfs with the golden file.
func requireGolden(t *testing.T, m ltxfstest.Metrics) {
	t.Helper()
	var lines []string
	for name, family := range m {
		if !strings.HasPrefix(name, "ltxfs_") {
			continue
		}
		var labels []string
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		lines = append(lines, fmt.Sprintf("%s{%s} %s: %s\n", name, strings.Join(labels, ","),
			strings.ToLower(dto.MetricType_name[int32(family.GetType())]), family.GetHelp()))
	}
	slices.Sort(lines)
	path := filepath.Join(ltxfstest.Root(), "integration", "testdata", "metrics.txt")
	if os.Getenv(updateGolden) == "1" {
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "")), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), strings.Join(lines, ""), "%s=1 writes it anew", updateGolden)
}

// updateGolden has the test write the golden file anew if it is set to 1.
const updateGolden = "LTXFS_UPDATE_GOLDEN"

// ltxfsOnly leaves out what the runtime and the process tell.
func ltxfsOnly(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "ltxfs_") {
			b.WriteString(line)
		}
	}
	return b.String()
}
