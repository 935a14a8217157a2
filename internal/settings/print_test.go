package settings

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// printed runs a command line of a command that prints its configuration, and
// returns the value and where it came from of each setting.
func printed(t *testing.T, env map[string]string, args ...string) map[string][2]string {
	t.Helper()
	m := New()
	var out bytes.Buffer
	cmd := &cobra.Command{Use: "mount", RunE: func(cmd *cobra.Command, args []string) error {
		if err := m.Parse(cmd.Flags(), args[0], args[1], lookup(env)); err != nil {
			return err
		}
		require.True(t, m.PrintConfig)
		return m.Print(cmd.OutOrStdout())
	}}
	m.Define(cmd.Flags())
	cmd.SetOut(&out)
	cmd.SetArgs(append([]string{"--print-config"}, args...))
	require.NoError(t, cmd.Execute())
	require.NotContains(t, out.String(), key)
	all := map[string][2]string{}
	for line := range strings.Lines(out.String()) {
		columns := regexp.MustCompile(`  +`).Split(strings.TrimSpace(line), -1)
		require.Len(t, columns, 3, line)
		all[columns[0]] = [2]string{columns[1], columns[2]}
	}
	return all
}

func requirePrinted(t *testing.T, got map[string][2]string, want map[string][2]string) {
	t.Helper()
	for name, values := range want {
		require.Equal(t, values, got[name], name)
	}
}

func TestPrintOnDisk(t *testing.T) {
	got := printed(t, map[string]string{"LTXFS_GRACE": "1m", "LTXFS_OPTIONS": "noexec,uid=7", "LTXFS_LAYOUT": "", "LTXFS_LOG_LEVEL": "warn"},
		"--rw", "--cache-size", "1.5GiB", "/srv/r", "/mnt")
	requirePrinted(t, got, map[string][2]string{
		"replica": {"/srv/r", "command line"}, "mountpoint": {"/mnt", "command line"},
		"rw": {"true", "--rw"}, "cache-size": {"1536MiB", "--cache-size"}, "grace": {"1m0s", "LTXFS_GRACE"},
		"options": {"noexec", "LTXFS_OPTIONS"}, "uid": {"7", "LTXFS_OPTIONS"}, "log-level": {"warn", "LTXFS_LOG_LEVEL"},
		"no-db": {"false", "default"}, "db-bytes": {"open", "default"},
		"layout": {"auto", "default"}, "freshness": {"1s", "default"}, "max-requests": {"no limit", "default"},
		"file-mode": {"0644", "default"}, "config": {"-", "default"}, "no-expand-env": {"false", "default"}, "allow-other": {"false", "default"},
		"staging-dir": {"-", "default: /var/lib/ltxfs/staging for root, else $XDG_STATE_HOME/ltxfs/staging or ~/.local/state/ltxfs/staging"},
	})
	for _, name := range []string{"print-config", "daemon", "sloppy", "region", "mtime", "refresh", "refresh-all", "verify-writes"} {
		require.NotContains(t, got, name)
	}
	require.Len(t, got, 26)
}

func TestPrintS3(t *testing.T) {
	got := printed(t, map[string]string{
		"LTXFS_S3_SECRET_ACCESS_KEY": key, "LTXFS_S3_ACCESS_KEY_ID": "id", "LTXFS_S3_SSE_CUSTOMER_KEY": key,
		"LITESTREAM_S3_ENDPOINT": "fly.storage.tigris.dev", "LTXFS_S3_CONCURRENCY": "4",
	}, "-o", "max_requests=3,ro", "s3://bucket/db?skipVerify=no", "/mnt")
	requirePrinted(t, got, map[string][2]string{
		"replica": {"s3://bucket/db", "command line"}, "rw": {"false", "-o"}, "max-requests": {"3", "-o"}, "freshness": {"5s", "default"},
		"verify-writes": {"auto", "default"}, "file-mode": {"0444", "default"},
		"endpoint": {"https://fly.storage.tigris.dev", "LITESTREAM_S3_ENDPOINT"}, "concurrency": {"4", "LTXFS_S3_CONCURRENCY"},
		"partSize": {"16MiB", "default for Tigris"}, "region": {"us-east-1", "default for Tigris"}, "skipVerify": {"false", "URL"},
		"maxConnections": {"64", "default"}, "caFile": {"-", "default"}, "anonymous": {"false", "default"},
		"accessKeyId": {"id", "LTXFS_S3_ACCESS_KEY_ID"}, "secretAccessKey": {"(set)", "LTXFS_S3_SECRET_ACCESS_KEY"},
		"sseCustomerKey": {"(set)", "LTXFS_S3_SSE_CUSTOMER_KEY"}, "sessionToken": {"-", "default"},
	})
}

