package settings

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/litestreamyml"
)

// key is a key of SSE-C.
const key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="

var nothing = lookup(nil)

// source is what a name of a replica makes of a Mount.
func source(arg string, env Lookup) (Source, error) {
	m := New()
	m.replica = arg
	err := exitcode.Wrap(exitcode.Usage, m.findSource(env))
	return m.Source, err
}

func requireCode(t *testing.T, want exitcode.Code, err error, texts ...string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want.String(), exitcode.Of(err).String(), err.Error())
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
}

func TestReplicaOnDisk(t *testing.T) {
	wd, err := os.Getwd()
	require.NoError(t, err)
	for in, want := range map[string]string{
		"/":                               "/",
		"/var/backups/db":                 "/var/backups/db",
		"/var/backups/db/":                "/var/backups/db",
		"/var//backups/../db":             "/var/db",
		"relative/path":                   wd + "/relative/path",
		"./relative":                      wd + "/relative",
		".":                               wd,
		"..":                              filepath.Dir(wd),
		"/with space":                     "/with space",
		"/100%":                           "/100%",
		"/not%20decoded":                  "/not%20decoded",
		"/what?#it is":                    "/what?#it is",
		"a:b":                             wd + "/a:b",
		"a:b/c":                           wd + "/a:b/c",
		"aa:b/c":                          wd + "/aa:b/c",
		"c:/drive":                        wd + "/c:/drive",
		"dir/host:/path":                  wd + "/dir/host:/path",
		"./host:/path":                    wd + "/host:/path",
		"a b:/c":                          wd + "/a b:/c",
		"2024-01:/c":                      wd + "/2024-01:/c",
		"c://drive":                       wd + "/c:/drive",
		"file":                            wd + "/file",
		"file:///var/backups/db":          "/var/backups/db",
		"file:///var/backups/db/":         "/var/backups/db",
		"file://localhost/var/backups/db": "/var/backups/db",
		"file:///with%20space":            "/with space",
		"file:///with space":              "/with space",
		"file:///percent%25":              "/percent%",
		"file:///twice%2520":              "/twice%20",
		"file:///what%3F%23it%20is":       "/what?#it is",
		"file:///a%2Fb":                   "/a/b",
		"file:///%C3%BCber":               "/über",
		"file:///über":                    "/über",
		"file:///a+b":                     "/a+b",
		"file:///a/../../b":               "/b",
		"FILE:///upper":                   "/upper",
		"file:///":                        "/",
		"file://localhost/":               "/",
	} {
		t.Run(in, func(t *testing.T) {
			s, err := source(in, nothing)
			require.NoError(t, err)
			require.Equal(t, Source{Path: want}, s)
			require.True(t, s.OnDisk())
			require.Equal(t, want, s.Name())
		})
	}
	s := Source{Path: "/srv/a b%"}
	require.Equal(t, "file:///srv/a%20b%25", s.ID())
}

func TestReplicaInS3(t *testing.T) {
	s, err := source("s3://bucket/some/path?region=eu-west-1", lookup(map[string]string{"LTXFS_S3_STORAGE_CLASS": "STANDARD_IA"}))
	require.NoError(t, err)
	require.False(t, s.OnDisk())
	require.Equal(t, "s3://bucket/some/path", s.Name())
	require.Equal(t, "STANDARD_IA", s.S3.StorageClass)

	other, err := source("s3://bucket/some/path?region=eu-west-1&concurrency=3", nothing)
	require.NoError(t, err)
	require.Equal(t, s.ID(), other.ID(), "settings don't make another replica of it")
	elsewhere, err := source("s3://bucket/some/path?endpoint=http://localhost:9000", nothing)
	require.NoError(t, err)
	require.NotEqual(t, s.ID(), elsewhere.ID(), "another store does")
	for _, in := range []string{"S3://bucket/db", "s3://bucket/db?endpoint=localhost", "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/db"} {
		s, err := source(in, nothing)
		require.NoError(t, err)
		require.NotNil(t, s.S3)
	}
}

func TestReplicaErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                       "the replica is empty",
		"file://":                                "file:///path/to/replica",
		"file://localhost":                       "file:///path/to/replica",
		"file://relative/path":                   "file:///relative/path",
		"file://var":                             "file:///var",
		"file://host/path":                       "host",
		"file:///db?layout=guide":                "%3F",
		"file:///db?":                            "%3F",
		"file:///db#1":                           "%23",
		"file://me@/db":                          "user",
		"file:///bad%zz":                         "invalid URL escape",
		"file:///bad%2":                          "invalid URL escape",
		"s3://":                                  "bucket",
		"s3://id:" + key + "@bucket/path":        "credentials",
		"s3://a:" + key + "@b:port/%zz":          "S3 URL",
		"s3://bucket?secretAccessKey=" + key:     "set LTXFS_S3_SECRET_ACCESS_KEY in the environment",
		"s3://bucket?nonsense=" + key:            "nonsense",
		"s3://bucket?partSize=much":              "partSize",
		"s3://bucket?sseCustomerKey=short" + key: "sseCustomerKey",
		"s3://bucket?sse-customer-key=" + key:    "set LTXFS_S3_SSE_CUSTOMER_KEY in the environment, or sse-customer-key in litestream.yml",
	} {
		t.Run(in, func(t *testing.T) {
			_, err := source(in, nothing)
			requireCode(t, exitcode.Usage, err, want)
			require.NotContains(t, err.Error(), key)
		})
	}
	_, err := source("s3://bucket/path", lookup(map[string]string{"LTXFS_S3_PART_SIZE": "much"}))
	requireCode(t, exitcode.Usage, err, "LTXFS_S3_PART_SIZE")
}

