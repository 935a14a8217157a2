package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Setting is one thing of a Config that a user may set: in a URL's query, in
// litestream.yml, or in the environment.
type Setting struct {
	Name     string // in a URL's query, in errors and in the manual
	Key      string // in litestream.yml; a URL takes it as well
	Default  string // what holds if it isn't set, as a user would write it; "" is nothing
	Doc      string // one phrase
	Secret   bool   // its value must not be shown
	NotInURL bool   // a URL that has it is refused: it ends in process lists, logs and shell histories

	at       func(*Config) any            // a pointer to its field
	complete func(string) (string, error) // what the field holds for a text; nil is the text itself
	check    func(string) error           // of a value that is set; nil takes any
}

// Settings is the table of all settings. URLs, litestream.yml, the environment and
// the manual follow it, in this order.
var Settings = []Setting{
	{Name: "region", Key: "region", at: func(c *Config) any { return &c.Region }, check: checkRegion,
		Default: "found out for AWS, else us-east-1", Doc: "the bucket's region"},
	{Name: "endpoint", Key: "endpoint", at: func(c *Config) any { return &c.Endpoint }, check: checkEndpoint, complete: parseEndpoint,
		Doc: "URL of a store other than AWS"},
	{Name: "forcePathStyle", Key: "force-path-style", at: func(c *Config) any { return &c.ForcePathStyle },
		Default: "true for an endpoint, else false", Doc: "put the bucket into the path of the URL, not into its host"},
	{Name: "skipVerify", Key: "skip-verify", at: func(c *Config) any { return &c.SkipVerify },
		Default: "false", Doc: "accept any TLS certificate"},
	{Name: "caFile", Key: "ca-file", at: func(c *Config) any { return &c.CAFile }, check: checkPrintable,
		Doc: "file of certificates in PEM to trust beside the system's"},
	{Name: "signPayload", Key: "sign-payload", at: func(c *Config) any { return &c.SignPayload },
		Default: "true", Doc: "sign bodies as well, where there is no TLS"},
	{Name: "signAcceptEncoding", Key: "sign-accept-encoding", at: func(c *Config) any { return &c.SignAcceptEncoding },
		Default: "true, for Google false", Doc: "sign the header Accept-Encoding as well"},
	{Name: "putObjectContentMD5", Key: "put-object-content-md5", at: func(c *Config) any { return &c.PutObjectContentMD5 },
		Default: "false", Doc: "send Content-MD5 with uploads"},
	{Name: "hedge", Key: "hedge", at: func(c *Config) any { return &c.Hedge },
		Default: "true", Doc: "make a GET again that is late beside others, one in 20 at most, over one more connection for each 20 of maxConnections"},
	{Name: "concurrency", Key: "concurrency", at: func(c *Config) any { return &c.Concurrency }, check: between(1, 256),
		Default: "5, for R2 and Tigris 2", Doc: "parts of one upload under way at a time"},
	{Name: "partSize", Key: "part-size", at: func(c *Config) any { return &c.PartSize }, check: checkPartSize,
		Default: "5MiB, for Tigris 16MiB", Doc: "size of an upload's parts"},
	{Name: "metadataConcurrency", Key: "metadata-concurrency", at: func(c *Config) any { return &c.MetadataConcurrency }, check: between(1, 1000),
		Default: "50", Doc: "HEADs of one listing under way at a time; and as many pages, but no more than 16"},
	{Name: "maxConnections", Key: "max-connections", at: func(c *Config) any { return &c.MaxConnections }, check: between(1, 4096),
		Default: "64", Doc: "connections to the store, of which half may send uploads"},
	{Name: "storageClass", Key: "storage-class", at: func(c *Config) any { return &c.StorageClass }, check: checkToken,
		Doc: "storage class of what is written"},
	{Name: "sseCustomerAlgorithm", Key: "sse-customer-algorithm", at: func(c *Config) any { return &c.SSECustomerAlgorithm }, check: checkSSEAlgorithm,
		Default: sseAlgorithm, Doc: "algorithm of SSE-C"},
	{Name: "sseCustomerKey", Key: "sse-customer-key", at: func(c *Config) any { return &c.SSECustomerKey }, check: checkSSEKey, Secret: true,
		Doc: "key of SSE-C, 32 bytes in base64"},
	{Name: "sseCustomerKeyMD5", Key: "sse-customer-key-md5", at: func(c *Config) any { return &c.SSECustomerKeyMD5 }, check: checkToken,
		Default: "computed", Doc: "MD5 of the key of SSE-C, in base64"},
	{Name: "sseKmsKeyId", Key: "sse-kms-key-id", at: func(c *Config) any { return &c.SSEKMSKeyID }, check: checkToken,
		Doc: "key of AWS KMS with which the store encrypts"},
	{Name: "profile", Key: "profile", at: func(c *Config) any { return &c.Profile }, check: checkPrintable,
		Doc: "profile of the shared AWS configuration files"},
	{Name: "roleArn", Key: "role-arn", at: func(c *Config) any { return &c.RoleARN }, check: checkARN,
		Doc: "role to assume"},
	{Name: "externalId", Key: "external-id", at: func(c *Config) any { return &c.ExternalID }, check: checkPrintable,
		Doc: "external ID for assuming the role"},
	{Name: "anonymous", Key: "anonymous", at: func(c *Config) any { return &c.Anonymous },
		Default: "false", Doc: "send requests unsigned, for public buckets"},
	{Name: "requesterPays", Key: "requester-pays", at: func(c *Config) any { return &c.RequesterPays },
		Default: "false", Doc: "agree to pay for requests"},
	{Name: "accessKeyId", Key: "access-key-id", at: func(c *Config) any { return &c.AccessKeyID }, check: checkKey, NotInURL: true,
		Default: "the SDK's chain", Doc: "access key"},
	{Name: "secretAccessKey", Key: "secret-access-key", at: func(c *Config) any { return &c.SecretAccessKey }, check: checkKey, NotInURL: true,
		Doc: "secret of the access key", Secret: true},
	{Name: "sessionToken", Key: "session-token", at: func(c *Config) any { return &c.SessionToken }, check: checkKey, NotInURL: true,
		Doc: "session token of a temporary access key", Secret: true},
}

