package s3

import (
	"regexp"
	"strings"
)

// provider is a store with needs of its own. What it needs holds for what the
// user left unset.
type provider struct {
	name string

	// host matches the endpoint's host. Its first group, if it has one, is
	// the region, for stores that refuse requests signed for another.
	host *regexp.Regexp

	needs Config
}

var (
	unwanted = new(bool)

	awsProvider = provider{
		name: "AWS",
		host: regexp.MustCompile(`(?:^|\.)(?:s3[.-](?:dualstack\.|fips\.)?([a-z]+-[a-z0-9-]*[a-z]-[0-9]+)\.)?(?:vpce\.)?amazonaws\.com(?:\.cn)?$`),
	}

	// otherStore is what is known of no provider: an endpoint, and so path
	// style.
	otherStore = provider{name: "other"}
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
			RequireContentMD5: unwanted,
			ConsistentReads:   true,
			Concurrency:       2,
			PartSize:          16 << 20,
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
		needs: Config{SignAcceptEncoding: unwanted},
	},
	{name: "Backblaze B2", host: regexp.MustCompile(`(?:^|\.)s3\.([^.]+)\.backblazeb2\.com$`)},
	{name: "DigitalOcean Spaces", host: regexp.MustCompile(`^(?:.+\.)?([^.]+)\.digitaloceanspaces\.com$`)},
	{name: "Scaleway", host: regexp.MustCompile(`(?:^|\.)s3\.([^.]+)\.scw\.cloud$`)},
	{name: "Wasabi", host: regexp.MustCompile(`(?:^|\.)s3\.(?:([^.]+)\.)?wasabisys\.com$`)},
	{name: "Neon", host: regexp.MustCompile(`^br-[^.]+\.storage\.[^.]+\.([^.]+)\.[^.]+\.neon\.tech$`)},
	{name: "Filebase", host: regexp.MustCompile(`^s3\.filebase\.com$`)},
	{name: "Supabase", host: regexp.MustCompile(`\.supabase\.co$`)},
	{name: "Hetzner", host: regexp.MustCompile(`\.your-objectstorage\.com$`)},
}

// providerOf finds the provider of an endpoint that has its scheme, and the
// region that the endpoint names, or "". No endpoint is AWS.
func providerOf(endpoint string) (p provider, region string) {
	if endpoint == "" {
		return awsProvider, ""
	}
	u, err := splitEndpoint(endpoint)
	if err != nil {
		return otherStore, ""
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	for _, p := range providers {
		m := p.host.FindStringSubmatch(host)
		switch {
		case m == nil:
		case len(m) > 1:
			return p, m[1]
		default:
			return p, ""
		}
	}
	return otherStore, ""
}

// isAWS reports whether an endpoint that has its scheme is AWS's own.
func isAWS(endpoint string) bool {
	p, _ := providerOf(endpoint)
	return p.name == awsProvider.name
}
