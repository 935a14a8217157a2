package s3

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// hostPlace is what the host of a URL says.
type hostPlace struct {
	bucket, region, endpoint string
	forcePathStyle           *bool // nil leaves it to the rule for all endpoints
}

// hostForm is a form of host that holds a bucket and a store. The templates are
// those of regexp.Expand.
type hostForm struct {
	host                     *regexp.Regexp
	bucket, region, endpoint string

	// virtual stores get the bucket in the host, though an endpoint that is
	// given as such gets it in the path.
	virtual bool
}

var hostForms = []hostForm{
	{
		host:   regexp.MustCompile(`^(.+)\.s3(?:\.([^.]+))?\.amazonaws\.com$`),
		bucket: "$1", region: "$2",
	}, {
		host:   regexp.MustCompile(`^(?:(.+)\.)?([^.]+)\.digitaloceanspaces\.com$`),
		bucket: "$1", region: "$2", endpoint: "https://$2.digitaloceanspaces.com",
		virtual: true,
	}, {
		host:   regexp.MustCompile(`^(?:(.+)\.)?s3\.([^.]+)\.backblazeb2\.com$`),
		bucket: "$1", region: "$2", endpoint: "https://s3.$2.backblazeb2.com",
	}, {
		host:   regexp.MustCompile(`^(?:(.+)\.)?s3\.filebase\.com$`),
		bucket: "$1", endpoint: "https://s3.filebase.com",
	}, {
		host:   regexp.MustCompile(`^(?:(.+)\.)?s3\.([^.]+)\.scw\.cloud$`),
		bucket: "$1", region: "$2", endpoint: "https://s3.$2.scw.cloud",
		virtual: true,
	}, {
		host:   regexp.MustCompile(`^(.+)\.(br-[^.]+\.storage\.[^.]+\.([^.]+)\.[^.]+\.neon\.tech)$`),
		bucket: "$1", region: "$3", endpoint: "https://$2",
	},
}

// A bucket's name in a URL. AWS has long allowed capitals and underscores.
var bucketRegex = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)

// locate reads a URL's host. An endpoint that is given otherwise beats the
// host's.
func locate(loc urlParts, endpointGiven bool) (hostPlace, error) {
	if strings.HasPrefix(loc.host, "arn:") {
		a, err := arn.Parse(loc.host)
		if err != nil {
			return hostPlace{}, errors.New("the ARN in the S3 URL is incomplete: write s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/PATH")
		}
		return hostPlace{bucket: loc.host, region: a.Region}, nil
	}
	p := parseHost(loc.host)
	if endpointGiven {
		p.forcePathStyle = nil
		if strings.HasSuffix(p.endpoint, ".neon.tech") {
			// The host is no bucket of Neon then, but a bucket's name.
			p = hostPlace{bucket: loc.host}
		}
	}
	switch {
	case p.bucket == "" || isAddress(loc.host):
		return hostPlace{}, errNoBucket
	case p.endpoint != "" && checkEndpoint(p.endpoint) != nil:
		return hostPlace{}, errors.New("the S3 URL has a host that can't be: write s3://BUCKET/PATH?endpoint=http://HOST:PORT")
	case !bucketRegex.MatchString(p.bucket):
		return hostPlace{}, errors.New("the S3 URL has a bucket whose name can't be: write s3://BUCKET/PATH, and another store than AWS as ?endpoint=https://HOST")
	}
	return p, nil
}

// parseHost reads a host as Litestream does: BUCKET.HOST:PORT, unless ".com" is
// in it; one of the hostForms; else it is a bucket in AWS.
func parseHost(host string) hostPlace {
	if strings.Contains(host, ":") && !strings.Contains(host, ".com") {
		bucket, store, ok := strings.Cut(host, ".")
		if !ok {
			return hostPlace{}
		}
		return hostPlace{bucket: bucket, region: defaultRegion, endpoint: "http://" + store}
	}
	for _, form := range hostForms {
		m := form.host.FindStringSubmatchIndex(host)
		if m == nil {
			continue
		}
		expand := func(template string) string {
			return string(form.host.ExpandString(nil, template, host, m))
		}
		p := hostPlace{bucket: expand(form.bucket), region: expand(form.region), endpoint: expand(form.endpoint)}
		if form.virtual {
			p.forcePathStyle = new(bool)
		}
		return p
	}
	return hostPlace{bucket: host}
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
