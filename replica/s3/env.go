package s3

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// KeepEndpoint keeps ApplyEnvironment from taking LITESTREAM_S3_ENDPOINT, which
// Litestream doesn't heed where its configuration names the replica: what its
// daemon wrote is not there.
func (c *Config) KeepEndpoint() { c.endpointKept = true }

// ApplyEnvironment fills from the environment what c lacks: first from ltxfs's
// own LTXFS_S3_ variables, then from Litestream's, which beat those of the SDK
// only where these aren't set, and then the endpoint from the SDK's. The SDK
// itself reads the rest of its own. A variable that is empty is not set.
//
// Credentials don't mix: a key of the environment is left alone where a profile
// or anonymous access was asked for, and the parts of one come from one place.
func (c *Config) ApplyEnvironment(lookup func(string) (string, bool)) error {
	get := func(name string) string {
		value, _ := lookup(name)
		return value
	}
	otherwise := c.Anonymous || c.Profile != ""
	hadKey := c.AccessKeyID != ""
	for i := range settings {
		s := &settings[i]
		switch {
		case c.has(s):
			continue
		case otherwise && slices.Contains([]string{"accessKeyId", "secretAccessKey", "sessionToken"}, s.Name):
			continue
		case hadKey && s.Name == "sessionToken":
			continue
		}
		if err := c.set(s, get(s.Env)); err != nil {
			return fmt.Errorf("%s: %w", s.Env, err)
		}
	}
	if err := c.applyLitestreamKeys(get); err != nil {
		return err
	}
	if err := c.applyEndpoint(get); err != nil {
		return err
	}
	return c.applyDebug(get)
}

// applyLitestreamKeys takes what stands in for AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY where these aren't set. Litestream does so for each of
// them; what the two of them are in the end, the SDK uses together.
func (c *Config) applyLitestreamKeys(get func(string) string) error {
	const idName, secretName = "LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY"
	if c.AccessKeyID != "" || c.SecretAccessKey != "" || c.Anonymous || c.Profile != "" {
		return nil
	}
	awsID, awsSecret := get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")
	id, secretKey := cmp.Or(awsID, get(idName)), cmp.Or(awsSecret, get(secretName))
	switch {
	case id == awsID && secretKey == awsSecret:
		return nil
	case secretKey == "":
		return fmt.Errorf("%s is set without a secret: set %s as well, or neither", idName, secretName)
	case id == "":
		return fmt.Errorf("%s is set without an access key: set %s as well, or neither", secretName, idName)
	}
	if err := c.Set("access-key-id", id); err != nil {
		return fmt.Errorf("%s: %w", idName, err)
	}
	if err := c.Set("secret-access-key", secretKey); err != nil {
		return fmt.Errorf("%s: %w", secretName, err)
	}
	if err := c.Set("session-token", get("AWS_SESSION_TOKEN")); err != nil {
		return fmt.Errorf("AWS_SESSION_TOKEN: %w", err)
	}
	return nil
}

// applyEndpoint also takes what the SDK would take by itself: where the
// replica is must be known here, for its identity and for what its store needs.
func (c *Config) applyEndpoint(get func(string) string) error {
	var names []string
	if !c.endpointKept {
		names = append(names, "LITESTREAM_S3_ENDPOINT")
	}
	if !strings.EqualFold(get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		names = append(names, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	}
	for _, name := range names {
		if c.Endpoint != "" {
			return nil
		}
		if err := c.Set("endpoint", get(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// debugWords are what Debug may hold.
var debugWords = []string{"signing", "request", "response", "retries", "all"}

// applyDebug passes over words that are not known, as Litestream does, but a
// word of ltxfs's own variable.
func (c *Config) applyDebug(get func(string) string) error {
	if c.Debug != "" {
		return nil
	}
	const name = envPrefix + "DEBUG"
	words, unknown := parseDebug(get(name))
	if len(unknown) > 0 {
		return fmt.Errorf("%s: %s is none of %s", name, showValue(unknown[0]), strings.Join(debugWords, ", "))
	}
	if len(words) == 0 {
		if words, unknown = parseDebug(get("LITESTREAM_S3_DEBUG")); len(unknown) > 0 && c.Logger != nil {
			c.Logger.Warn("words of LITESTREAM_S3_DEBUG are not known", slog.Any("words", unknown))
		}
	}
	c.Debug = strings.Join(words, ",")
	return nil
}

// parseDebug makes request of request-with-body: bodies are users' data, and
// too large for a log.
func parseDebug(s string) (words, unknown []string) {
	for word := range strings.SplitSeq(s, ",") {
		word = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(word)), "-with-body")
		switch {
		case word == "" || slices.Contains(words, word):
		case slices.Contains(debugWords, word):
			words = append(words, word)
		default:
			unknown = append(unknown, word)
		}
	}
	return words, unknown
}
