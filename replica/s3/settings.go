package s3

import (
	"slices"
	"strings"
)

// Setting is one thing of a Config that a user may set: in a URL's query, in
// litestream.yml, or in the environment.
type Setting struct {
	Name    string   // what errors and the manual call it: the first of Query where there is one
	Query   []string // its names in a URL's query; none where a URL is no place for it
	YAML    string   // its key in litestream.yml
	Env     string   // its environment variable
	Doc     string   // one line
	Default string   // what holds if it isn't set, as a user would write it; "" is nothing
	Secret  bool     // its value must not be shown
}

// setting is a Setting with the part of a Config that it sets.
type setting struct {
	Setting
	settingField
	bit settingBits
}

// settingBits are the settings that were set explicitly, a bit for each of the
// table. It tells a false that somebody wrote from a false that nobody did.
type settingBits uint64

const envPrefix = "LTXFS_S3_"

// The table of all settings. URLs, litestream.yml, the environment and the
// manual follow it, in this order.
var settings = buildSettings([]setting{
	define("region", "region", "the bucket's region", "found out for AWS, else us-east-1",
		textField(func(c *Config) *string { return &c.Region }, checkRegion)),
	define("endpoint", "endpoint", "URL of a store other than AWS", "",
		fieldOf(func(c *Config) *string { return &c.Endpoint }, parseEndpoint, checkEndpoint)),
	define("forcePathStyle", "force-path-style", "put the bucket into the path of the URL, not into its host", "true for an endpoint, else false",
		optionalField(func(c *Config) **bool { return &c.ForcePathStyle })),
	define("skipVerify", "skip-verify", "accept any TLS certificate", "false",
		boolField(func(c *Config) *bool { return &c.SkipVerify })),
	define("caFile", "ca-file", "file of certificates in PEM to trust beside the system's", "",
		textField(func(c *Config) *string { return &c.CAFile }, checkPrintable)),
	define("signPayload", "sign-payload", "sign bodies as well, where there is no TLS", "true",
		optionalField(func(c *Config) **bool { return &c.SignPayload })),
	define("signAcceptEncoding", "sign-accept-encoding", "sign the header Accept-Encoding as well", "true, for Google false",
		optionalField(func(c *Config) **bool { return &c.SignAcceptEncoding })),
	define("requireContentMD5", "require-content-md5", "send Content-MD5 with deletions", "true, for Tigris false",
		optionalField(func(c *Config) **bool { return &c.RequireContentMD5 })),
	define("putObjectContentMD5", "put-object-content-md5", "send Content-MD5 with uploads", "false",
		boolField(func(c *Config) *bool { return &c.PutObjectContentMD5 })),
	define("concurrency", "concurrency", "parts of one upload under way at a time", "5, for R2 and Tigris 2",
		intField(func(c *Config) *int { return &c.Concurrency }, 1, 256)),
	define("partSize", "part-size", "size of an upload's parts", "5MiB, for Tigris 16MiB",
		fieldOf(func(c *Config) *int64 { return &c.PartSize }, parseSize, checkPartSize)),
	define("metadataConcurrency", "metadata-concurrency", "HEAD requests of one listing under way at a time", "50",
		intField(func(c *Config) *int { return &c.MetadataConcurrency }, 1, 1000)),
	define("maxConnections", "max-connections", "connections to the store", "64",
		intField(func(c *Config) *int { return &c.MaxConnections }, 1, 4096)),
	define("storageClass", "storage-class", "storage class of what is written", "",
		textField(func(c *Config) *string { return &c.StorageClass }, checkToken)),
	define("sseCustomerAlgorithm", "sse-customer-algorithm", "algorithm of SSE-C", "AES256",
		textField(func(c *Config) *string { return &c.SSECustomerAlgorithm }, checkSSEAlgorithm)),
	defineSecret("sseCustomerKey", "sse-customer-key", "key of SSE-C, 32 bytes in base64",
		secretField(func(c *Config) *Secret { return &c.SSECustomerKey }, checkSSEKey)),
	define("sseCustomerKeyMD5", "sse-customer-key-md5", "MD5 of the key of SSE-C, in base64", "computed",
		textField(func(c *Config) *string { return &c.SSECustomerKeyMD5 }, checkToken)),
	define("sseKmsKeyId", "sse-kms-key-id", "key of AWS KMS with which the store encrypts", "",
		textField(func(c *Config) *string { return &c.SSEKMSKeyID }, checkToken)),
	define("profile", "profile", "profile of the shared AWS configuration files", "",
		textField(func(c *Config) *string { return &c.Profile }, checkPrintable)),
	define("roleArn", "role-arn", "role to assume", "",
		textField(func(c *Config) *string { return &c.RoleARN }, checkARN)),
	define("externalId", "external-id", "external ID for assuming the role", "",
		textField(func(c *Config) *string { return &c.ExternalID }, checkPrintable)),
	define("anonymous", "anonymous", "send requests unsigned, for public buckets", "false",
		boolField(func(c *Config) *bool { return &c.Anonymous })),
	define("requesterPays", "requester-pays", "agree to pay for requests", "false",
		boolField(func(c *Config) *bool { return &c.RequesterPays })),
	notInURL(define("accessKeyId", "access-key-id", "access key", "the SDK's chain",
		textField(func(c *Config) *string { return &c.AccessKeyID }, checkKeyID))),
	notInURL(defineSecret("secretAccessKey", "secret-access-key", "secret of the access key",
		secretField(func(c *Config) *Secret { return &c.SecretAccessKey }, checkSecret))),
	notInURL(defineSecret("sessionToken", "session-token", "session token of a temporary access key",
		secretField(func(c *Config) *Secret { return &c.SessionToken }, checkSecret))),
})

