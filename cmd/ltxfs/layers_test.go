package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/options"
)

func TestFlagsInTheEnvironment(t *testing.T) {
	cfg, err := parseMountIn(map[string]string{
		"LTXFS_RW": "true", "LTXFS_ALLOW_OTHER": "1", "LTXFS_UID": "7", "LTXFS_GID": "8", "LTXFS_FILE_MODE": "0600",
		"LTXFS_DIR_MODE": "700", "LTXFS_LAYOUT": "guide", "LTXFS_FRESHNESS": "9s", "LTXFS_CACHE_SIZE": "64MiB",
		"LTXFS_MTIME": "exact", "LTXFS_VERIFY_WRITES": "size", "LTXFS_LIMIT_READ": "1MiB", "LTXFS_LIMIT_WRITE": "2MiB",
		"LTXFS_MAX_REQUESTS": "3", "LTXFS_STAGING_DIR": "/s", "LTXFS_GRACE": "1m", "LTXFS_LOG_LEVEL": "warn",
		"LTXFS_LOG_FORMAT": "json", "LTXFS_LOG_FILE": "/l", "LTXFS_OPTIONS": "noexec", "LTXFS_CONFIG": "",
	}, "/srv/r", "/mnt")
	require.NoError(t, err)
	want, err := parseMount("--rw", "--allow-other", "--uid=7", "--gid=8", "--file-mode=0600", "--dir-mode=700", "--layout=guide",
		"--freshness=9s", "--cache-size=64MiB", "--mtime=exact", "--verify-writes=size", "--limit-read=1MiB", "--limit-write=2MiB",
		"--max-requests=3", "--staging-dir=/s", "--grace=1m", "--log-level=warn", "--log-format=json", "--log-file=/l",
		"-o", "noexec", "/srv/r", "/mnt")
	require.NoError(t, err)
	require.Equal(t, want, cfg)
}

// A flag counts more than a mount option in the environment, and so on.
func TestWhatCountsMore(t *testing.T) {
	for _, tt := range []struct {
		env, args string
		freshness time.Duration
		readWrite bool
	}{
		{"LTXFS_FRESHNESS=9s LTXFS_RW=1", "--freshness=3s --rw=false", 3 * time.Second, false},
		{"LTXFS_FRESHNESS=9s LTXFS_RW=1", "-o freshness=3s,ro", 3 * time.Second, false},
		{"LTXFS_OPTIONS=freshness=9s,rw", "--freshness=3s", 3 * time.Second, true},
		{"LTXFS_OPTIONS=freshness=9s,rw", "--rw=false", 9 * time.Second, false},
		{"LTXFS_OPTIONS=freshness=9s,rw", "-o noexec", time.Second, false},
		{"LTXFS_FRESHNESS=", "", time.Second, false},
		{"LTXFS_OPTIONS=rw,ro LTXFS_FRESHNESS=2s", "", 2 * time.Second, false},
	} {
		cfg, err := parseMountIn(environ(tt.env), append(strings.Fields(tt.args), "/srv/r", "/mnt")...)
		require.NoError(t, err, tt)
		require.Equal(t, tt.freshness, cfg.freshness, tt)
		require.Equal(t, tt.readWrite, cfg.readWrite, tt)
	}
	cfg, err := parseMountIn(environ("LTXFS_CONFIG=/none.yml"), "s3://bucket/path", "/mnt")
	require.NoError(t, err, "a URL on the command line counts more than a configuration in the environment")
	require.Equal(t, "s3://bucket/path", cfg.source.Name())
	require.Empty(t, cfg.source.Config)
}

func TestWrongEnvironment(t *testing.T) {
	for env, says := range map[string]string{
		"LTXFS_RW=yes":                                     "environment variable LTXFS_RW=yes: neither true nor false",
		"LTXFS_UID=me":                                     "environment variable LTXFS_UID=me: not a number",
		"LTXFS_CACHE_SIZE=much":                            `environment variable LTXFS_CACHE_SIZE=much: "much" is not a size`,
		"LTXFS_FRESHNESS=soon":                             "environment variable LTXFS_FRESHNESS=soon",
		"LTXFS_MTIME=slow":                                 "it must be fast or exact",
		"LTXFS_OPTIONS=nonsense":                           `environment variable LTXFS_OPTIONS: unknown mount option "nonsense"`,
		"LTXFS_OPTIONS=uid=x":                              "environment variable LTXFS_OPTIONS: uid=x: not a number",
		"LTXFS_OPTIONS=freshness=1s LTXFS_FRESHNESS=2s":    "environment variables LTXFS_FRESHNESS and LTXFS_OPTIONS both give freshness",
		"LTXFS_OPTIONS=rw LTXFS_RW=0":                      "environment variables LTXFS_RW and LTXFS_OPTIONS both give rw",
		"LTXFS_CONFIG=/none/litestream.yml LTXFS_RW=false": "/none/litestream.yml",
	} {
		_, err := parseMountIn(environ(env), "/srv/r", "/mnt")
		require.ErrorContains(t, err, says)
		require.Equal(t, exitcode.Usage, exitcode.Of(err), env)
	}
}

// environ parses NAME=VALUE NAME=VALUE.
func environ(s string) map[string]string {
	env := map[string]string{}
	for _, kv := range strings.Fields(s) {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}

func TestUnknownEnvironment(t *testing.T) {
	t.Setenv("LTXFS_FRESHNES", "5s")
	t.Setenv("LTXFS_S3_REIGON", "eu")
	t.Setenv("LTXFS_STATE_DIR", "/x")
	t.Setenv("LTXFS_CACHE_SIZE", "5MiB")
	t.Setenv("LTXFS_S3_ENDPOINT", "https://localhost")
	require.Equal(t, []options.Unknown{{Name: "LTXFS_FRESHNES", Nearest: "LTXFS_FRESHNESS"}, {Name: "LTXFS_S3_REIGON", Nearest: "LTXFS_S3_REGION"}},
		unknownEnv())
	require.Contains(t, mountEnv(), "LTXFS_DAEMON")
	require.NotContains(t, mountEnv(), "LTXFS_SLOPPY")
	require.NotContains(t, mountEnv(), "LTXFS_HELP")
}
