package config

import (
	"regexp"
	"strings"
)

// provider is a store with needs of its own. What it needs holds for what the
// user left unset.
type provider struct {
	name string

	// host matches the endpoint's host, to its end. Its first group, if it has
	// one, is the region, for stores that refuse requests signed for another.
	host *regexp.Regexp

	// In a URL of these, as Litestream has it, the host is BUCKET.ENDPOINT.
	// Those with virtual hosts get the bucket so in requests as well, though an
	// endpoint that is given as such gets it in the path.
	bucketInHost, virtualHosts bool

	needs Config
}

var (
	awsProvider = provider{
		name: "AWS",
		host: regexp.MustCompile(`(?:^|\.)(?:s3[.-](?:dualstack\.|fips\.)?([a-z]+-[a-z0-9-]*[a-z]-[0-9]+)\.)?(?:vpce\.)?amazonaws\.com(?:\.cn)?$`),
	}

	// otherStores are those of which nothing is known: an endpoint, and so path
	// style.
	otherStores = provider{name: "other stores"}
)

// The table of providers. Path style is no matter of it: Litestream uses it for
// every endpoint, and virtual hosts for nothing but buckets in a URL's host.
// Some stores, B2 and R2 among them, have refused checksum headers; the client
// finds that out by itself.
var providers = []provider{
	awsProvider,
	{
		// Reads from the nearest copy unless asked for the newest; sheds load
		// when parts come faster.
		name: "Tigris",
		host: regexp.MustCompile(`^(?:fly\.storage\.tigris\.dev|t3\.storage\.dev)$`),
		needs: Config{
			ConsistentReads: true,
			Concurrency:     2,
			PartSize:        16 << 20,
		},
	}, {
		// Bounds the parts of one upload under way.
		name:  "Cloudflare R2",
		host:  regexp.MustCompile(`\.r2\.cloudflarestorage\.com$`),
		needs: Config{Concurrency: 2},
	}, {
		// Its front end changes Accept-Encoding, which breaks a signature
		// that covers it.
		name:  "Google Cloud Storage",
		host:  regexp.MustCompile(`(?:^|\.)googleapis\.com$`),
		needs: Config{SignAcceptEncoding: new(false)},
	},
	{name: "Backblaze B2", host: regexp.MustCompile(`(?:^|\.)s3\.([^.]+)\.backblazeb2\.com$`), bucketInHost: true},
	{name: "DigitalOcean Spaces", host: regexp.MustCompile(`(?:^|\.)([^.]+)\.digitaloceanspaces\.com$`), bucketInHost: true, virtualHosts: true},
	{name: "Scaleway", host: regexp.MustCompile(`(?:^|\.)s3\.([^.]+)\.scw\.cloud$`), bucketInHost: true, virtualHosts: true},
	{name: "Wasabi", host: regexp.MustCompile(`(?:^|\.)s3\.(?:([^.]+)\.)?wasabisys\.com$`)},
	{name: "Neon", host: regexp.MustCompile(`(?:^|\.)br-[^.]+\.storage\.[^.]+\.([^.]+)\.[^.]+\.neon\.tech$`), bucketInHost: true},
	{name: "Filebase", host: regexp.MustCompile(`(?:^|\.)s3\.filebase\.com$`), bucketInHost: true},
	{name: "Supabase", host: regexp.MustCompile(`\.supabase\.co$`)},
	{name: "Hetzner", host: regexp.MustCompile(`\.your-objectstorage\.com$`)},
}

// match finds the endpoint's host at the end of a host: what stands before it, and
// the region that it names, or "".
func (p *provider) match(host string) (before, region string, ok bool) {
	m := p.host.FindStringSubmatchIndex(host)
	if m == nil {
		return "", "", false
	}
	if len(m) > 2 && m[2] >= 0 {
		region = host[m[2]:m[3]]
	}
	return host[:m[0]], region, true
}

// providerOf finds the provider of an endpoint that has its scheme, and the
// region that the endpoint names, or "". No endpoint is AWS.
func providerOf(endpoint string) (p provider, region string) {
	if endpoint == "" {
		return awsProvider, ""
	}
	if u, err := splitEndpoint(endpoint); err == nil {
		for _, p := range providers {
			if _, region, ok := p.match(strings.TrimSuffix(u.Hostname(), ".")); ok {
				return p, region
			}
		}
	}
	return otherStores, ""
}