func define(name, key, doc, value string, f settingField) setting {
	return setting{settingField: f, Setting: Setting{
		Name:    name,
		Query:   slices.Compact([]string{name, key}),
		YAML:    key,
		Env:     envPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_")),
		Doc:     doc,
		Default: value,
	}}
}

func defineSecret(name, key, doc string, f settingField) setting {
	s := define(name, key, doc, "", f)
	s.Secret = true
	return s
}

// notInURL is a setting that a URL must not hold: a URL ends in process lists,
// logs and shell histories.
func notInURL(s setting) setting {
	s.Query = nil
	return s
}

func buildSettings(table []setting) []setting {
	for i := range table {
		table[i].bit = 1 << i
	}
	return table
}

// Settings is the table of all settings, in the order of a manual.
func Settings() []Setting {
	all := make([]Setting, len(settings))
	for i, s := range settings {
		all[i] = s.Setting
		all[i].Query = slices.Clone(s.Query)
	}
	return all
}

// Set sets what a key of litestream.yml names. An empty value changes nothing,
// as for Litestream. The error is the reason alone, without the key and without
// the value of a secret. It panics if the key isn't one of Settings.
func (c *Config) Set(key, value string) error { return c.set(settingByKey(key), value) }

// SetDefault is Set for what isn't set yet.
func (c *Config) SetDefault(key, value string) error {
	if s := settingByKey(key); !c.has(s) {
		return c.set(s, value)
	}
	return nil
}

func settingByKey(key string) *setting {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.YAML == key })
	if i < 0 {
		panic("s3: no setting has the key " + key)
	}
	return &settings[i]
}

func (c *Config) set(s *setting, value string) error {
	if value == "" {
		return nil
	}
	if err := s.parse(c, value); err != nil {
		return err
	}
	c.explicit |= s.bit
	return nil
}

// has reports whether a setting is set.
func (c *Config) has(s *setting) bool { return c.explicit&s.bit != 0 || s.isSet(c) }

// fill takes from another configuration the settings that c lacks.
func (c *Config) fill(from *Config) {
	for i := range settings {
		if s := &settings[i]; !c.has(s) && from.has(s) {
			s.take(c, from)
			c.explicit |= from.explicit & s.bit
		}
	}
}
