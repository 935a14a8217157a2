package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/demo"
	"github.com/ltxfs/ltxfs/fs/staging"
)

func TestReportLeftovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's staged")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	files, err := demo.Files()
	require.NoError(t, err)
	valid, cut := filepath.Join(dir, "valid.tmp"), filepath.Join(dir, "cut.tmp")
	require.NoError(t, os.WriteFile(valid, files[0].Content, 0o644))
	require.NoError(t, os.WriteFile(cut, files[0].Content[:500], 0o644))

	var out, log bytes.Buffer
	reportLeftovers(&out, slog.New(slog.NewTextHandler(&log, nil)), []staging.Entry{
		{Name: "ltx/0000/valid.tmp", Path: valid, Size: int64(len(files[0].Content))},
		{Name: "ltx/0001/cut.tmp", Path: cut, Size: 500},
		{Name: "ltx/0001/gone.tmp", Path: filepath.Join(dir, "gone"), Size: 5},
	}, "/mnt/a b")
	quoted := `'` + strings.ReplaceAll(valid, "'", `'\''`) + `'`
	require.Contains(t, out.String(), "3 files")
	require.Contains(t, out.String(), "to publish it: cp "+quoted+" '/mnt/a b/"+files[0].InMount+"' && rm "+quoted+"\n")
	require.Equal(t, 2, strings.Count(out.String(), "can't be published"))
	require.Equal(t, 3, strings.Count(out.String(), "to discard it: rm "))
	require.Equal(t, 3, strings.Count(log.String(), "level=WARN"))
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
	reportUnpublished(&out, nil, left[:1], "/mnt")
	require.Contains(t, out.String(), "/mnt: 1 file unpublished")
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c_d.e": "/a/b-c_d.e", "/a b": "'/a b'", "it's": `'it'\''s'`, "$x": "'$x'", "é": "'é'"} {
		require.Equal(t, want, quote(in))
	}
}

func TestStagedFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "ltx", "0000"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ltx", "0000", "a.tmp"), []byte("hello"), 0o644))
	left := stagedFiles(dir)
	require.Len(t, left, 1)
	require.Equal(t, "ltx/0000/a.tmp", left[0].Name)
	require.EqualValues(t, 5, left[0].Size)
	require.Empty(t, stagedFiles(filepath.Join(dir, "none")))
}
