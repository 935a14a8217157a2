package s3

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// noToken is for a page that says that there is more, and not where.
const noToken = "-"

// page is a page of a listing. It is the last one if token is "".
func page(token string, items ...string) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>`)
	fmt.Fprintf(&b, "<IsTruncated>%t</IsTruncated>", token != "")
	if token != "" && token != noToken {
		fmt.Fprintf(&b, "<NextContinuationToken>%s</NextContinuationToken>", token)
	}
	for _, item := range items {
		b.WriteString(item)
	}
	b.WriteString("</ListBucketResult>")
	return b.String()
}

// entry is an object of a page, of n bytes.
func entry(key string, n int64) string {
	return fmt.Sprintf("<Contents><Key>%s</Key><Size>%d</Size><LastModified>2026-05-04T03:02:01.987Z</LastModified><ETag>&quot;v%d&quot;</ETag></Contents>",
		html.EscapeString(key), n, n)
}

// below is a name below a prefix, of a page.
func below(prefix string) string {
	return "<CommonPrefixes><Prefix>" + html.EscapeString(prefix) + "</Prefix></CommonPrefixes>"
}

// listing is a page of level 0's files, the n-th of n bytes.
func listing(token string, files ...int) string {
	items := make([]string, len(files))
	for i, n := range files {
		items[i] = entry(fileKey(n), int64(n))
	}
	return page(token, items...)
}

// listed are the min TXIDs that a client lists in level 0.
func listed(t *testing.T, c *ReplicaClient, seek ltx.TXID) (files []int) {
	t.Helper()
	it, err := c.LTXFiles(within(t, 10*time.Second), 0, seek, false)
	require.NoError(t, err)
	for it.Next() {
		files = append(files, int(it.Item().MinTXID))
	}
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	return files
}

// listError is the error of listing level 0 to its end.
func listError(t *testing.T, c *ReplicaClient, exact bool) error {
	t.Helper()
	it, err := c.LTXFiles(within(t, 10*time.Second), 0, 0, exact)
	require.NoError(t, err)
	for it.Next() {
		require.NotNil(t, it.Item())
	}
	err = it.Err()
	require.Equal(t, err, it.Close())
	require.False(t, it.Next())
	return err
}

func TestListRequest(t *testing.T) {
	s := serve(t, answers{"LIST": say(200, listing("", 7, 8))})
	c := s.client(t, func(c *Config) { c.RequesterPays = true })
	it, err := c.LTXFiles(t.Context(), 0, 7, false)
	require.NoError(t, err)
	require.Empty(t, s.ops(), "nothing was asked for yet")
	require.Nil(t, it.Item())
	require.True(t, it.Next())
	require.Equal(t, &ltx.FileInfo{MinTXID: 7, MaxTXID: 7, Size: 7, CreatedAt: modified}, it.Item())
	require.Equal(t, replica.Version("v7"), it.(replica.VersionIterator).Version())
	require.True(t, it.Next())
	require.False(t, it.Next())
	require.Nil(t, it.Item())
	require.NoError(t, it.Close())
	require.False(t, it.Next())
	require.Equal(t, "LIST", s.ops())
	list := s.seen()[0]
	require.Equal(t, testLevel0, list.param("prefix"))
	require.Equal(t, "/", list.param("delimiter"))
	require.Equal(t, "1000", list.param("max-keys"))
	require.Equal(t, testLevel0+"0000000000000007", list.param("start-after"))
	require.NotContains(t, list.query, "continuation-token")
	require.Equal(t, "requester", list.get("X-Amz-Request-Payer"))
}

// A caller that stops early has cost one request, and pages come one by one.
func TestListPages(t *testing.T) {
	s := serve(t, answers{"LIST": inTurn(say(200, listing("a", 1, 2)), say(200, listing("b", 3)), say(200, listing("", 4)))})
	c := s.client(t)
	it, err := c.LTXFiles(t.Context(), 0, 0, false)
	require.NoError(t, err)
	require.True(t, it.Next())
	require.True(t, it.Next())
	require.NoError(t, it.Close())
	require.False(t, it.Next())
	require.Equal(t, "LIST", s.ops())

	s = serve(t, answers{"LIST": inTurn(say(200, listing("a", 1, 2)), say(200, listing("b", 3)), say(200, listing("", 4)))})
	require.Equal(t, []int{1, 2, 3, 4}, listed(t, s.client(t), 0))
	calls := s.of("LIST")
	require.Len(t, calls, 3)
	for i, token := range []string{"", "a", "b"} {
		require.Equal(t, token, calls[i].param("continuation-token"))
		require.NotContains(t, calls[i].query, "start-after")
	}
}

// A store that knows no tokens is asked for what comes after its last key.
func TestListWithoutTokens(t *testing.T) {
	s := serve(t, answers{"LIST": inTurn(say(200, listing(noToken, 1, 2)), say(200, listing(noToken, 3)), say(200, listing("", 4)))})
	require.Equal(t, []int{1, 2, 3, 4}, listed(t, s.client(t), 0))
	calls := s.of("LIST")
	require.Len(t, calls, 3)
	for i, after := range []string{"", fileKey(2), fileKey(3)} {
		require.Equal(t, after, calls[i].param("start-after"))
	}
}

// A token that comes again is no token; nor is a listing without an end.
func TestListRepeatedToken(t *testing.T) {
	s := serve(t, answers{"LIST": inTurn(say(200, listing("a", 1)), say(200, listing("a", 2)), say(200, listing("", 3)))})
	require.Equal(t, []int{1, 2, 3}, listed(t, s.client(t), 0))
	require.Equal(t, fileKey(2), s.of("LIST")[2].param("start-after"))

	for name, pages := range map[string]http.HandlerFunc{
		"empty pages":     say(200, listing(noToken)),
		"the same page":   say(200, listing("a", 1)),
		"a key that back": inTurn(say(200, listing(noToken, 5)), say(200, page(noToken, entry(testLevel0+"0", 1)))),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"LIST": pages})
			require.Error(t, listError(t, s.client(t), false))
			require.LessOrEqual(t, len(s.of("LIST")), 3)
		})
	}
}

// Only LTX files of the level are listed; others are passed over.
func TestListStrangers(t *testing.T) {
	long := strings.Repeat("0", 15)
	s := serve(t, answers{"LIST": say(200, page("",
		entry(testLevel0, 0),
		entry(fileKey(1), 1),
		entry(fileKey(2)+".tmp", 2),
		entry(testLevel0+"sub/"+fileName(3), 3),
		entry(testLevel0+long+"A-"+long+"A.ltx", 4),
		entry(testLevel0+long+"9-"+long+"8.ltx", 5),
		entry(testLevel0+"readme.txt", 6),
		entry(testLevel0+"000000000000000b-000000000000000g.ltx", 6),
		entry(fileKey(11), 7),
		below(testLevel0+"sub/"),
	))})
	require.Equal(t, []int{1, 11}, listed(t, s.client(t), 0))
}

// A store that ignores where to begin gives what wasn't asked for.
func TestListSeekIgnored(t *testing.T) {
	s := serve(t, answers{"LIST": say(200, listing("", 1, 2, 3, 4))})
	require.Equal(t, []int{3, 4}, listed(t, s.client(t), 3))
}

func TestListErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		is     error
		text   string
	}{
		{"out of order", say(200, listing("", 2, 1)), nil, "order of keys: " + fileName(1) + " after " + fileName(2)},
		{"twice", say(200, listing("", 1, 1)), nil, "order of keys"},
		{"out of order on the next page", inTurn(say(200, listing("a", 5)), say(200, listing("", 4))), nil, "order of keys"},
		{"not below the prefix", say(200, page("", entry("other/"+fileName(1), 1))), nil, `lists "other/` + fileName(1) + `", which isn't below "db/0000/"`},
		{"no size", say(200, page("", "<Contents><Key>"+fileKey(1)+"</Key><LastModified>2026-05-04T03:02:01Z</LastModified></Contents>")), nil, "without its size or time"},
		{"no time", say(200, page("", "<Contents><Key>"+fileKey(1)+"</Key><Size>1</Size></Contents>")), nil, "without its size or time"},
		{"a negative size", say(200, page("", entry(fileKey(1), -1))), nil, "without its size or time"},
		{"no bucket", refuse(404, "NoSuchBucket"), ErrNoSuchBucket, "check its name"},
		{"404", refuse(404, ""), ErrNoSuchBucket, "bucket bucket"},
		{"404 of no S3", say(404, "<html>nginx</html>"), ErrNoSuchBucket, ""},
		{"403", refuse(403, "AccessDenied"), os.ErrPermission, "ListObjectsV2"},
		{"a second page that fails", inTurn(say(200, listing("a", 1)), refuse(403, "AccessDenied")), os.ErrPermission, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"LIST": tt.answer})
			err := listError(t, s.client(t), false)
			require.ErrorContains(t, err, tt.text)
			require.ErrorContains(t, err, "list level 0")
			require.NotErrorIs(t, err, os.ErrNotExist)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
		})
	}
}

