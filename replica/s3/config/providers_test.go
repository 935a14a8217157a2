package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProviders(t *testing.T) {
	for endpoint, want := range map[string]struct{ name, region string }{
		"":                                                         {"AWS", ""},
		"https://s3.amazonaws.com":                                 {"AWS", ""},
		"https://s3.us-west-2.amazonaws.com":                       {"AWS", "us-west-2"},
		"https://s3-us-west-2.amazonaws.com":                       {"AWS", "us-west-2"},
		"https://s3.us-gov-west-1.amazonaws.com":                   {"AWS", "us-gov-west-1"},
		"https://s3.cn-north-1.amazonaws.com.cn":                   {"AWS", "cn-north-1"},
		"https://s3.dualstack.eu-west-1.amazonaws.com":             {"AWS", "eu-west-1"},
		"https://s3-fips.us-east-2.amazonaws.com":                  {"AWS", "us-east-2"},
		"https://bucket.vpce-0a1b.s3.us-east-1.vpce.amazonaws.com": {"AWS", "us-east-1"},
		"https://amazonaws.com.example.org":                        {"other stores", ""},
		"https://notamazonaws.com":                                 {"other stores", ""},
		"https://fly.storage.tigris.dev":                           {"Tigris", ""},
		"https://T3.storage.dev:443":                               {"Tigris", ""},
		"https://x.t3.storage.dev.example.org":                     {"other stores", ""},
		"https://0123abcd.r2.cloudflarestorage.com":                {"Cloudflare R2", ""},
		"https://0123abcd.eu.r2.cloudflarestorage.com":             {"Cloudflare R2", ""},
		"https://storage.googleapis.com":                           {"Google Cloud Storage", ""},
		"https://s3.eu-central-003.backblazeb2.com":                {"Backblaze B2", "eu-central-003"},
		"https://nyc3.digitaloceanspaces.com":                      {"DigitalOcean Spaces", "nyc3"},
		"https://s3.nl-ams.scw.cloud":                              {"Scaleway", "nl-ams"},
		"https://s3.eu-central-1.wasabisys.com":                    {"Wasabi", "eu-central-1"},
		"https://s3.wasabisys.com":                                 {"Wasabi", ""},
		"https://br-x-1.storage.c-6.us-east-2.aws.neon.tech":       {"Neon", "us-east-2"},
		"https://s3.filebase.com":                                  {"Filebase", ""},
		"https://project.supabase.co/storage/v1/s3":                {"Supabase", ""},
		"https://fsn1.your-objectstorage.com":                      {"Hetzner", ""},
		"http://localhost:9000":                                    {"other stores", ""},
		"http://[::1]:9000":                                        {"other stores", ""},
		"not a URL":                                                {"other stores", ""},
	} {
		p, region := providerOf(endpoint)
		require.Equal(t, want.name, p.name, endpoint)
		require.Equal(t, want.region, region, endpoint)
	}
}

func TestResolveProviderDefaults(t *testing.T) {
	type values struct {
		sign, signEncoding bool
		concurrency        int
		partSize           int64
		consistent         bool
		region             string
		pathStyle          bool
	}
	usual := values{true, true, 5, 5 << 20, false, "us-east-1", true}
	with := func(change func(*values)) values { v := usual; change(&v); return v }
	for endpoint, want := range map[string]values{
		"":                                   with(func(v *values) { v.region, v.pathStyle = "", false }),
		"http://localhost:9000":              usual,
		"https://project.supabase.co":        usual,
		"fly.storage.tigris.dev":             with(func(v *values) { v.concurrency, v.partSize, v.consistent = 2, 16<<20, true }),
		"https://t3.storage.dev":             with(func(v *values) { v.concurrency, v.partSize, v.consistent = 2, 16<<20, true }),
		"https://a.r2.cloudflarestorage.com": with(func(v *values) { v.concurrency = 2 }),
		"https://storage.googleapis.com":     with(func(v *values) { v.signEncoding = false }),
		"https://s3.nl-ams.scw.cloud":        with(func(v *values) { v.region = "nl-ams" }),
	} {
		c, err := Config{Bucket: "b", Endpoint: endpoint}.Resolve()
		require.NoError(t, err)
		require.Equal(t, want, values{
			*c.SignPayload, *c.SignAcceptEncoding, c.Concurrency, c.PartSize, c.ConsistentReads, c.Region, *c.ForcePathStyle,
		}, endpoint)
	}
}

