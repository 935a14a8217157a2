package litestreamyml

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const manyDatabases = `
dbs:
  - path: /data/one.db
    replica: {url: s3://b/one}
  - dir: /data
    pattern: "*.db"
    replica: {url: s3://b/flat}
  - dir: /deep
    pattern: "*.sqlite"
    recursive: yes
    replicas:
      - {type: s3, bucket: b, path: deep}
  - dir: /bare
    pattern: "*"
    recursive: true
    replica: {type: s3, bucket: b}
  - dir: /root
    pattern: "*"
    replica: {url: "s3://b"}
  - dir: /files
    pattern: "*.db"
    recursive: true
    replica: {path: /backup}
  - dir: /fileurls
    pattern: "*.db"
    replica: {url: "file:///backup"}
`

func TestFindDatabase(t *testing.T) {
	c := load(t, manyDatabases, nil)
	for in, want := range map[string]struct {
		path string // of the replica; "" is none
		line int
	}{
		"/data/one.db":           {"one", 3}, // its own entry beats the directory's
		"/data/../data/one.db":   {"one", 3},
		"sqlite:///data/one.db":  {"one", 3},
		"/data/two.db":           {"flat/two.db", 5},
		"/data/sub/two.db":       {},
		"/data/two.sqlite":       {},
		"/data":                  {},
		"/database.db":           {},
		"/deep/a.sqlite":         {"deep/a.sqlite", 8},
		"/deep/x/y/a.sqlite":     {"deep/x/y/a.sqlite", 8},
		"/deep/x.sqlite/a.db":    {},
		"/bare/a":                {"a", 13},
		"/bare/x/a":              {"x/a", 13},
		"/root/a":                {"a", 17},
		"/files/x/a.db":          {"/backup/x/a.db", 20},
		"/fileurls/a.db":         {"/backup/a.db", 24},
		"/fileurls/with spac.db": {"/backup/with%20spac.db", 24}, // as Litestream has it
		"/nowhere":               {},
	} {
		t.Run(in, func(t *testing.T) {
			r, err := c.Replica(in)
			if want.path == "" {
				require.ErrorContains(t, err, "isn't in it")
				return
			}
			require.NoError(t, err)
			if r.S3 != nil {
				require.Empty(t, r.Path)
				r.Path = r.S3.Path
			}
			require.Equal(t, want.path, r.Path)
			require.Equal(t, fmt.Sprintf("%s:%d", c.file, want.line), r.Source)
		})
	}
	require.Equal(t, []string{
		"/data/one.db", "/data/*.db", "/deep/**/*.sqlite", "/bare/**/*", "/root/*", "/files/**/*.db", "/fileurls/*.db",
	}, c.Databases())
}

func TestFindAmbiguous(t *testing.T) {
	c := load(t, "dbs:\n- {dir: /d, pattern: '*.db', replica: {url: s3://a}}\n- {dir: /d, pattern: 'x*', replica: {url: s3://b}}\n", nil)
	_, err := c.Replica("/d/x.db")
	require.EqualError(t, err, c.file+":3: /d/x.db is in this entry and in that of line 2: which replica is meant?")
	_, err = c.Replica("/d/y.db")
	require.NoError(t, err)
}

func TestFindThroughLinks(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o700))
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "link")))
	c := load(t, strings.ReplaceAll(`
dbs:
  - path: DIR/link/a.db
    replica: {url: s3://b/a}
  - dir: DIR/real
    pattern: b*
    replica: {url: s3://b/dir}
`, "DIR", dir), nil)
	for in, want := range map[string]string{
		"real/a.db": "a", "link/a.db": "a", "real/b.db": "dir/b.db", "link/b.db": "dir/b.db",
	} {
		r, err := c.Replica(filepath.Join(dir, in))
		require.NoError(t, err, in)
		require.Equal(t, want, r.S3.Path)
	}
}

func TestNotListed(t *testing.T) {
	var b strings.Builder
	b.WriteString("dbs:\n")
	for i := range 12 {
		fmt.Fprintf(&b, "  - path: /data/%02d\n    replica: {url: s3://k:hunter2@b}\n", i)
	}
	c := load(t, b.String(), nil)
	_, err := c.Replica("/data/x")
	requireError(t, err, c.file, "/data/x isn't in it; what is: /data/00, /data/01,")
	require.ErrorContains(t, err, "/data/09 and 2 more")
	require.NotContains(t, err.Error(), "/data/10")

	c = load(t, replicaYAML("url: s3://b"), nil)
	_, err = c.Replica("/data/x")
	require.EqualError(t, err, c.file+": /data/x isn't in it; what is: /data/db")
}
