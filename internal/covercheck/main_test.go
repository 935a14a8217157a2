package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const unit = `mode: atomic
example.com/m/cache/a.go:1.1,2.2 6 9
example.com/m/cache/a.go:3.1,4.2 2 0
example.com/m/cache/b.go:1.1,2.2 2 0
example.com/m/fs/x.go:1.1,2.2 5 0
example.com/m/fs/staging/y.go:1.1,2.2 5 1
`

const integration = `mode: set
example.com/m/cache/a.go:3.1,4.2 2 1
example.com/m/cache/a.go:1.1,2.2 6 0
`

func merge(t *testing.T) profile {
	t.Helper()
	p := profile{}
	require.NoError(t, p.add(strings.NewReader(unit)))
	require.NoError(t, p.add(strings.NewReader(integration)))
	return p
}

func TestCheck(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, merge(t).check(&out, "example.com/m", []string{"cache"}, 80))
	require.Equal(t, "cache                     80.0 % of 10 statements\n  cache                   80.0 % of 10 statements\n", out.String())

	out.Reset()
	err := merge(t).check(&out, "example.com/m", []string{"cache", "fs/...", "none"}, 80)
	require.ErrorContains(t, err, "in fs/..., none")
	require.Contains(t, out.String(), "fs/...                    50.0 % of 10 statements\n")
	require.Contains(t, out.String(), "  fs/staging             100.0 % of 5 statements\n")
	require.Contains(t, out.String(), "none                       0.0 % of 0 statements\n")
	require.Error(t, merge(t).check(&out, "example.com/m", []string{"cache"}, 80.1))
}

func TestWrittenProfileIsTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cover.out")
	want := merge(t)
	require.NoError(t, want.writeFile(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	got := profile{}
	require.NoError(t, got.add(bytes.NewReader(text)))
	require.Equal(t, want, got)
}

func TestBadProfile(t *testing.T) {
	for _, line := range []string{"x", "x 1 2", "x:1.1,2.2 a 2", "x:1.1,2.2 1 a", "x:1.1,2.2 1 -1", "x 1:2 3"} {
		require.Error(t, profile{}.add(strings.NewReader(line)), line)
	}
}

func TestRunErrors(t *testing.T) {
	for _, args := range [][]string{
		{}, {"-min"}, {"-data", t.TempDir()}, {"-data", t.TempDir(), "cache"},
	} {
		require.Error(t, run(args, &bytes.Buffer{}, &bytes.Buffer{}), strings.Join(args, " "))
	}
}
