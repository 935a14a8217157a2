package config

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func show(b *bool) any { return map[bool]any{true: "unset", false: b}[b == nil] }

const accessPoint = "arn:aws:s3:eu-west-1:123456789012:accesspoint/backups"

// What Litestream v0.5.18 makes of a URL: its parser's bucket and path, and
// region, endpoint and path style after its defaults for providers.
func TestParseURL(t *testing.T) {
	for in, want := range map[string]struct {
		bucket, path, region, endpoint string
		pathStyle                      bool
	}{
		// The path, from which Litestream makes its keys.
		"s3://bucket":                  {"bucket", ".", "", "", false},
		"s3://bucket/":                 {"bucket", "", "", "", false},
		"s3://bucket//":                {"bucket", "", "", "", false},
		"s3://bucket/.":                {"bucket", "", "", "", false},
		"s3://bucket/db":               {"bucket", "db", "", "", false},
		"s3://bucket/db/":              {"bucket", "db", "", "", false},
		"s3://bucket//a//b/../c/./":    {"bucket", "a/c", "", "", false},
		"s3://bucket/../db":            {"bucket", "db", "", "", false},
		"s3://bucket/with%20space":     {"bucket", "with space", "", "", false},
		"s3://bucket/with space":       {"bucket", "with space", "", "", false},
		"s3://bucket/what%3F%23":       {"bucket", "what?#", "", "", false},
		"s3://bucket/a%2Fb":            {"bucket", "a/b", "", "", false},
		"s3://bucket/100%25":           {"bucket", "100%", "", "", false},
		"s3://bucket/a+b":              {"bucket", "a+b", "", "", false},
		"s3://bucket/üb%C3%A9r":        {"bucket", "übér", "", "", false},
		"S3://bucket/db":               {"bucket", "db", "", "", false},
		"s3://My_Bucket.x-1/db":        {"My_Bucket.x-1", "db", "", "", false},
		"s3://bucket?":                 {"bucket", ".", "", "", false},
		"s3://bucket?region=eu-west-1": {"bucket", ".", "eu-west-1", "", false},
		"s3://bucket/?region=":         {"bucket", "", "", "", false},

		// Hosts.
		"s3://b.localhost:9000/db":                             {"b", "db", "us-east-1", "http://localhost:9000", true},
		"s3://b.minio.example:9000/db":                         {"b", "db", "us-east-1", "http://minio.example:9000", true},
		"s3://b.s3.amazonaws.com/db":                           {"b", "db", "", "", false},
		"s3://b.s3.us-west-2.amazonaws.com/db":                 {"b", "db", "us-west-2", "", false},
		"s3://a.b.s3.us-west-2.amazonaws.com/db":               {"a.b", "db", "us-west-2", "", false},
		"s3://b.s3-us-west-2.amazonaws.com":                    {"b.s3-us-west-2.amazonaws.com", ".", "", "", false},
		"s3://b.nyc3.digitaloceanspaces.com/db":                {"b", "db", "nyc3", "https://nyc3.digitaloceanspaces.com", false},
		"s3://b.s3.us-west-004.backblazeb2.com/db":             {"b", "db", "us-west-004", "https://s3.us-west-004.backblazeb2.com", true},
		"s3://b.s3.filebase.com/db":                            {"b", "db", "us-east-1", "https://s3.filebase.com", true},
		"s3://b.s3.fr-par.scw.cloud/db":                        {"b", "db", "fr-par", "https://s3.fr-par.scw.cloud", false},
		"s3://b.br-x-1.storage.c-6.us-east-2.aws.neon.tech/db": {"b", "db", "us-east-2", "https://br-x-1.storage.c-6.us-east-2.aws.neon.tech", true},

		// Endpoints, with a scheme or without.
		"s3://b/db?endpoint=localhost:9000":                                 {"b", "db", "us-east-1", "http://localhost:9000", true},
		"s3://b/db?endpoint=http://localhost:9000":                          {"b", "db", "us-east-1", "http://localhost:9000", true},
		"s3://b/db?endpoint=https%3A%2F%2Flocalhost%3A9000":                 {"b", "db", "us-east-1", "https://localhost:9000", true},
		"s3://b/db?endpoint=127.0.0.1:9000":                                 {"b", "db", "us-east-1", "http://127.0.0.1:9000", true},
		"s3://b/db?endpoint=10.1.2.3":                                       {"b", "db", "us-east-1", "http://10.1.2.3", true},
		"s3://b/db?endpoint=192.168.0.1:80":                                 {"b", "db", "us-east-1", "http://192.168.0.1:80", true},
		"s3://b/db?endpoint=172.20.0.1":                                     {"b", "db", "us-east-1", "http://172.20.0.1", true},
		"s3://b/db?endpoint=172.32.0.1":                                     {"b", "db", "us-east-1", "https://172.32.0.1", true},
		"s3://b/db?endpoint=nas.local":                                      {"b", "db", "us-east-1", "http://nas.local", true},
		"s3://b/db?endpoint=minio.example.com":                              {"b", "db", "us-east-1", "https://minio.example.com", true},
		"s3://b/db?endpoint=s3.example.com&forcePathStyle=false":            {"b", "db", "us-east-1", "https://s3.example.com", false},
		"s3://b/db?endpoint=s3.example.com&force-path-style=no":             {"b", "db", "us-east-1", "https://s3.example.com", false},
		"s3://b/db?endpoint=s3.example.com&force-path-style=T":              {"b", "db", "us-east-1", "https://s3.example.com", true},
		"s3://b/db?forcePathStyle=1":                                        {"b", "db", "", "", true},
		"s3://b.localhost:9000/db?endpoint=http://other:1&region=r":         {"b", "db", "r", "http://other:1", true},
		"s3://b.nyc3.digitaloceanspaces.com/db?endpoint=https://x.y":        {"b", "db", "nyc3", "https://x.y", true},
		"s3://b.nyc3.digitaloceanspaces.com/db?forcePathStyle=true":         {"b", "db", "nyc3", "https://nyc3.digitaloceanspaces.com", true},
		"s3://b.br-x-1.storage.c-6.us-east-2.aws.neon.tech?endpoint=x.y":    {"b.br-x-1.storage.c-6.us-east-2.aws.neon.tech", ".", "us-east-1", "https://x.y", true},
		"s3://b/db?endpoint=https://p.supabase.co/storage/v1/s3&region=r-1": {"b", "db", "r-1", "https://p.supabase.co/storage/v1/s3", true},
		"s3://b/db?endpoint=https://fly.storage.tigris.dev&region=auto":     {"b", "db", "auto", "https://fly.storage.tigris.dev", true},

		// Access points, whose paths are not decoded.
		"s3://" + accessPoint:                             {accessPoint, "", "eu-west-1", "", false},
		"s3://" + accessPoint + "/":                       {accessPoint, "", "eu-west-1", "", false},
		"s3://" + accessPoint + "/a//b%20c/":              {accessPoint, "a/b%20c", "eu-west-1", "", false},
		"s3://" + accessPoint + "/db?region=eu-central-1": {accessPoint, "db", "eu-central-1", "", false},
	} {
		t.Run(in, func(t *testing.T) {
			c, err := ParseURL(in)
			require.NoError(t, err)
			require.Equal(t, want.bucket, c.Bucket)
			require.Equal(t, want.path, c.Path)
			c, err = c.Resolve()
			require.NoError(t, err)
			require.Equal(t, want.region, c.Region)
			require.Equal(t, want.endpoint, c.Endpoint)
			require.Equal(t, want.pathStyle, *c.ForcePathStyle)
		})
	}
}

