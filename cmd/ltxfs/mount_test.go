package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/source"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// parseMount parses the command line of ltxfs mount, without the command and
// with nothing in the environment.
func parseMount(args ...string) (mountConfig, error) { return parseMountIn(nil, args...) }

func parseMountIn(env map[string]string, args ...string) (mountConfig, error) {
	var f mountFlags
	flags := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	f.define(flags)
	if err := flags.Parse(args); err != nil {
		return mountConfig{}, err
	}
	return f.mountConfig(flags, flags.Arg(0), flags.Arg(1), func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
}

// onDisk is the source that a path makes.
func onDisk(path string) source.Source { return source.Source{Path: path, Arg: path} }

func TestMountDefaults(t *testing.T) {
	cfg, err := parseMount("/srv/r", "/mnt")
	require.NoError(t, err)
	require.Equal(t, mountConfig{
		source: onDisk("/srv/r"), mountpoint: "/mnt",
		uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), fileMode: 0o444, dirMode: 0o755,
		freshness: time.Second, grace: 10 * time.Second, cacheSize: 128 << 20,
		logLevel: "info", logFormat: "text",
	}, cfg)

	cfg, err = parseMount("--rw", "file:///srv/a%20b", "/mnt/")
	require.NoError(t, err)
	require.True(t, cfg.readWrite)
	require.EqualValues(t, 0o644, cfg.fileMode)
	require.Equal(t, "/srv/a b", cfg.source.Path)
	require.Equal(t, "/mnt", cfg.mountpoint)

	cfg, err = parseMount("--rw", "--file-mode=0400", "r", "m")
	require.NoError(t, err)
	require.EqualValues(t, 0o400, cfg.fileMode)
	wd, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(wd, "r"), cfg.source.Path)
	require.Equal(t, filepath.Join(wd, "m"), cfg.mountpoint)
}

func TestMountOptionsAsFlags(t *testing.T) {
	cfg, err := parseMount("/srv/r", "/mnt", "-o",
		"rw,noexec,allow_other,uid=7,gid=8,file_mode=0600,dir_mode=0700,layout=guide,freshness=5s,cache_size=64MiB", "-o",
		"staging_dir=/var/s,grace=1m,log_level=debug,log_format=json,log_file=/var/l,_netdev", "-o",
		"mtime=exact,verify_writes=full,limit_read=10MiB,limit_write=1GB,max_requests=7")
	require.NoError(t, err)
	require.Equal(t, mountConfig{
		source: onDisk("/srv/r"), mountpoint: "/mnt", readWrite: true, allowOther: true,
		uid: 7, gid: 8, fileMode: 0o600, dirMode: 0o700, layout: replica.Guide,
		freshness: 5 * time.Second, grace: time.Minute, cacheSize: 64 << 20, stagingDir: "/var/s",
		exactTimes: true, verifyWrites: s3.VerifyFull, limitRead: 10 << 20, limitWrite: 1e9, maxRequests: 7,
		logLevel: "debug", logFormat: "json", logFile: "/var/l", kernelOptions: []string{"noexec"},
	}, cfg)
}

func TestReadWriteFromBoth(t *testing.T) {
	for args, want := range map[string]bool{
		"--rw -o rw": true, "-o rw": true, "-o ro": false, "-o rw,ro": false, "--rw=false -o ro": false, "--rw": true,
	} {
		cfg, err := parseMount(append(strings.Fields(args), "/srv/r", "/mnt")...)
		require.NoError(t, err, args)
		require.Equal(t, want, cfg.readWrite, args)
	}
}