// What is set stays, whatever the provider needs.
func TestResolveKeepsSettings(t *testing.T) {
	given := Config{
		Bucket: "b", Path: "db", Region: "r", Endpoint: "https://fly.storage.tigris.dev", ForcePathStyle: new(false),
		SignPayload: new(false), SignAcceptEncoding: new(false), Hedge: new(false), PartSize: 6 << 20, Concurrency: 9,
		MetadataConcurrency: 3, MaxConnections: 4, AccessKeyID: "k", SecretAccessKey: "s", SessionToken: "t",
		Retry:          Retry{Attempts: 2, MinBackoff: time.Second, MaxBackoff: time.Minute},
		Timeouts:       Timeouts{time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second},
		SSECustomerKey: Secret(sseKeyOne), VerifyWrites: VerifyFull, NoChecksums: true,
	}
	c, err := given.Resolve()
	require.NoError(t, err)
	want := given
	want.ConsistentReads = true
	want.SSECustomerAlgorithm = "AES256"
	want.SSECustomerKeyMD5 = c.SSECustomerKeyMD5
	want.from = c.from
	require.Equal(t, want, c)
	require.NotEmpty(t, c.SSECustomerKeyMD5)

	again, err := c.Resolve()
	require.NoError(t, err)
	require.Equal(t, c, again, "a resolved configuration is its own resolution")
}

// The defaults are those that Config's comments name.
func TestResolveDefaults(t *testing.T) {
	c, err := Config{Bucket: "b"}.Resolve()
	require.NoError(t, err)
	require.Equal(t, Config{
		Bucket: "b", ForcePathStyle: new(false), SignPayload: new(true), SignAcceptEncoding: new(true), Hedge: new(true),
		PartSize: 5 << 20, Concurrency: 5, MetadataConcurrency: 50, MaxConnections: 64, VerifyWrites: VerifyAuto,
		Retry:    Retry{Attempts: 25, MinBackoff: 100 * time.Millisecond, MaxBackoff: 5 * time.Second},
		Timeouts: Timeouts{10 * time.Second, 20 * time.Second, 10 * time.Second, 30 * time.Second, 15 * time.Second},
		from:     c.from,
	}, c)

	c, err = Config{Bucket: "b", Retry: Retry{MinBackoff: time.Minute}}.Resolve()
	require.NoError(t, err)
	require.Equal(t, time.Minute, c.Retry.MaxBackoff)
}

func TestResolveAccessPoint(t *testing.T) {
	c, err := Config{Bucket: accessPoint, Endpoint: "https://s3.eu-central-1.amazonaws.com"}.Resolve()
	require.NoError(t, err)
	require.Equal(t, "eu-west-1", c.Region, "the ARN's, not the endpoint's")
	require.False(t, *c.ForcePathStyle)
}

