// Package secrets keeps what a URL on the command line may hold, such as the
// key that a store encrypts with, from those who list processes or read errors.
package secrets

import (
	"net/url"
	"regexp"
	"strings"
)

// mask is what stands in the place of each byte of a secret: a secret in the
// memory of the process's arguments must not change its length.
const mask = 'x'

// minScrubbed is the length from which on Scrub takes a hidden value for a
// secret. Shorter ones are mistyped settings, whose values are in any text.
const minScrubbed = 8

// urlRegex matches what was meant as a URL. A path in which ? or @ stand for
// themselves doesn't match.
var urlRegex = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9+.-]+:/`)

// IsURL reports whether an argument is, or was meant as, a URL.
func IsURL(arg string) bool { return urlRegex.MatchString(arg) }

// Redact masks what may be secret in a URL, byte for byte: the user, the
// fragment, and the value of each parameter that isn't known to be public.
// Other arguments are returned as they are.
func Redact(arg string, isPublic func(name string) bool) string {
	out := []byte(arg)
	for _, s := range find(arg, isPublic) {
		for i := s.from; i < s.to; i++ {
			out[i] = mask
		}
	}
	return string(out)
}

// Scrub replaces, in a text that may cite them, the secrets of the arguments.
func Scrub(text string, args []string, isPublic func(name string) bool) string {
	for _, arg := range args {
		for _, s := range find(arg, isPublic) {
			raw := arg[s.from:s.to]
			for _, form := range []string{raw, unescaped(raw)} {
				if len(form) >= minScrubbed {
					text = strings.ReplaceAll(text, form, "(secret)")
				}
			}
		}
	}
	return text
}

func unescaped(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// span is a part of an argument, in bytes.
type span struct{ from, to int }

// find returns the parts of an argument that may be secret. It goes by where
// things begin and end, since a URL that can't be parsed may hold a secret, too.
func find(arg string, isPublic func(name string) bool) []span {
	if !IsURL(arg) {
		return nil
	}
	var found []span
	end := len(arg)
	if i := strings.IndexByte(arg, '#'); i >= 0 {
		found = append(found, span{i + 1, end})
		end = i
	}
	query := end
	if i := strings.IndexByte(arg[:end], '?'); i >= 0 {
		query = i
	}
	start := strings.IndexByte(arg, ':') + 1
	for start < query && arg[start] == '/' {
		start++
	}
	if n := userLen(arg[start:query]); n > 0 {
		found = append(found, span{start, start + n})
	}
	for from := query + 1; from < end; {
		to := end
		if i := strings.IndexAny(arg[from:end], "&;"); i >= 0 {
			to = from + i
		}
		name, _, hasValue := strings.Cut(arg[from:to], "=")
		switch {
		case hasValue && !isPublic(unescaped(name)):
			found = append(found, span{from + len(name) + 1, to})
		case !hasValue && !isPublic(unescaped(name)): // the rest of a value that holds a bare & or ;
			found = append(found, span{from, to})
		}
		from = to + 1
	}
	return found
}

// portRegex matches a host with a port, whose colon doesn't begin a password.
var portRegex = regexp.MustCompile(`^[^:]*:[0-9]+$`)

// userLen is how long the user is that stands before the @ of what follows a
// URL's scheme. A password may hold a slash that should have been escaped; a
// path may hold an @ of its own.
func userLen(rest string) int {
	authority, _, _ := strings.Cut(rest, "/")
	if strings.Contains(authority, "@") ||
		strings.Contains(authority, ":") && !strings.HasPrefix(authority, "arn:") && !portRegex.MatchString(authority) {
		return strings.LastIndexByte(rest, '@')
	}
	return 0
}
