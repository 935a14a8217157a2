package ltxfstest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

var httpAddress = regexp.MustCompile(`address=(http://[^/]+)/metrics`)

// HTTP asks a mount with --http for a path.
func (m *Mounted) HTTP(t testing.TB, path string) (status int, body string) {
	t.Helper()
	address := httpAddress.FindStringSubmatch(m.Log())
	require.NotNil(t, address, m.Log())
	client := http.Client{Timeout: Timeout}
	answer, err := client.Get(address[1] + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(data)
}

// Metrics are what a mount tells at a moment, by name.
type Metrics map[string]*dto.MetricFamily

// Metrics asks a mount with --http for them. It also returns them as they were told.
func (m *Mounted) Metrics(t testing.TB) (Metrics, string) {
	t.Helper()
	status, text := m.HTTP(t, "/metrics")
	require.Equal(t, http.StatusOK, status, text)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	return families, text
}

// Sum adds up the metrics of a name that have all of these labels, each name=value. Of a
// histogram it is the number of observations.
func (m Metrics) Sum(name string, labels ...string) (sum float64) {
	for _, metric := range m[name].GetMetric() {
		has := 0
		for _, l := range metric.GetLabel() {
			if slices.Contains(labels, l.GetName()+"="+l.GetValue()) {
				has++
			}
		}
		if has == len(labels) {
			sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// Unpack returns the files of a bundle by name.
func Unpack(t testing.TB, bundle string) map[string]string {
	t.Helper()
	f, err := os.Open(bundle)
	require.NoError(t, err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	require.NoError(t, err)
	parts := map[string]string{}
	for packed := tar.NewReader(unzipped); ; {
		h, err := packed.Next()
		if errors.Is(err, io.EOF) {
			return parts
		}
		require.NoError(t, err)
		data, err := io.ReadAll(packed)
		require.NoError(t, err)
		parts[strings.TrimPrefix(h.Name, "ltxfs-bundle/")] = string(data)
	}
}
