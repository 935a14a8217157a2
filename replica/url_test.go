package replica_test

import (
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

// Other stores are refused, never taken for a path, and nothing of them but the
// scheme is told: an error ends in a log, and any part may be a secret.
func TestParseURLUnsupported(t *testing.T) {
	for in, scheme := range map[string]string{
		"s3://bucket/db":                      "s3",
		"S3://bucket/db":                      "s3",
		"s3://bucket/db?endpoint=localhost":   "s3",
		"s3://key:secret@bucket/db":           "s3",
		"s3://key:se cret@bucket/":            "s3",
		"s3://secret/bucket":                  "s3",
		"s3://secret:secret@[::1":             "s3",
		"s3://a:secret@b:port/":               "s3",
		"s3://":                               "s3",
		"gs://bucket/db":                      "gs",
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
				`": such stores are not supported by this version of ltxfs: give a path or a file:// URL`)
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
