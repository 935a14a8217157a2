package s3

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// A caller that stops early has cost one request, and pages come one by one.
func TestListPages(t *testing.T) {
	s := serve(t, answers{"LIST": inTurn(say(200, pageOf("a", 1, 2)), say(200, pageOf("b", 3)), say(200, pageOf("", 4)))})
	c := s.store(t)
	n := 0
	for _, err := range c.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
		require.NoError(t, err)
		if n++; n == 2 {
			break
		}
	}
	require.Equal(t, 2, n)
	require.Equal(t, "LIST", s.ops())

	s = serve(t, answers{"LIST": inTurn(say(200, pageOf("a", 1, 2)), say(200, pageOf("b", 3)), say(200, pageOf("", 4)))})
	require.Equal(t, []int{1, 2, 3, 4}, listed(t, s.store(t), 0))
	calls := s.of("LIST")
	require.Len(t, calls, 3)
	for i, token := range []string{"", "a", "b"} {
		require.Equal(t, token, calls[i].param("continuation-token"))
		require.NotContains(t, calls[i].query, "start-after")
	}
}

// A store that knows no tokens is asked for what comes after its last key.
func TestListWithoutTokens(t *testing.T) {
	s := serve(t, answers{"LIST": inTurn(say(200, pageOf(noToken, 1, 2)), say(200, pageOf(noToken, 3)), say(200, pageOf("", 4)))})
	require.Equal(t, []int{1, 2, 3, 4}, listed(t, s.store(t), 0))
	calls := s.of("LIST")
	require.Len(t, calls, 3)
	for i, after := range []string{"", fileKey(2), fileKey(3)} {
		require.Equal(t, after, calls[i].param("start-after"))
	}
}

// A token that comes again is no token; nor is a listing without an end.
func TestListRepeatedToken(t *testing.T) {
	s := serve(t, answers{"LIST": inTurn(say(200, pageOf("a", 1)), say(200, pageOf("a", 2)), say(200, pageOf("", 3)))})
	require.Equal(t, []int{1, 2, 3}, listed(t, s.store(t), 0))
	require.Equal(t, fileKey(2), s.of("LIST")[2].param("start-after"))

	for name, pages := range map[string]http.HandlerFunc{
		"empty pages":     say(200, pageOf(noToken)),
		"the same page":   say(200, pageOf("a", 1)),
		"a key that back": inTurn(say(200, pageOf(noToken, 5)), say(200, page(noToken, entry(testLevel0+"0", 1)))),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"LIST": pages})
			require.Error(t, listError(t, s.store(t), false))
			require.LessOrEqual(t, len(s.of("LIST")), 3)
		})
	}
}

// A store that answers as if it had been asked by the first version of the request is
// asked by that.
func TestListFirstVersion(t *testing.T) {
	first := say(200, pageOf(noToken, 1, 2))
	s := serve(t, answers{"LIST": func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case q.Has("list-type"), q.Get("marker") == "":
			first(w, r)
		case q.Get("marker") == fileKey(2):
			say(200, pageOf("", 3))(w, r)
		default:
			refuse(400, "InvalidArgument")(w, r)
		}
	}})
	c := s.store(t)
	require.Equal(t, []int{1, 2, 3}, listed(t, c, 0))
	require.Len(t, s.of("LIST"), 3)
	require.Equal(t, []int{1, 2, 3}, listed(t, c, 0))
	require.Len(t, s.of("LIST"), 5, "it has learned")

	s = serve(t, answers{"LIST": first})
	require.ErrorContains(t, listError(t, s.store(t), false), "ListObjectsV2: the store lists its first page again")
}

// v1 answers both versions of the request as a store that knows the first one alone: keys
// and common prefixes of level 0 in order, so many a page. Its markers have something
// added, as MinIO's.
func v1(most int, names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var items []string
		marker, next := strings.TrimSuffix(strings.TrimPrefix(r.URL.Query().Get("marker"), testLevel0), "[added]"), ""
		for _, name := range names {
			if name <= marker {
				continue
			}
			if len(items) == most {
				next = "<IsTruncated>true</IsTruncated><NextMarker>" + testLevel0 + next + "[added]</NextMarker>"
				break
			}
			if next = name; strings.HasSuffix(name, "/") {
				items = append(items, below(testLevel0+name))
			} else {
				items = append(items, entry(testLevel0+name, 1))
			}
		}
		if !strings.HasPrefix(next, "<") {
			next = "<IsTruncated>false</IsTruncated>"
		}
		say(200, "<ListBucketResult><Name>bucket</Name>"+next+strings.Join(items, "")+"</ListBucketResult>")(w, r)
	}
}

