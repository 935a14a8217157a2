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
		"host:/path":                      "host:/path",
		"c://drive":                       "c:/drive",
		"file":                            "file",
		"file:/one/slash":                 "file:/one/slash",
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
		"file://localhost/":       "file:///path/to/replica",
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

// Other stores are refused by name, and never taken for a path.
func TestParseURLUnsupported(t *testing.T) {
	for in, want := range map[string]string{
		"s3://bucket/db":                      "s3://bucket",
		"s3://bucket":                         "s3://bucket",
		"S3://bucket/db":                      "S3 stores",
		"s3://bucket/db?endpoint=localhost":   "S3 stores",
		"s3://key:secret@bucket/db":           "S3 stores",
		"gs://bucket/db":                      `"gs"`,
		"abs://account@container/db":          `"abs"`,
		"sftp://user:password@host/db":        `"sftp"`,
		"https://bucket.s3.amazonaws.com/db":  `"https"`,
		"nats://host/bucket":                  `"nats"`,
		"webdavs://user:password@host/backup": `"webdavs"`,
	} {
		t.Run(in, func(t *testing.T) {
			_, err := replica.ParseURL(in)
			require.ErrorIs(t, err, replica.ErrUnsupported)
			assert.ErrorContains(t, err, want)
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "password")
		})
	}
}

// An error ends in a log, so it must not hold what a URL may.
func TestParseURLHidesSecrets(t *testing.T) {
	for _, in := range []string{"s3://key:se cret@bucket/", "sftp://user:secret%zz@host/", "s3://secret:secret@[::1", "s3://a:secret@b:port/"} {
		_, err := replica.ParseURL(in)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "secret", in)
	}
}
