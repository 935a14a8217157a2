package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/logging"
	"github.com/ltxfs/ltxfs/internal/service"
)

func newStatsCommand() *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "stats [flags] MOUNTPOINT",
		Short: "Show what a mount is doing",
		Long: `Show what the process that serves a mount is doing: in a terminal, each second
until it is interrupted, else once. The first column is since the mount began, the
second what a second has brought.`,
		Example: "  ltxfs stats /mnt/orders",
		Args:    exactArgs("MOUNTPOINT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval < 100*time.Millisecond {
				return exitcode.Errorf(exitcode.Usage, "stats: --interval %s: too short: give at least 100ms", interval)
			}
			c, err := service.Connect(args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return showStats(ctx, cmd.OutOrStdout(), c, interval)
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how often to look")
	return cmd
}

// showStats shows them until ctx is done, or once if w is no terminal.
func showStats(ctx context.Context, w io.Writer, c *service.Control, interval time.Duration) error {
	before, err := takeFigures(ctx, c)
	if err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now, err := takeFigures(ctx, c)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var out bytes.Buffer
		now.write(&out, c.Mountpoint, before)
		if !logging.IsTerminal(w) {
			_, err = out.WriteTo(w)
			return err
		}
		// From the first line on, each to its end, and then what was below.
		fmt.Fprint(w, "\x1b[H", strings.ReplaceAll(out.String(), "\n", "\x1b[K\n"), "\x1b[J")
		before = now
	}
}

// figures are the metrics at a moment.
type figures struct {
	at       time.Time
	families map[string]*dto.MetricFamily
}

func takeFigures(ctx context.Context, c *service.Control) (figures, error) {
	text, err := c.Get(ctx, "/metrics")
	if err != nil {
		return figures{}, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return figures{}, fmt.Errorf("read the metrics of %s: %w", c.Mountpoint, err)
	}
	return figures{time.Now(), families}, nil
}

// everyday are the errnos of what callers do wrong, or ask for in vain, every day. The alert of
// errors in contrib leaves out the same.
var everyday = []string{"ENOENT", "EEXIST", "EROFS", "EPERM", "EACCES", "ESTALE", "EINTR", "ENXIO", "ENOTTY", "ENOSYS", "ENOTSUP"}

func isNews(errno string) bool { return !slices.Contains(everyday, errno) }

func is(want string) func(string) bool { return func(value string) bool { return value == want } }

// sum adds up the metrics of a name whose label has a value that counts, or all of them without
// a label.
func (f figures) sum(name, label string, counts func(value string) bool) (sum float64) {
	for _, m := range f.families["ltxfs_"+name].GetMetric() {
		has := func(l *dto.LabelPair) bool { return l.GetName() == label && counts(l.GetValue()) }
		if label == "" || slices.ContainsFunc(m.GetLabel(), has) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func plain(v float64) string { return fmt.Sprintf("%.0f", v) }

func size(v float64) string { return humanSize(int64(v)) }

// write writes the figures, with what they have grown by since others.
func (f figures) write(w io.Writer, mountpoint string, before figures) {
	t := newTable(w)
	t.row(mountpoint, "total", "a second")
	for _, row := range []struct {
		title, name, label string
		counts             func(value string) bool
		text               func(float64) string
	}{
		{"kernel: requests", "fuse_request_seconds", "", nil, plain},
		{"kernel: reads", "fuse_request_seconds", "operation", is("READ"), plain},
		{"kernel: bytes read", "fuse_read_bytes_total", "", nil, size},
		{"kernel: bytes written", "fuse_written_bytes_total", "", nil, size},
		{"kernel: errors", "fuse_errors_total", "errno", isNews, plain},
		{"cache: blocks asked for and there", "cache_hits_total", "", nil, plain},
		{"cache: blocks fetched", "cache_misses_total", "", nil, plain},
		{"cache: bytes fetched ahead", "cache_ahead_bytes_total", "", nil, size},
		{"cache: of these, used", "cache_ahead_used_bytes_total", "", nil, size},
		{"disk cache: bytes asked for and there", "disk_cache_hit_bytes_total", "", nil, size},
		{"disk cache: bytes read of the replica", "disk_cache_miss_bytes_total", "", nil, size},
		{"store: operations", "store_operation_seconds", "", nil, plain},
		{"store: errors", "store_operation_seconds", "outcome", is("error"), plain},
		{"store: bytes read", "store_bytes_total", "operation", is("read"), size},
		{"store: bytes written", "store_bytes_total", "operation", is("write"), size},
		{"S3: requests", "s3_requests_total", "", nil, plain},
		{"S3: repeated after a failure", "s3_retries_total", "", nil, plain},
		{"S3: made again, being late", "s3_hedges_total", "", nil, plain},
	} {
		now := f.sum(row.name, row.label, row.counts)
		grown := (now - before.sum(row.name, row.label, row.counts)) / f.at.Sub(before.at).Seconds()
		t.row(row.title, row.text(now), row.text(grown))
	}
	t.row("kernel: requests under way", plain(f.sum("fuse_requests_under_way", "", nil)))
	t.row("memory: of the budget", size(f.sum("budget_used_bytes", "", nil))+" of "+size(f.sum("budget_bytes", "", nil)))
	t.row("memory: cached blocks", size(f.sum("cache_bytes", "", nil)))
	t.row("unpublished files", plain(f.sum("unpublished_files", "", nil)))
	for _, m := range f.families["ltxfs_newest_state_timestamp_seconds"].GetMetric() {
		title := "newest state"
		for _, l := range m.GetLabel() {
			if l.GetValue() != "" {
				title += " of " + l.GetValue()
			}
		}
		written := time.UnixMilli(int64(m.GetGauge().GetValue() * 1000))
		t.row(title, f.at.Sub(written).Round(time.Second).String()+" old")
	}
	_ = t.flush() // to memory
}
