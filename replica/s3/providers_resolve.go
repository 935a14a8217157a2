package s3

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// The longest path that leaves room for a level and a file's name in S3's 1,024
// bytes of a key.
const maxPath = 900

// resolve checks a configuration and replaces what is unset: by what the
// endpoint's provider needs, and else by the defaults that Config documents.
// What is set stays. Errors name the setting, and show no secret. Region stays
// empty where it must be asked of AWS.
func (c Config) resolve() (Config, error) {
	if err := c.checkPlace(); err != nil {
		return Config{}, err
	}
	for i := range settings {
		if s := &settings[i]; s.isSet(&c) {
			if err := s.check(&c); err != nil {
				return Config{}, fmt.Errorf("%s: %w", s.Name, err)
			}
		}
	}
	if err := c.checkTimes(); err != nil {
		return Config{}, err
	}
	if err := c.checkCredentials(); err != nil {
		return Config{}, err
	}
	if c.Endpoint != "" {
		c.Endpoint, _ = parseEndpoint(c.Endpoint) // checked above
	}
	if err := c.resolveEncryption(); err != nil {
		return Config{}, err
	}
	c.resolveProvider()
	c.resolveDefaults()
	return c, nil
}

func (c *Config) checkPlace() error {
	switch {
	case c.Bucket == "":
		return errors.New("no bucket is named: write s3://BUCKET/PATH")
	case strings.HasPrefix(c.Bucket, "arn:"):
		if a, err := arn.Parse(c.Bucket); err != nil || strings.ContainsFunc(c.Bucket, notInBucket) || !strings.Contains(a.Resource, "accesspoint/") {
			return errors.New("the bucket's ARN is not an access point's: write arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME")
		}
	case strings.ContainsFunc(c.Bucket, notInBucket) || strings.Contains(c.Bucket, "/"):
		return errors.New("the bucket's name has a character that can't be in it: give the name alone, without s3:// and path")
	}
	switch {
	case !utf8.ValidString(c.Path) || strings.ContainsFunc(c.Path, unicode.IsControl):
		return errors.New("the path in the bucket has a character that no key may have")
	case len(c.Path) > maxPath:
		return fmt.Errorf("the path in the bucket has %d bytes: at most %d leave room for files' names in S3's keys", len(c.Path), maxPath)
	}
	return nil
}

