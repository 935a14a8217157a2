package replica

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// The kinds of stores that ltxfs has clients for, as they stand in a URL's
// scheme and in Litestream's configuration.
const (
	SchemeFile = "file"
	SchemeS3   = "s3"
)

// URL names a store, as given on a command line or in a configuration.
type URL struct {
	// Scheme is the kind of store: SchemeFile or SchemeS3.
	Scheme string

	// Path is a file's, decoded, absolute or relative to the working
	// directory, and in the form of the operating system. For another store
	// it is empty: what such a URL holds is its client's to parse.
	Path string
}

// ErrUnsupported means that a URL names a kind of store that this build of
// ltxfs has no client for.
var ErrUnsupported = errors.New("not supported by this version of ltxfs")

// A scheme has two characters at least; with one, it would be a drive letter.
var schemeRegex = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]+://`)

// What has one slash where a URL has two would name a path that hardly anyone
// means, and whose name, which every later error tells, may hold a secret.
var mistypedRegex = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]+:/`)

// ParseURL parses the name of a replica: a path, taken as it is, a file URL
// with an absolute path that may be percent-encoded, or the URL of another
// store, of which it takes no more than the scheme: s3.ParseURL does the rest.
// A scheme that ltxfs knows no client for is ErrUnsupported.
//
// Errors end in logs, and a URL may hold a secret wherever its author put it:
// of one that isn't a file's, they tell no more than the scheme.
func ParseURL(s string) (*URL, error) {
	if s == "" {
		return nil, errors.New("the replica is empty: give a path or a URL such as file:///var/backups/db")
	}
	switch {
	case schemeRegex.MatchString(s):
	case mistypedRegex.MatchString(s):
		return nil, errors.New("the replica looks like a mistyped URL: write scheme://… for a URL, or ./ before a path")
	default:
		return &URL{Scheme: SchemeFile, Path: filepath.Clean(s)}, nil
	}
	scheme, _, _ := strings.Cut(s, "://")
	switch scheme = strings.ToLower(scheme); scheme {
	case SchemeFile:
	case SchemeS3:
		return &URL{Scheme: SchemeS3}, nil
	default:
		return nil, fmt.Errorf("replica with scheme %q: such stores are %w: give a path, a file:// URL or an s3:// URL", scheme, ErrUnsupported)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("parse the replica's URL: %w", redactURLError(err))
	}
	return parseFileURL(u)
}

func parseFileURL(u *url.URL) (*URL, error) {
	switch {
	case u.Host != "" && u.Host != "localhost":
		return nil, fmt.Errorf("file URL with the host %q: write file:///%s%s for an absolute path, or the path alone",
			u.Host, u.Host, u.Path)
	case u.Path == "":
		return nil, errors.New("file URL without a path: write file:///path/to/replica")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("file URL with a query or fragment: write ? as %3F and # as %23 if they belong to the path")
	case u.User != nil:
		return nil, errors.New("file URL with a user: write file:///path/to/replica")
	}
	return &URL{Scheme: SchemeFile, Path: filepath.Clean(u.Path)}, nil
}

// redactURLError drops the URL from an error of url.Parse: it may hold a user's
// password.
func redactURLError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}
