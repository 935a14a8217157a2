package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// writeMetrics writes what a verification has shown as a file for the textfile collector of
// Prometheus' node exporter, under another name first.
func (s *summaryJSON) writeMetrics(path string) error {
	reg := prometheus.NewRegistry()
	gauge := func(name, help string, value float64, labels ...string) {
		all := prometheus.Labels{"replica": strings.ToValidUTF8(s.Replica, "\uFFFD")}
		for i := 0; i < len(labels); i += 2 {
			all[labels[i]] = labels[i+1]
		}
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ltxfs", Subsystem: "verify", Name: name, Help: help, ConstLabels: all})
		g.Set(value)
		reg.MustRegister(g)
	}
	seconds := func(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
	gauge("last_run_timestamp_seconds", "When the last verification began.", seconds(s.Began))
	gauge("duration_seconds", "How long it took.", s.Seconds)
	gauge("exit_code", "Its exit code: 0 sound, 3 not there, 13 damaged, 14 undetermined.", float64(s.Code))
	for severity, n := range map[string]int{"damage": s.Damage, "warning": s.Warnings, "open": s.Unread} {
		gauge("findings", "What it has found.", float64(n), "severity", severity)
	}
	gauge("states", "States that the names of the files say can be restored.", float64(s.States))
	if s.Newest != nil && s.Newest.Time != nil {
		gauge("newest_state_timestamp_seconds", "Of the newest state of the database.", seconds(*s.Newest.Time))
	}
	if s.Proven != nil && s.Proven.Time != nil {
		gauge("newest_proven_state_timestamp_seconds", "Of the newest state of whose files all bytes were read, and sound.", seconds(*s.Proven.Time))
	}
	if err := prometheus.WriteToTextfile(path, reg); err != nil {
		return fmt.Errorf("--metrics-file: %w", err)
	}
	return nil
}
