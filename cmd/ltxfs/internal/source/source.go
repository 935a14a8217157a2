// Package source makes a client of what a command line names as the replica: a
// directory, a URL, or a database in Litestream's configuration.
package source

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/cmd/ltxfs/internal/secrets"
	"github.com/ltxfs/ltxfs/internal/litestreamyml"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/s3"
)

// Source is a replica, and how it was named.
type Source struct {
	// Path is the replica's directory, absolute, if it is on disk.
	Path string

	// S3 is the replica in S3. It is nil for one on disk.
	S3 *s3.Config

	// Arg and Config, the file if there is one, name the replica to another
	// process. All may see them: where Arg would hold a secret, it is masked,
	// and Hidden is what it would be.
	Arg    string
	Config string
	Hidden string
}

// Lookup finds an environment variable, as os.LookupEnv does.
type Lookup func(name string) (string, bool)

// Parse makes a Source of a path or URL. Its errors have exit codes, and name
// no secret.
func Parse(arg string, env Lookup) (Source, error) {
	u, err := replica.ParseURL(arg)
	switch {
	case errors.Is(err, replica.ErrUnsupported):
		return Source{}, exitcode.Wrap(exitcode.NoReplica, err)
	case err != nil:
		return Source{}, exitcode.Wrap(exitcode.Usage, err)
	case u.Scheme == file.Type:
		return onDisk(u.Path)
	}
	cfg, err := s3.ParseURL(arg)
	if err == nil {
		err = cfg.ApplyEnvironment(env)
	}
	if err != nil {
		return Source{}, exitcode.Wrap(exitcode.Usage, err)
	}
	s := Source{S3: &cfg, Arg: secrets.Redact(arg, IsPublic)}
	if s.Arg != arg {
		s.Hidden = arg
	}
	return s, nil
}

// FromConfig makes a Source of a database's replica in a file that is
// Litestream's configuration. Its errors have exit codes, and name no secret.
func FromConfig(path, db string, env Lookup) (Source, error) {
	if secrets.IsURL(db) {
		return Source{}, exitcode.Errorf(exitcode.Usage,
			"--config %s: it goes with the path of a database, not with a replica's URL: give one of the two", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Source{}, fmt.Errorf("find the path of the configuration: %w", err)
	}
	cfg, err := litestreamyml.Load(path, env)
	if err != nil {
		return Source{}, exitcode.Wrap(configCode(err), err)
	}
	found, err := cfg.Replica(db)
	if err != nil {
		return Source{}, exitcode.Wrap(configCode(err), err)
	}
	var s Source
	switch found.Type {
	case file.Type:
		if s, err = onDisk(found.Path); err != nil {
			return Source{}, err
		}
	case s3.Type:
		if err := found.S3.ApplyEnvironment(env); err != nil {
			return Source{}, exitcode.Wrap(exitcode.Usage, err)
		}
		s.S3 = &found.S3
	default:
		return Source{}, exitcode.Errorf(exitcode.NoReplica, "%s: a replica of type %s is %w", found.Source, found.Type, replica.ErrUnsupported)
	}
	s.Config, s.Arg = path, db
	if !strings.HasPrefix(db, "~") {
		if s.Arg, err = filepath.Abs(db); err != nil {
			return Source{}, fmt.Errorf("find the path of %s: %w", db, err)
		}
	}
	return s, nil
}

func onDisk(path string) (Source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Source{}, fmt.Errorf("find the path of %s: %w", path, err)
	}
	return Source{Path: abs, Arg: abs}, nil
}

// IsPublic reports whether a parameter of an S3 URL holds nothing secret.
func IsPublic(name string) bool {
	for _, s := range s3.Settings() {
		isName := func(known string) bool { return normal(known) == normal(name) }
		if !s.Secret && slices.ContainsFunc(s.Query, isName) {
			return true
		}
	}
	return false
}

// normal makes one name of those that camelCase and hyphens make of it.
func normal(name string) string { return strings.ToLower(strings.ReplaceAll(name, "-", "")) }

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
		return (&url.URL{Scheme: file.Type, Path: s.Path}).String()
	}
	return s.S3.Canonical()
}

// What suits a kind of store unless the user says otherwise.
const (
	fileFreshness = time.Second
	s3Freshness   = 5 * time.Second // a listing costs money

	// s3Settle is how long a store may contradict itself. AWS and most others
	// don't; of the rest, this is what they promise.
	s3Settle = 2 * time.Second

	// s3Requests is as many operations as there are connections.
	s3Requests = 64
)

// Freshness is how old what is shown of others' work may be by default.
func (s *Source) Freshness() time.Duration {
	if s.OnDisk() {
		return fileFreshness
	}
	return s3Freshness
}

// Settle is how long a listing may lack what was written before.
func (s *Source) Settle() time.Duration {
	if s.OnDisk() {
		return 0
	}
	return s3Settle
}

// MetadataConcurrency is how many timestamps a listing asks for at a time, or 0
// for the default.
func (s *Source) MetadataConcurrency() int {
	if s.OnDisk() {
		return 0
	}
	return s.S3.MetadataConcurrency
}

// MaxRequests is how many operations may be under way by default, 0 for any
// number.
func (s *Source) MaxRequests() int {
	if s.OnDisk() {
		return 0
	}
	return s3Requests
}
