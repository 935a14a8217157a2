package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// Whatever the process of a mount tells is shown: the mount may be another user's. Answers of
// everyday are no errors.
func TestFigures(t *testing.T) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(`# TYPE ltxfs_fuse_errors_total counter
ltxfs_fuse_errors_total{operation="LOOKUP",errno="ENOENT"} 100
ltxfs_fuse_errors_total{operation="LSEEK",errno="ENXIO"} 100
ltxfs_fuse_errors_total{operation="READ",errno="EIO"} 3
# TYPE ltxfs_newest_state_timestamp_seconds gauge
ltxfs_newest_state_timestamp_seconds 1
ltxfs_newest_state_timestamp_seconds{database="` + "\x1b" + `[2J"} 1
`))
	require.NoError(t, err)
	var out bytes.Buffer
	now := figures{time.Unix(11, 0), families}
	now.write(&out, "/mnt", figures{at: time.Unix(10, 0)})
	require.Regexp(t, `(?m)^kernel: errors +3 +3$`, out.String())
	require.Regexp(t, `(?m)^newest state +10s old$`, out.String())
	require.Regexp(t, `(?m)^"newest state of \\x1b\[2J" +10s old$`, out.String())
	require.NotContains(t, out.String(), "\x1b")
	for _, file := range []string{"alerts.yml", "dashboard.json"} {
		text, err := os.ReadFile("../../contrib/" + file)
		require.NoError(t, err)
		require.Contains(t, strings.ReplaceAll(string(text), `\"`, `"`), `ltxfs_fuse_errors_total{errno!~"`+strings.Join(everyday, "|")+`"`)
	}
}
