package settings

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// parseMount parses the command line of ltxfs mount, without the command and
// with nothing in the environment.
func parseMount(args ...string) (*Mount, error) { return parseMountIn(nil, args...) }

func parseMountIn(env map[string]string, args ...string) (*Mount, error) {
	m := New()
	flags := pflag.NewFlagSet("mount", pflag.ContinueOnError)
	m.Define(flags)
	if err := flags.Parse(args); err != nil {
		return m, err
	}
	return m, m.Parse(flags, flags.Arg(0), flags.Arg(1), lookup(env))
}

func lookup(env map[string]string) Lookup {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

// told is a Mount without how it came to be.
func told(m *Mount) Mount {
	told := *m
	told.from, told.replica, told.layout, told.mtime, told.refresh, told.dbBytes, told.diskCacheCheck = nil, "", "", "", "", "", ""
	return told
}

func TestMountDefaults(t *testing.T) {
	cfg, err := parseMount("/srv/r", "/mnt")
	require.NoError(t, err)
	require.Equal(t, Mount{
		Source: Source{Path: "/srv/r"}, Mountpoint: "/mnt",
		UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), FileMode: 0o444, DirMode: 0o755,
		Grace: 10 * time.Second, RefreshAll: 10 * time.Minute, CacheSize: 128 << 20, DiskCacheSize: 10 << 30, VerifyWrites: config.VerifyAuto,
		LogLevel: "info", LogFormat: "auto",
	}, told(cfg))

	cfg, err = parseMount("--rw", "file:///srv/a%20b", "/mnt/")
	require.NoError(t, err)
	require.True(t, cfg.ReadWrite)
	require.EqualValues(t, 0o644, cfg.FileMode)
	require.Equal(t, "/srv/a b", cfg.Source.Path)
	require.Equal(t, "/mnt", cfg.Mountpoint)

	cfg, err = parseMount("--rw", "--file-mode=0400", "r", "m")
	require.NoError(t, err)
	require.EqualValues(t, 0o400, cfg.FileMode)
	wd, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(wd, "r"), cfg.Source.Path)
	require.Equal(t, filepath.Join(wd, "m"), cfg.Mountpoint)
}

func TestMountOptionsAsFlags(t *testing.T) {
	cfg, err := parseMount("/srv/r", "/mnt", "-o",
		"rw,noexec,allow_other,uid=7,gid=8,file_mode=0600,dir_mode=0700,layout=guide,freshness=5s,cache_size=64MiB", "-o",
		"staging_dir=/var/s,grace=1m,log_level=debug,log_format=json,log_file=/var/l,_netdev", "-o",
		"mtime=exact,refresh=new,refresh_all=1h,verify_writes=full,disk_cache=/var/c,disk_cache_size=1GiB,disk_cache_check=always,limit_read=10MiB,limit_write=1GB,max_requests=7,no_db,db_bytes=exact")
	require.NoError(t, err)
	require.Equal(t, Mount{
		Source: Source{Path: "/srv/r"}, Mountpoint: "/mnt", ReadWrite: true, AllowOther: true, NoDB: true, ExactDB: true,
		UID: 7, GID: 8, FileMode: 0o600, DirMode: 0o700, Layout: replica.Guide,
		Freshness: new(5 * time.Second), Grace: time.Minute, CacheSize: 64 << 20, StagingDir: "/var/s",
		DiskCache: "/var/c", DiskCacheSize: 1 << 30, DiskCacheCheck: true,
		ExactTimes: true, RefreshNew: true, RefreshAll: time.Hour, VerifyWrites: config.VerifyFull, LimitRead: 10 << 20, LimitWrite: 1e9, MaxRequests: new(7),
		LogLevel: "debug", LogFormat: "json", LogFile: "/var/l", KernelOptions: []string{"noexec"},
	}, told(cfg))
}

func TestReadWriteFromBoth(t *testing.T) {
	for args, want := range map[string]bool{
		"--rw -o rw": true, "-o rw": true, "-o ro": false, "-o rw,ro": false, "--rw=false -o ro": false, "--rw": true,
	} {
		cfg, err := parseMount(append(strings.Fields(args), "/srv/r", "/mnt")...)
		require.NoError(t, err, args)
		require.Equal(t, want, cfg.ReadWrite, args)
	}
}