func TestPrintConfigured(t *testing.T) {
	path := filepath.Join(t.TempDir(), "litestream.yml")
	require.NoError(t, os.WriteFile(path, []byte("secret-access-key: "+key+`
access-key-id: id
dbs:
  - path: /db
    replica:
      url: s3://bucket/db?storageClass=GLACIER_IR
      part-size: 6MiB
`), 0o600))
	requirePrinted(t, printed(t, map[string]string{"LTXFS_CONFIG": path}, "/db", "/mnt"), map[string][2]string{
		"replica": {"s3://bucket/db", path + ":4"}, "config": {path, "LTXFS_CONFIG"},
		"secretAccessKey": {"(set)", path + ":1"}, "accessKeyId": {"id", path + ":2"}, "partSize": {"6MiB", path + ":7"},
		"storageClass": {"GLACIER_IR", "URL"}, "signPayload": {"true", "default"},
	})
}

func TestUnknownEnv(t *testing.T) {
	require.Empty(t, UnknownEnv([]string{
		"LTXFS_FRESHNESS=1s", "LTXFS_S3_REGION=eu", "LTXFS_TOOLS=/x", "LTXFS_RED=1", "LTXFS_S3_NOTHING=", "ltxfs_rw=1", "FRESHNESS=1s",
		"LTXFS_RW=x=y", "LTXFS_STATE_DIR=/x", "LTXFS_CACHE_SIZE=5MiB", "LTXFS_S3_ENDPOINT=https://localhost", "LTXFS_S3_DEBUG=all",
	}, "LTXFS_STATE_DIR"))
	require.Equal(t, []Unknown{
		{"LTXFS_FRESHNES", "LTXFS_FRESHNESS"},
		{"LTXFS_R", "LTXFS_RW"},
		{"LTXFS_S3_ENDPOINT_URL", ""},
		{"LTXFS_S3_REIGON", "LTXFS_S3_REGION"},
		{"LTXFS_STATE_DIRS", "LTXFS_STATE_DIR"},
	}, UnknownEnv([]string{"LTXFS_S3_REIGON=eu", "LTXFS_FRESHNES=1s", "LTXFS_R=1", "LTXFS_S3_ENDPOINT_URL=x", "LTXFS_STATE_DIRS=/x"}, "LTXFS_STATE_DIR"))
	require.Contains(t, ClearEnv(), "LTXFS_DAEMON=")
	require.Contains(t, ClearEnv(), "LTXFS_CACHE_SIZE=")
	require.NotContains(t, ClearEnv(), "LTXFS_SLOPPY=")
	require.NotContains(t, ClearEnv(), "LTXFS_PRINT_CONFIG=")
}

// Every row can be used, in each of its places.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	m := New()
	for i := range rows {
		r := &rows[i]
		require.Regexp(t, `^[a-z][a-z-]*$`, r.flag)
		require.False(t, seen[r.flag], r.flag)
		seen[r.flag] = true
		require.NotEmpty(t, r.doc, r.flag)
		require.NotRegexp(t, `\.$`, r.doc, "a phrase, not a sentence")
		require.Empty(t, r.wrong(m), "%s: the default can't be", r.flag)
		require.NoError(t, r.value(New()).Set(map[bool]string{true: "true", false: "0"}[r.isBool()]), r.flag)
		for _, word := range r.words {
			require.NoError(t, r.value(m).Set(word))
			require.Empty(t, r.wrong(m))
		}
	}
	require.Equal(t, []string{"auto", "litestream-file", "litestream-s3", "guide"}, Words("layout"))
	require.Nil(t, Words("rw"))
}

// Parsing needs no SDK, nor anything of a mount.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NotContains(t, string(out), "aws")
	require.NotContains(t, string(out), "go-fuse")
	require.Contains(t, string(out), "ltxfs/replica/s3/config")
}
