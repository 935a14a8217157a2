package service

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/fs/staging"
)

func TestReportLeftovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's staged")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	const name = "0000000000000001-0000000000000001.ltx"
	content, err := os.ReadFile(filepath.Join("../ltxfile/testdata", name))
	require.NoError(t, err)
	valid, cut := filepath.Join(dir, "valid.tmp"), filepath.Join(dir, "cut.tmp")
	require.NoError(t, os.WriteFile(valid, content, 0o644))
	require.NoError(t, os.WriteFile(cut, content[:500], 0o644))

	var out, log bytes.Buffer
	reportLeftovers(&out, slog.New(slog.NewTextHandler(&log, nil)), []staging.Entry{
		{Name: "ltx/0000/valid.tmp", Path: valid, Size: int64(len(content))},
		{Name: "ltx/0001/cut.tmp", Path: cut, Size: 500},
		{Name: "ltx/0001/gone.tmp", Path: filepath.Join(dir, "gone"), Size: 5},
	}, "/mnt/a b")
	quoted := `'` + strings.ReplaceAll(valid, "'", `'\''`) + `'`
	require.Contains(t, out.String(), "3 files")
	require.Contains(t, out.String(), "to publish it: cp "+quoted+" '/mnt/a b/ltx/0000/"+name+"' && rm "+quoted+"\n")
	require.Equal(t, 2, strings.Count(out.String(), "can't be published"))
	require.Equal(t, 3, strings.Count(out.String(), "to discard it: rm "))
	require.Equal(t, 3, strings.Count(log.String(), "level=WARN"))
}

// A program can write a file of any name, and that must not reach the terminal.
func TestReportedNamesAreQuoted(t *testing.T) {
	entry := staging.Entry{Name: "ltx/0000/\x1b[2J\n'é\xff", Path: "/s/\x1b[2J\n'é\xff", Size: 5}
	var out bytes.Buffer
	reportUnpublished(&out, slog.New(slog.DiscardHandler), unpublishedOf([]staging.Entry{entry}), "/mnt")
	require.Contains(t, out.String(), `  "ltx/0000/\x1b[2J\n'é\xff" (5 bytes): `)
	require.Contains(t, out.String(), `kept in "/s/\x1b[2J\n'é\xff"`)
	reportLeftovers(&out, slog.New(slog.DiscardHandler), []staging.Entry{entry}, "/mnt")
	require.Contains(t, out.String(), `to discard it: rm $'/s/\033[2J\012\'\303\251\377'`)
	require.NotContains(t, out.String(), "\x1b")
}

func TestReportUnpublished(t *testing.T) {
	left := unpublishedOf([]staging.Entry{
		{Name: "ltx/0000/a.tmp", Path: "/s/a.tmp", Size: 5},
		{Name: "ltx/0000/b.ltx", Path: "/s/b.ltx", Size: 6, Err: errors.New("no room")},
	})
	var out, log bytes.Buffer
	reportUnpublished(&out, slog.New(slog.NewTextHandler(&log, nil)), left, "/mnt")
	require.Contains(t, out.String(), "/mnt: 2 files")
	require.Contains(t, out.String(), "/s/a.tmp")
	require.Contains(t, out.String(), "b.ltx (6 bytes): no room")
	require.Equal(t, 2, strings.Count(log.String(), "level=ERROR"))

	out.Reset()
	reportUnpublished(&out, slog.New(slog.DiscardHandler), left[:1], "/mnt")
	require.Contains(t, out.String(), "/mnt: 1 file unpublished")
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c_d.e": "/a/b-c_d.e", "/a b": "'/a b'", "it's": `'it'\''s'`, "$x": "'$x'", "é": "'é'"} {
		require.Equal(t, want, quote(in))
	}
}
