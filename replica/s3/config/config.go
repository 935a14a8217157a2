// Package config has the settings of a replica in S3, or in a store that speaks its
// protocol: what each is called in a URL, in litestream.yml and in the environment,
// what values it takes, and what the store's provider needs. It needs no SDK.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// Config says which replica in which store, and how to talk to the store. Settings
// tells what the fields are that a user may set. Zero values are unset: Resolve
// replaces them by what the provider needs, and else by the defaults.
type Config struct {
	// Bucket is a bucket's name or the ARN of an access point.
	Bucket string

	// Path is where the replica is in the bucket, as Litestream has it in its
	// own client: what stands before "/0000/" in its keys. "." and "" are both
	// the bucket's root; which of the forms that Litestream gives its keys
	// there is in use, the store finds out.
	Path string

	// Layout is the replica's layout; zero to detect it.
	Layout replica.Layout

	// Region stays unset where it must be asked of AWS.
	Region string

	// Endpoint is the URL of a store other than AWS's. Without a scheme it is
	// http for local and private hosts, and https for all others.
	Endpoint string

	// ForcePathStyle is true for any endpoint by default, but for buckets that a
	// URL names in the host of some providers.
	ForcePathStyle *bool

	// Without these credentials, they come from the SDK's chain: environment,
	// shared files, web identity, container and instance.
	AccessKeyID     string
	SecretAccessKey Secret
	SessionToken    Secret

	Profile       string
	RoleARN       string
	ExternalID    string
	Anonymous     bool
	RequesterPays bool

	SkipVerify bool
	CAFile     string // $AWS_CA_BUNDLE also works

	SignPayload         *bool
	SignAcceptEncoding  *bool // some gateways change the header
	PutObjectContentMD5 bool

	// Hedge has a GET made again that is late beside others, one in 20 at most. Such have connections beside
	// MaxConnections: one for each 20, and at least one. The default is true.
	Hedge *bool

	StorageClass string

	// PartSize is in bytes. A file that is smaller goes in one request.
	PartSize    int64
	Concurrency int

	// The algorithm and the MD5 of SSE-C follow from its key.
	SSECustomerAlgorithm string
	SSECustomerKey       Secret
	SSECustomerKeyMD5    string
	SSEKMSKeyID          string

	MetadataConcurrency int
	MaxConnections      int

	// ConsistentReads asks Tigris for the newest version with every request.
	ConsistentReads bool

	// NoChecksums is for stores that refuse requests with checksum headers.
	NoChecksums bool

	// VerifyWrites is how a write makes sure that the store has what was
	// written. Default VerifyAuto.
	VerifyWrites VerifyMode

	// Debug is what the SDK logs, at level debug: any of signing, request,
	// response, retries, all, separated by commas. Never bodies, nor secrets.
	Debug string

	// Retry bounds repetitions, and Timeouts what a store may take.
	Retry    Retry
	Timeouts Timeouts

	// Logger gets what is worth telling; nil is none.
	Logger *slog.Logger

	// from says, by its key, where a setting's value came from.
	from map[string]string
}

// DefaultRegion is for stores that have none, and for asking AWS for a bucket's.
const DefaultRegion = "us-east-1"

// Retry is how often and how fast a request is repeated that failed in a way
// that may pass. Zero values are the defaults.
type Retry struct {
	Attempts   int           // in all, default 25
	MinBackoff time.Duration // before the second, default 100 ms
	MaxBackoff time.Duration // default 5 s
}

// Timeouts are how long a store may be silent. Zero values are the defaults.
type Timeouts struct {
	Connect   time.Duration // to connect, including TLS; default 10 s
	FirstByte time.Duration // from the end of a request to its answer; default 20 s
	Stall     time.Duration // without a byte either way, within a body; default 10 s
	Verify    time.Duration // to make sure of a write, beside the reading itself; default 30 s
	CleanUp   time.Duration // to abort an upload whose context is done; default 15 s
}

// VerifyMode is what --verify-writes takes.
type VerifyMode string

// The ways to verify a write.
const (
	VerifyAuto     VerifyMode = "auto"     // checksum where the store has one, else full
	VerifyFull     VerifyMode = "full"     // read it back and compare
	VerifyChecksum VerifyMode = "checksum" // compare the store's checksum of the whole object
	VerifySize     VerifyMode = "size"     // compare the size
)

// Secret is a string that no log, error or format shows.
type Secret string

// String implements fmt.Stringer.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(secret)"
}

// Format implements fmt.Formatter: a verb that fits no string would show it.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps secrets out of JSON and YAML as well.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }
