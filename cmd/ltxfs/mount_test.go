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
	"github.com/ltxfs/ltxfs/replica"
)

// parseMount parses the command line of ltxfs mount, without the command.
func parseMount(args ...string) (mountConfig, error) {
	var f mountFlags
	flags := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	f.define(flags)
	if err := flags.Parse(args); err != nil {
		return mountConfig{}, err
	}
	return f.config(flags, flags.Arg(0), flags.Arg(1))
}

func TestMountDefaults(t *testing.T) {
	cfg, err := parseMount("/srv/r", "/mnt")
	require.NoError(t, err)
	require.Equal(t, mountConfig{
		replica: "/srv/r", mountpoint: "/mnt",
		uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), fileMode: 0o444, dirMode: 0o755,
		freshness: time.Second, grace: 10 * time.Second, cacheSize: 128 << 20,
		logLevel: "info", logFormat: "text",
	}, cfg)

	cfg, err = parseMount("--rw", "file:///srv/a%20b", "/mnt/")
	require.NoError(t, err)
	require.True(t, cfg.readWrite)
	require.EqualValues(t, 0o644, cfg.fileMode)
	require.Equal(t, "/srv/a b", cfg.replica)
	require.Equal(t, "/mnt", cfg.mountpoint)

	cfg, err = parseMount("--rw", "--file-mode=0400", "r", "m")
	require.NoError(t, err)
	require.EqualValues(t, 0o400, cfg.fileMode)
	wd, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(wd, "r"), cfg.replica)
	require.Equal(t, filepath.Join(wd, "m"), cfg.mountpoint)
}

func TestMountOptionsAsFlags(t *testing.T) {
	cfg, err := parseMount("/srv/r", "/mnt", "-o",
		"rw,noexec,allow_other,uid=7,gid=8,file_mode=0600,dir_mode=0700,layout=guide,freshness=5s,cache_size=64MiB", "-o",
		"staging_dir=/var/s,grace=1m,log_level=debug,log_format=json,log_file=/var/l,_netdev")
	require.NoError(t, err)
	require.Equal(t, mountConfig{
		replica: "/srv/r", mountpoint: "/mnt", readWrite: true, allowOther: true,
		uid: 7, gid: 8, fileMode: 0o600, dirMode: 0o700, layout: replica.Guide,
		freshness: 5 * time.Second, grace: time.Minute, cacheSize: 64 << 20, stagingDir: "/var/s",
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

// A daemon gets the same configuration by its command line.
func TestArgsGiveTheSameConfiguration(t *testing.T) {
	for _, args := range [][]string{
		{"/srv/r", "/mnt"},
		{"--rw", "--cache-size=5000001", "--layout=litestream-s3", "-o", "noexec,nodev,allow_other", "--", "-odd", "/mnt x"},
		{"--staging-dir=s", "--log-file=l", "--freshness=1500ms", "--grace=0", "--uid=3", "r", "m"},
	} {
		want, err := parseMount(args...)
		require.NoError(t, err)
		line := want.args()
		require.Equal(t, "mount", line[0])
		got, err := parseMount(line[1:]...)
		require.NoError(t, err)
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
		{"s3://key:secret@bucket/path /mnt", exitcode.NoReplica, "not supported"},
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

func TestReplicaURL(t *testing.T) {
	require.Equal(t, "file:///srv/a%20b%25", replicaURL("/srv/a b%"))
}
