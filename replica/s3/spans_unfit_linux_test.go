package s3

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
)

// without changes a request before a store sees it, which then knows no start-after.
func without(s http.Handler, param string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		q.Del(param)
		r.URL.RawQuery = q.Encode()
		s.ServeHTTP(w, r)
	}
}

// A store that can't begin anywhere is listed from the beginning, with nothing lost and nothing twice, and
// isn't asked to again.
func TestListSpansWithoutStartAfter(t *testing.T) {
	for name, unfit := range map[string]func(s *s3test.Synthetic) http.HandlerFunc{
		"ignored":                              func(s *s3test.Synthetic) http.HandlerFunc { return without(s, "start-after") },
		"nothing after a key that isn't there": func(s *s3test.Synthetic) http.HandlerFunc { return elsewhere(s, say(200, page(""))) },
		"after the file that follows": func(s *s3test.Synthetic) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if after := q.Get("start-after"); after != "" {
					q.Set("start-after", after+"~")
					r.URL.RawQuery = q.Encode()
				}
				s.ServeHTTP(w, r)
			}
		},
		"refused":         func(s *s3test.Synthetic) http.HandlerFunc { return elsewhere(s, refuse(400, "InvalidArgument")) },
		"not implemented": func(s *s3test.Synthetic) http.HandlerFunc { return elsewhere(s, refuse(501, "NotImplemented")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newLevel()
			c, log := slow(t, unfit(s))
			pages, _ := requireListed(t, c, s, replica.ListOptions{})
			require.LessOrEqual(t, pages, 2*spansPages+maxAhead)
			if name == "refused" { // which may pass
				require.NotContains(t, log.String(), lacks[startAfter].text)
				requireListed(t, c, s, replica.ListOptions{})
			}
			require.Contains(t, log.String(), lacks[startAfter].text)
			for _, from := range []ltx.TXID{0, spansFiles} {
				pages, spans := requireListed(t, c, s, replica.ListOptions{From: from})
				require.Equal(t, spansPages, pages)
				require.Zero(t, spans)
			}
			requireNothingAhead(t, c)
		})
	}
}

// A store that shows a directory on each page from one on, wherever that lies, is listed with nothing lost.
func TestListSpansWithRepeatedPrefixes(t *testing.T) {
	for from := range int64(2 * leastPages) {
		s := newLevel()
		var pages atomic.Int64
		c, _ := slow(t, func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			s.ServeHTTP(answer, r)
			body := answer.Body.String()
			if pages.Add(1) > from {
				const end = "</ListBucketResult>"
				body = strings.ReplaceAll(body, end, "<CommonPrefixes><Prefix>"+testLevel0+"tmp/</Prefix></CommonPrefixes>"+end)
			}
			_, err := io.WriteString(w, body)
			assert.NoError(t, err)
		})
		requireListed(t, c, s, replica.ListOptions{})
	}
}

var tokens = regexp.MustCompile(`<NextContinuationToken>.*</NextContinuationToken>`)

// A store that knows the first version of the request alone goes on after a marker, anywhere.
func TestListSpansOfFirstVersion(t *testing.T) {
	s := newLevel()
	c, _ := slow(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		q.Del("start-after")
		q.Del("continuation-token")
		if !q.Has("list-type") {
			q.Set("start-after", q.Get("marker"))
		}
		r.URL.RawQuery = q.Encode()
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r)
		_, _ = w.Write(tokens.ReplaceAll(rec.Body.Bytes(), nil))
	})
	pages, spans := requireListed(t, c, s, replica.ListOptions{})
	require.LessOrEqual(t, pages, spansPages+maxSpans)
	require.Greater(t, spans, maxSpans)
}

var entriesOf = regexp.MustCompile(`<Contents>.*?</Contents>`)

// A store that turns out to list in another order is listed as it does, and sorted.
func TestListSpansWithoutOrder(t *testing.T) {
	for name, moved := range map[string]int{"at once": leastPages + 1, "late": spansPages - 2} {
		t.Run(name, func(t *testing.T) {
			s := newLevel()
			c, _ := slow(t, func(w http.ResponseWriter, r *http.Request) {
				// The page is where it would be, and its files are the other way around.
				rec := httptest.NewRecorder()
				s.ServeHTTP(rec, r)
				body := rec.Body.String()
				if strings.Contains(body, fileName(moved*spansPageSize)) {
					entries := entriesOf.FindAllString(body, -1)
					slices.Reverse(entries)
					body = entriesOf.ReplaceAllString(body, "")
					body = strings.Replace(body, "</ListBucketResult>", strings.Join(entries, "")+"</ListBucketResult>", 1)
				}
				_, _ = io.WriteString(w, body)
			})
			files, err := list(t.Context(), c, replica.ListOptions{AnyOrder: true})
			require.NoError(t, err)
			names := namesOf(files)
			slices.SortFunc(names, replica.Name.Compare)
			requireNames(t, s.Listed(), slices.Compact(names))
			require.True(t, c.Properties().Unordered)
			_, spans := requireListed(t, c, s, replica.ListOptions{})
			require.Zero(t, spans)

			c.lacking[keyOrder].Store(false)
			require.ErrorContains(t, listError(t, c, false), "list again")
		})
	}
}