func TestListArguments(t *testing.T) {
	s := serve(t, nil)
	c := s.client(t)
	_, err := c.LTXFiles(t.Context(), 10, 0, false)
	require.ErrorIs(t, err, os.ErrInvalid)
	ctx, cancel := context.WithCancel(t.Context())
	it, err := c.LTXFiles(ctx, 0, 0, false)
	require.NoError(t, err)
	cancel()
	require.False(t, it.Next())
	require.ErrorIs(t, it.Err(), context.Canceled)
	_, err = c.LTXFiles(ctx, 0, 0, false)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, s.ops())
}

// With metadata, so many HEADs are under way at a time, and no more.
func TestListMetadata(t *testing.T) {
	const most = 4
	heads := newAtOnce(most)
	s := serve(t, answers{
		"LIST": inTurn(say(200, listing("a", 1, 2, 3, 4, 5, 6, 7, 8, 9)), say(200, listing("", 10))),
		"HEAD": heads.answer(object(nil, "new", "X-Amz-Meta-Litestream-Timestamp", "2025-01-02T03:04:05.123456789Z")),
	})
	c := s.client(t, func(c *Config) { c.MetadataConcurrency = most })
	it, err := c.LTXFiles(within(t, 10*time.Second), 0, 0, true)
	require.NoError(t, err)
	for n := 1; n <= 10; n++ {
		require.True(t, it.Next())
		require.Equal(t, time.Date(2025, 1, 2, 3, 4, 5, 123456789, time.UTC), it.Item().CreatedAt)
		require.Equal(t, replica.Version("new"), it.(replica.VersionIterator).Version(), "what the HEAD found")
		if n == 1 {
			require.Len(t, s.of("HEAD"), 9, "those of the first page")
		}
	}
	require.False(t, it.Next())
	require.NoError(t, it.Close())
	require.Equal(t, int32(most), heads.peak.Load())
	require.Len(t, s.of("HEAD"), 10)
	require.Len(t, s.of("LIST"), 2)
}