// The first version of the request goes on after a marker, which may be a common prefix.
func TestListMarker(t *testing.T) {
	names := []string{fileName(1), fileName(2), fileName(2) + "-old/", fileName(3), fileName(3) + ".tmp", "1/", "2/", "3/", "4/", "5/", "6/", "a?", "b", "c/"}
	names = slices.Insert(names, 5, fileName(4))
	for most := 2; most <= len(names); most++ { // one would end with a key that may not be exact
		s := serve(t, answers{"LIST": v1(most, names...)})
		c := s.store(t)
		require.Equal(t, []int{1, 2, 3, 4}, listed(t, c, 0), "%d a page", most)
		require.Equal(t, []int{1, 2, 3, 4}, listed(t, c, 0), "%d a page", most)
		require.Equal(t, []int{3, 4}, listed(t, c, 3), "%d a page", most)
		require.Equal(t, []int{3, 4}, listed(t, s.store(t), 3), "%d a page, with nothing learned", most)
	}
}

// What another listing learns doesn't change where one goes on that has begun.
func TestListLearnedMeanwhile(t *testing.T) {
	s := serve(t, answers{"LIST": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("continuation-token") == "a" {
			say(200, pageOf("", 3))(w, r)
			return
		}
		say(200, pageOf("a", 1, 2))(w, r)
	}})
	c := s.store(t)
	var got []int
	for f, err := range c.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
		require.NoError(t, err)
		got = append(got, int(f.MinTXID))
		c.learn(listV2, nil)
	}
	require.Equal(t, []int{1, 2, 3}, got)
	require.Len(t, s.of("LIST"), 2)
}

// A store without an order may pass over anything before a file that is begun after.
func TestListFromWithoutOrder(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("start-after") {
			say(200, pageOf("", 9, 5))(w, r)
			return
		}
		say(200, pageOf("", 9, 2, 7, 5))(w, r)
	}
	s := serve(t, answers{"LIST": answer})
	c := s.store(t)
	require.Equal(t, []int{5, 7, 9}, listed(t, c, 5))
	require.Len(t, s.of("LIST"), 2)
	require.Equal(t, []int{5, 7, 9}, listed(t, c, 5))
	require.Len(t, s.of("LIST"), 3)

	// Not where files were given before it showed.
	s = serve(t, answers{"LIST": inTurn(say(200, pageOf("a", 6)), say(200, pageOf("", 5)), say(200, pageOf("", 9, 7, 6, 5)))})
	c = s.store(t)
	for _, anyOrder := range []bool{true, false} {
		files, err := list(t.Context(), c, replica.ListOptions{From: 5, AnyOrder: anyOrder})
		if anyOrder {
			require.ErrorContains(t, err, "list again")
			continue
		}
		require.NoError(t, err)
		require.Len(t, files, 4)
	}
}

// A store that refuses to begin after a key is listed from the beginning, from then on.
func TestListFromRefused(t *testing.T) {
	for _, status := range []int{400, 501} {
		s := serve(t, answers{"LIST": elsewhere(say(200, pageOf("", 1, 3, 5)), refuse(status, "Unknown"))})
		c := s.store(t)
		require.Equal(t, []int{3, 5}, listed(t, c, 2))
		require.Len(t, s.of("LIST"), 2)
		require.Equal(t, []int{3, 5}, listed(t, c, 2))
		require.Len(t, s.of("LIST"), 3)

		s = serve(t, answers{"LIST": refuse(status, "Unknown")})
		c = s.store(t)
		_, err := list(t.Context(), c, replica.ListOptions{From: 2})
		require.ErrorContains(t, err, "Unknown")
		require.False(t, c.lacks(startAfter))
	}
}

// A listing doesn't go on after a key that XML can't hold: mended, it may be a later one,
// and a file between the two would be passed over.
func TestListAfterMendedKey(t *testing.T) {
	names := []string{fileName(1), fileName(2)[:16] + "\x01", fileName(2), fileName(3)}
	s := serve(t, answers{"LIST": func(w http.ResponseWriter, r *http.Request) {
		after := strings.TrimPrefix(r.URL.Query().Get("start-after"), testLevel0)
		rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name <= after })
		token, items := "", []string{}
		if len(rest) > 2 {
			token, rest = noToken, rest[:2]
		}
		for _, name := range rest {
			items = append(items, entry(testLevel0+name, 1))
		}
		say(200, page(token, items...))(w, r)
	}})
	require.Equal(t, []int{1, 2, 3}, listed(t, s.store(t), 0))
}

// elsewhere has its own answer to what is asked for with start-after.
func elsewhere(s http.Handler, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("start-after") {
			answer(w, r)
			return
		}
		s.ServeHTTP(w, r)
	}
}