// ParseURL itself says only what the URL says.
func TestParseURLLeavesUnset(t *testing.T) {
	c, err := ParseURL("s3://bucket/db")
	require.NoError(t, err)
	require.Equal(t, Config{Bucket: "bucket", Path: "db"}, c)

	c, err = ParseURL("s3://bucket/db?requireContentMD5=false&require-content-md5=NO")
	require.NoError(t, err, "Litestream's")
	require.Equal(t, Config{Bucket: "bucket", Path: "db"}, c)

	c, err = ParseURL("s3://bucket/db?endpoint=localhost:9000")
	require.NoError(t, err)
	require.Nil(t, c.ForcePathStyle)
	require.Empty(t, c.Region)
}

// Everything that may be told of these is told; hunter2 stands for what may not.
func TestParseURLErrors(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "write s3://BUCKET/PATH",
		"bucket/hunter2":                      "begins with s3://",
		"s3:/bucket/hunter2":                  "begins with s3://",
		"gs://bucket/hunter2":                 "begins with s3://",
		"s3://":                               "no bucket",
		"s3:///db":                            "no bucket",
		"s3://?region=x":                      "no bucket",
		"s3://hunter2:9000/db":                "no bucket",
		"s3://127.0.0.1:9000/bucket":          "no bucket",
		"s3://127.0.0.1/bucket":               "no bucket",
		"s3://b.:9000/hunter2":                "has a host that can't be",
		"s3://[::1]:9000/bucket":              "no bucket",
		"s3://nyc3.digitaloceanspaces.com/x":  "no bucket",
		"s3://minio.example.com:9000/hunter2": "a bucket whose name can't be",
		"s3://hunter(2/db":                    "a bucket whose name can't be",
		"s3://key:hunter2@bucket/db":          "holds credentials",
		"s3://hunter2@bucket/db":              "holds credentials",
		"s3://key:hunt er2@bucket/db":         "can't be understood",
		"s3://key:hunter2":                    "can't be understood",
		"s3://hunter2 hunter2/db":             "no bucket's name has",
		"s3://[::hunter2/db":                  "can't be understood",
		"s3://bucket/hunter2%zz":              "write %25",
		"s3://bucket/\x00hunter2":             "can't be understood",
		"s3://bucket/db#hunter2":              "write # as %23",
		"s3://bucket/db#":                     "write # as %23",
		"s3://arn:aws:s3:::hunter2":           "not an access point's",
		"s3://arn:aws:s3:r:1:accesspoint/":    "not an access point's",
		"s3://arn:accesspoint:accesspoint/x":  "is incomplete",
		"s3://ARN:aws:s3:r:1:accesspoint/x":   "no bucket",

		"s3://bucket/db?forcePathStile=true":                 "not known, forcePathStile: did you mean forcePathStyle?",
		"s3://bucket/db?force-pathstyle=true":                "did you mean forcePathStyle?",
		"s3://bucket/db?ForcePathStyle=true":                 "did you mean forcePathStyle?",
		"s3://bucket/db?endpiont=hunter2":                    "did you mean endpoint?",
		"s3://bucket/db?ssekmskeyid=hunter2":                 "did you mean sseKmsKeyId?",
		"s3://bucket/db?putObjectContentMd5=1":               "not known: did you mean putObjectContentMD5?",
		"s3://bucket/db?colour=hunter2":                      "a setting that is not known, colour",
		"s3://bucket/db?colour=":                             "a setting that is not known, colour",
		"s3://bucket/db?hunter2/withaslash":                  "a setting that is not known",
		"s3://bucket/db?hunter2hunter2hunter2hunter2hunter2": "a setting that is not known",
		"s3://bucket/db?partSize=5MiB;x=hunter2":             "%3B",
		"s3://bucket/db?partSize=%hunter2":                   "%25",
		"s3://bucket/db?accessKeyId=hunter2":                 "accessKeyId does not belong in a URL, which others can read: set LTXFS_S3_ACCESS_KEY_ID in the environment, or access-key-id in litestream.yml",
		"s3://bucket/db?secret-access-key=hunter2":           "set LTXFS_S3_SECRET_ACCESS_KEY in the environment",
		"s3://bucket/db?sessionToken=hunter2":                "LTXFS_S3_SESSION_TOKEN",

		"s3://bucket/db?partSize=5XiB":                              `partSize in the S3 URL: "5XiB" is not a size`,
		"s3://bucket/db?part-size=1MiB":                             "part-size in the S3 URL: 1048576 bytes is not between",
		"s3://bucket/db?concurrency=many":                           `concurrency in the S3 URL: "many" is not a positive`,
		"s3://bucket/db?concurrency=0":                              "not a positive",
		"s3://bucket/db?skipVerify=on":                              `skipVerify in the S3 URL: "on" is neither`,
		"s3://bucket/db?region=eu/west":                             "is not a region",
		"s3://bucket/db?region=a&region=b":                          "region twice",
		"s3://bucket/db?forcePathStyle=true&force-path-style=false": "forcePathStyle twice",
		"s3://bucket/db?sseCustomerKey=hunter2":                     "sseCustomerKey in the S3 URL: it isn't base64",
		"s3://bucket/db?sseCustomerKey=hunter 2":                    "write + as %2B",
		"s3://bucket/db?sseCustomerKey=c2VjcmV0":                    "holds 6 bytes",
		"s3://bucket/db?endpoint=http://key:hunter2@host":           "credentials don't belong in it",
		"s3://bucket/db?endpoint=ftp://hunter2":                     "must be http or https",
		"s3://bucket/db?endpoint=http://":                           "not the URL of a store",
		"s3://bucket/db?endpoint=.":                                 "not the URL of a store",
		"s3://bucket/db?endpoint=http://a..b":                       "not the URL of a store",
		"s3://bucket/db?endpoint=http://host:hunter2":               "not the URL of a store",
		"s3://bucket/db?endpoint=http://host%253Fx=hunter2":         "not the URL of a store",
		"s3://bucket/db?endpoint=http://host/%253Fx%3Fy=hunter2":    "must not have a query",
		"s3://bucket/db?endpoint=hunt er2":                          "not the URL of a store",
		"s3://bucket/db?endpoint=http://host/%23":                   "must not have a query or a fragment",
	} {
		t.Run(in, func(t *testing.T) {
			c, err := ParseURL(in)
			require.Error(t, err)
			require.ErrorContains(t, err, want)
			require.NotRegexp(t, `hunt|er2`, err.Error())
			require.Equal(t, Config{}, c)
		})
	}
}

