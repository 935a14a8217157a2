package config

import (
	"fmt"
	"io"
	"net/url"
	"strings"
)

// String is the replica's URL for messages and for the mount table, with the
// bucket and the path alone.
func (c Config) String() string { return bucketURL(c.Bucket, c.Path) }

// Format implements fmt.Formatter, so that no verb shows more than String.
func (c Config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// Canonical is the replica's identity: equal for all ways to write the same
// replica, different for two replicas, without secrets. It is a URL that
// ParseURL takes, with an endpoint unless the store is AWS's.
//
// The bucket's root has one identity, whether its keys begin with "./", a slash
// or nothing. A path of litestream.yml stays as it is, as Litestream's keys do,
// so that /db is another replica than db.
func (c Config) Canonical() string {
	s, endpoint := bucketURL(c.Bucket, c.Path), canonicalEndpoint(c.Endpoint)
	p, _ := providerOf(endpoint)
	switch {
	case p.name != awsProvider.name:
		return s + "?endpoint=" + queryEscape(endpoint)
	case strings.HasPrefix(c.Bucket, "arn:"):
		return s // has its partition
	}
	if region := partitionRegion(c.Region, endpoint); region != "" {
		return s + "?region=" + region
	}
	return s
}

func bucketURL(bucket, key string) string {
	if !strings.HasPrefix(bucket, "arn:") && parseHost(bucket).Bucket != bucket {
		// A bucket with dots may read as another bucket and its store.
		bucket += ".s3.amazonaws.com"
	}
	if key == "" || key == "." {
		return urlScheme + bucket
	}
	if strings.HasPrefix(bucket, "arn:") {
		return urlScheme + bucket + "/" + key
	}
	return urlScheme + bucket + (&url.URL{Path: "/" + key}).EscapedPath()
}

// canonicalEndpoint is "" for none. What is wrong with one that can't be parsed
// is Resolve's to tell.
func canonicalEndpoint(s string) string {
	if s == "" {
		return ""
	}
	s, err := parseEndpoint(s)
	if err != nil {
		return "(invalid)"
	}
	u, _ := splitEndpoint(s) // parseEndpoint's last step
	host := strings.TrimSuffix(u.Hostname(), ".")
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/")
}

// partitionRegion tells AWS's partitions apart, in which the same name may be
// another bucket: it is a region of the partition, and "" for the usual one.
func partitionRegion(region, endpoint string) string {
	switch {
	case strings.HasPrefix(region, "cn-") || strings.HasSuffix(endpoint, ".amazonaws.com.cn"):
		return "cn-north-1"
	case strings.HasPrefix(region, "us-gov-") || strings.Contains(endpoint, ".us-gov-"):
		return "us-gov-west-1"
	}
	return ""
}

// queryEscape leaves what a reader wants to read of a URL in a query.
func queryEscape(s string) string {
	return strings.NewReplacer("%3A", ":", "%2F", "/").Replace(url.QueryEscape(s))
}