func notInBucket(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`?#\`, r) }

func (c *Config) checkTimes() error {
	for name, d := range map[string]time.Duration{
		"least backoff": c.Retry.MinBackoff, "longest backoff": c.Retry.MaxBackoff,
		"timeout to connect": c.Timeouts.Connect, "timeout of the first byte": c.Timeouts.FirstByte,
		"timeout of a stalled body": c.Timeouts.Stall, "timeout of verification": c.Timeouts.Verify,
		"timeout of cleaning up": c.Timeouts.CleanUp,
	} {
		if d < 0 {
			return fmt.Errorf("%s: %v is negative", name, d)
		}
	}
	if c.Retry.Attempts < 0 {
		return fmt.Errorf("attempts: %d is negative", c.Retry.Attempts)
	}
	modes := []VerifyMode{VerifyAuto, VerifyFull, VerifyChecksum, VerifySize}
	if !slices.Contains(modes, c.VerifyWrites) {
		return fmt.Errorf("verification of writes: %s is none of full, checksum, size", showValue(string(c.VerifyWrites)))
	}
	return nil
}

func (c *Config) checkCredentials() error {
	switch {
	case c.AccessKeyID == "" && c.SecretAccessKey != "":
		return errors.New("secretAccessKey is set without accessKeyId: set both or neither")
	case c.AccessKeyID != "" && c.SecretAccessKey == "":
		return errors.New("accessKeyId is set without secretAccessKey: set both or neither")
	case c.SessionToken != "" && c.AccessKeyID == "":
		return errors.New("sessionToken is set without the access key that it belongs to: set accessKeyId and secretAccessKey as well")
	case c.Anonymous && c.AccessKeyID != "":
		return errors.New("anonymous access is set together with an access key: leave one")
	case c.Anonymous && c.RoleARN != "":
		return errors.New("anonymous access is set together with roleArn: leave one")
	case c.Anonymous && c.RequesterPays:
		return errors.New("anonymous access is set together with requesterPays, but nobody would pay: leave one")
	case c.ExternalID != "" && c.RoleARN == "":
		return errors.New("externalId is set without roleArn, the role that it is for")
	}
	return nil
}

// resolveEncryption needs the endpoint's scheme.
func (c *Config) resolveEncryption() error {
	if c.SSECustomerKey == "" {
		if c.SSECustomerAlgorithm != "" || c.SSECustomerKeyMD5 != "" {
			return errors.New("SSE-C is set without sseCustomerKey, so that nothing would be encrypted: set the key as well")
		}
		return nil
	}
	if c.SSEKMSKeyID != "" {
		return errors.New("sseCustomerKey and sseKmsKeyId are both set: the store encrypts with one of them")
	}
	key, err := decodeSSEKey(c.SSECustomerKey)
	if err != nil {
		return fmt.Errorf("sseCustomerKey: %w", err)
	}
	sum := sseKeyMD5(key)
	if c.SSECustomerKeyMD5 != "" && c.SSECustomerKeyMD5 != sum {
		return errors.New("sseCustomerKeyMD5 is not the MD5 of sseCustomerKey: leave it out, it is computed")
	}
	c.SSECustomerKeyMD5 = sum
	c.SSECustomerAlgorithm = sseAlgorithm
	if strings.HasPrefix(c.Endpoint, "http://") {
		if u, err := splitEndpoint(c.Endpoint); err != nil || !isPrivateHost(u.Hostname()) {
			return errors.New("sseCustomerKey would go over the network in the clear: give an endpoint with https")
		}
	}
	return nil
}

func (c *Config) resolveProvider() {
	isARN := strings.HasPrefix(c.Bucket, "arn:")
	if a, err := arn.Parse(c.Bucket); err == nil {
		c.Region = cmp.Or(c.Region, a.Region)
	}
	p, region := providerOf(c.Endpoint)
	c.Region = cmp.Or(c.Region, region)
	if c.Endpoint != "" {
		c.Region = cmp.Or(c.Region, defaultRegion)
	}
	if c.ForcePathStyle == nil {
		// An access point is addressed by its host.
		c.ForcePathStyle = boolPointer(c.Endpoint != "" && !isARN)
	}
	c.ConsistentReads = c.ConsistentReads || p.needs.ConsistentReads
	for i := range settings {
		if s := &settings[i]; !c.has(s) && s.isSet(&p.needs) {
			s.take(c, &p.needs)
		}
	}
}

func (c *Config) resolveDefaults() {
	for _, v := range []struct {
		at    **bool
		value bool
	}{{&c.SignPayload, true}, {&c.SignAcceptEncoding, true}, {&c.RequireContentMD5, true}} {
		if *v.at == nil {
			*v.at = boolPointer(v.value)
		}
	}
	c.PartSize = cmp.Or(c.PartSize, minPartSize)
	c.Concurrency = cmp.Or(c.Concurrency, 5)
	c.MetadataConcurrency = cmp.Or(c.MetadataConcurrency, 50)
	c.MaxConnections = cmp.Or(c.MaxConnections, 64)
	c.Retry.Attempts = cmp.Or(c.Retry.Attempts, 25)
	c.Retry.MinBackoff = cmp.Or(c.Retry.MinBackoff, 100*time.Millisecond)
	c.Retry.MaxBackoff = max(c.Retry.MinBackoff, cmp.Or(c.Retry.MaxBackoff, 5*time.Second))
	c.Timeouts.Connect = cmp.Or(c.Timeouts.Connect, 10*time.Second)
	c.Timeouts.FirstByte = cmp.Or(c.Timeouts.FirstByte, 20*time.Second)
	c.Timeouts.Stall = cmp.Or(c.Timeouts.Stall, 10*time.Second)
	c.Timeouts.Verify = cmp.Or(c.Timeouts.Verify, 30*time.Second)
	c.Timeouts.CleanUp = cmp.Or(c.Timeouts.CleanUp, 15*time.Second)
}

func boolPointer(v bool) *bool { return &v }
