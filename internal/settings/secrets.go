package settings

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// urlRegex matches what was meant as a URL. A path in which ? or @ stand for
// themselves doesn't match.
var urlRegex = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]+:/`)

// IsURL reports whether an argument is, or was meant as, a URL.
func IsURL(arg string) bool { return urlRegex.MatchString(arg) }

const hidden = "(secret)"

// minScrubbed is the length from which on Scrub takes a value for a secret where it
// stands alone. Shorter ones are mistyped settings, whose values are in any text.
const minScrubbed = 8

// Scrub hides what a text may cite of what may be secret in arguments that are URLs:
// the user, the fragment, and the value of each parameter that isn't known to be
// public. Though such URLs are refused, errors are told, and may be logged.
func Scrub(text string, args []string) string {
	for _, arg := range args {
		redacted, secrets := arg, secretsOf(arg)
		for _, s := range slices.Backward(secrets) {
			redacted = redacted[:s.from] + hidden + redacted[s.to:]
		}
		text = strings.ReplaceAll(text, arg, redacted)
		for _, s := range secrets {
			decoded, _ := url.QueryUnescape(arg[s.from:s.to])
			for _, form := range []string{arg[s.from:s.to], decoded} {
				if len(form) >= minScrubbed {
					text = strings.ReplaceAll(text, form, hidden)
				}
			}
		}
	}
	return text
}

// span is a part of an argument, in bytes.
type span struct{ from, to int }

var (
	// What may be a user before an @: a password may hold a slash that should have
	// been escaped, and a path an @ of its own. A colon before a port, or in an ARN,
	// begins no password.
	userRegex = regexp.MustCompile(`^[^:]*:/+((?:[^/?#]*@|[^/?#:]*:)[^?#]*)@`)
	portRegex = regexp.MustCompile(`^[^:]*:/+(?:arn:|[^/:@]*:[0-9]+(?:/|$))`)

	// In a URL that can't be parsed, a bare & or ; may be in a value.
	paramRegex = regexp.MustCompile(`[?&;]([^=&;#]*)(=?)([^&;#]*)`)
)

// secretsOf are the parts of an argument that may be secret, in their order. It goes
// by where things begin and end, since a URL that can't be parsed may hold a secret,
// too.
func secretsOf(arg string) (found []span) {
	if !IsURL(arg) {
		return nil
	}
	arg, fragment, _ := strings.Cut(arg, "#")
	if m := userRegex.FindStringSubmatchIndex(arg); m != nil && !portRegex.MatchString(arg) {
		found = append(found, span{m[2], m[3]})
	}
	for _, m := range paramRegex.FindAllStringSubmatchIndex(arg, -1) {
		name, _ := url.QueryUnescape(arg[m[2]:m[3]])
		switch {
		case isPublic(name):
		case m[4] == m[5]: // the rest of a value that holds a bare & or ;
			found = append(found, span{m[2], m[3]})
		default:
			found = append(found, span{m[6], m[7]})
		}
	}
	found = append(found, span{len(arg) + 1, len(arg) + 1 + len(fragment)})
	return slices.DeleteFunc(found, func(s span) bool { return s.from == s.to })
}

// isPublic reports whether a parameter of an S3 URL holds nothing secret.
func isPublic(name string) bool {
	normal := func(name string) string { return strings.ToLower(strings.ReplaceAll(name, "-", "")) }
	return slices.ContainsFunc(config.Settings, func(s config.Setting) bool {
		return !s.Secret && !s.NotInURL && normal(s.Name) == normal(name)
	})
}

// Refused is the error for a name in an argument that is the name of a secret of S3,
// which belongs nowhere on the command line. For any other name it is nil.
func Refused(name, place string) error {
	key := strings.ReplaceAll(name, "_", "-")
	for i := range config.Settings {
		if s := &config.Settings[i]; (s.Key == key || s.Name == name) && (s.Secret || s.NotInURL) {
			return s.Refusal(place)
		}
	}
	return nil
}
