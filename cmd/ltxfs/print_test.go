package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 1<<20 - 1: "1MiB", 999 << 10: "999KiB", 1000 << 10: "0.977MiB",
		1251745792: "1.17GiB", 1 << 62: "4EiB",
	} {
		assert.Equal(t, want, humanSize(n), n)
	}
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
