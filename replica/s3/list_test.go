package s3

import (
	"context"
	"errors"
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
	"github.com/ltxfs/ltxfs/replica/s3/config"
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

// pageOf is a page of level 0's files, the n-th of n bytes.
func pageOf(token string, files ...int) string {
	items := make([]string, len(files))
	for i, n := range files {
		items[i] = entry(fileKey(n), int64(n))
	}
	return page(token, items...)
}

// listed are the min TXIDs that a client lists in level 0.
func listed(t *testing.T, c *Store, from ltx.TXID) (files []int) {
	t.Helper()
	all, err := list(within(t, 10*time.Second), c, replica.ListOptions{From: from})
	require.NoError(t, err)
	for _, f := range all {
		files = append(files, int(f.MinTXID))
	}
	return files
}

// list lists level 0 to its end. An error comes last, and with no file.
func list(ctx context.Context, c *Store, opts replica.ListOptions) (files []replica.File, err error) {
	for f, ferr := range c.LTXFiles(ctx, 0, opts) {
		switch {
		case err != nil:
			return nil, errors.New("the listing goes on after an error")
		case ferr != nil && f != replica.File{}:
			return nil, errors.New("there is a file beside the error")
		case ferr != nil:
			err = ferr
		default:
			files = append(files, f)
		}
	}
	return files, err
}

// listError is the error of listing level 0 to its end.
func listError(t *testing.T, c *Store, exact bool) error {
	t.Helper()
	_, err := list(within(t, 10*time.Second), c, replica.ListOptions{ExactTimes: exact})
	return err
}

func TestListRequest(t *testing.T) {
	s := serve(t, answers{"LIST": say(200, pageOf("", 7, 8))})
	c := s.store(t, func(c *config.Config) { c.RequesterPays = true })
	files := c.LTXFiles(t.Context(), 0, replica.ListOptions{From: 7})
	require.Empty(t, s.ops(), "nothing was asked for yet")
	var all []replica.File
	for f, err := range files {
		require.NoError(t, err)
		all = append(all, f)
	}
	require.Equal(t, []replica.File{
		{Name: nth(7), Size: 7, ModTime: modified, Version: replica.Version{ETag: `"v7"`, Modified: modified.Unix(), Size: 7}},
		{Name: nth(8), Size: 8, ModTime: modified, Version: replica.Version{ETag: `"v8"`, Modified: modified.Unix(), Size: 8}},
	}, all)
	require.Equal(t, "LIST", s.ops())
	call := s.seen()[0]
	require.Equal(t, testLevel0, call.param("prefix"))
	require.Equal(t, "/", call.param("delimiter"))
	require.Equal(t, "1000", call.param("max-keys"))
	require.Equal(t, testLevel0+"0000000000000007", call.param("start-after"))
	require.NotContains(t, call.query, "continuation-token")
	require.Equal(t, "requester", call.get("X-Amz-Request-Payer"))
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
	require.Equal(t, []int{1, 11}, listed(t, s.store(t), 0))
}

// A store that ignores where to begin gives what wasn't asked for.
func TestListSeekIgnored(t *testing.T) {
	s := serve(t, answers{"LIST": say(200, pageOf("", 1, 2, 3, 4))})
	require.Equal(t, []int{3, 4}, listed(t, s.store(t), 3))
}

func TestListErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		is     error
		text   string
	}{
		{"out of order on the next page", inTurn(say(200, pageOf("a", 5)), say(200, pageOf("", 4))), nil, "order of keys"},
		{"not below the prefix", say(200, page("", entry("other/"+fileName(1), 1))), nil, `lists "other/` + fileName(1) + `", which isn't below "db/0000/"`},
		{"no bucket", refuse(404, "NoSuchBucket"), ErrNoSuchBucket, "check its name"},
		{"404", refuse(404, ""), ErrNoSuchBucket, "bucket bucket"},
		{"404 of no S3", say(404, "<html>nginx</html>"), ErrNoSuchBucket, ""},
		{"403", refuse(403, "AccessDenied"), os.ErrPermission, "ListObjectsV2"},
		{"a second page that fails", inTurn(say(200, pageOf("a", 1)), refuse(403, "AccessDenied")), os.ErrPermission, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"LIST": tt.answer})
			err := listError(t, s.store(t), false)
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
	c := s.store(t)
	for _, err := range c.LTXFiles(t.Context(), 10, replica.ListOptions{}) {
		require.ErrorIs(t, err, os.ErrInvalid)
		require.ErrorContains(t, err, "list level 10")
	}
	ctx, cancel := context.WithCancel(t.Context())
	files := c.LTXFiles(ctx, 0, replica.ListOptions{})
	cancel()
	n := 0
	for _, err := range files {
		require.ErrorIs(t, err, context.Canceled)
		n++
	}
	require.Equal(t, 1, n)
	for _, exact := range []bool{false, true} {
		_, err := list(ctx, c, replica.ListOptions{ExactTimes: exact})
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Empty(t, s.ops())
}

