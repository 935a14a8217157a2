package config

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParseURL: what is parsed has the identity that it calls itself by, is
// parsed so again, and can be used or refused; nothing secret is in an error,
// nor in what a configuration calls itself.
func FuzzParseURL(f *testing.F) {
	const secret = "hunter2secret"
	for _, seed := range []string{
		"s3://bucket", "s3://bucket/", "s3://bucket/a//b/../c%20d", "s3://" + accessPoint + "/a?region=x",
		"s3://b.localhost:9000/db", "s3://b.nyc3.digitaloceanspaces.com/db", "s3://b.s3.us-west-2.amazonaws.com/",
		"s3://x.y.digitaloceanspaces.com.s3.amazonaws.com/db", "s3://x.digitaloceanspaces.com.s3.amazonaws.com", "s3://b.br-x.storage.c-6.us-east-2.aws.neon.tech?endpoint=a",
		"s3://b?endpoint=https://x.y./p/&partSize=16MB&concurrency=3", "s3://b?endpoint=http://[::1]:80/",
		"s3://b?region=cn-north-1", "s3://b/?forcePathStile=1", "s3://b?sseCustomerKey=" + url.QueryEscape(sseKeyOne),
		"s3://k:" + secret + "@bucket/db", "s3://k:" + secret, "s3://b?accessKeyId=" + secret, "s3://b?sseCustomerKey=" + secret,
		"s3://b?endpoint=http://k:" + secret + "@h", "s3://b?sse-customer-key=" + secret + "%zz", "s3://[" + secret,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		c, err := ParseURL(raw)
		if err != nil {
			require.Equal(t, Config{}, c)
			if !mayShow(raw, secret) {
				require.NotContains(t, err.Error(), secret)
			}
			return
		}
		require.NotEmpty(t, c.Bucket)
		requireSameIdentity(t, c)
		again, err := ParseURL(c.String())
		require.NoError(t, err)
		if parseHost(c.Bucket).Bucket == c.Bucket {
			require.Equal(t, c.Bucket, again.Bucket)
		}
		require.Equal(t, strings.TrimPrefix(c.Path, "."), strings.TrimPrefix(again.Path, "."))

		resolved, err := c.Resolve()
		if err != nil {
			require.False(t, mayShow(err.Error(), sseKeyOne))
			return
		}
		require.Equal(t, c.Canonical(), resolved.Canonical())
		require.NotNil(t, resolved.ForcePathStyle)
		require.GreaterOrEqual(t, resolved.PartSize, int64(MinPartSize))
		if key := c.SSECustomerKey.Reveal(); key != "" {
			require.False(t, strings.Contains(c.Canonical()+c.String(), key) && !strings.Contains(c.Bucket+c.Path+c.Endpoint, key))
		}
	})
}

// mayShow reports whether s stands where an error may show it: in the value of
// a setting that isn't secret.
func mayShow(raw, s string) bool {
	_, query, _ := strings.Cut(raw, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return false
	}
	for name, all := range values {
		if name == "endpoint" {
			continue
		}
		i := slices.IndexFunc(Settings, func(x Setting) bool { return name == x.Name || name == x.Key })
		if (i < 0 || !Settings[i].Secret) && slices.ContainsFunc(append(all, name), func(v string) bool { return strings.Contains(v, s) }) {
			return true
		}
	}
	return false
}
