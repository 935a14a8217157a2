package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

// --print-config shows what holds and mounts nothing, with what can't be mounted too.
func TestPrintConfig(t *testing.T) {
	const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="
	t.Setenv("LTXFS_S3_SSE_CUSTOMER_KEY", secret)
	t.Setenv("LTXFS_FRESHNESS", "9s")
	missing := filepath.Join(t.TempDir(), "none")
	code, stdout, stderr := ltxfs("mount", "--print-config", "--daemon", "--rw", "-o", "cache_size=1.5GiB",
		"s3://bucket/db?endpoint=https://t3.storage.dev", missing)
	require.Equal(t, exitcode.OK, code, stderr)
	require.Empty(t, stderr)
	for _, line := range []string{
		`replica +s3://bucket/db +command line`, `mountpoint +` + missing + ` +command line`, `rw +true +--rw`, `cache-size +1536MiB +-o`,
		`freshness +9s +LTXFS_FRESHNESS`, `grace +10s +default`, `endpoint +https://t3.storage.dev +URL`, `partSize +16MiB +default for Tigris`,
		`sseCustomerKey +\(set\) +LTXFS_S3_SSE_CUSTOMER_KEY`,
	} {
		require.Regexp(t, `(?m)^`+line+`$`, stdout)
	}
	require.NotContains(t, stdout, secret)
	require.NoDirExists(t, missing)

	code, stdout, stderr = ltxfs("mount", "--print-config", "--mtime=slow", "/srv/r", missing)
	require.Equal(t, exitcode.Usage, code)
	require.Empty(t, stdout)
	require.Equal(t, "ltxfs: --mtime slow: it must be fast or exact\n", stderr)
}

// A shell completes the values of flags that take one of a few.
func TestCompletions(t *testing.T) {
	for flag, want := range map[string]string{
		"--layout": "auto\nlitestream-file\nlitestream-s3\nguide\n:4\n",
		"--mtime":  "fast\nexact\n:4\n", "--verify-writes": "auto\nfull\nchecksum\nsize\n:4\n",
		"--log-level": "debug\ninfo\nwarn\nerror\n:4\n", "--log-format": "auto\ntext\njson\n:4\n",
	} {
		code, stdout, _ := ltxfs("__complete", "mount", flag, "")
		require.Equal(t, exitcode.OK, code)
		require.Equal(t, want, stdout, flag)
	}
}
