package s3

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// A store that lists in another order is sorted. Where files were given before it shows,
// the next listing is.
func TestListOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		pages []http.HandlerFunc
		err   string
		want  []int
		any   []int
	}{
		"out of order":           {[]http.HandlerFunc{say(200, pageOf("", 2, 3, 1))}, "", []int{1, 2, 3}, []int{1, 2, 3}},
		"twice":                  {[]http.HandlerFunc{say(200, pageOf("", 1, 1))}, "", []int{1}, []int{1}},
		"out of order and pages": {[]http.HandlerFunc{say(200, pageOf("a", 9, 5)), say(200, pageOf("", 4))}, "", []int{4, 5, 9}, []int{5, 9, 4}},
		"pages out of order": {[]http.HandlerFunc{say(200, pageOf("a", 5)), say(200, pageOf("", 4))},
			"order of keys: " + fileName(4) + " after " + fileName(5), []int{4, 5}, []int{5, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Concat(tt.pages, tt.pages, tt.pages)
			if tt.err == "" {
				all = slices.Concat(tt.pages, tt.pages)
			}
			c := serve(t, answers{"LIST": inTurn(all...)}).store(t)
			if tt.err != "" {
				require.ErrorContains(t, listError(t, c, false), tt.err)
			}
			require.Equal(t, tt.want, listed(t, c, 0))
			var got []int
			for f, err := range c.LTXFiles(t.Context(), 0, replica.ListOptions{AnyOrder: true}) {
				require.NoError(t, err)
				got = append(got, int(f.MinTXID))
			}
			require.Equal(t, tt.any, got)
		})
	}
}

// What XML can't hold in strangers' keys doesn't keep files from being listed.
func TestListBadXML(t *testing.T) {
	for _, junk := range []string{"&#x8;", "&#8;", "\x08", "\x00", "\xff\xfe", "&#xD800;", "&#xFFFE;", "&#1114112;", "\uFFFF"} {
		strange := "<Contents><Key>" + testLevel0 + "zz" + junk + "junk</Key><Size>0</Size><LastModified>2026-05-04T03:02:01Z</LastModified></Contents>"
		s := serve(t, answers{"LIST": say(200, page("", entry(fileKey(1), 1), strange, below(testLevel0+"ü&\U0001F600/")))})
		require.Equal(t, []int{1}, listed(t, s.store(t), 0), "%q", junk)
	}
	s := serve(t, answers{"LIST": say(200, "<ListBucketResult><Name>b</Name><IsTruncated>perhaps</IsTruncated></ListBucketResult>")})
	require.ErrorContains(t, listError(t, s.store(t), false), `IsTruncated is "perhaps"`)
}

// A file that vanishes meanwhile is passed over, and any other error is one.
func TestListMetadataErrors(t *testing.T) {
	headOf := func(key string, then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, key) {
				then(w, r)
				return
			}
			name, _ := replica.ParseName(0, path.Base(r.URL.Path))
			n := int(name.MinTXID)
			object(bytesOf(n), fmt.Sprint("v", n), "X-Amz-Meta-Litestream-Timestamp", "2025-01-02T03:04:05Z")(w, r)
		}
	}
	three := say(200, pageOf("", 1, 2, 3))
	s := serve(t, answers{"LIST": inTurn(three, say(200, pageOf("", 1, 3))), "HEAD": headOf(fileName(2), refuse(404, ""))})
	exact := replica.ListOptions{ExactTimes: true}
	files, err := list(t.Context(), s.store(t), exact)
	require.NoError(t, err)
	require.Len(t, files, 2)
	require.Equal(t, nths(1, 3), []replica.Name{files[0].Name, files[1].Name})

	s = serve(t, answers{"LIST": inTurn(three, say(200, page(""))), "HEAD": refuse(404, "")})
	files, err = list(t.Context(), s.store(t), exact)
	require.NoError(t, err)
	require.Empty(t, files, "all are gone")

	s = serve(t, answers{"LIST": three, "HEAD": refuse(404, "")})
	files, err = list(t.Context(), s.store(t), exact)
	require.NoError(t, err)
	require.Len(t, files, 3, "they are listed, whatever a HEAD says")

	s = serve(t, answers{"LIST": three, "HEAD": headOf(fileName(2), refuse(503, ""))})
	files, err = list(t.Context(), s.store(t), exact)
	require.ErrorContains(t, err, "list level 0: stat level 0 "+fileName(2))
	require.Len(t, files, 1, "those before it")

	large := say(200, pageOf("", 201, 202, 203))
	s = serve(t, answers{"LIST": large, "HEAD": headOf(fileName(202), refuse(403, "")), "GET": refuse(403, "")})
	c, log := s.logging(t)
	for range 2 {
		files, err = list(t.Context(), c, exact)
		require.NoError(t, err)
		require.Len(t, files, 3)
		require.Equal(t, 2025, files[0].ModTime.Year())
		require.Equal(t, 2026, files[1].ModTime.Year(), "as it is listed")
		require.Equal(t, 2025, files[2].ModTime.Year())
	}
	require.Equal(t, 1, strings.Count(log.String(), "refuses to show"), log.String())

	s = serve(t, answers{"LIST": inTurn(say(200, pageOf("a", 1, 2, 3)), refuse(403, "AccessDenied")), "HEAD": headOf("none", hang)})
	files, err = list(t.Context(), s.store(t), exact)
	require.ErrorIs(t, err, os.ErrPermission, "of the second page")
	require.Len(t, files, 3)

	s = serve(t, answers{"LIST": three, "HEAD": hang})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	files, err = list(ctx, s.store(t), exact)
	require.Empty(t, files)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// A version whose exact time is known costs nothing, and the others keep its place.
