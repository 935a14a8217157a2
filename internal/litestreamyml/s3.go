package litestreamyml

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/replica/s3"
)

const (
	keyFileKey = "sse-customer-key-path"
	maxKeyFile = 4 << 10
)

var errFileURL = errors.New("it can't be understood: write file:///PATH")

// notInherited are the settings that a replica doesn't take from the top level:
// Litestream doesn't pass them on.
var notInherited = []string{"part-size", "concurrency"}

// s3Config is the configuration of an S3 replica, for a database that is below
// the entry's directory.
//
// As for Litestream, what the entry or the top level says beats what its URL
// says, but for skipVerify. SSE-C is the exception: Litestream doesn't heed the
// key in a URL here, and writes in the clear what its owner thinks encrypted.
// That is told instead of repeated.
func (c *Config) s3Config(r *replicaEntry, rel string) (s3.Config, error) {
	cfg, skipVerify, err := r.settings(c.defaults)
	if err != nil {
		return s3.Config{}, err
	}
	if err := c.readKeyFile(r, &cfg); err != nil {
		return s3.Config{}, err
	}
	raw, line, err := r.scalar("url")
	if err != nil {
		return s3.Config{}, err
	}
	if raw != "" {
		hadKey := cfg.SSECustomerKey != ""
		if err := cfg.ApplyURL(raw); err != nil {
			return s3.Config{}, wrong(line, "url", "%w", err)
		}
		if !hadKey && cfg.SSECustomerKey != "" {
			return s3.Config{}, wrong(line, "url", "Litestream v0.5 doesn't heed sseCustomerKey in a url of its configuration, and doesn't encrypt: set sse-customer-key instead, or leave it out")
		}
	}
	if err := cfg.SetDefault("skip-verify", skipVerify); err != nil {
		return s3.Config{}, wrong(r.line, "skip-verify", "%w", err)
	}
	if cfg.Bucket == "" {
		return s3.Config{}, wrong(r.line, "bucket", "the replica has none, nor a url")
	}
	if rel != "." {
		cfg.Path = path.Join(cfg.Path, rel)
	}
	cfg.KeepEndpoint()
	return cfg, nil
}

// settings reads all but what needs the URL or a file. skip-verify comes apart
// from the rest, as the URL's beats it.
func (r *replicaEntry) settings(defaults *node) (cfg s3.Config, skipVerify string, err error) {
	raw, urlLine, err := r.scalar("url")
	if err != nil {
		return cfg, "", err
	}
	if cfg.Path, _, err = r.scalar("path"); err != nil {
		return cfg, "", err
	}
	if cfg.Bucket, _, err = r.inherited(defaults, "bucket"); err != nil {
		return cfg, "", err
	}
	if raw != "" && cfg.Path != "" {
		return cfg, "", wrong(urlLine, "url", "the replica has a path as well: leave one")
	}
	if raw != "" && cfg.Bucket != "" {
		return cfg, "", wrong(urlLine, "url", "the replica has a bucket as well, of its own or of the top level: leave one")
	}
	skip, err := r.without(defaults)
	if err != nil {
		return cfg, "", err
	}
	for _, s := range s3.Settings() {
		text, line, err := r.inherited(defaults, s.YAML)
		if err != nil {
			return cfg, "", err
		}
		if text = effective(s.YAML, text); text == "" || slices.Contains(skip, s.YAML) {
			continue
		}
		if err := setValue(&cfg, s.YAML, text); err != nil {
			return cfg, "", wrong(line, s.YAML, "%w", err)
		}
	}
	if cfg.Endpoint != "" && cfg.ForcePathStyle == nil {
		// Not even the URL's setting changes it then.
		if err := cfg.Set("force-path-style", "true"); err != nil {
			return cfg, "", err
		}
	}
	skipVerify, err = r.skipVerify(defaults)
	return cfg, skipVerify, err
}

// without are the settings that other settings rob of their meaning.
func (r *replicaEntry) without(defaults *node) ([]string, error) {
	key, _, err := r.inherited(defaults, "sse-customer-key")
	if err != nil {
		return nil, err
	}
	file, _, err := r.inherited(defaults, keyFileKey)
	switch {
	case err != nil:
		return nil, err
	case file != "":
		return []string{"skip-verify", "sse-customer-key"}, nil
	case key == "":
		return []string{"skip-verify", "sse-customer-algorithm"}, nil
	}
	return []string{"skip-verify"}, nil
}

// effective is what of a value counts for Litestream.
func effective(key, text string) string {
	switch {
	case key == "concurrency" && text == "0":
		return "" // its default
	case key == "endpoint" && text != "" && !strings.Contains(text, "://"):
		// Other than in a URL, it is not asked whether the host is local.
		return "https://" + text
	}
	return text
}

// skipVerify is true if the replica or the top level says so.
func (r *replicaEntry) skipVerify(defaults *node) (string, error) {
	value := ""
	for _, m := range []*node{r.node, defaults} {
		given, err := m.get("skip-verify")
		if err != nil {
			return "", err
		}
		skip, err := m.boolean("skip-verify")
		switch {
		case err != nil:
			return "", err
		case skip:
			return "true", nil
		case given != nil:
			value = "false"
		}
	}
	return value, nil
}

// inherited is the replica's value of a key, or else the top level's.
func (r *replicaEntry) inherited(defaults *node, key string) (string, int, error) {
	text, line, err := r.scalar(key)
	if err != nil || text != "" || slices.Contains(notInherited, key) {
		return text, line, err
	}
	return defaults.scalar(key)
}

// setValue also takes the booleans of YAML 1.1.
func setValue(cfg *s3.Config, key, text string) error {
	err := cfg.Set(key, text)
	if modern := yamlBool(text); err != nil && modern != text && cfg.Set(key, modern) == nil {
		return nil
	}
	return err
}

// readKeyFile reads the key of SSE-C. Litestream takes ~ before the path for
// the home directory that the environment names.
func (c *Config) readKeyFile(r *replicaEntry, cfg *s3.Config) error {
	const key = keyFileKey
	name, line, err := r.inherited(c.defaults, key)
	if err != nil || name == "" {
		return err
	}
	file := name
	if rest, ok := strings.CutPrefix(name, "~"); ok {
		home, _ := c.lookup("HOME")
		if home == "" {
			return wrong(line, key, "the home directory for ~ is not known: set HOME")
		}
		file = home + rest
	}
	if cfg.Set("sse-customer-key", name) == nil {
		// What an error would print.
		return wrong(line, key, "this is a key, and not the path of a file with one")
	}
	text, err := readFile(file, maxKeyFile)
	if err != nil {
		return wrong(line, key, "%s: %w", name, err)
	}
	if text = strings.TrimSpace(text); text == "" {
		return wrong(line, key, "%s is empty", name)
	}
	if err := cfg.Set("sse-customer-key", text); err != nil {
		return wrong(line, key, "%s: %w", name, err)
	}
	return nil
}
