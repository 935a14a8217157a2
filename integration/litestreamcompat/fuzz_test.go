package litestreamcompat

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/benbjohnson/litestream"
	lss3 "github.com/benbjohnson/litestream/s3"
	"github.com/stretchr/testify/require"
)

// A URL that ltxfs takes, it takes for what Litestream does. What it refuses
// beyond that is a matter of exceptions.
func FuzzParseURL(f *testing.F) {
	for _, raw := range append(urls, refused...) {
		f.Add(raw)
	}
	for _, e := range exceptions {
		f.Add(e.url)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := newClient(raw)
		if err != nil {
			return
		}
		require.NoError(t, c.Close())
		_, err = litestream.NewReplicaClientFromURL(raw)
		require.NoError(t, err, "only ltxfs takes it")
		if _, host, _, err := litestream.ParseReplicaURL(raw); err == nil {
			_, _, endpoint, _ := lss3.ParseHost(host)
			_, store, ok := strings.Cut(endpoint, "://")
			if !ok {
				store = endpoint
			}
			if !strings.HasSuffix(host, store) {
				return // an exception: in Litestream's patterns of hosts, some dots are any character
			}
		}
		theirs, ours := places(t, raw)
		require.Equal(t, theirs, ours)
	})
}

// hosts and endpoints are what FuzzRequests puts together.
var (
	hosts = []string{
		"bucket", "my.dotted.bucket", "bucket.s3.amazonaws.com", "bucket.s3.eu-west-1.amazonaws.com",
		"bucket.nyc3.digitaloceanspaces.com", "bucket.s3.us-west-002.backblazeb2.com", "bucket.s3.filebase.com",
		"bucket.s3.fr-par.scw.cloud", "bucket.minio.example.org:9000",
		"arn:aws:s3:us-east-1:123456789012:accesspoint/db-access",
	}
	endpoints = []string{
		"", "", "", "https://fly.storage.tigris.dev", "t3.storage.dev", "https://account123.r2.cloudflarestorage.com",
		"nyc3.digitaloceanspaces.com", "https://s3.us-west-002.backblazeb2.com", "s3.filebase.com", "https://project.supabase.co",
		"https://storage.googleapis.com", "http://minio.example.com:9000", "https://minio.example.com", "192.168.1.7:9000",
		"fsn1.your-objectstorage.com",
	}
	flags = []string{
		"forcePathStyle", "force-path-style", "signPayload", "sign-payload", "signAcceptEncoding", "sign-accept-encoding",
		"requireContentMD5", "require-content-md5", "putObjectContentMD5", "put-object-content-md5",
	}
	settings = []string{
		"region=eu-west-3", "storageClass=STANDARD_IA", "storage-class=GLACIER_IR", "partSize=6291456", "part-size=5242880",
		"concurrency=4", "sseKmsKeyId=alias/db", "sse-kms-key-id=alias/db", "sseCustomerKey=" + sseKey, "sse-customer-key=" + sseKey,
	}
)

// Whatever is put together of what both know makes the same requests.
func FuzzRequests(f *testing.F) {
	f.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	f.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-example")
	for i := range max(len(hosts), len(endpoints), len(settings)) {
		f.Add(uint(i), "db", uint(i), uint(i), i%2 == 0, uint(i))
		f.Add(uint(0), "a/b", uint(i), uint(len(flags)), false, uint(len(settings)))
	}
	f.Fuzz(func(t *testing.T, host uint, path string, endpoint, flag uint, on bool, setting uint) {
		if !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) || len(path) > 300 {
			return // an exception: S3 has no such keys, or none with room for a file's name
		}
		var query []string
		if e := endpoints[endpoint%uint(len(endpoints))]; e != "" {
			query = append(query, "endpoint="+url.QueryEscape(e))
		}
		if i := flag % uint(len(flags)+1); i < uint(len(flags)) {
			value := "false"
			if on {
				value = "true"
			}
			query = append(query, flags[i]+"="+value)
		}
		if i := setting % uint(len(settings)+1); i < uint(len(settings)) {
			query = append(query, settings[i])
		}
		if strings.HasPrefix(hosts[host%uint(len(hosts))], "arn:") && strings.Contains(strings.Join(query, "&"), "endpoint=") {
			return // an exception: Litestream wants path style there, which the SDK refuses; ltxfs doesn't
		}
		raw := "s3://" + hosts[host%uint(len(hosts))] + "/" + url.PathEscape(path) + "?" + strings.Join(query, "&")
		theirs, err := litestream.NewReplicaClientFromURL(raw)
		require.NoError(t, err)
		if theirs.Init(testContext(t)) != nil {
			_, err := newClient(raw)
			require.Error(t, err, "only ltxfs takes it")
			return
		}
		requireSameRequests(t, raw)
	})
}