// A file that vanishes meanwhile is passed over, and any other error is one.
func TestListMetadataErrors(t *testing.T) {
	headOf := func(key string, then http.HandlerFunc) http.HandlerFunc {
		good := object(nil, "v1", "X-Amz-Meta-Litestream-Timestamp", "2025-01-02T03:04:05Z")
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, key) {
				then(w, r)
				return
			}
			good(w, r)
		}
	}
	list := say(200, listing("", 1, 2, 3))
	s := serve(t, answers{"LIST": list, "HEAD": headOf(fileName(2), refuse(404, ""))})
	it, err := s.client(t).LTXFiles(t.Context(), 0, 0, true)
	require.NoError(t, err)
	infos, err := ltx.SliceFileIterator(it)
	require.NoError(t, err)
	require.Equal(t, []ltx.TXID{1, 3}, []ltx.TXID{infos[0].MinTXID, infos[1].MinTXID})
	require.Len(t, infos, 2)

	s = serve(t, answers{"LIST": list, "HEAD": refuse(404, "")})
	it, err = s.client(t).LTXFiles(t.Context(), 0, 0, true)
	require.NoError(t, err)
	require.False(t, it.Next(), "all are gone")
	require.NoError(t, it.Close())

	s = serve(t, answers{"LIST": list, "HEAD": headOf(fileName(2), refuse(403, ""))})
	require.ErrorIs(t, listError(t, s.client(t), true), os.ErrPermission)

	s = serve(t, answers{"LIST": list, "HEAD": hang})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	it, err = s.client(t).LTXFiles(ctx, 0, 0, true)
	require.NoError(t, err)
	require.False(t, it.Next())
	require.ErrorIs(t, it.Err(), context.DeadlineExceeded)
}