const envPrefix = "LTXFS_S3_"

// Env is the setting's environment variable.
func (s *Setting) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, "-", "_"))
}

// Refusal is the error for a place, such as "in a URL", where a secret stands.
func (s *Setting) Refusal(place string) error {
	return fmt.Errorf("%s does not belong %s, which others can read: set %s in the environment, or %s in litestream.yml",
		s.Name, place, s.Env(), s.Key)
}

// Text is the setting's value in a resolved Config, as a user would write it. A
// secret's is "(set)", and "" is no value.
func (s *Setting) Text(c *Config) string {
	v := s.field(c)
	switch {
	case v.Kind() == reflect.String && v.Len() == 0:
		return ""
	case s.Secret:
		return "(set)"
	case v.Kind() == reflect.Int64:
		return Size(v.Int()).String()
	}
	return plain(v)
}

// Set gives a setting, by its key in litestream.yml, a value, and remembers where
// that came from. An empty value changes nothing, as for Litestream. The error is
// the reason alone, without the key and without the value of a secret. It panics if
// the key isn't one of Settings.
func (c *Config) Set(key, value, from string) error {
	return c.set(settingOf(key), value, from)
}

func settingOf(key string) *Setting {
	return &Settings[slices.IndexFunc(Settings, func(s Setting) bool { return s.Key == key })]
}

// From is where the value of a setting, by its key, came from. It is "" for what
// nobody has set.
func (c *Config) From(key string) string { return c.from[key] }

func (c *Config) set(s *Setting, value, from string) error {
	if value == "" {
		return nil
	}
	var parsed Config
	if err := s.parse(&parsed, value); err != nil {
		return err
	}
	s.take(c, &parsed, from)
	return nil
}

// has reports whether a setting is set, be it to a zero value: a false of the URL
// beats a true of the environment.
func (c *Config) has(s *Setting) bool { return c.from[s.Key] != "" || s.isSet(c) }

// fill takes from another configuration the settings that c lacks.
func (c *Config) fill(other *Config, from string) {
	for i := range Settings {
		if s := &Settings[i]; !c.has(s) && other.has(s) {
			s.take(c, other, from)
		}
	}
}

func (s *Setting) field(c *Config) reflect.Value { return reflect.ValueOf(s.at(c)).Elem() }

func (s *Setting) isSet(c *Config) bool { return !s.field(c).IsZero() }

func (s *Setting) take(c, other *Config, from string) {
	v := s.field(other)
	if v.Kind() == reflect.Pointer && !v.IsNil() { // a copy: it may be the table's of the providers
		v = reflect.ValueOf(new(v.Elem().Bool()))
	}
	s.field(c).Set(v)
	// c.from may be another's as well.
	marks := map[string]string{}
	maps.Copy(marks, c.from)
	marks[s.Key] = from
	c.from = marks
}

// parse sets and checks the field of an empty Config.
func (s *Setting) parse(c *Config, text string) (err error) {
	if s.complete != nil {
		if text, err = s.complete(text); err != nil {
			return err
		}
	}
	switch p := s.at(c).(type) {
	case *string:
		*p = text
	case *Secret:
		*p = Secret(text)
	case *bool:
		*p, err = parseBool(text)
	case **bool:
		*p = new(bool)
		**p, err = parseBool(text)
	case *int:
		*p, err = parseInt(text)
	case *int64:
		*p, err = ParseSize(text)
	}
	if err != nil {
		return err
	}
	return s.verify(c)
}

// verify checks what the setting's field holds.
func (s *Setting) verify(c *Config) error {
	if s.check == nil {
		return nil
	}
	return s.check(plain(s.field(c)))
}

// plain is a value as a text, secrets included.
func plain(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Pointer:
		v = v.Elem()
	}
	return fmt.Sprint(v)
}
