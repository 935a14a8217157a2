package litestreamyml

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestBase(t *testing.T) {
	for _, tt := range []struct {
		want    string
		entries []string
	}{
		{"", nil},
		{"/data", []string{"path: /data/one.db"}},
		{"/", []string{"path: /data/one.db", "path: /srv/two.db"}},
		{"/", []string{"path: /one.db"}},
		{"/srv", []string{"path: /srv/a/one.db", "path: /srv/ab/two.db"}},
		{"/srv/a", []string{"path: /srv/a/one.db", "dir: /srv/a"}},
		{"/srv/a/b", []string{"dir: /srv/a/b/"}},
		{"/", []string{"dir: /"}},
	} {
		text := "dbs:\n"
		for _, e := range tt.entries {
			text += "- {" + e + ", pattern: '*', replica: {path: /r}}\n"
		}
		require.Equal(t, tt.want, load(t, text, nil).Base(), tt.entries)
	}
}

// The databases of a directory are those that Litestream would find: what matches the pattern
// and begins as SQLite's do.
func TestScan(t *testing.T) {
	dir := t.TempDir()
	c := load(t, strings.ReplaceAll(`
dbs:
  - {path: DIR/gone/named.db, replica: {path: /r}}
  - {dir: DIR/flat, pattern: "*.db", replica: {path: /r}}
  - {dir: DIR/deep, pattern: "*.db", recursive: true, replica: {path: /r}}
  - {path: DIR/deep/a.db, replica: {path: /r}}
`, "DIR", dir), nil)
	put := func(content string, names ...string) {
		for _, name := range names {
			path := filepath.Join(dir, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		}
	}
	s := c.Scanner()
	scan := func() ([]string, error) {
		paths, err := s.Scan(t.Context(), dir+"/deep/mount")
		for i, p := range paths {
			paths[i] = strings.TrimPrefix(p, dir+"/")
		}
		return paths, err
	}
	names, err := scan()
	require.Equal(t, []string{"deep/a.db", "gone/named.db"}, names)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, dir+"/flat")
	require.ErrorContains(t, err, dir+"/deep")

	put(sqliteHeader, "flat/x.db", "flat/x.sqlite", "flat/below/y.db", "deep/a.db", "deep/b/c/z.db")
	put(sqliteHeader[:10], "flat/short.db")
	put("something else, and longer", "flat/other.db")
	require.NoError(t, unix.Mkfifo(dir+"/flat/pipe.db", 0o600))
	require.NoError(t, os.Symlink("x.db", dir+"/flat/link.db"))
	require.NoError(t, os.Symlink("flat", dir+"/deep/link"))
	put(sqliteHeader, "deep/mount/m.db", "deep/mount/n/m.db") // where nothing looks
	require.NoError(t, os.Symlink("../mount/n/../m.db", dir+"/deep/b/into.db"))
	require.NoError(t, os.Symlink(dir+"/deep/link/../mount", dir+"/deep/all.db"))
	want := []string{"deep/a.db", "deep/b/c/z.db", "flat/link.db", "flat/x.db", "gone/named.db"}
	for range 2 {
		names, err = scan()
		require.NoError(t, err)
		require.Equal(t, want, names)
	}

	put(sqliteHeader, "flat/other.db")
	require.NoError(t, os.Remove(dir+"/flat/x.db")) // to which link.db leads
	names, err = scan()
	require.NoError(t, err)
	require.Equal(t, []string{"deep/a.db", "deep/b/c/z.db", "flat/other.db", "gone/named.db"}, names)

	for path, want := range map[string]bool{
		"/deep/mount": true, "/deep/mount/n/x": true, "/deep/b/into.db": true, "/deep/all.db/n": true, "/deep/mount2": false, "/deep": false, "/deep/link": false,
	} {
		require.Equal(t, want, leadsInto(dir+path, dir+"/deep/mount"), path)
	}
	require.NoError(t, os.Symlink("loop", dir+"/loop"))
	require.False(t, leadsInto(dir+"/loop", dir+"/deep/mount"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Scan(ctx, "/mnt")
	require.ErrorIs(t, err, context.Canceled)
}
