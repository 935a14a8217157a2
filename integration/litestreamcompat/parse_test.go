package litestreamcompat

import (
	"strings"
	"testing"

	"github.com/benbjohnson/litestream"
	lss3 "github.com/benbjohnson/litestream/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// place is what a URL says of where a replica is, and by which means.
type place struct {
	Bucket, Path, Region, Endpoint                 string
	SkipVerify, PutObjectContentMD5                bool
	StorageClass                                   string
	SSECustomerKey, SSECustomerKeyMD5, SSEKMSKeyID string
	SSECustomerAlgorithm                           string
	ForcePathStyle, SignPayload                    bool
	SignAcceptEncoding                             bool
	PartSize, Concurrency                          int64
}

// places are what Litestream and ltxfs make of a URL. What ltxfs leaves open, for
// a provider's default, is as Litestream has it: the requests show those.
func places(t testing.TB, raw string) (theirs, ours place) {
	t.Helper()
	client, err := litestream.NewReplicaClientFromURL(raw)
	require.NoError(t, err)
	c := client.(*lss3.ReplicaClient)
	theirs = place{
		Bucket: c.Bucket, Path: c.Path, Region: c.Region, Endpoint: c.Endpoint,
		SkipVerify: c.SkipVerify, PutObjectContentMD5: c.PutObjectContentMD5, StorageClass: c.StorageClass,
		SSECustomerKey: c.SSECustomerKey, SSECustomerKeyMD5: c.SSECustomerKeyMD5, SSEKMSKeyID: c.SSEKMSKeyID,
		SSECustomerAlgorithm: c.SSECustomerAlgorithm,
		ForcePathStyle:       c.ForcePathStyle, SignPayload: c.SignPayload,
		SignAcceptEncoding: c.SignAcceptEncoding,
		PartSize:           c.PartSize, Concurrency: int64(c.Concurrency),
	}
	cfg, err := config.ParseURL(raw)
	require.NoError(t, err)
	flag := func(ours *bool, theirs bool) bool {
		if ours == nil {
			return theirs
		}
		return *ours
	}
	number := func(ours, theirs int64) int64 {
		if ours == 0 {
			return theirs
		}
		return ours
	}
	ours = place{
		Bucket: cfg.Bucket, Path: cfg.Path, Region: cfg.Region, Endpoint: cfg.Endpoint,
		SkipVerify: cfg.SkipVerify, PutObjectContentMD5: cfg.PutObjectContentMD5, StorageClass: cfg.StorageClass,
		SSECustomerKey: cfg.SSECustomerKey.Reveal(), SSECustomerKeyMD5: cfg.SSECustomerKeyMD5, SSEKMSKeyID: cfg.SSEKMSKeyID,
		SSECustomerAlgorithm: cfg.SSECustomerAlgorithm,
		ForcePathStyle:       flag(cfg.ForcePathStyle, c.ForcePathStyle), SignPayload: flag(cfg.SignPayload, c.SignPayload),
		SignAcceptEncoding: flag(cfg.SignAcceptEncoding, c.SignAcceptEncoding),
		PartSize:           number(cfg.PartSize, c.PartSize), Concurrency: number(int64(cfg.Concurrency), int64(c.Concurrency)),
	}
	// Litestream completes an endpoint partly here, and partly later. That
	// ltxfs takes blanks away, makes the difference of a store or none.
	for _, endpoint := range []*string{&theirs.Endpoint, &ours.Endpoint} {
		*endpoint, _ = litestream.EnsureEndpointScheme(*endpoint)
		*endpoint = strings.ReplaceAll(strings.TrimSuffix(*endpoint, "/"), " ", "")
	}
	return theirs, ours
}

func TestParseURL(t *testing.T) {
	for _, raw := range urls {
		t.Run(raw, func(t *testing.T) {
			theirs, ours := places(t, raw)
			require.Equal(t, theirs, ours)
		})
	}
}

// Litestream has a second parser, and a third of hosts alone, for its other
// commands. They agree where they say the same.
func TestParseHost(t *testing.T) {
	for _, raw := range urls {
		t.Run(raw, func(t *testing.T) {
			scheme, host, path, err := litestream.ParseReplicaURL(raw)
			require.NoError(t, err)
			require.Equal(t, "s3", scheme)
			cfg, err := config.ParseURL(raw)
			require.NoError(t, err)
			require.Equal(t, path, cfg.Path)
			if strings.HasPrefix(host, "arn:") {
				require.Equal(t, host, cfg.Bucket)
				return
			}
			bucket, region, endpoint, _ := lss3.ParseHost(host)
			require.Equal(t, bucket, cfg.Bucket)
			if !strings.Contains(raw, "region=") {
				require.Equal(t, region, cfg.Region)
			}
			if endpoint != "" {
				want, _ := litestream.EnsureEndpointScheme(endpoint)
				require.Equal(t, want, cfg.Endpoint)
			}
		})
	}
}

// LITESTREAM_S3_ENDPOINT and the credentials of the environment are taken alike.
func TestEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"LITESTREAM_S3_ENDPOINT":       "minio.example.com:9000",
		"LITESTREAM_ACCESS_KEY_ID":     "AKIDLITESTREAM",
		"LITESTREAM_SECRET_ACCESS_KEY": "secret-of-the-example",
	} {
		t.Setenv(name, value)
	}
	for _, raw := range []string{
		"s3://bucket/db",
		"s3://bucket/db?forcePathStyle=false",
		"s3://bucket/db?endpoint=https://fly.storage.tigris.dev",
		"s3://bucket.s3.us-west-002.backblazeb2.com/db",
	} {
		t.Run(raw, func(t *testing.T) { requireSameRequests(t, raw) })
	}
}

func TestRefusedURLs(t *testing.T) {
	for _, raw := range refused {
		t.Run(raw, func(t *testing.T) {
			_, err := litestream.NewReplicaClientFromURL(raw)
			require.Error(t, err)
			_, err = newClient(raw)
			require.Error(t, err)
		})
	}
}

// Each exception is one.
func TestExceptions(t *testing.T) {
	for _, tt := range exceptions {
		t.Run(tt.url, func(t *testing.T) {
			t.Log(tt.reason)
			_, err := litestream.NewReplicaClientFromURL(tt.url)
			require.NoError(t, err)
			_, err = newClient(tt.url)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "MDEy")
		})
	}
}
