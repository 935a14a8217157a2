package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfigString(t *testing.T) {
	for _, tt := range []struct{ bucket, path, want string }{
		{"bucket", "", "s3://bucket"},
		{"bucket", ".", "s3://bucket"},
		{"bucket", "db", "s3://bucket/db"},
		{"bucket", "a/b c?d#e%\n", "s3://bucket/a/b%20c%3Fd%23e%25%0A"},
		{"bucket", "/db", "s3://bucket//db"},
		{accessPoint, "", "s3://" + accessPoint},
		{accessPoint, "a/b", "s3://" + accessPoint + "/a/b"},
	} {
		c := Config{Bucket: tt.bucket, Path: tt.path, Endpoint: "https://x.y", SecretAccessKey: "hunter2"}
		require.Equal(t, tt.want, c.String())
	}
}

// The URLs of a group name one replica, and those of different groups do not.
func TestCanonical(t *testing.T) {
	groups := [][]string{
		{"s3://b", "s3://b/", "s3://b.s3.amazonaws.com", "s3://b/?region=eu-west-1", "s3://b.s3.eu-west-1.amazonaws.com/",
			"s3://b?endpoint=https://s3.eu-west-1.amazonaws.com", "s3://b?endpoint=s3.amazonaws.com&storageClass=GLACIER_IR"},
		{"s3://b/db", "s3://b//db/", "s3://b/x/../db"},
		{"s3://b/d%20b", "s3://b/d b"},
		{"s3://b?region=cn-north-1", "s3://b.s3.cn-northwest-1.amazonaws.com", "s3://b?endpoint=https://s3.cn-north-1.amazonaws.com.cn"},
		{"s3://b?region=us-gov-west-1", "s3://b.s3.us-gov-east-1.amazonaws.com/", "s3://b?endpoint=https://s3.us-gov-east-1.amazonaws.com"},
		{"s3://b.localhost:9000", "s3://b?endpoint=localhost:9000", "s3://b?endpoint=http://LOCALHOST:9000/", "s3://b?endpoint=http://localhost:9000&region=x&forcePathStyle=false"},
		{"s3://b?endpoint=https://localhost:9000"},
		{"s3://b?endpoint=http://localhost:9001"},
		{"s3://b?endpoint=http://localhost", "s3://b?endpoint=localhost:80", "s3://b.localhost:80"},
		{"s3://b?endpoint=https://x.y", "s3://b?endpoint=x.y.:443"},
		{"s3://b?endpoint=https://x.y/storage/v1", "s3://b?endpoint=https://x.y:443/storage/v1/"},
		{"s3://b?endpoint=http://[::1]:9000", "s3://b?endpoint=[::1]:9000"},
		{"s3://b.nyc3.digitaloceanspaces.com", "s3://b?endpoint=nyc3.digitaloceanspaces.com"},
		{"s3://x.y.digitaloceanspaces.com.s3.amazonaws.com", "s3://x.y.digitaloceanspaces.com.s3.us-east-1.amazonaws.com"},
		{"s3://x.y.digitaloceanspaces.com"},
		{"s3://" + accessPoint, "s3://" + accessPoint + "/", "s3://" + accessPoint + "?region=eu-west-1"},
		{"s3://" + accessPoint + "/db"},
	}
	seen := map[string]int{}
	for i, group := range groups {
		for _, in := range group {
			c, err := ParseURL(in)
			require.NoError(t, err, in)
			got := c.Canonical()
			if other, ok := seen[got]; ok {
				require.Equal(t, i, other, "%s is %s", in, got)
			}
			seen[got] = i
			first, err := ParseURL(group[0])
			require.NoError(t, err)
			require.Equal(t, first.Canonical(), got, in)
			requireSameIdentity(t, c)
			resolved, err := c.Resolve()
			require.NoError(t, err)
			require.Equal(t, got, resolved.Canonical(), "before and after resolving %s", in)
		}
	}
}

// Litestream writes other keys for a path of litestream.yml that has slashes.
func TestCanonicalOfLiteralPaths(t *testing.T) {
	seen := map[string]string{}
	for _, path := range []string{"db", "/db", "db/", "//db", "d/b", "d%2Fb"} {
		id := Config{Bucket: "b", Path: path}.Canonical()
		require.Empty(t, seen[id], "%s and %s are both %s", path, seen[id], id)
		seen[id] = path
	}
}

// An identity is a name of files and stands in messages: it has no secrets.
func TestCanonicalHasNoSecrets(t *testing.T) {
	for _, endpoint := range []string{
		"", "https://key:hunter2@host", "http://hunter2:x", "hunter2@host", "https://host?hunter2", "ftp://hunter2", "https://host/#hunter2",
	} {
		c := Config{Bucket: "b", Endpoint: endpoint, AccessKeyID: "hunter2", SecretAccessKey: "hunter2", SSECustomerKey: "hunter2", SessionToken: "hunter2"}
		require.NotContains(t, c.Canonical(), "hunter2")
		require.NotContains(t, c.String(), "hunter2")
		if endpoint != "" {
			require.NotEqual(t, Config{Bucket: "b"}.Canonical(), c.Canonical(), "a store of its own: %s", endpoint)
		}
	}
}

// requireSameIdentity checks that what a configuration calls itself leads back
// to it.
func requireSameIdentity(t *testing.T, c Config) {
	t.Helper()
	again, err := ParseURL(c.Canonical())
	require.NoError(t, err, c.Canonical())
	require.Equal(t, c.Canonical(), again.Canonical())
	require.Equal(t, c.Bucket, again.Bucket)
	require.Equal(t, strings.TrimPrefix(c.Path, "."), strings.TrimPrefix(again.Path, "."))
}
