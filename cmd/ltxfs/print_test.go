package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/audit"
)

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 1<<20 - 1: "1MiB", 999 << 10: "999KiB", 1000 << 10: "0.977MiB",
		1251745792: "1.17GiB", 1 << 62: "4EiB",
	} {
		assert.Equal(t, want, humanSize(n), n)
	}
}

// A zero at the end of a number isn't a unit that there is nothing of.
func TestSpan(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0s", 0.0015: "2ms", 59.5: "59.5s", 60: "1m", 70: "1m10s", 600: "10m", 3600: "1h", 5400: "1h30m",
		86400: "1d", 86400 + 59*60: "1d", 4*86400 + 36000: "4d10h", 30 * 86400: "30d",
	} {
		assert.Equal(t, want, span(seconds), seconds)
	}
}

// What isn't known of a state isn't told.
func TestStateText(t *testing.T) {
	s := audit.State{TXID: 1}
	now := time.Date(2026, 11, 22, 22, 0, 10, 0, time.UTC)
	assert.Equal(t, "0000000000000001, whose files are damaged", stateOf(s, now).text())
	s.Time = now.Add(-10 * time.Second)
	assert.Equal(t, "0000000000000001 of 2026-11-22T22:00:00.000Z, 10s ago", stateOf(s, now).text())
	s.Size = 4096
	assert.Equal(t, "0000000000000001 of 2026-11-22T22:00:00.000Z, 10s ago, 4KiB", stateOf(s, now).text())
}

// What was done before counts as done, and not for the rate.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "restore x", 100<<20)
	p.add(40<<20, true)
	require.Empty(t, out.String(), "it is no terminal, and too early for a line")
	now := time.Now()
	p.began, p.shown = now.Add(-20*time.Second), now.Add(-lineEvery)
	p.add(20<<20, false)
	require.Equal(t, "restore x: 60 %, 60MiB of 100MiB, 1MiB/s, 40s left\n", out.String())
	out.Reset()
	p.bar, p.shown = true, now.Add(-barEvery)
	p.add(0, false)
	p.end()
	require.Equal(t, "\r\x1b[Krestore x: 60 %, 60MiB of 100MiB, 1MiB/s, 40s left\r\x1b[K", out.String())
}