// A daemon gets the same configuration by its command line, whatever is in its
// environment, and what is secret by another way.
func TestArgsGiveTheSameConfiguration(t *testing.T) {
	const secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="
	env := map[string]string{"LTXFS_RW": "true", "LTXFS_STAGING_DIR": "/env", "LTXFS_OPTIONS": "noatime", "LTXFS_DAEMON": "1",
		"LTXFS_CONFIG": "/none.yml", "LTXFS_FRESHNESS": "7s", "LTXFS_MTIME": "exact", "LTXFS_VERIFY_WRITES": "size"}
	for _, args := range [][]string{
		{"/srv/r", "/mnt"},
		{"--rw", "--cache-size=5000001", "--layout=litestream-s3", "-o", "noexec,nodev,allow_other", "--", "-odd", "/mnt x"},
		{"--staging-dir=s", "--log-file=l", "--freshness=1500ms", "--grace=0", "--uid=3", "r", "m"},
		{"--mtime=exact", "--verify-writes=checksum", "--limit-read=2MiB", "--limit-write=3MiB", "--max-requests=5", "s3://bucket/path", "m"},
		{"s3://bucket/path?region=eu-west-1&sseCustomerKey=" + secret, "m"},
	} {
		want, err := parseMount(args...)
		require.NoError(t, err)
		line := want.args()
		require.Equal(t, "mount", line[0])
		require.NotContains(t, strings.Join(line, " "), secret)
		if want.source.Hidden != "" {
			require.Contains(t, line[len(line)-2], "s3://bucket/path?region=eu-west-1&sseCustomerKey=xxx")
			line[len(line)-2] = want.source.Hidden
		}
		got, err := parseMountIn(env, line[1:]...)
		require.NoError(t, err)
		if len(want.kernelOptions) == 0 {
			require.Empty(t, got.kernelOptions)
			got.kernelOptions = want.kernelOptions
		}
		require.Equal(t, want, got)
	}
}

func TestMountConfigErrors(t *testing.T) {
	for _, tt := range []struct {
		args string
		code exitcode.Code
		says string
	}{
		{"--cache-size=1MiB /srv/r /mnt", exitcode.Usage, "at least 4MiB"},
		{"--cache-size=1025GiB /srv/r /mnt", exitcode.Usage, "at most 1TiB"},
		{"--cache-size=9223372036854775807 /srv/r /mnt", exitcode.Usage, "at most 1TiB"},
		{"--freshness=-1s /srv/r /mnt", exitcode.Usage, "--freshness"},
		{"--grace=-1s /srv/r /mnt", exitcode.Usage, "--grace"},
		{"--layout=none /srv/r /mnt", exitcode.Usage, "litestream-file"},
		{"--log-level=loud /srv/r /mnt", exitcode.Usage, "loud"},
		{"--log-format=xml /srv/r /mnt", exitcode.Usage, "xml"},
		{"--rw -o ro /srv/r /mnt", exitcode.Usage, "contradict"},
		{"--rw=false -o rw /srv/r /mnt", exitcode.Usage, "contradict"},
		{"--uid=3 -o uid=4 /srv/r /mnt", exitcode.Usage, "give it once"},
		{"-o uid=x /srv/r /mnt", exitcode.Usage, "uid=x: not a number"},
		{"-o freshness=soon /srv/r /mnt", exitcode.Usage, "freshness=soon"},
		{"-o cache_size=9 /srv/r /mnt", exitcode.Usage, "at least 4MiB"},
		{"-o nonsense /srv/r /mnt", exitcode.Usage, "nonsense"},
		{"s3://key:secret@bucket/path /mnt", exitcode.Usage, "credentials"},
		{"s3:///path /mnt", exitcode.Usage, "bucket"},
		{"s3://bucket?forcePathStile=secret /mnt", exitcode.Usage, "forcePathStile"},
		{"gs://bucket/path /mnt", exitcode.NoReplica, "not supported"},
		{"--mtime=slow /srv/r /mnt", exitcode.Usage, "fast or exact"},
		{"--verify-writes=never /srv/r /mnt", exitcode.Usage, "auto, full, checksum or size"},
		{"--limit-read=511KiB /srv/r /mnt", exitcode.Usage, "--limit-read 511KiB: too little"},
		{"-o limit_write=1 /srv/r /mnt", exitcode.Usage, "--limit-write 1B: too little"},
		{"--max-requests=4097 /srv/r /mnt", exitcode.Usage, "at most 4096"},
		{"--config=/none/litestream.yml /srv/r /mnt", exitcode.Usage, "/none/litestream.yml"},
		{"--config=/none/litestream.yml s3://b/p /mnt", exitcode.Usage, "not with a replica's URL"},
		{"file://host/path /mnt", exitcode.Usage, "host"},
	} {
		_, err := parseMount(strings.Fields(tt.args)...)
		require.Equal(t, tt.code.String(), exitcode.Of(err).String(), tt.args)
		require.ErrorContains(t, err, tt.says, tt.args)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err := parseMount("/srv/r", "")
	require.ErrorContains(t, err, "mountpoint is empty")
	_, err = parseMount("", "/mnt")
	require.ErrorContains(t, err, "replica is empty")
}