// Other stores are refused, never taken for a path, and nothing of them but the
// scheme is told: an error ends in a log, and any part may be a secret.
func TestReplicaUnsupported(t *testing.T) {
	for in, scheme := range map[string]string{
		"gs://bucket/db":                      "gs",
		"GS://key:secret@bucket/db":           "gs",
		"gs://key:se cret@bucket/":            "gs",
		"gs://secret:secret@[::1":             "gs",
		"gs://a:secret@b:port/":               "gs",
		"gs://":                               "gs",
		"s3s://bucket/db":                     "s3s",
		"abs://account@container/db":          "abs",
		"sftp://user:password@host/db":        "sftp",
		"sftp://user:secret%zz@host/":         "sftp",
		"https://bucket.s3.amazonaws.com/db":  "https",
		"nats://host/bucket":                  "nats",
		"webdavs://user:password@host/backup": "webdavs",
	} {
		t.Run(in, func(t *testing.T) {
			_, err := source(in, nothing)
			require.ErrorIs(t, err, litestreamyml.ErrUnsupported)
			require.Equal(t, exitcode.NoReplica, exitcode.Of(err))
			require.EqualError(t, err, `replica with scheme "`+scheme+
				`": such stores are not supported by this version of ltxfs: give a path, a file:// URL or an s3:// URL`)
		})
	}
}

func TestReplicaMistyped(t *testing.T) {
	for _, in := range []string{
		"s3:/KEY:SECRET@b", "S3:/KEY:SECRET@b/db", "s3:/", "file:/one/slash", "gs:/bucket", "host:/path", "https:/host/",
	} {
		t.Run(in, func(t *testing.T) {
			_, err := source(in, nothing)
			require.EqualError(t, err,
				"the replica looks like a mistyped URL: write scheme://… for a URL, or ./ before a path")
		})
	}
}

// FuzzReplica: whatever is given is a file's path, a store that has a client, or an
// error that tells no more of a URL than its scheme. A secret may stand anywhere
// behind that.
func FuzzReplica(f *testing.F) {
	const secret = "hunter2secret"
	for _, seed := range []string{
		"s3://KEY:%s@bucket/db", "s3://bucket/db?sseCustomerKey=%s", "gs://%s/db", "gs://a:%s@[::1", "s3:/%s",
		"sftp://user:%s%%zz@host/", "/var/backups/%s", "C://%s", "abs://%s\x00", "FILE://localhost/%s", "./%s",
	} {
		f.Add(fmt.Sprintf(seed, secret))
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := source(in, nothing)
		scheme, rest, isURL := strings.Cut(in, ":/")
		if err != nil {
			// What config tells of an S3 URL, its own tests say.
			if isURL && !strings.EqualFold(scheme, "file") && !strings.EqualFold(scheme, "s3") && !strings.Contains(strings.ToLower(scheme), secret) {
				require.NotContains(t, err.Error(), secret)
			}
			require.Equal(t, errors.Is(err, litestreamyml.ErrUnsupported), exitcode.Of(err) == exitcode.NoReplica)
			return
		}
		if s.S3 != nil {
			require.True(t, strings.EqualFold(scheme, "s3") && strings.HasPrefix(rest, "/"))
			require.Empty(t, s.Path)
			return
		}
		require.True(t, filepath.IsAbs(s.Path))
		require.Equal(t, filepath.Clean(s.Path), s.Path)
		again, err := source((&url.URL{Scheme: "file", Path: s.Path}).String(), nothing)
		require.NoError(t, err)
		require.Equal(t, s.Path, again.Path)
	})
}

func TestReplicaInConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "litestream.yml")
	require.NoError(t, os.WriteFile(path, []byte(`
access-key-id: AKIAIOSFODNN7EXAMPLE
secret-access-key: ${SECRET}
dbs:
  - path: /var/lib/app/orders.db
    replica:
      url: s3://backups/orders
      region: eu-west-1
  - path: /var/lib/app/disk.db
    replica:
      path: /var/backups/disk
  - path: /var/lib/app/other.db
    replica:
      type: sftp
      host: example.com
  - path: /var/lib/app/secret.db
    replica:
      url: s3://backups/secret
      sse-customer-key: ${SECRET}
`), 0o600))
	env := map[string]string{"SECRET": key, "LITESTREAM_S3_ENDPOINT": "localhost:9000"}
	in := func(config, db string) (*Mount, error) { return parseMountIn(env, "--config", config, db, "/mnt") }
	m, err := in(path, "/var/lib/app/orders.db")
	require.NoError(t, err)
	s := m.Source
	require.Equal(t, "s3://backups/orders", s.Name())
	require.Equal(t, path+":5", s.At)
	require.Equal(t, path, m.Config)
	require.Equal(t, key, s.S3.SecretAccessKey.Reveal())
	require.Equal(t, "eu-west-1", s.S3.Region)
	require.Empty(t, s.S3.Endpoint, "not Litestream's variable beside its file")
	byURL, err := source("s3://backups/orders?region=eu-west-1", nothing)
	require.NoError(t, err)
	require.Equal(t, byURL.ID(), s.ID(), "one replica, one staging directory, however it is named")
	require.NotContains(t, strings.Join(m.Args(), " "), key)

	m, err = in(path, "/var/lib/app/secret.db")
	require.NoError(t, err, "secrets in the file are Litestream's")
	require.Equal(t, key, m.Source.S3.SSECustomerKey.Reveal())

	m, err = in(path, "/var/lib/app/disk.db")
	require.NoError(t, err)
	require.Equal(t, "/var/backups/disk", m.Source.Name())

	_, err = in(path, "/var/lib/app/other.db")
	requireCode(t, exitcode.NoReplica, err, "sftp", "not supported", path+":")
	_, err = in(path, "/var/lib/app/none.db")
	requireCode(t, exitcode.Usage, err, "/var/lib/app/none.db", "/var/lib/app/orders.db")
	_, err = in(path, "s3://backups/orders")
	requireCode(t, exitcode.Usage, err, "not with a replica's URL")
	_, err = in(filepath.Join(t.TempDir(), "none.yml"), "/var/lib/app/orders.db")
	requireCode(t, exitcode.Usage, err, "none.yml")

	require.NoError(t, os.WriteFile(path, []byte("dbs:\n  - path: /a.db\n    replica:\n      url: s3://b/p\n      part-size: much\n"), 0o600))
	_, err = in(path, "/a.db")
	requireCode(t, exitcode.Usage, err, path+":5")
	env["LTXFS_S3_PART_SIZE"] = "much"
	require.NoError(t, os.WriteFile(path, []byte("dbs:\n  - path: /a.db\n    replica:\n      url: s3://b/p\n"), 0o600))
	_, err = in(path, "/a.db")
	requireCode(t, exitcode.Usage, err, "LTXFS_S3_PART_SIZE")
}

// A $ in a key is told where it leaves nothing of the key, and stays if that is asked for.
func TestSourceNoExpandEnv(t *testing.T) {
	path := filepath.Join(t.TempDir(), "litestream.yml")
	require.NoError(t, os.WriteFile(path, []byte("dbs:\n  - path: /a.db\n    replica:\n      url: s3://b/p\n"+
		"      access-key-id: id\n      secret-access-key: $TOPSECRET\n"), 0o600))
	_, err := parseMountIn(nil, "--config", path, "/a.db", "/mnt")
	requireCode(t, exitcode.Usage, err, "secretAccessKey", "--no-expand-env")
	require.NotContains(t, err.Error(), "TOPSECRET")
	for _, args := range [][]string{{"--no-expand-env"}, {"-o", "no_expand_env"}} {
		m, err := parseMountIn(nil, append(args, "--config", path, "/a.db", "/mnt")...)
		require.NoError(t, err)
		require.Equal(t, "$TOPSECRET", m.Source.S3.SecretAccessKey.Reveal())
		require.Contains(t, m.Args(), "--no-expand-env=true")
	}
	m, err := parseMountIn(map[string]string{"LTXFS_NO_EXPAND_ENV": "true"}, "--config", path, "/a.db", "/mnt")
	require.NoError(t, err)
	require.Equal(t, "$TOPSECRET", m.Source.S3.SecretAccessKey.Reveal())
}

// Nothing that others can see has a secret in it.
func TestSourceShowsNoSecret(t *testing.T) {
	s, err := source("s3://bucket/path?region=eu&endpoint=https://localhost:1", lookup(map[string]string{
		"LTXFS_S3_SSE_CUSTOMER_KEY": key, "LTXFS_S3_ACCESS_KEY_ID": "id", "LTXFS_S3_SECRET_ACCESS_KEY": key,
	}))
	require.NoError(t, err)
	require.Equal(t, key, s.S3.SSECustomerKey.Reveal())
	for _, shown := range []string{s.Name(), s.ID(), fmt.Sprint(s.S3), fmt.Sprintf("%+v %#v", *s.S3, *s.S3)} {
		require.NotContains(t, shown, key)
	}
}