func TestListMetadataKnown(t *testing.T) {
	s := serve(t, answers{
		"LIST": say(200, pageOf("", 1, 2, 3)),
		"HEAD": object(nil, "new", "X-Amz-Meta-Litestream-Timestamp", "2025-01-02T03:04:05Z"),
	})
	exact := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	known := exact.Add(-time.Hour)
	files, err := list(t.Context(), s.store(t), replica.ListOptions{ExactTimes: true, Known: func(f replica.File) (time.Time, bool) {
		return known, f.Name == nth(2) && f.Version == replica.Version{ETag: `"v2"`, Modified: modified.Unix(), Size: 2}
	}})
	require.NoError(t, err)
	require.Len(t, files, 3)
	for i, f := range files {
		require.Equal(t, nth(i+1), f.Name)
		require.Equal(t, f.Name == nth(2), f.ModTime.Equal(known))
		require.Equal(t, f.Name != nth(2), f.ModTime.Equal(exact))
	}
	require.Len(t, s.of("HEAD"), 2)
}

// The next page is asked for while HEADs of the one before are under way, and no
// more than so many files are ahead of the loop.
func TestListMetadataAhead(t *testing.T) {
	const most = 2
	second := newMeeting(1)
	head := object(nil, "new", "X-Amz-Meta-Litestream-Timestamp", "2025-01-02T03:04:05Z")
	slow := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, fileName(1)) {
			second.wait(r)
		}
		head(w, r)
	}
	s := serve(t, answers{"HEAD": slow, "LIST": inTurn(say(200, pageOf("a", 1, 2)), func(w http.ResponseWriter, r *http.Request) {
		second.join()
		say(200, pageOf("", 3))(w, r)
	})})
	few := func(c *config.Config) { c.MetadataConcurrency = most }
	files, err := list(within(t, 10*time.Second), s.store(t, few), replica.ListOptions{ExactTimes: true})
	require.NoError(t, err)
	require.Len(t, files, 3)
	require.Equal(t, nths(1, 2, 3), []replica.Name{files[0].Name, files[1].Name, files[2].Name})

	s = serve(t, answers{"HEAD": head, "LIST": say(200, pageOf("", to(1000)...))})
	n := 0
	for _, err := range s.store(t, few).LTXFiles(within(t, 10*time.Second), 0, replica.ListOptions{ExactTimes: true}) {
		require.NoError(t, err)
		if n++; n == 3 {
			break
		}
	}
	// Those in the queue, those that wait to be put there, and those in the loop.
	require.LessOrEqual(t, len(s.of("HEAD")), 3+exactWindow*most+most+2)

	// A loop that ends early waits for nothing.
	s = serve(t, answers{"HEAD": hang, "LIST": say(200, pageOf("", to(1000)...))})
	first := func(f replica.File) (time.Time, bool) { return modified, f.Name == nth(1) }
	for f, err := range s.store(t, few).LTXFiles(t.Context(), 0, replica.ListOptions{ExactTimes: true, Known: first}) {
		require.NoError(t, err)
		require.Equal(t, nth(1), f.Name)
		break
	}
}
