package s3

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// Config says which replica in which store, and how to talk to the store. Its
// zero values are unset: New replaces them by what the provider needs, and else
// by the defaults named below. Secrets are in fields of type Secret, which
// don't print.
type Config struct {
	// Bucket is a bucket's name or the ARN of an access point.
	Bucket string

	// Path is where the replica is in the bucket, as Litestream has it in its
	// own client: what stands before "/0000/" in its keys. "." and "" are both
	// the bucket's root; which of the forms that Litestream gives its keys
	// there is in use, the client finds out.
	Path string

	// Layout is the replica's layout; zero to detect it.
	Layout replica.Layout

	// Region is the bucket's. Unset, it is found out for AWS, and us-east-1
	// for any other endpoint.
	Region string

	// Endpoint is the URL of a store other than AWS's. Without a scheme it is
	// http for local and private hosts, and https for all others.
	Endpoint string

	// ForcePathStyle puts the bucket into the path of the URL instead of the
	// host. Unset, it is what the provider needs, and true for any endpoint
	// that isn't known.
	ForcePathStyle *bool

	// AccessKeyID and SecretAccessKey are the credentials. Unset, they come
	// from the SDK's chain: environment, shared files, web identity, container
	// and instance.
	AccessKeyID     string
	SecretAccessKey Secret
	SessionToken    Secret

	// Profile is that of the shared configuration files to use.
	Profile string

	// RoleARN is a role to assume with the credentials, and ExternalID what
	// its owner may ask for.
	RoleARN    string
	ExternalID string

	// Anonymous sends requests unsigned, for public buckets.
	Anonymous bool

	// RequesterPays agrees to pay for the requests.
	RequesterPays bool

	// SkipVerify takes any TLS certificate. CAFile is a file of certificates
	// in PEM to trust beside the system's; $AWS_CA_BUNDLE also works.
	SkipVerify bool
	CAFile     string

	// SignPayload signs bodies as well (default true). SignAcceptEncoding
	// signs that header as well, which some gateways change (default true).
	SignPayload        *bool
	SignAcceptEncoding *bool

	// RequireContentMD5 sends Content-MD5 with deletions of many objects
	// (default true), and PutObjectContentMD5 with uploads (default false).
	RequireContentMD5   *bool
	PutObjectContentMD5 bool

	// StorageClass of what is written.
	StorageClass string

	// PartSize is the size of the parts of an upload, in bytes; a file that is
	// smaller goes in one request. Default 5 MiB, which is also the least.
	PartSize int64

	// Concurrency is how many parts of one upload are on their way at a time.
	// Default 5.
	Concurrency int

	// SSE-C: the key with which the store encrypts, 256 bits in base64, and
	// what its algorithm (AES256) and MD5 are, if not the computed ones.
	SSECustomerAlgorithm string
	SSECustomerKey       Secret
	SSECustomerKeyMD5    string

	// SSEKMSKeyID is the key of AWS KMS with which the store encrypts.
	SSEKMSKeyID string

	// ConsistentReads asks Tigris for the newest version with every request.
	ConsistentReads bool

	// NoChecksums is for stores that refuse requests with checksum headers.
	NoChecksums bool

	// VerifyWrites is how a write makes sure that the store has what was
	// written. Default VerifyAuto.
	VerifyWrites VerifyMode

	// MetadataConcurrency is how many HEADs a listing with timestamps from
	// metadata has under way. Default 50.
	MetadataConcurrency int

	// MaxConnections bounds the connections to the store. Default 64.
	MaxConnections int

	// Debug is what LITESTREAM_S3_DEBUG has the SDK log, at level debug: any
	// of signing, request, response, retries, all, separated by commas. Never
	// bodies, nor secrets.
	Debug string

	// Retry bounds repetitions, and Timeouts what a store may take.
	Retry    Retry
	Timeouts Timeouts

	// Logger gets what is worth telling; nil is none. SetLogger changes it.
	Logger *slog.Logger

	// explicit are the settings that URL, file or environment gave, be it a
	// zero value: a false of the URL beats a true of the environment.
	explicit settingBits

	// endpointKept is KeepEndpoint's.
	endpointKept bool
}

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
	VerifyAuto     VerifyMode = ""         // checksum where the store has one, else full
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
