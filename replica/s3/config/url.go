package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/internal/nearest"
)

var (
	errScheme   = errors.New("an S3 URL begins with s3://: write s3://BUCKET/PATH")
	errNoBucket = errors.New("the S3 URL names no bucket: write s3://BUCKET/PATH, and another store than AWS as ?endpoint=https://HOST")
	errUserinfo = errors.New("the S3 URL holds credentials: take them out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
)

const urlScheme = "s3://"

// FromURL is From of what a URL says.
const FromURL = "URL"

var accessPointRegex = regexp.MustCompile(`(?i):accesspoint/`)

// ignoredInURL are Litestream's settings without a meaning here: a store gets
// Content-MD5 with deletions if it asks for it.
var ignoredInURL = []string{"requireContentMD5", "require-content-md5"}

// What may be told of a parameter's name. Longer or other ones may be a secret
// that landed where a name belongs.
var paramRegex = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]{0,31}$`)

// ParseURL parses s3://BUCKET/PATH?SETTINGS as Litestream v0.5.18 does, and
// returns what it says and no more; see ApplyURL.
func ParseURL(raw string) (Config, error) {
	var c Config
	if err := c.ApplyURL(raw); err != nil {
		return Config{}, err
	}
	return c, nil
}

// ApplyURL fills from a URL what c lacks. On an error, c is as before. Errors
// tell no part of the URL that may be a secret.
//
// BUCKET is the name of a bucket, the ARN of an access point, or a host that
// names a bucket and its store; see parseHost. The path of an ARN is taken as
// it stands, any other is decoded. Both are cleaned (no double or final slash,
// no dots) and begin with no slash, with Litestream's two special cases, which
// give its keys different beginnings: without a path, Path is ".", and with the
// path / it is "".
//
// Settings with empty values are not set. Other than Litestream, which takes
// them in silence, ApplyURL refuses a setting that isn't known, one that is
// given twice with different values, a boolean that is none, a fragment and
// credentials: of all these, the user expects something that would not happen.
func (c *Config) ApplyURL(raw string) error {
	u, err := splitURL(raw)
	if err != nil {
		return err
	}
	var from Config
	if err := from.applyQuery(u.RawQuery); err != nil {
		return err
	}
	place, err := locate(u.Host, c.Endpoint != "" || from.Endpoint != "")
	if err != nil {
		return err
	}
	c.fill(&from, FromURL)
	c.fill(&place, FromURL)
	c.Bucket = cmp.Or(c.Bucket, place.Bucket)
	c.Path = cmp.Or(c.Path, u.Path)
	return nil
}

// splitURL returns what is before, in and behind the path, which is Config's. An
// access point's ARN is a host.
func splitURL(raw string) (*url.URL, error) {
	if len(raw) < len(urlScheme) || !strings.EqualFold(raw[:len(urlScheme)], urlScheme) {
		return nil, errScheme
	}
	if rest := raw[len(urlScheme):]; len(rest) >= 4 && strings.EqualFold(rest[:4], "arn:") {
		return splitARN(rest)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, urlError(err)
	}
	switch {
	case u.User != nil:
		return nil, errUserinfo
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return nil, errors.New("the S3 URL has a fragment: write # as %23 if it belongs to the path, and else leave it out")
	}
	u.Path = strings.TrimPrefix(path.Clean(u.Path), "/")
	return u, nil
}

// splitARN parses arn:PARTITION:s3:REGION:ACCOUNT:accesspoint/NAME/PATH?QUERY,
// which url.Parse takes for a host with a bad port.
func splitARN(rest string) (*url.URL, error) {
	rest, query, _ := strings.Cut(rest, "?")
	at := accessPointRegex.FindStringIndex(rest)
	if at == nil || at[1] == len(rest) {
		return nil, errors.New("the ARN in the S3 URL is not an access point's: write s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/PATH")
	}
	name, key, _ := strings.Cut(rest[at[1]:], "/")
	if key != "" {
		key = strings.TrimPrefix(path.Clean("/"+key), "/")
	}
	return &url.URL{Host: rest[:at[1]] + name, Path: key, RawQuery: query}, nil
}

// urlError says what is wrong with a URL without a piece of it, which an error
// of url.Parse has: a password that reads as a port, for one.
func urlError(err error) error {
	var escape url.EscapeError
	var host url.InvalidHostError
	switch {
	case errors.As(err, &escape):
		return errors.New("the S3 URL has a % without two hex digits behind it: write %25 for the character itself")
	case errors.As(err, &host):
		return errors.New("the S3 URL has a character in the bucket's place that no bucket's name has: write s3://BUCKET/PATH")
	}
	return errors.New("the S3 URL can't be understood: write s3://BUCKET/PATH?SETTING=VALUE")
}

func (c *Config) applyQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the settings in the S3 URL can't be understood: write ?NAME=VALUE&NAME=VALUE, with % as %25 and ; as %3B")
	}
	given := map[*Setting]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if slices.Contains(ignoredInURL, name) {
			continue
		}
		s, err := settingByQuery(name)
		if err != nil {
			return err
		}
		for _, value := range values[name] {
			if value == "" {
				continue
			}
			if before, ok := given[s]; ok && before != value {
				return fmt.Errorf("the S3 URL sets %s twice, and differently: leave one", s.Name)
			}
			given[s] = value
			if err := c.set(s, value, FromURL); err != nil {
				return fmt.Errorf("%s in the S3 URL: %w", name, err)
			}
		}
	}
	return nil
}

func settingByQuery(name string) (*Setting, error) {
	var known []string
	for i := range Settings {
		s := &Settings[i]
		switch {
		case name != s.Name && name != s.Key:
		case s.NotInURL:
			return nil, s.Refusal("in a URL")
		default:
			return s, nil
		}
		if !s.NotInURL {
			known = append(known, s.Name, s.Key)
		}
	}
	what := "the S3 URL has a setting that is not known"
	if paramRegex.MatchString(name) {
		what += ", " + name
	}
	if near := nearest.Of(name, known, max(2, len(name)/3)); near != "" {
		return nil, fmt.Errorf("%s: did you mean %s?", what, near)
	}
	return nil, errors.New(what)
}
