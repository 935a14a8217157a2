package s3test

import (
	"net/http"
	"strings"
)

// Matcher chooses requests. An Operation is one.
type Matcher interface{ Match(r *http.Request) bool }

// MatcherFunc is a function as a Matcher.
type MatcherFunc func(r *http.Request) bool

// Match implements Matcher.
func (f MatcherFunc) Match(r *http.Request) bool { return f(r) }

// Match implements Matcher.
func (op Operation) Match(r *http.Request) bool { return OperationOf(r) == op }

// All matches what each of some matchers matches.
func All(matchers ...Matcher) Matcher {
	return MatcherFunc(func(r *http.Request) bool {
		for _, m := range matchers {
			if !m.Match(r) {
				return false
			}
		}
		return true
	})
}

// HasHeader matches requests with a header whose name begins with prefix, such as
// If-Match, or X-Amz-Checksum- for a checksum of any kind.
func HasHeader(prefix string) Matcher {
	prefix = http.CanonicalHeaderKey(prefix)
	return MatcherFunc(func(r *http.Request) bool {
		for name := range r.Header {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	})
}

// KeyEnds matches requests for an object whose key ends with suffix.
func KeyEnds(suffix string) Matcher {
	return MatcherFunc(func(r *http.Request) bool {
		_, key := splitPath(r)
		return key != "" && strings.HasSuffix(key, suffix)
	})
}
