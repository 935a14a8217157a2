package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// environ is the environment, for a Config that is to be filled from it.
type environ struct {
	*Config
	lookup func(string) (string, bool)
	except []string
}

func (e environ) get(name string) string {
	if slices.Contains(e.except, name) {
		return ""
	}
	value, _ := e.lookup(name)
	return value
}

// first is the first of the variables that is set, or "".
func (e environ) first(names ...string) string {
	for _, name := range names {
		if e.get(name) != "" {
			return name
		}
	}
	return ""
}

// take sets a setting, by its key, that isn't set, to the first of the variables that
// is.
func (e environ) take(key string, names ...string) error {
	name := e.first(names...)
	if name == "" || e.has(settingOf(key)) {
		return nil
	}
	if err := e.Set(key, e.get(name), name); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// DebugEnv is what LITESTREAM_S3_DEBUG is to Litestream, which works as well.
const DebugEnv = envPrefix + "DEBUG"

// ApplyEnvironment fills from the environment what c lacks: first from ltxfs's
// own LTXFS_S3_ variables, then from Litestream's, which beat those of the SDK
// only where these aren't set, and then the endpoint from the SDK's. The SDK
// itself reads the rest of its own. A variable that is empty is not set.
//
// Credentials don't mix: a key of the environment is left alone where a profile
// or anonymous access was asked for, and the parts of one come from one place.
//
// Variables that are excepted count as not set.
func (c *Config) ApplyEnvironment(lookup func(string) (string, bool), except ...string) error {
	e := environ{c, lookup, except}
	otherwise := c.Anonymous || c.Profile != ""
	hadKey := c.AccessKeyID != ""
	for i := range Settings {
		s := &Settings[i]
		if otherwise && s.NotInURL || hadKey && s.Key == "session-token" {
			continue
		}
		if err := e.take(s.Key, s.Env()); err != nil {
			return err
		}
	}
	return cmp.Or(e.applyLitestreamKeys(), e.applyEndpoint(), e.applyDebug())
}

// applyLitestreamKeys takes what stands in for AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY where these aren't set. Litestream does so for each of
// them; what the two of them are in the end, the SDK uses together.
func (e environ) applyLitestreamKeys() error {
	const id, secret = "LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY"
	if e.AccessKeyID != "" || e.SecretAccessKey != "" || e.Anonymous || e.Profile != "" {
		return nil
	}
	ids, secrets := []string{"AWS_ACCESS_KEY_ID", id}, []string{"AWS_SECRET_ACCESS_KEY", secret}
	switch idFrom, secretFrom := e.first(ids...), e.first(secrets...); {
	case idFrom != id && secretFrom != secret:
		return nil
	case secretFrom == "":
		return fmt.Errorf("%s is set without a secret: set %s as well, or neither", id, secret)
	case idFrom == "":
		return fmt.Errorf("%s is set without an access key: set %s as well, or neither", secret, id)
	}
	return cmp.Or(e.take("access-key-id", ids...), e.take("secret-access-key", secrets...), e.take("session-token", "AWS_SESSION_TOKEN"))
}

// applyEndpoint also takes what the SDK would take by itself: where the
// replica is must be known here, for its identity and for what its store needs.
func (e environ) applyEndpoint() error {
	names := []string{"LITESTREAM_S3_ENDPOINT"}
	if !strings.EqualFold(e.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		names = append(names, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	}
	return e.take("endpoint", names...)
}

// debugWords are what Debug may hold.
var debugWords = []string{"signing", "request", "response", "retries", "all"}

// applyDebug passes over words that are not known, as Litestream does, but a
// word of ltxfs's own variable.
func (e environ) applyDebug() error {
	words, unknown := parseDebug(e.get(DebugEnv))
	if len(unknown) > 0 {
		return fmt.Errorf("%s: %s is none of %s", DebugEnv, showValue(unknown[0]), strings.Join(debugWords, ", "))
	}
	if len(words) == 0 {
		words, _ = parseDebug(e.get("LITESTREAM_S3_DEBUG"))
	}
	if e.Debug == "" {
		e.Debug = strings.Join(words, ",")
	}
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
