package settings

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/litestreamyml"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// Source is a replica, on disk or in S3.
type Source struct {
	Path string         // its directory, absolute, if it is on disk
	S3   *config.Config // resolved; nil for one on disk
	At   string         // FILE:LINE of what names it; "" for the command line

	Literal *config.Config // see litestreamyml.Replica
}

// OnDisk reports whether the replica is a directory.
func (s *Source) OnDisk() bool { return s.S3 == nil }

// Name is what the replica is called in messages, in the state file and as the
// source of the mount. It holds no secret.
func (s *Source) Name() string {
	if s.OnDisk() {
		return s.Path
	}
	return s.S3.String()
}

// ID is the same for two sources if they are the same replica.
func (s *Source) ID() string {
	if s.OnDisk() {
		return (&url.URL{Scheme: "file", Path: s.Path}).String()
	}
	return s.S3.Canonical()
}

// A scheme has two characters at least; with one, it would be a drive letter.
var schemeRegex = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]+://`)

// What has one slash where a URL has two would name a path that hardly anyone
// means, and whose name, which every later error tells, may hold a secret.
var mistypedRegex = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]+:/`)

// findSource makes a Source of what names the replica: a path, a URL, or the path of
// a database in Litestream's configuration; or Databases of that.
func (m *Mount) findSource(env Lookup) (err error) {
	if m.All {
		m.Databases, err = m.databases(env)
		return err
	}
	if m.Config != "" {
		m.Source, err = sourceInConfig(m.Config, m.replica, env, !m.NoExpandEnv)
	} else {
		m.Source, err = parseSource(m.replica, env)
	}
	if err == nil {
		err = m.resolve(&m.Source)
	}
	return err
}

// resolve completes a source.
func (m *Mount) resolve(s *Source) error {
	if s.OnDisk() {
		return nil
	}
	cfg := s.S3
	cfg.Layout, cfg.VerifyWrites = m.Layout, m.VerifyWrites
	resolved, err := cfg.Resolve()
	if err != nil && s.Literal != nil {
		return fmt.Errorf("open replica %s: %w; a $ in the access key was taken for a variable's: set that, or use --no-expand-env", s.Name(), err)
	}
	if err != nil {
		return fmt.Errorf("open replica %s: %w", s.Name(), err)
	}
	s.S3 = &resolved
	return nil
}

// parseSource parses a path, taken as it is, a file URL with an absolute path that
// may be percent-encoded, or the URL of another store.
//
// Errors end in logs, and a URL may hold a secret wherever its author put it: of one
// that isn't a file's, they tell no more than the scheme, or what config tells.
func parseSource(arg string, env Lookup) (Source, error) {
	scheme := strings.ToLower(strings.TrimSuffix(schemeRegex.FindString(arg), "://"))
	switch {
	case arg == "":
		return Source{}, errors.New("the replica is empty: give a path or a URL such as file:///var/backups/db")
	case scheme == "" && mistypedRegex.MatchString(arg):
		return Source{}, errors.New("the replica looks like a mistyped URL: write scheme://… for a URL, or ./ before a path")
	case scheme == "":
		path, err := filepath.Abs(arg)
		return Source{Path: path}, err
	case scheme == "file":
		path, err := parseFileURL(arg)
		return Source{Path: path}, err
	case scheme != "s3":
		return Source{}, exitcode.Errorf(exitcode.NoReplica, "replica with scheme %q: such stores are %w: give a path, a file:// URL or an s3:// URL",
			scheme, litestreamyml.ErrUnsupported)
	}
	_, query, _ := strings.Cut(arg, "?")
	given, _ := url.ParseQuery(query) // what is wrong with it, config says
	for i := range config.Settings {
		if s := &config.Settings[i]; s.Secret && (given.Has(s.Name) || given.Has(s.Key)) {
			return Source{}, s.Refusal("in a URL")
		}
	}
	cfg, err := config.ParseURL(arg)
	if err != nil {
		return Source{}, err
	}
	return Source{S3: &cfg}, cfg.ApplyEnvironment(env)
}

func parseFileURL(arg string) (string, error) {
	u, err := url.Parse(arg)
	var ue *url.Error
	switch {
	case errors.As(err, &ue):
		return "", fmt.Errorf("parse the replica's URL: %w", ue.Err) // without the URL
	case u.Host != "" && u.Host != "localhost":
		return "", fmt.Errorf("file URL with the host %q: write file:///%s%s for an absolute path, or the path alone",
			u.Host, u.Host, u.Path)
	case u.Path == "":
		return "", errors.New("file URL without a path: write file:///path/to/replica")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New("file URL with a query or fragment: write ? as %3F and # as %23 if they belong to the path")
	case u.User != nil:
		return "", errors.New("file URL with a user: write file:///path/to/replica")
	}
	return filepath.Clean(u.Path), nil
}

// sourceInConfig is a database's replica in a file that is Litestream's configuration.
func sourceInConfig(path, db string, env Lookup, expand bool) (Source, error) {
	if IsURL(db) {
		return Source{}, fmt.Errorf("--config %s: it goes with the path of a database, not with a replica's URL: give one of the two", path)
	}
	file, err := litestreamyml.Load(path, env, expand)
	if err != nil {
		return Source{}, configError(err)
	}
	return sourceOf(file, db, env)
}

func sourceOf(file *litestreamyml.Config, db string, env Lookup) (Source, error) {
	found, err := file.Replica(db)
	if err == nil && found.S3 != nil {
		err = found.S3.ApplyEnvironment(env, litestreamyml.NotFromEnv)
	}
	return Source{Path: found.Path, S3: found.S3, At: found.Source, Literal: found.Literal}, configError(err)
}

// configError gives an error of a configuration its exit code.
func configError(err error) error {
	switch {
	case errors.Is(err, litestreamyml.ErrUnsupported):
		return exitcode.Wrap(exitcode.NoReplica, err)
	case errors.Is(err, os.ErrPermission):
		return exitcode.Wrap(exitcode.Permission, err)
	}
	return err
}
