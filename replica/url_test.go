package replica_test

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"/":                               "/",
		"/var/backups/db":                 "/var/backups/db",
		"/var/backups/db/":                "/var/backups/db",
		"/var//backups/../db":             "/var/db",
		"relative/path":                   "relative/path",
		"./relative":                      "relative",
		".":                               ".",
		"..":                              "..",
		"/with space":                     "/with space",
		"/100%":                           "/100%",
		"/not%20decoded":                  "/not%20decoded",
		"/what?#it is":                    "/what?#it is",
		"a:b":                             "a:b",
		"a:b/c":                           "a:b/c",
		"aa:b/c":                          "aa:b/c",
		"c:/drive":                        "c:/drive",
		"dir/host:/path":                  "dir/host:/path",
		"./host:/path":                    "host:/path",
		"a b:/c":                          "a b:/c",
		"2024-01:/c":                      "2024-01:/c",
		"c://drive":                       "c:/drive",
		"file":                            "file",
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
			u, err := replica.ParseURL(in)
			require.NoError(t, err)
			assert.Equal(t, &replica.URL{Scheme: "file", Path: want}, u)
		})
	}
}

func TestParseURLErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "the replica is empty",
		"file://":                 "file:///path/to/replica",
		"file://localhost":        "file:///path/to/replica",
		"file://relative/path":    "file:///relative/path",
		"file://var":              "file:///var",
		"file:///db?layout=guide": "%3F",
		"file:///db?":             "%3F",
		"file:///db#1":            "%23",
		"file://me@/db":           "user",
		"file:///bad%zz":          "invalid URL escape",
		"file:///bad%2":           "invalid URL escape",
	} {
		t.Run(in, func(t *testing.T) {
			_, err := replica.ParseURL(in)
			require.Error(t, err)
			assert.ErrorContains(t, err, want)
		})
	}
}

// Of an S3 URL, nothing but the scheme is looked at: its rest, right or wrong,
// is for the package that knows what may be told of it.
func TestParseURLS3(t *testing.T) {
	for _, in := range []string{
		"s3://bucket/db",
		"S3://bucket/db",
		"s3://bucket/db?endpoint=localhost",
		"s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/name/db",
		"s3://key:secret@bucket/db",
		"s3://a:secret@b:port/%zz",
		"s3://",
	} {
		t.Run(in, func(t *testing.T) {
			u, err := replica.ParseURL(in)
			require.NoError(t, err)
			assert.Equal(t, &replica.URL{Scheme: "s3"}, u)
		})
	}
}

// Other stores are refused, never taken for a path, and nothing of them but the
// scheme is told: an error ends in a log, and any part may be a secret.
func TestParseURLUnsupported(t *testing.T) {
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
			_, err := replica.ParseURL(in)
			require.ErrorIs(t, err, replica.ErrUnsupported)
			assert.EqualError(t, err, `replica with scheme "`+scheme+
				`": such stores are not supported by this version of ltxfs: give a path, a file:// URL or an s3:// URL`)
		})
	}
}

func TestParseURLMistyped(t *testing.T) {
	for _, in := range []string{
		"s3:/KEY:SECRET@b", "S3:/KEY:SECRET@b/db", "s3:/", "file:/one/slash", "gs:/bucket", "host:/path", "https:/host/",
	} {
		t.Run(in, func(t *testing.T) {
			_, err := replica.ParseURL(in)
			assert.EqualError(t, err,
				"the replica looks like a mistyped URL: write scheme://… for a URL, or ./ before a path")
		})
	}
}

// FuzzReplicaParseURL: whatever is given is a file's path, a store that has a
// client, or an error that tells no more of a URL than its scheme. A secret
// may stand anywhere behind that.
func FuzzReplicaParseURL(f *testing.F) {
	const secret = "hunter2secret"
	for _, seed := range []string{
		"s3://KEY:%s@bucket/db", "s3://bucket/db?sseCustomerKey=%s", "gs://%s/db", "gs://a:%s@[::1", "s3:/%s",
		"sftp://user:%s%%zz@host/", "/var/backups/%s", "C://%s", "abs://%s\x00", "FILE://localhost/%s", "./%s",
	} {
		f.Add(fmt.Sprintf(seed, secret))
	}
	f.Fuzz(func(t *testing.T, in string) {
		u, err := replica.ParseURL(in)
		if err != nil {
			require.Nil(t, u)
			if scheme, _, ok := strings.Cut(in, ":/"); ok && !strings.EqualFold(scheme, "file") && !strings.Contains(strings.ToLower(scheme), secret) {
				require.NotContains(t, err.Error(), secret)
			}
			return
		}
		switch u.Scheme {
		case replica.SchemeS3:
			require.True(t, strings.HasPrefix(strings.ToLower(in), "s3://"))
			require.Empty(t, u.Path)
		case replica.SchemeFile:
			require.NotEmpty(t, u.Path)
			require.Equal(t, filepath.Clean(u.Path), u.Path)
			again, err := replica.ParseURL((&url.URL{Scheme: "file", Path: filepath.Join("/", u.Path)}).String())
			require.NoError(t, err)
			require.Equal(t, filepath.Join("/", u.Path), again.Path)
		default:
			t.Fatalf("a scheme without a client: %q", u.Scheme)
		}
	})
}
