package litestreamyml

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

const (
	keyFileKey = "sse-customer-key-path"
	maxKeyFile = 4 << 10
)

// notInherited are the settings that a replica doesn't take from the top level:
// Litestream doesn't pass them on.
var notInherited = []string{"part-size", "concurrency"}

// s3Config is the configuration of an S3 replica, for a database that is below
// the entry's directory.
//
// As for Litestream, what the entry or the top level says beats what its URL
// says, but for skipVerify. SSE-C is the exception: Litestream passes over the key in
// a URL here, and writes in the clear what its owner thinks encrypted, so that such a
// key is an error.
func (c *Config) s3Config(r replicaEntry, rel string) *config.Config {
	raw, cfg := r.text("url"), &config.Config{Path: r.text("path")}
	cfg.Bucket, _ = c.inherited(r, "bucket")
	switch {
	case raw != "" && cfg.Path != "":
		fail(r.line("url"), "url", "the replica has a path as well: leave one")
	case raw != "" && cfg.Bucket != "":
		fail(r.line("url"), "url", "the replica has a bucket as well, of its own or of the top level: leave one")
	}
	key, _ := c.inherited(r, "sse-customer-key")
	keyFile, _ := c.inherited(r, keyFileKey)
	meaningless := map[string]bool{
		"skip-verify":            true, // until all else is known
		"sse-customer-key":       keyFile != "",
		"sse-customer-algorithm": keyFile == "" && key == "",
	}
	for i := range config.Settings {
		key := config.Settings[i].Key
		if text, line := c.inherited(r, key); !meaningless[key] {
			c.set(cfg, key, effective(key, text), line)
		}
	}
	if cfg.Endpoint != "" && cfg.ForcePathStyle == nil {
		// Not even the URL's setting changes it then.
		c.set(cfg, "force-path-style", "true", r.line("endpoint"))
	}
	// True if the replica or the top level says so.
	skipVerify := max(r.boolean("skip-verify"), c.top.boolean("skip-verify"))
	c.readKeyFile(r, cfg)
	if raw != "" {
		must(r.line("url"), "url", cfg.ApplyURL(raw))
	}
	if cfg.From("sse-customer-key") == config.FromURL {
		fail(r.line("url"), "url", "Litestream v0.5 passes over sseCustomerKey in a url of its configuration, and doesn't encrypt: set sse-customer-key instead, or leave it out")
	}
	if cfg.From("skip-verify") == "" {
		c.set(cfg, "skip-verify", skipVerify, r.line("skip-verify"))
	}
	if cfg.Bucket == "" {
		fail(r.at(), "bucket", "the replica has none, nor a url")
	}
	if rel != "." {
		cfg.Path = path.Join(cfg.Path, rel)
	}
	return cfg
}

// literalKey is expanded with its access key as it stands in the file, or nil if that is
// the same.
func (c *Config) literalKey(dbPath string, r replicaEntry, expanded *config.Config) *config.Config {
	lines := map[int]bool{}
	text := strings.Split(c.raw, "\n")
	for _, key := range []string{"access-key-id", "secret-access-key", "session-token"} {
		for _, m := range []node{r.node, c.top} {
			k, v, _ := m.get(key)
			if k.Node == nil {
				continue
			}
			for _, line := range []int{k.at(), v.at()} {
				if strings.Contains(text[line-1], "$") && !c.literal(line) {
					lines[line] = true
				}
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	var found Replica
	again, err := func() (_ *Config, err error) {
		defer catch(c.file, &err)
		return parseConfig(c.file, c.raw, c.lookup, func(line int) bool { return lines[line] }), nil
	}()
	if err == nil {
		found, err = again.Replica(dbPath)
	}
	if err != nil || found.S3 == nil ||
		found.S3.AccessKeyID == expanded.AccessKeyID && found.S3.SecretAccessKey == expanded.SecretAccessKey && found.S3.SessionToken == expanded.SessionToken {
		return nil
	}
	return found.S3
}

// set also takes the booleans of YAML 1.1.
func (c *Config) set(cfg *config.Config, key, text string, line int) {
	from := fmt.Sprintf("%s:%d", c.file, line)
	if err := cfg.Set(key, text, from); err != nil && cfg.Set(key, modernBool(text), from) != nil {
		fail(line, key, "%w", err)
	}
}

// inherited is the replica's value of a key, or else the top level's, and its line.
func (c *Config) inherited(r replicaEntry, key string) (string, int) {
	m := r.node
	if r.text(key) == "" && !slices.Contains(notInherited, key) {
		m = c.top
	}
	return m.text(key), m.line(key)
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

// readKeyFile reads the key of SSE-C. Litestream takes ~ before the path for
// the home directory that the environment names.
func (c *Config) readKeyFile(r replicaEntry, cfg *config.Config) {
	name, line := c.inherited(r, keyFileKey)
	if name == "" {
		return
	}
	file := name
	if rest, ok := strings.CutPrefix(name, "~"); ok {
		home, _ := c.lookup("HOME")
		if home == "" {
			fail(line, keyFileKey, "the home directory for ~ is not known: set HOME")
		}
		file = home + rest
	}
	if cfg.Set("sse-customer-key", name, name) == nil {
		// What an error would print.
		fail(line, keyFileKey, "this is a key, and not the path of a file with one")
	}
	text, err := readFile(file, maxKeyFile)
	if text = strings.TrimSpace(text); err == nil {
		if text == "" {
			fail(line, keyFileKey, "%s is empty", name)
		}
		err = cfg.Set("sse-customer-key", text, file)
	}
	if err != nil {
		fail(line, keyFileKey, "%s: %w", name, err)
	}
}
