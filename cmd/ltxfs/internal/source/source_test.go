package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// key is a key of SSE-C.
const key = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U="

func lookup(env map[string]string) Lookup {
	return func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	}
}

var nothing = lookup(nil)

func requireCode(t *testing.T, want exitcode.Code, err error, texts ...string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want.String(), exitcode.Of(err).String(), err.Error())
	for _, text := range texts {
		require.ErrorContains(t, err, text)
	}
}

func TestParseFile(t *testing.T) {
	wd, err := os.Getwd()
	require.NoError(t, err)
	for arg, want := range map[string]string{
		"/srv/r/": "/srv/r", "r": filepath.Join(wd, "r"), "file:///srv/a%20b%25": "/srv/a b%",
	} {
		s, err := Parse(arg, nothing)
		require.NoError(t, err)
		require.True(t, s.OnDisk())
		require.Equal(t, Source{Path: want, Arg: want}, s)
		require.Equal(t, want, s.Name())
		require.Zero(t, s.Settle())
		require.Zero(t, s.MaxRequests())
		require.Equal(t, time.Second, s.Freshness())
	}
	s := Source{Path: "/srv/a b%"}
	require.Equal(t, "file:///srv/a%20b%25", s.ID())
}

func TestParseS3(t *testing.T) {
	s, err := Parse("s3://bucket/some/path?region=eu-west-1", lookup(map[string]string{"LTXFS_S3_STORAGE_CLASS": "STANDARD_IA"}))
	require.NoError(t, err)
	require.False(t, s.OnDisk())
	require.Equal(t, "s3://bucket/some/path", s.Name())
	require.Equal(t, "s3://bucket/some/path?region=eu-west-1", s.Arg)
	require.Empty(t, s.Hidden)
	require.Equal(t, "STANDARD_IA", s.S3.StorageClass)
	require.Equal(t, 5*time.Second, s.Freshness())
	require.Equal(t, 2*time.Second, s.Settle())
	require.Equal(t, 64, s.MaxRequests())

	other, err := Parse("s3://bucket/some/path?region=eu-west-1&concurrency=3", nothing)
	require.NoError(t, err)
	require.Equal(t, s.ID(), other.ID(), "settings don't make another replica of it")
	elsewhere, err := Parse("s3://bucket/some/path?endpoint=http://localhost:9000", nothing)
	require.NoError(t, err)
	require.NotEqual(t, s.ID(), elsewhere.ID(), "another store does")
}

// A key in a URL reaches the client, and nothing that others can see.
func TestSecretInURL(t *testing.T) {
	raw := "s3://bucket/path?region=eu&sse-customer-key=" + key + "&endpoint=https://localhost:1"
	s, err := Parse(raw, nothing)
	require.NoError(t, err)
	require.Equal(t, raw, s.Hidden)
	require.Equal(t, key, s.S3.SSECustomerKey.Reveal())
	for _, shown := range []string{s.Arg, s.Name(), s.ID(), fmt.Sprint(s.S3), fmt.Sprintf("%+v %#v", *s.S3, *s.S3)} {
		require.NotContains(t, shown, key)
	}
	require.Contains(t, s.Arg, "endpoint=https://localhost:1")
}

func TestIsPublic(t *testing.T) {
	for name, want := range map[string]bool{
		"region": true, "forcePathStyle": true, "force-path-style": true, "sseKmsKeyId": true, "sse-customer-key-md5": true,
		"sseCustomerKey": false, "sse-customer-key": false, "SSECustomerKey": false,
		"accessKeyId": false, "secretAccessKey": false, "sessionToken": false, "nonsense": false, "": false,
	} {
		require.Equal(t, want, IsPublic(name), name)
	}
}