// With metadata, so many HEADs are under way at a time, and no more.
func TestListMetadata(t *testing.T) {
	const most = 4
	heads := newAtOnce(most)
	s := serve(t, answers{
		"LIST": inTurn(say(200, pageOf("a", 1, 2, 3, 4, 5, 6, 7, 8, 9)), say(200, pageOf("", 10))),
		"HEAD": heads.answer(object(nil, "new", "X-Amz-Meta-Litestream-Timestamp", "2025-01-02T03:04:05.123456789Z")),
	})
	c := s.store(t, func(c *config.Config) { c.MetadataConcurrency = most })
	n := 0
	for f, err := range c.LTXFiles(within(t, 10*time.Second), 0, replica.ListOptions{ExactTimes: true}) {
		require.NoError(t, err)
		n++
		require.Equal(t, nth(n), f.Name)
		require.Equal(t, time.Date(2025, 1, 2, 3, 4, 5, 123456789, time.UTC), f.ModTime)
		require.Equal(t, replica.Version{ETag: `"new"`, Modified: modified.Unix()}, f.Version, "what the HEAD found")
	}
	require.Equal(t, 10, n)
	require.Equal(t, int32(most), heads.peak.Load())
	require.Len(t, s.of("HEAD"), 10)
	require.Len(t, s.of("LIST"), 2)
}

// An ETag has its quotes, whether the store gives them or not, and is none if it is
// empty. The time is in whole seconds.
func TestVersionOf(t *testing.T) {
	for tag, want := range map[string]string{`"abc"`: `"abc"`, `abc`: `"abc"`, `W/"abc"`: `W/"abc"`, `""`: "", `"`: `"""`, "": ""} {
		require.Equal(t, replica.Version{ETag: want, Size: 7}, serve(t, nil).store(t).versionOf(&tag, nil, 7))
	}
	late := modified.Add(999 * time.Millisecond).In(time.FixedZone("somewhere", 3600))
	require.Equal(t, replica.Version{Modified: modified.Unix()}, serve(t, nil).store(t).versionOf(nil, &late, 0))
}

// FuzzListPage: whatever a page holds, what is listed are LTX files of that
// level, in order and once, with a size that can be.
func FuzzListPage(f *testing.F) {
	for _, seed := range []string{
		pageOf("", 1, 2, 3), pageOf(noToken, 1), page("", entry(testLevel0, 0), entry(fileKey(1), 5)), page("", entry(fileKey(1), -1)),
		pageOf("", 2, 1), "", "<", "hello", "<Error><Code>SlowDown</Code></Error>", page("", entry("other", 1)),
		strings.Replace(pageOf("", 1), "<Size>1", "<Size>9223372036854775808", 1), strings.Replace(pageOf("", 1), "2026", "10000", 1),
		page("", entry(testLevel0+"ffffffffffffffff-ffffffffffffffff.ltx", 1)), page("", below(testLevel0+"x/"), entry(fileKey(9), 9)),
	} {
		f.Add(seed)
	}
	var answer atomic.Pointer[string]
	s := serve(f, answers{"LIST": func(w http.ResponseWriter, r *http.Request) { say(200, *answer.Load())(w, r) }})
	c := s.store(f, func(c *config.Config) { c.Retry.Attempts = 1 })
	f.Fuzz(func(t *testing.T, body string) {
		answer.Store(&body)
		var files []replica.File
		err := c.list(t.Context(), 0, replica.ListOptions{From: 2}, func(f replica.File) bool {
			files = append(files, f)
			return len(files) < 2*pageSize
		})
		compare := func(a, b replica.File) int { return a.Compare(b.Name) }
		require.True(t, slices.IsSortedFunc(files, compare))
		require.Len(t, slices.CompactFunc(slices.Clone(files), func(a, b replica.File) bool { return a.Name == b.Name }), len(files))
		for _, file := range files {
			require.Contains(t, html.UnescapeString(body), testLevel0+file.Base())
			require.GreaterOrEqual(t, file.Size, int64(0))
			require.GreaterOrEqual(t, file.MinTXID, ltx.TXID(2))
			require.LessOrEqual(t, file.MinTXID, file.MaxTXID)
			require.Zero(t, file.ModTime.Nanosecond())
		}
		if err != nil {
			require.NotErrorIs(t, err, os.ErrNotExist)
			require.NotContains(t, err.Error(), "\n")
		}
	})
}
