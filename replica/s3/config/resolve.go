package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The longest path that leaves room for a level and a file's name in S3's 1,024
// bytes of a key.
const maxPath = 900

// Resolve checks a configuration and replaces what is unset: by what the
// endpoint's provider needs, and else by the defaults that Config documents.
// What is set stays. Errors name the setting, and show no secret. Region stays
// empty where it must be asked of AWS.
func (c Config) Resolve() (Config, error) {
	if err := cmp.Or(c.checkPlace(), c.checkSettings(), c.checkTimes(), c.checkCredentials()); err != nil {
		return Config{}, err
	}
	if c.Endpoint != "" {
		c.Endpoint, _ = parseEndpoint(c.Endpoint) // checked above
	}
	if err := c.resolveEncryption(); err != nil {
		return Config{}, err
	}
	c.resolveUnset()
	return c, nil
}

func (c *Config) checkPlace() error {
	switch {
	case c.Bucket == "":
		return errors.New("no bucket is named: write s3://BUCKET/PATH")
	case strings.HasPrefix(c.Bucket, "arn:"):
		if _, resource, ok := parseARN(c.Bucket); !ok || strings.ContainsFunc(c.Bucket, notInBucket) || !strings.Contains(resource, "accesspoint/") {
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

func (c *Config) checkSettings() error {
	for i := range Settings {
		s := &Settings[i]
		if err := s.verify(c); s.isSet(c) && err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}

func (c *Config) checkTimes() error {
	r, t := c.Retry, c.Timeouts
	if r.Attempts < 0 || min(r.MinBackoff, r.MaxBackoff, t.Connect, t.FirstByte, t.Stall, t.Verify, t.CleanUp) < 0 {
		return fmt.Errorf("a negative number is in %+v or %+v", r, t)
	}
	modes := []VerifyMode{"", VerifyAuto, VerifyFull, VerifyChecksum, VerifySize}
	if !slices.Contains(modes, c.VerifyWrites) {
		return fmt.Errorf("verification of writes: %s is none of auto, full, checksum, size", showValue(string(c.VerifyWrites)))
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

// resolveEncryption completes SSE-C, and refuses to send its key in the clear. The
// endpoint must have its scheme by now.
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
	sum, _ := sseKeyMD5(c.SSECustomerKey.Reveal()) // checked above
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

// defaults hold whatever the provider.
var defaults = Config{
	SignPayload: new(true), SignAcceptEncoding: new(true), Hedge: new(true),
	PartSize: MinPartSize, Concurrency: 5, MetadataConcurrency: 50, MaxConnections: 64,
}

// resolveUnset gives what is unset what the provider needs, and else the default.
func (c *Config) resolveUnset() {
	p, region := providerOf(c.Endpoint)
	bucketRegion, _, isARN := parseARN(c.Bucket)
	needs := p.needs
	needs.Region = cmp.Or(bucketRegion, region)
	if c.Endpoint != "" {
		needs.Region = cmp.Or(needs.Region, DefaultRegion)
	}
	needs.ForcePathStyle = new(c.Endpoint != "" && !isARN) // an access point is addressed by its host
	c.fill(&needs, "default for "+p.name)
	c.fill(&defaults, "default")
	c.ConsistentReads = c.ConsistentReads || needs.ConsistentReads
	c.VerifyWrites = cmp.Or(c.VerifyWrites, VerifyAuto)
	c.Retry.Attempts = cmp.Or(c.Retry.Attempts, 25)
	c.Retry.MinBackoff = cmp.Or(c.Retry.MinBackoff, 100*time.Millisecond)
	c.Retry.MaxBackoff = max(c.Retry.MinBackoff, cmp.Or(c.Retry.MaxBackoff, 5*time.Second))
	c.Timeouts.Connect = cmp.Or(c.Timeouts.Connect, 10*time.Second)
	c.Timeouts.FirstByte = cmp.Or(c.Timeouts.FirstByte, 20*time.Second)
	c.Timeouts.Stall = cmp.Or(c.Timeouts.Stall, 10*time.Second)
	c.Timeouts.Verify = cmp.Or(c.Timeouts.Verify, 30*time.Second)
	c.Timeouts.CleanUp = cmp.Or(c.Timeouts.CleanUp, 15*time.Second)
}
