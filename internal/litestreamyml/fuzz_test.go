package litestreamyml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzLoad: whatever is in a file, it is read or refused, with a line of the
// file, and without the secret that stands in it and in the environment. What
// is read has its replicas where it says, or an error that says why not.
func FuzzLoad(f *testing.F) {
	const secret = "hunter2secret"
	for _, seed := range []string{
		"", manyDatabases, replicaYAML("url: s3://b/db", "region: r"), replicaYAML("url: s3://k:" + secret + "@b"),
		replicaYAML("type: s3", "bucket: b", "path: p", "secret-access-key: $SECRET"), replicaYAML("path: ~/x", "age: {recipients: []}"),
		replicaYAML("url: s3://b", "sse-customer-key: "+secret), replicaYAML("url: s3://b", "secret-access-key: |", "  "+secret, "  x"),
		"secret-access-key: \"" + secret + "\\q\"\n", "secret-access-key: [" + secret + "\n", "x: &a\n  <<: *a\n", "dbs: *" + secret,
		"a: &a [*a]\n", "? " + secret + "\n: x\n", "%YAML " + secret + "\n---\n", "a: !!int " + secret, "a: >" + secret + "\n x\n",
		"dbs:\n  - path: /data/db\n    replica: &r\n      url: s3://b\n  - path: /b\n    replica: *r\n", "$SECRET", "a: ${SECRET}: b",
		nested(70), "dbs:\n" + strings.Repeat("  - path: /x\n", 3), "'" + secret, "a:\n\t" + secret, "@" + secret, "- - - - -",
	} {
		f.Add(seed)
	}
	env := environment{"SECRET": secret, "HOME": "/nonexistent"}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		name := filepath.Join(dir, "litestream.yml")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		c, err := Load(name, env.lookup, true)
		if err != nil {
			checkError(t, err, name, text, secret)
			return
		}
		names := append(c.Databases(), "/data/db", "/data/x.db")
		require.Len(t, c.Databases(), len(c.dbs)-duplicates(c))
		for _, db := range names[max(0, len(names)-8):] {
			r, err := c.Replica(db)
			if err != nil {
				require.Equal(t, Replica{}, r)
				checkError(t, err, name, text, secret)
				continue
			}
			require.True(t, strings.HasPrefix(r.Source, name+":"))
			if r.S3 == nil {
				require.True(t, filepath.IsAbs(r.Path))
				continue
			}
			require.NotEmpty(t, r.S3.Bucket)
			require.NotContains(t, strings.ReplaceAll(r.S3.Canonical(), r.S3.Bucket, ""), "$")
		}
	})
}

// duplicates are the entries of directories that have the same name.
func duplicates(c *Config) int {
	seen := map[string]bool{}
	for _, db := range c.dbs {
		seen[db.String()] = true
	}
	return len(c.dbs) - len(seen)
}

// checkError allows the secret in what is told by name: paths, and the values
// of settings that are no secrets.
func checkError(t *testing.T, err error, file, text, secret string) {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, file, e.File)
	require.GreaterOrEqual(t, e.Line, 0)
	require.LessOrEqual(t, e.Line, 1+strings.Count(text, "\n"))
	switch e.Key {
	case "secret-access-key", "session-token", "sse-customer-key", "access-key-id", "url", "dbs", "replica", "replicas", "skip-verify", "type", "age", "endpoint":
		require.NotContains(t, err.Error(), secret)
	case "":
		if strings.Contains(err.Error(), "YAML") {
			require.NotContains(t, err.Error(), secret)
		}
	}
	require.NotContains(t, err.Error(), "\n")
}