func TestVersionOfETag(t *testing.T) {
	for tag, want := range map[string]replica.Version{`"abc"`: "abc", `abc`: "abc", `W/"abc"`: `W/"abc"`, `""`: "", `"`: `"`, "": ""} {
		got := version(&tag)
		require.Equal(t, want, got)
		switch back := etag(got); {
		case want == "":
			require.Nil(t, back)
		case strings.HasPrefix(tag, "W/"):
			require.Equal(t, tag, *back)
		default:
			require.Equal(t, `"`+string(want)+`"`, *back)
		}
	}
	require.Empty(t, version(nil))
}

// FuzzListPage: whatever a page holds, what is listed are LTX files of that
// level, in order and once, with a size that can be.
func FuzzListPage(f *testing.F) {
	for _, seed := range []string{
		listing("", 1, 2, 3), listing(noToken, 1), page("", entry(testLevel0, 0), entry(fileKey(1), 5)), page("", entry(fileKey(1), -1)),
		listing("", 2, 1), "", "<", "hello", "<Error><Code>SlowDown</Code></Error>", page("", entry("other", 1)),
		strings.Replace(listing("", 1), "<Size>1", "<Size>9223372036854775808", 1), strings.Replace(listing("", 1), "2026", "10000", 1),
		page("", entry(testLevel0+"ffffffffffffffff-ffffffffffffffff.ltx", 1)), page("", below(testLevel0+"x/"), entry(fileKey(9), 9)),
	} {
		f.Add(seed)
	}
	var answer atomic.Pointer[string]
	s := serve(f, answers{"LIST": func(w http.ResponseWriter, r *http.Request) { say(200, *answer.Load())(w, r) }})
	c := s.client(f, func(c *Config) { c.Retry.Attempts = 1 })
	f.Fuzz(func(t *testing.T, body string) {
		answer.Store(&body)
		it := c.list(t.Context(), c.ready.Load(), 0, 2, false)
		var files []replica.File
		for len(files) < 2*pageSize && it.Next() {
			files = append(files, it.file)
		}
		require.True(t, slices.IsSortedFunc(files, compareFiles))
		require.Len(t, slices.CompactFunc(slices.Clone(files), func(a, b replica.File) bool { return compareFiles(a, b) == 0 }), len(files))
		for _, file := range files {
			require.Contains(t, html.UnescapeString(body), testLevel0+file.Name())
			require.GreaterOrEqual(t, file.Size, int64(0))
			require.GreaterOrEqual(t, file.MinTXID, ltx.TXID(2))
			require.LessOrEqual(t, file.MinTXID, file.MaxTXID)
			require.Zero(t, file.ModTime.Nanosecond())
		}
		if err := it.Close(); err != nil {
			require.NotErrorIs(t, err, os.ErrNotExist)
			require.NotContains(t, err.Error(), "\n")
		}
	})
}