func TestResolveErrors(t *testing.T) {
	const path900 = "a/b/"
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no bucket":             {func(c *Config) { c.Bucket = "" }, "no bucket is named"},
		"URL for a bucket":      {func(c *Config) { c.Bucket = "s3://b/db" }, "the name alone"},
		"blank in the bucket":   {func(c *Config) { c.Bucket = "my bucket" }, "the name alone"},
		"wrong ARN":             {func(c *Config) { c.Bucket = "arn:aws:s3:::bucket" }, "not an access point's"},
		"half an ARN":           {func(c *Config) { c.Bucket = "arn:accesspoint/x" }, "not an access point's"},
		"control character":     {func(c *Config) { c.Path = "a\nb" }, "no key may have"},
		"no UTF-8":              {func(c *Config) { c.Path = "a\xff" }, "no key may have"},
		"long path":             {func(c *Config) { c.Path = strings.Repeat(path900, 226) }, "904 bytes"},
		"region":                {func(c *Config) { c.Region = "a b" }, `region: "a b" is not a region`},
		"endpoint":              {func(c *Config) { c.Endpoint = "http://k:hunter2@x" }, "endpoint: credentials"},
		"small part":            {func(c *Config) { c.PartSize = 5<<20 - 1 }, "partSize: 5242879 bytes"},
		"large part":            {func(c *Config) { c.PartSize = 5<<30 + 1 }, "partSize"},
		"negative part":         {func(c *Config) { c.PartSize = -1 }, "partSize"},
		"concurrency":           {func(c *Config) { c.Concurrency = -1 }, "concurrency: -1 is not between"},
		"much concurrency":      {func(c *Config) { c.Concurrency = 1000 }, "between 1 and 256"},
		"metadata concurrency":  {func(c *Config) { c.MetadataConcurrency = 9999 }, "metadataConcurrency"},
		"connections":           {func(c *Config) { c.MaxConnections = -1 }, "maxConnections"},
		"storage class":         {func(c *Config) { c.StorageClass = "a\r\nb: c" }, "storageClass"},
		"CA file":               {func(c *Config) { c.CAFile = "a\x00" }, "caFile"},
		"KMS key":               {func(c *Config) { c.SSEKMSKeyID = "a b" }, "sseKmsKeyId"},
		"role":                  {func(c *Config) { c.RoleARN = "role/x" }, "roleArn: \"role/x\" is not an ARN"},
		"external ID alone":     {func(c *Config) { c.ExternalID = "x" }, "externalId is set without roleArn"},
		"key ID alone":          {func(c *Config) { c.AccessKeyID = "hunter2" }, "without secretAccessKey"},
		"secret alone":          {func(c *Config) { c.SecretAccessKey = "hunter2" }, "without accessKeyId"},
		"token alone":           {func(c *Config) { c.SessionToken = "hunter2" }, "sessionToken is set without"},
		"anonymous with key":    {func(c *Config) { c.Anonymous, c.AccessKeyID, c.SecretAccessKey = true, "k", "hunter2" }, "anonymous"},
		"anonymous with role":   {func(c *Config) { c.Anonymous, c.RoleARN = true, "arn:aws:iam::1:role/x" }, "anonymous"},
		"anonymous payer":       {func(c *Config) { c.Anonymous, c.RequesterPays = true, true }, "anonymous"},
		"SSE-C algorithm alone": {func(c *Config) { c.SSECustomerAlgorithm = "AES256" }, "nothing would be encrypted"},
		"SSE-C MD5 alone":       {func(c *Config) { c.SSECustomerKeyMD5 = "x" }, "nothing would be encrypted"},
		"SSE-C algorithm":       {func(c *Config) { c.SSECustomerKey, c.SSECustomerAlgorithm = Secret(sseKeyOne), "DES" }, `"DES" must be AES256`},
		"SSE-C short key":       {func(c *Config) { c.SSECustomerKey = "aHVudGVyMg==" }, "sseCustomerKey: it holds 7 bytes"},
		"SSE-C no base64":       {func(c *Config) { c.SSECustomerKey = "hunter2!" }, "sseCustomerKey: it isn't base64"},
		"SSE-C other MD5": {func(c *Config) {
			sum, err := sseKeyMD5(sseKeyTwo)
			require.NoError(t, err)
			c.SSECustomerKey, c.SSECustomerKeyMD5 = Secret(sseKeyOne), sum
		}, "is not the MD5 of sseCustomerKey"},
		"SSE-C and KMS":      {func(c *Config) { c.SSECustomerKey, c.SSEKMSKeyID = Secret(sseKeyOne), "x" }, "both set"},
		"SSE-C in the clear": {func(c *Config) { c.SSECustomerKey, c.Endpoint = Secret(sseKeyOne), "http://minio.example" }, "in the clear"},
		"SSE-C to 172.200":   {func(c *Config) { c.SSECustomerKey, c.Endpoint = Secret(sseKeyOne), "172.200.1.1" }, "in the clear"},
		"verification":       {func(c *Config) { c.VerifyWrites = "some" }, `"some" is none of`},
		"attempts":           {func(c *Config) { c.Retry.Attempts = -1 }, "a negative number is in {Attempts:-1"},
		"backoff":            {func(c *Config) { c.Retry.MaxBackoff = -1 }, "MaxBackoff:-1ns"},
		"timeout":            {func(c *Config) { c.Timeouts.Stall = -time.Second }, "Stall:-1s"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Config{Bucket: "b", Path: "db"}
			tt.change(&c)
			_, err := c.Resolve()
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestResolveSSEOverPrivateHTTP(t *testing.T) {
	for _, endpoint := range []string{"", "minio.example", "https://minio.example", "localhost:9000", "http://x.localhost", "http://127.0.0.1:1", "http://[::1]:1", "http://10.1.1.1", "http://172.31.0.1"} {
		c, err := Config{Bucket: "b", Endpoint: endpoint, SSECustomerKey: Secret(sseKeyOne)}.Resolve()
		require.NoError(t, err, endpoint)
		require.Equal(t, "AES256", c.SSECustomerAlgorithm)
	}
}

// The manual of the settings names what the code does.
func TestSettingsNameDefaults(t *testing.T) {
	c, err := Config{Bucket: "b"}.Resolve()
	require.NoError(t, err)
	tigris, err := Config{Bucket: "b", Endpoint: "t3.storage.dev"}.Resolve()
	require.NoError(t, err)
	for _, name := range []string{"partSize", "concurrency", "metadataConcurrency", "maxConnections"} {
		s := &Settings[slices.IndexFunc(Settings, func(s Setting) bool { return s.Name == name })]
		usual, special, ok := strings.Cut(s.Default, ",")
		require.Equal(t, usual, s.Text(&c), name)
		if ok {
			require.Equal(t, special[strings.LastIndex(special, " ")+1:], s.Text(&tigris), name)
		}
	}
}

// The shared table of defaults must not be changed through a configuration.
func TestResolveSharesNothing(t *testing.T) {
	google := Config{Bucket: "b", Endpoint: "storage.googleapis.com"}
	c, err := google.Resolve()
	require.NoError(t, err)
	*c.SignAcceptEncoding = true
	again, err := google.Resolve()
	require.NoError(t, err)
	require.False(t, *again.SignAcceptEncoding)
}
