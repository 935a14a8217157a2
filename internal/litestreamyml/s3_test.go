package litestreamyml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func boolString(b *bool) string {
	switch {
	case b == nil:
		return "unset"
	case *b:
		return "true"
	}
	return "false"
}

func TestS3Place(t *testing.T) {
	for name, tt := range map[string]struct {
		keys                   []string
		top                    string
		bucket, path, endpoint string
		pathStyle              string
		region                 string
	}{
		"url":                     {keys: []string{"url: s3://b/p"}, bucket: "b", path: "p", pathStyle: "unset"},
		"url without path":        {keys: []string{"url: s3://b"}, bucket: "b", path: ".", pathStyle: "unset"},
		"url with a slash":        {keys: []string{"url: s3://b/"}, bucket: "b", path: "", pathStyle: "unset"},
		"url beats type":          {keys: []string{"type: gs", "url: S3://b/p"}, bucket: "b", path: "p", pathStyle: "unset"},
		"keys":                    {keys: []string{"type: s3", "bucket: b", "path: p", "region: r"}, bucket: "b", path: "p", region: "r", pathStyle: "unset"},
		"path as it stands":       {keys: []string{"type: s3", "bucket: b", "path: /p//x/"}, bucket: "b", path: "/p//x/", pathStyle: "unset"},
		"no path":                 {keys: []string{"type: s3", "bucket: b"}, bucket: "b", path: "", pathStyle: "unset"},
		"bucket of the top":       {top: "bucket: b\nregion: r", keys: []string{"type: s3", "path: p"}, bucket: "b", path: "p", region: "r", pathStyle: "unset"},
		"own beats top":           {top: "bucket: x\nregion: x\nendpoint: https://x", keys: []string{"type: s3", "bucket: b", "region: r", "endpoint: http://e"}, bucket: "b", region: "r", endpoint: "http://e", pathStyle: "true"},
		"empty is unset":          {top: "region: r", keys: []string{"url: s3://b/p", "region: ''", "endpoint: ~"}, bucket: "b", path: "p", region: "r", pathStyle: "unset"},
		"endpoint without scheme": {keys: []string{"url: s3://b/p", "endpoint: localhost:9000"}, bucket: "b", path: "p", endpoint: "https://localhost:9000", pathStyle: "true"},
		"endpoint of the url":     {keys: []string{"url: s3://b/p?endpoint=localhost:9000"}, bucket: "b", path: "p", endpoint: "http://localhost:9000", pathStyle: "unset"},
		"file beats url": {
			keys:   []string{"url: s3://b.localhost:1/p?region=x&forcePathStyle=false", "endpoint: https://e", "region: r"},
			bucket: "b", path: "p", endpoint: "https://e", region: "r", pathStyle: "true",
		},
		"style of the file": {keys: []string{"url: s3://b/p?forcePathStyle=true", "force-path-style: off"}, bucket: "b", path: "p", pathStyle: "false"},
		"style of the url":  {keys: []string{"url: s3://b/p?endpoint=https://e&forcePathStyle=no"}, bucket: "b", path: "p", endpoint: "https://e", pathStyle: "false"},
		"style of the host": {keys: []string{"url: s3://b.nyc3.digitaloceanspaces.com/p"}, bucket: "b", path: "p", endpoint: "https://nyc3.digitaloceanspaces.com", region: "nyc3", pathStyle: "false"},
	} {
		t.Run(name, func(t *testing.T) {
			r := loadReplica(t, tt.top+"\n"+replicaYAML(tt.keys...), nil)
			require.Empty(t, r.Path)
			require.Equal(t, tt.bucket, r.S3.Bucket)
			require.Equal(t, tt.path, r.S3.Path)
			require.Equal(t, tt.endpoint, r.S3.Endpoint)
			require.Equal(t, tt.region, r.S3.Region)
			require.Equal(t, tt.pathStyle, boolString(r.S3.ForcePathStyle))
		})
	}
}

func TestS3Settings(t *testing.T) {
	r := loadReplica(t, `
access-key-id: 0123
secret-access-key: $SECRET
sign-payload: n
part-size: 7MiB
concurrency: 9
role-arn: arn:aws:iam::1:role/top
`+replicaYAML(
		"url: s3://b/p?storageClass=URL&concurrency=3&requesterPays=true&putObjectContentMD5=true",
		"sign-accept-encoding: Off", "require-content-md5: False", "put-object-content-md5: no", "storage-class: FILE",
		"sse-kms-key-id: alias/x", "max-connections: 8",
	), environment{"SECRET": "hunter2"})
	c := r.S3
	require.Equal(t, "0123", c.AccessKeyID, "as it is written")
	require.Equal(t, "hunter2", c.SecretAccessKey.Reveal())
	require.Equal(t, "false", boolString(c.SignPayload))
	require.Equal(t, "false", boolString(c.SignAcceptEncoding))
	require.False(t, c.PutObjectContentMD5)
	require.Equal(t, "FILE", c.StorageClass)
	require.Equal(t, "alias/x", c.SSEKMSKeyID)
	require.Equal(t, "arn:aws:iam::1:role/top", c.RoleARN)
	require.True(t, c.RequesterPays)
	require.Equal(t, 8, c.MaxConnections)
	require.Equal(t, 3, c.Concurrency, "the top level's is not passed on")
	require.Zero(t, c.PartSize, "the top level's is not passed on")

	c = loadReplica(t, replicaYAML("url: s3://b/p?partSize=8MiB&concurrency=3", "part-size: '16 MiB'", "concurrency: 0"), nil).S3
	require.Equal(t, int64(16<<20), c.PartSize)
	require.Equal(t, 3, c.Concurrency)
}