// A daemon gets the same configuration by its command line, and ClearEnv takes what
// is in its environment.
func TestArgsGiveTheSameConfiguration(t *testing.T) {
	env := map[string]string{"LTXFS_RW": "true", "LTXFS_STAGING_DIR": "/env", "LTXFS_OPTIONS": "noatime", "LTXFS_DAEMON": "1",
		"LTXFS_CONFIG": "/none.yml", "LTXFS_FRESHNESS": "7s", "LTXFS_MTIME": "exact", "LTXFS_VERIFY_WRITES": "size"}
	for _, kv := range ClearEnv() {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	for _, args := range [][]string{
		{"/srv/r", "/mnt"},
		{"--rw", "--cache-size=5000001", "--layout=litestream-s3", "-o", "noexec,nodev,allow_other", "--", "-odd", "/mnt x"},
		{"--staging-dir=s", "--log-file=l", "--freshness=1500ms", "--grace=0", "--uid=3", "r", "m"},
		{"--mtime=exact", "--verify-writes=checksum", "--limit-read=2MiB", "--limit-write=3MiB", "--max-requests=5", "s3://bucket/path", "m"},
		{"--max-requests=0", "--freshness=0", "--daemon", "--rw=false", "--file-mode=600", "s3://bucket/path?region=eu-west-1", "m"},
		{"-o", "rw,uid=7", "file:///srv/a%20b", "m"},
	} {
		want, err := parseMount(args...)
		require.NoError(t, err)
		line := want.Args()
		require.Equal(t, []string{"mount", "--daemon=false"}, line[:2])
		got, err := parseMountIn(env, line[1:]...)
		require.NoError(t, err)
		want.Daemon = false
		require.Equal(t, told(want), told(got))
	}

	// What the environment says is on the command line.
	inEnv := map[string]string{"LTXFS_RW": "1", "LTXFS_FRESHNESS": "7s", "LTXFS_OPTIONS": "noatime,uid=9"}
	want, err := parseMountIn(inEnv, "/srv/r", "/mnt")
	require.NoError(t, err)
	require.Equal(t, "mount --daemon=false --rw=true --uid=9 --freshness=7s --options=noatime -- /srv/r /mnt", strings.Join(want.Args(), " "))
	maps.Copy(inEnv, env)
	got, err := parseMountIn(inEnv, want.Args()[1:]...)
	require.NoError(t, err)
	require.Equal(t, told(want), told(got))
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
		{"-o sse_customer_key=secret s3://b/p /mnt", exitcode.Usage,
			"sseCustomerKey does not belong in a mount option, which others can read: set LTXFS_S3_SSE_CUSTOMER_KEY in the environment"},
		{"-o access-key-id=secret s3://b/p /mnt", exitcode.Usage, "set LTXFS_S3_ACCESS_KEY_ID in the environment"},
		{"s3://key:secret@bucket/path /mnt", exitcode.Usage, "credentials"},
		{"s3:///path /mnt", exitcode.Usage, "bucket"},
		{"s3://bucket?forcePathStile=secret /mnt", exitcode.Usage, "forcePathStile"},
		{"gs://bucket/path /mnt", exitcode.NoReplica, "not supported"},
		{"--mtime=slow /srv/r /mnt", exitcode.Usage, "fast or exact"},
		{"--verify-writes=never /srv/r /mnt", exitcode.Usage, "auto, full, checksum or size"},
		{"--limit-read=511KiB /srv/r /mnt", exitcode.Usage, "--limit-read 511KiB: too little"},
		{"-o limit_write=1 /srv/r /mnt", exitcode.Usage, "--limit-write 1B: too little"},
		{"--max-requests=4097 /srv/r /mnt", exitcode.Usage, "at most 4096"},
		{"--http=9100 /srv/r /mnt", exitcode.Usage, "--http 9100: address 9100: missing port in address: give a host and a port"},
		{"--http=:91000 /srv/r /mnt", exitcode.Usage, "invalid port: give a host and a port"},
		{"--config=/none/litestream.yml /srv/r /mnt", exitcode.Usage, "/none/litestream.yml"},
		{"--config=/none/litestream.yml s3://b/p /mnt", exitcode.Usage, "not with a replica's URL"},
		{"file://host/path /mnt", exitcode.Usage, "host"},
		{"s3://bucket?sse-customer-key=no-base64 /mnt", exitcode.Usage,
			"sseCustomerKey does not belong in a URL, which others can read: set LTXFS_S3_SSE_CUSTOMER_KEY in the environment, or sse-customer-key in litestream.yml"},
		{"s3://bucket?sseCustomerKey=c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U= /mnt", exitcode.Usage,
			"sseCustomerKey does not belong in a URL, which others can read: set LTXFS_S3_SSE_CUSTOMER_KEY in the environment, or sse-customer-key in litestream.yml"},
		{"s3://bucket?sessionToken=secret /mnt", exitcode.Usage, "set LTXFS_S3_SESSION_TOKEN in the environment"},
		{"s3://bucket?externalId=1 /mnt", exitcode.Usage, "open replica s3://bucket: externalId is set without roleArn"},
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
	require.Equal(t, told(want), told(cfg))
}

// A flag counts more than a mount option in the environment, and so on.
func TestWhatCountsMore(t *testing.T) {
	for _, tt := range []struct {
		env, args string
		freshness time.Duration
		ReadWrite bool
	}{
		{"LTXFS_FRESHNESS=9s LTXFS_RW=1", "--freshness=3s --rw=false", 3 * time.Second, false},
		{"LTXFS_FRESHNESS=9s LTXFS_RW=1", "-o freshness=3s,ro", 3 * time.Second, false},
		{"LTXFS_OPTIONS=freshness=9s,rw", "--freshness=3s", 3 * time.Second, true},
		{"LTXFS_OPTIONS=freshness=9s,rw", "--rw=false", 9 * time.Second, false},
		{"LTXFS_OPTIONS=freshness=9s,rw", "-o noexec", 0, false},
		{"LTXFS_FRESHNESS=", "", 0, false},
		{"LTXFS_OPTIONS=rw,ro LTXFS_FRESHNESS=2s", "", 2 * time.Second, false},
	} {
		cfg, err := parseMountIn(environ(tt.env), append(strings.Fields(tt.args), "/srv/r", "/mnt")...)
		require.NoError(t, err, tt)
		if tt.freshness == 0 {
			require.Nil(t, cfg.Freshness, tt)
		} else {
			require.Equal(t, tt.freshness, *cfg.Freshness, tt)
		}
		require.Equal(t, tt.ReadWrite, cfg.ReadWrite, tt)
	}
	cfg, err := parseMountIn(environ("LTXFS_CONFIG=/none.yml"), "s3://bucket/path", "/mnt")
	require.NoError(t, err, "a URL on the command line counts more than a configuration in the environment")
	require.Equal(t, "s3://bucket/path", cfg.Source.Name())
	cfg, err = parseMount("s3://bucket/path?endpoint=http://localhost:9000", "/mnt")
	require.NoError(t, err)
	require.Equal(t, "s3://bucket/path?endpoint=http://localhost:9000", cfg.Origin(), "as fstab has it")
	cfg, err = parseMount("replica", "/mnt")
	require.NoError(t, err)
	require.Equal(t, cfg.Source.Path, cfg.Origin(), "as it is known in any directory")
	require.Empty(t, cfg.Config)
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

// A size with a point is a size for every setting.
func TestFractionsOfUnits(t *testing.T) {
	cfg, err := parseMount("--cache-size=1.5GiB", "-o", "limit_read=0.5GB", "s3://bucket?partSize=1.5GiB", "/mnt")
	require.NoError(t, err)
	require.Equal(t, Size(3<<29), cfg.CacheSize)
	require.Equal(t, Size(5e8), cfg.LimitRead)
	require.Equal(t, int64(3<<29), cfg.Source.S3.PartSize)
}
