package config

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"
)

var (
	// A bucket in AWS, as a host.
	awsBucketHost = regexp.MustCompile(`^(.+)\.s3(?:\.([^.]+))?\.amazonaws\.com$`)

	// A bucket's name in a URL. AWS has long allowed capitals and underscores.
	bucketRegex = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)
)

// locate reads a URL's host. An endpoint that is given otherwise beats the
// host's.
func locate(host string, endpointGiven bool) (Config, error) {
	if strings.HasPrefix(host, "arn:") {
		region, _, ok := parseARN(host)
		if !ok {
			return Config{}, errors.New("the ARN in the S3 URL is incomplete: write s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/PATH")
		}
		return Config{Bucket: host, Region: region}, nil
	}
	c := parseHost(host)
	if endpointGiven {
		c.ForcePathStyle = nil
		if strings.HasSuffix(c.Endpoint, ".neon.tech") {
			// The host is no bucket of Neon then, but a bucket's name.
			c = Config{Bucket: host}
		}
	}
	switch {
	case c.Bucket == "" || isAddress(host):
		return Config{}, errNoBucket
	case c.Endpoint != "" && checkEndpoint(c.Endpoint) != nil:
		return Config{}, errors.New("the S3 URL has a host that can't be: write s3://BUCKET/PATH?endpoint=http://HOST:PORT")
	case !bucketRegex.MatchString(c.Bucket):
		return Config{}, errors.New("the S3 URL has a bucket whose name can't be: write s3://BUCKET/PATH, and another store than AWS as ?endpoint=https://HOST")
	}
	return c, nil
}

// parseHost reads a host as Litestream does: BUCKET.HOST:PORT, unless ".com" is
// in it; a bucket before the host of a provider; else it is a bucket in AWS. What
// it doesn't set is for the rules for all endpoints.
func parseHost(host string) Config {
	if strings.Contains(host, ":") && !strings.Contains(host, ".com") {
		bucket, store, ok := strings.Cut(host, ".")
		if !ok {
			return Config{}
		}
		return Config{Bucket: bucket, Region: DefaultRegion, Endpoint: "http://" + store}
	}
	if m := awsBucketHost.FindStringSubmatch(host); m != nil {
		return Config{Bucket: m[1], Region: m[2]}
	}
	for _, p := range providers {
		bucket, region, ok := p.match(host)
		if !ok || !p.bucketInHost {
			continue
		}
		c := Config{Bucket: bucket, Region: region, Endpoint: "https://" + strings.TrimPrefix(host[len(bucket):], ".")}
		if p.virtualHosts {
			c.ForcePathStyle = new(false)
		}
		return c
	}
	return Config{Bucket: host}
}

// isAddress reports whether a host is an IP address, which no bucket's name may
// be. Of one with a port, Litestream takes the first number for the bucket.
func isAddress(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	_, err := netip.ParseAddrPort(host)
	return err == nil
}