func TestS3SkipVerify(t *testing.T) {
	for _, tt := range []struct {
		top, own, url string
		want          bool
	}{
		{"", "", "", false},
		{"true", "", "", true},
		{"", "yes", "", true},
		{"true", "false", "", true},
		{"false", "true", "", true},
		{"false", "false", "", false},
		{"true", "true", "false", false},
		{"", "", "true", true},
		{"", "false", "true", true},
	} {
		text := "skip-verify: " + tt.top + "\n" + replicaYAML("url: s3://b/p?skipVerify="+tt.url, "skip-verify: "+tt.own)
		c := loadReplica(t, text, nil).S3
		require.Equal(t, tt.want, c.SkipVerify, "%+v", tt)
	}
	c := loadReplica(t, replicaYAML("url: s3://b/p", "skip-verify: false"), nil).S3
	require.NoError(t, c.ApplyEnvironment(environment{"LTXFS_S3_SKIP_VERIFY": "true"}.lookup))
	require.False(t, c.SkipVerify, "the file's false beats the environment")
}

func TestS3Encryption(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "key")
	require.NoError(t, os.WriteFile(file, []byte("\n"+sseKey+" \n"), 0o600))
	env := environment{"HOME": home}

	c := loadReplica(t, replicaYAML("url: s3://b", "sse-customer-algorithm: AES256", "sse-customer-key: "+sseKey), env).S3
	require.Equal(t, sseKey, c.SSECustomerKey.Reveal())
	require.Equal(t, "AES256", c.SSECustomerAlgorithm)

	c = loadReplica(t, "sse-customer-algorithm: nonsense\n"+replicaYAML("url: s3://b"), env).S3
	require.Empty(t, c.SSECustomerAlgorithm, "of no key")

	for _, path := range []string{file, "~/key"} {
		c = loadReplica(t, "sse-customer-key-path: "+path+"\nsse-customer-key: ignored\n"+replicaYAML("url: s3://b"), env).S3
		require.Equal(t, sseKey, c.SSECustomerKey.Reveal())
	}
	c = loadReplica(t, replicaYAML("url: s3://b?sseCustomerKey="+sseKey, "sse-customer-key-path: ~/key"), env).S3
	require.Equal(t, sseKey, c.SSECustomerKey.Reveal(), "the file's; the URL's is passed over")

	for text, want := range map[string]string{
		"":                        "is empty",
		"hunter2":                 "it isn't base64",
		strings.Repeat("x", 5000): "larger than 4 KiB",
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		config := load(t, replicaYAML("url: s3://b", "sse-customer-key-path: ~/key"), env)
		_, err := config.Replica("/data/db")
		requireError(t, err, config.file, want)
	}
}

// Litestream's daemon passes over its endpoint variable beside its file, and
// prefers the file's keys.
func TestS3Environment(t *testing.T) {
	c := loadReplica(t, replicaYAML("url: s3://b", "access-key-id: file", "secret-access-key: hunter2"), nil).S3
	require.NoError(t, c.ApplyEnvironment(environment{
		"LITESTREAM_S3_ENDPOINT": "localhost:9000", "LITESTREAM_ACCESS_KEY_ID": "env", "LITESTREAM_SECRET_ACCESS_KEY": "env",
		"LTXFS_S3_MAX_CONNECTIONS": "9",
	}.lookup, NotFromEnv))
	require.Empty(t, c.Endpoint)
	require.Equal(t, "file", c.AccessKeyID)
	require.Equal(t, "hunter2", c.SecretAccessKey.Reveal())
	require.Equal(t, 9, c.MaxConnections)
}

func TestFileReplica(t *testing.T) {
	for keys, want := range map[string]string{
		"path: /backup/db":                  "/backup/db",
		"path: /backup//x/../db/":           "/backup/db",
		"type: file\n      path: /backup":   "/backup",
		"url: file:///backup/db":            "/backup/db",
		"url: FILE:///backup/db":            "/backup/db",
		"url: file://host/backup":           "/host/backup",
		"url: file:///a%20b":                "/a%20b",
		"url: 'file:///a b?x=1'":            "/a%20b",
		"path: /b\n      endpoint: 'a:b@c'": "/b",
	} {
		r := loadReplica(t, replicaYAML(keys), nil)
		require.Equal(t, Replica{Path: want, Source: r.Source}, r, keys)
	}
	home, err := expandPath("~")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, "db"), loadReplica(t, replicaYAML("path: ~/db"), nil).Path)
}