// The same value twice, or an empty one, is no contradiction.
func TestParseURLRepeated(t *testing.T) {
	c, err := ParseURL("s3://b?region=r&region=r&region=&endpoint=")
	require.NoError(t, err)
	require.Equal(t, "r", c.Region)
	require.Empty(t, c.Endpoint)
}

func TestApplyURL(t *testing.T) {
	t.Run("what is set stays", func(t *testing.T) {
		c := Config{Region: "mine", Endpoint: "https://mine"}
		require.NoError(t, c.Set("skip-verify", "false", "a test"))
		require.NoError(t, c.ApplyURL("s3://b.localhost:9000/db?skipVerify=true&region=other&partSize=8MiB"))
		require.Equal(t, "b", c.Bucket)
		require.Equal(t, "db", c.Path)
		require.Equal(t, "mine", c.Region)
		require.Equal(t, "https://mine", c.Endpoint)
		require.False(t, c.SkipVerify)
		require.Equal(t, int64(8<<20), c.PartSize)
	})
	t.Run("an endpoint elsewhere beats the host's style", func(t *testing.T) {
		c := Config{Endpoint: "https://mine"}
		require.NoError(t, c.ApplyURL("s3://b.s3.fr-par.scw.cloud/db"))
		require.Equal(t, "unset", show(c.ForcePathStyle))
	})
	t.Run("an error changes nothing", func(t *testing.T) {
		c := Config{Region: "mine"}
		before := c
		require.Error(t, c.ApplyURL("s3://b/db?partSize=8MiB&concurrency=x"))
		require.Equal(t, before, c)
	})
}
