package settings

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

const twoDatabases = `
dbs:
  - path: /srv/a/one.db
    replica: {path: /backup/one}
  - path: /srv/b/two.db
    replica: {url: "s3://b/two", endpoint: "http://127.0.0.1:1"}
  - path: /srv/b/three.db
`

func TestDatabases(t *testing.T) {
	file := filepath.Join(t.TempDir(), "litestream.yml")
	require.NoError(t, os.WriteFile(file, []byte(twoDatabases), 0o600))
	for _, args := range [][]string{
		{"--all", file, "/mnt"}, {"--all", "--config", file, "", "/mnt"}, {"-o", "ro,all", file, "/mnt"}, {"-o", "all,config=" + file, "", "/mnt"},
	} {
		m, err := parseMount(args...)
		require.NoError(t, err, args)
		require.Equal(t, file, m.Name())
		require.Equal(t, "/mnt", m.Mountpoint)
		names, err := m.Databases.List(t.Context(), "/mnt")
		require.NoError(t, err)
		require.Equal(t, []string{"a/one.db", "b/three.db", "b/two.db"}, names)
		one, err := m.Databases.Source("a/one.db")
		require.NoError(t, err)
		require.Equal(t, "/backup/one", one.Path)
		two, err := m.Databases.Source("b/two.db")
		require.NoError(t, err)
		require.Equal(t, "two", two.S3.Path)
		require.NotNil(t, two.S3.SignAcceptEncoding, "it is resolved")
		_, err = m.Databases.Source("b/three.db")
		require.ErrorContains(t, err, file+":7: replica: the database has none")

	}
	for _, env := range []map[string]string{nil, {"LTXFS_CONFIG": "/etc/other.yml"}, {"LTXFS_ALL": "1"}} {
		m, err := parseMountIn(env, "--all", "--no-db", file, "/mnt")
		require.NoError(t, err)
		again, err := parseMountIn(nil, m.Args()[1:]...)
		require.NoError(t, err)
		require.Equal(t, []any{file, "/mnt", true, true}, []any{again.Config, again.Mountpoint, again.All, again.NoDB})
	}
	other := filepath.Join(t.TempDir(), "empty.yml")
	require.NoError(t, os.WriteFile(other, []byte("dbs: []\n"), 0o600))
	_, err := parseMount("--all", other, "/mnt")
	requireCode(t, exitcode.NoReplica, err, other+": there are no databases in it")
	_, err = parseMount("--all", file+".none", "/mnt")
	requireCode(t, exitcode.Usage, err, file+".none")
	for want, args := range map[string][]string{
		"give the configuration once, and no database": {"--all", "--config", file, "/srv/a/one.db", "/mnt"},
		"read-only":                    {"--all", "--rw", file, "/mnt"},
		"the configuration is missing": {"--all", "", "/mnt"},
	} {
		_, err := parseMount(args...)
		requireCode(t, exitcode.Usage, err, want)
	}
}