func TestParseErrors(t *testing.T) {
	for arg, want := range map[string]struct {
		code exitcode.Code
		says string
	}{
		"":                                       {exitcode.Usage, "empty"},
		"file://host/path":                       {exitcode.Usage, "host"},
		"gs://bucket/path":                       {exitcode.NoReplica, "not supported"},
		"s3://":                                  {exitcode.Usage, "bucket"},
		"s3://id:" + key + "@bucket/path":        {exitcode.Usage, "credentials"},
		"s3://bucket?secretAccessKey=" + key:     {exitcode.Usage, ""},
		"s3://bucket?nonsense=" + key:            {exitcode.Usage, "nonsense"},
		"s3://bucket?partSize=much":              {exitcode.Usage, "partSize"},
		"s3://bucket?sseCustomerKey=short" + key: {exitcode.Usage, "sseCustomerKey"},
	} {
		_, err := Parse(arg, nothing)
		requireCode(t, want.code, err, want.says)
		require.NotContains(t, err.Error(), key)
	}
	_, err := Parse("s3://bucket/path", lookup(map[string]string{"LTXFS_S3_PART_SIZE": "much"}))
	requireCode(t, exitcode.Usage, err, "LTXFS_S3_PART_SIZE")
}

func TestFromConfig(t *testing.T) {
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
`), 0o600))
	env := lookup(map[string]string{"SECRET": key})
	s, err := FromConfig(path, "/var/lib/app/orders.db", env)
	require.NoError(t, err)
	require.Equal(t, "s3://backups/orders", s.Name())
	require.Equal(t, "/var/lib/app/orders.db", s.Arg)
	require.Equal(t, path, s.Config)
	require.Empty(t, s.Hidden)
	require.Equal(t, key, s.S3.SecretAccessKey.Reveal())
	require.Equal(t, "eu-west-1", s.S3.Region)
	byURL, err := Parse("s3://backups/orders?region=eu-west-1", nothing)
	require.NoError(t, err)
	require.Equal(t, byURL.ID(), s.ID(), "one replica, one staging directory, however it is named")

	s, err = FromConfig(path, "/var/lib/app/disk.db", env)
	require.NoError(t, err)
	require.Equal(t, "/var/backups/disk", s.Name())
	require.Equal(t, "/var/lib/app/disk.db", s.Arg)

	_, err = FromConfig(path, "/var/lib/app/other.db", env)
	requireCode(t, exitcode.NoReplica, err, "sftp", "not supported", path+":")
	_, err = FromConfig(path, "/var/lib/app/none.db", env)
	requireCode(t, exitcode.Usage, err, "/var/lib/app/none.db", "/var/lib/app/orders.db")
	_, err = FromConfig(path, "s3://backups/orders", env)
	requireCode(t, exitcode.Usage, err, "not with a replica's URL")
	_, err = FromConfig(filepath.Join(t.TempDir(), "none.yml"), "/var/lib/app/orders.db", env)
	requireCode(t, exitcode.Usage, err, "none.yml")

	require.NoError(t, os.WriteFile(path, []byte("dbs:\n  - path: /a.db\n    replica:\n      url: s3://b/p\n      part-size: much\n"), 0o600))
	_, err = FromConfig(path, "/a.db", env)
	requireCode(t, exitcode.Usage, err, path+":5")
}

func TestOpenOnDisk(t *testing.T) {
	root := t.TempDir()
	s, err := Parse(root, nothing)
	require.NoError(t, err)
	for _, tt := range []struct {
		opts  Options
		local bool
	}{
		{Options{}, true},
		{Options{MaxRequests: 3, LimitWrite: 1 << 20}, true},
		{Options{LimitRead: 1 << 20}, false},
	} {
		var log bytes.Buffer
		tt.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
		o, err := s.Open(context.Background(), tt.opts)
		require.NoError(t, err)
		o.LogRequests(tt.opts.Logger)
		require.Empty(t, log.String(), "nothing was asked yet")
		require.Equal(t, replica.LitestreamFile, o.Layout)
		require.Equal(t, file.Type, o.Client.Type())
		_, ok := replica.As[replica.LocalOpener](o.Client)
		require.Equal(t, tt.local, ok, "with a limit on reading, the kernel must not read past it")
		it, err := o.Client.LTXFiles(context.Background(), 0, 0, false)
		require.NoError(t, err)
		require.False(t, it.Next())
		require.NoError(t, it.Close())
		o.LogRequests(tt.opts.Logger)
		require.Contains(t, log.String(), "requests.list.count=1")
		require.NoError(t, o.Close())
	}
	missing := Source{Path: filepath.Join(root, "none")}
	_, err = missing.Open(context.Background(), Options{Logger: slog.New(slog.DiscardHandler)})
	requireCode(t, exitcode.NoReplica, err, "open replica "+missing.Path)
}

func TestExplain(t *testing.T) {
	s, err := Parse("s3://bucket/path", nothing)
	require.NoError(t, err)
	for _, tt := range []struct {
		err  error
		code exitcode.Code
		says string
	}{
		{s3.ErrNoSuchBucket, exitcode.NoReplica, "no such bucket"},
		{s3.ErrNoCredentials, exitcode.Permission, "no credentials"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 403, Code: "InvalidAccessKeyId"}, exitcode.Permission, "check the access key's ID"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 403, Code: "SignatureDoesNotMatch"}, exitcode.Permission, "check the secret"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 400, Code: "ExpiredToken"}, exitcode.Permission, "new credentials"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 403, Code: "RequestTimeTooSkewed"}, exitcode.Permission, "clock"},
		{&s3.StoreError{Op: "ListObjectsV2", Status: 301, Code: "PermanentRedirect"}, exitcode.NoReplica, ""},
		{fmt.Errorf("x: %w", os.ErrPermission), exitcode.Permission, "s3:ListBucket"},
		{fmt.Errorf("x: %w", replica.ErrMixedLayouts), exitcode.NoReplica, "two layouts"},
		{errors.New("lookup nohost: no such host"), exitcode.NoReplica, "check the endpoint"},
		{fmt.Errorf("%w, after: dial tcp 127.0.0.1:1: connect: connection refused", context.DeadlineExceeded), exitcode.NoReplica, "that the store runs"},
		{errors.New("tls: failed to verify certificate: x509: certificate signed by unknown authority"), exitcode.NoReplica, "AWS_CA_BUNDLE"},
		{fmt.Errorf("x509: certificate is valid for a, not b: %w", s3.ErrTLS), exitcode.NoReplica, "the host in the endpoint"},
		{errors.New("http: server gave HTTP response to HTTPS client"), exitcode.NoReplica, "http://"},
		{context.DeadlineExceeded, exitcode.Timeout, "the network"},
		{errors.New("teapot"), exitcode.NoReplica, "check the URL"},
		{errors.New("replica s3://bucket/path: teapot"), exitcode.NoReplica, "check the URL"},
	} {
		err := s.explain(context.Background(), tt.err)
		requireCode(t, tt.code, err, tt.says, "open replica s3://bucket/path: ")
		require.Equal(t, 1, strings.Count(err.Error(), "s3://bucket/path"))
		require.ErrorIs(t, err, tt.err)
	}
	ctx, interrupt := context.WithCancelCause(context.Background())
	interrupt(errors.New("interrupted by a signal"))
	requireCode(t, exitcode.Failure, s.explain(ctx, context.Canceled), "open replica s3://bucket/path: interrupted by a signal")
}

// A store that nobody runs is an error that says so, within the deadline.
func TestOpenUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	endpoint := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	s, err := Parse("s3://bucket/path?endpoint="+endpoint, lookup(map[string]string{
		"LTXFS_S3_ACCESS_KEY_ID": "key", "LTXFS_S3_SECRET_ACCESS_KEY": key,
	}))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err = s.Open(ctx, Options{Logger: slog.New(slog.DiscardHandler)})
	requireCode(t, exitcode.NoReplica, err, "connection refused", "that the store runs")
	require.NotContains(t, err.Error(), key)
}
