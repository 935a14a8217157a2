package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

var deletedAll = say(200, "<DeleteResult></DeleteResult>")

// batch is what a request to delete many asks for.
type batch struct {
	Quiet  bool
	Object []struct{ Key string }
}

func batchOf(t *testing.T, c call) (b batch, keys []string) {
	t.Helper()
	require.NoError(t, xml.Unmarshal(c.body, &b))
	for _, o := range b.Object {
		keys = append(keys, o.Key)
	}
	return b, keys
}

// to are the numbers from 1 to n.
func to(n int) (all []int) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

// Deletions are 1,000 a request, and one request more makes sure of each.
func TestDeleteBatches(t *testing.T) {
	for files, sizes := range map[int][]int{2: {2}, 999: {999}, 1000: {1000}, 1002: {1000, 2}, 2001: {1000, 1000, 1}} {
		t.Run(fmt.Sprint(files), func(t *testing.T) {
			s := serve(t, answers{"BATCH": deletedAll, "LIST": say(200, pageOf("")), "HEAD": refuse(404, ""), "DELETE": say(204, "")})
			require.NoError(t, s.store(t, func(c *config.Config) { c.RequesterPays = true }).DeleteLTXFiles(t.Context(), nths(to(files)...)...))
			var got []int
			var all []string
			for _, c := range s.seen() {
				require.Equal(t, "requester", c.get("X-Amz-Request-Payer"), c.op)
				switch c.op {
				case "BATCH":
					b, keys := batchOf(t, c)
					require.True(t, b.Quiet)
					require.NotEmpty(t, c.get("X-Amz-Checksum-Crc32"), "the protocol wants one")
					got, all = append(got, len(keys)), append(all, keys...)
				case "DELETE":
					got, all = append(got, 1), append(all, c.key)
				}
			}
			require.Equal(t, sizes, got)
			want := make([]string, files)
			for i := range want {
				want[i] = fileKey(i + 1)
			}
			require.Equal(t, want, all)
			n := counts(s)
			for _, size := range sizes {
				if size > lookBatch {
					n["LIST"]--
				} else {
					n["HEAD"] -= size
				}
			}
			require.Zero(t, n["LIST"])
			require.Zero(t, n["HEAD"])
		})
	}
}

// One file is one DELETE and one HEAD, none is nothing, and twice is once.
func TestDeleteFew(t *testing.T) {
	s := serve(t, answers{"DELETE": say(204, ""), "HEAD": refuse(404, ""), "BATCH": deletedAll})
	c := s.store(t)
	require.NoError(t, c.DeleteLTXFiles(t.Context()))
	require.Empty(t, s.ops())
	require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(1)...))
	require.Equal(t, "DELETE HEAD", s.ops())
	require.Equal(t, fileKey(1), s.seen()[0].key)
	require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(1, 1)...))
	require.Equal(t, "DELETE HEAD DELETE HEAD", s.ops())
	require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(1, 2)...))
	require.Equal(t, "DELETE HEAD DELETE HEAD BATCH HEAD HEAD", s.ops())
}

// The request has the checksum that the protocol wants: the newer one, or where the
// store refuses that or asks for it, Content-MD5.
func TestDeleteChecksums(t *testing.T) {
	const sum = "X-Amz-Checksum-Crc32"
	wanting := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Content-Md5") == "" {
				say(400, "<Error><Code>InvalidRequest</Code><Message>"+text+"</Message></Error>")(w, r)
				return
			}
			deletedAll(w, r)
		}
	}
	for _, tt := range []struct {
		name    string
		change  func(*config.Config)
		batch   http.HandlerFunc
		headers []string // of each request
	}{
		{"by default", func(*config.Config) {}, deletedAll, []string{"sum", "sum"}},
		{"without", func(c *config.Config) { c.NoChecksums = true }, deletedAll, []string{"md5", "md5"}},
		{"wanted", func(*config.Config) {}, wanting("Missing required header for this request: Content-MD5"), []string{"sum", "sum", "md5", "md5"}},
		{"wanted, in other words", func(*config.Config) {}, wanting("It is so."), []string{"sum", "sum", "md5", "md5"}},
		{"a refusal that passes", func(*config.Config) {}, inTurn(refuse(400, "InvalidRequest"), deletedAll), []string{"sum", "sum", "sum"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"BATCH": tt.batch, "HEAD": refuse(404, "")})
			c := s.store(t, tt.change)
			for range 2 {
				require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(1, 2)...))
			}
			var headers []string
			for _, b := range s.of("BATCH") {
				var all []string
				if md5 := b.get("Content-Md5"); md5 != "" {
					require.Equal(t, md5Of(b.body), md5)
					all = append(all, "md5")
				}
				for name := range b.header {
					if strings.HasPrefix(name, "X-Amz-Checksum-") {
						require.Equal(t, sum, name)
						all = append(all, "sum")
					}
				}
				headers = append(headers, strings.Join(all, " "))
				require.Empty(t, b.get("X-Amz-Trailer"))
				require.Empty(t, b.coding)
			}
			require.Equal(t, tt.headers, headers)
			require.Equal(t, slices.Contains(tt.headers, "md5") && slices.Contains(tt.headers, "sum"), c.lacks(batchChecksums))
			require.Equal(t, tt.name == "without", c.lacks(uploadChecksums), "deletions teach nothing of uploads")
		})
	}
}

// Errors of single files are named with their files, in an answer that is a 200.
func TestDeleteErrorsByKey(t *testing.T) {
	result := func(key, code string) string {
		return "<Error><Key>" + key + "</Key><Code>" + code + "</Code><Message>Not now.</Message></Error>"
	}
	s := serve(t, answers{
		"BATCH": say(200, "<DeleteResult>"+result(fileKey(2), "AccessDenied")+result(fileKey(3), "InternalError")+result(fileKey(4), "NoSuchKey")+
			result("db/0000/strange", "AccessDenied")+"</DeleteResult>"),
		"DELETE": say(200, result("", "InternalError")), // of the one file that may be deleted later
		"HEAD":   refuse(404, ""),
	})
	err := s.store(t).DeleteLTXFiles(t.Context(), nths(1, 2, 3, 4)...)
	require.ErrorIs(t, err, os.ErrPermission)
	require.NotErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "delete level 0 "+fileName(2)+": DeleteObjects: Not now. (AccessDenied, HTTP status 200)")
	require.ErrorContains(t, err, "delete level 0 "+fileName(3)+": DeleteObject: Not now. (InternalError, HTTP status 200)")
	require.NotContains(t, err.Error(), fileName(1))
	require.NotContains(t, err.Error(), fileName(4))
	var looked []string
	for _, head := range s.of("HEAD") {
		looked = append(looked, head.key)
	}
	require.ElementsMatch(t, []string{fileKey(1), fileKey(4)}, looked)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	for i, each := range joined.Unwrap() {
		var file *replica.FileError
		require.ErrorAs(t, each, &file)
		require.Equal(t, ltx.TXID(2+i), file.Name.MinTXID)
		require.Equal(t, i == 0, os.IsPermission(file.Err) || slices.Contains(file.Err.(*StoreError).is, os.ErrPermission))
	}
}

// Of the files that a store refuses to delete for a reason that may pass, it is asked
// again, and of no others.
func TestDeleteLater(t *testing.T) {
	var asked [][]string
	s := serve(t, answers{
		"BATCH": func(w http.ResponseWriter, r *http.Request) {
			_, keys := batchOf(t, newCall(r))
			asked = append(asked, keys)
			var result string
			if len(asked) < 3 {
				for _, key := range keys[:len(keys)-1] {
					result += "<Error><Key>" + key + "</Key><Code>SlowDown</Code></Error>"
				}
			}
			say(200, "<DeleteResult>"+result+"</DeleteResult>")(w, r)
		},
		"HEAD": refuse(404, ""),
	})
	require.NoError(t, s.store(t).DeleteLTXFiles(t.Context(), nths(to(4)...)...))
	require.Equal(t, [][]string{{fileKey(1), fileKey(2), fileKey(3), fileKey(4)}, {fileKey(1), fileKey(2), fileKey(3)}, {fileKey(1), fileKey(2)}}, asked)
	require.Len(t, s.of("HEAD"), 4)
}

// Stores exist that say they have deleted and haven't.
func TestDeleteDoesNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		files []int
		a     answers
	}{
		"one":  {[]int{1}, answers{"DELETE": say(204, ""), "HEAD": object(nil, "v1")}},
		"few":  {[]int{1, 2}, answers{"BATCH": deletedAll, "HEAD": object(nil, "v1")}},
		"many": {to(9), answers{"BATCH": deletedAll, "LIST": say(200, pageOf("", to(9)...))}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tt.a)
			c := s.store(t, func(c *config.Config) { c.Timeouts.Verify = 30 * time.Millisecond })
			err := c.DeleteLTXFiles(within(t, 10*time.Second), nths(tt.files...)...)
			require.ErrorIs(t, err, errStillThere)
			for _, n := range tt.files {
				require.ErrorContains(t, err, "delete level 0 "+fileName(n))
			}
		})
	}

	// What a store lists after a key tells nothing if it doesn't know how.
	s := serve(t, answers{"BATCH": deletedAll, "LIST": elsewhere(say(200, pageOf("", to(9)...)), say(200, pageOf("")))})
	c := s.store(t, func(c *config.Config) { c.Timeouts.Verify = 30 * time.Millisecond })
	c.learn(startAfter, nil)
	require.ErrorIs(t, c.DeleteLTXFiles(within(t, 10*time.Second), nths(to(9)...)...), errStillThere)
}

// A store that is late is given time.
func TestDeleteLate(t *testing.T) {
	s := serve(t, answers{"DELETE": say(204, ""), "HEAD": inTurn(object(nil, "v1"), object(nil, "v1"), refuse(404, ""))})
	require.NoError(t, s.store(t).DeleteLTXFiles(t.Context(), nths(1)...))
	require.Equal(t, "DELETE HEAD HEAD HEAD", s.ops())

	s = serve(t, answers{"BATCH": deletedAll, "LIST": inTurn(say(200, pageOf("", to(9)...)), say(200, pageOf("", 3, 4))), "HEAD": refuse(404, "")})
	require.NoError(t, s.store(t).DeleteLTXFiles(t.Context(), nths(to(9)...)...))
	require.Equal(t, "BATCH LIST LIST HEAD HEAD", s.ops())
}

// A file that was written after the deletion counts as deleted.
func TestDeleteWrittenAgain(t *testing.T) {
	before := modified.Add(-time.Minute).Format(http.TimeFormat)
	s := serve(t, answers{"DELETE": say(204, "", "Date", before), "HEAD": object(nil, "v2")})
	require.NoError(t, s.store(t).DeleteLTXFiles(t.Context(), nths(1)...))
	require.Equal(t, "DELETE HEAD", s.ops())

	s = serve(t, answers{"BATCH": say(200, "<DeleteResult/>", "Date", before), "LIST": say(200, pageOf("", to(9)...))})
	require.NoError(t, s.store(t).DeleteLTXFiles(t.Context(), nths(to(9)...)...))
	require.Equal(t, "BATCH LIST", s.ops())

	// Within the same second, nothing tells: it is not said to be deleted.
	s = serve(t, answers{"DELETE": say(204, "", "Date", modified.Format(http.TimeFormat)), "HEAD": object(nil, "v2")})
	c := s.store(t, func(c *config.Config) { c.Timeouts.Verify = 20 * time.Millisecond })
	require.ErrorIs(t, c.DeleteLTXFiles(t.Context(), nths(1)...), errStillThere)
}

// A store that can't delete many at once deletes one by one, from then on.
func TestDeleteOneByOne(t *testing.T) {
	for _, status := range []int{501, 405} {
		s := serve(t, answers{"BATCH": refuse(status, "NotImplemented"), "DELETE": say(204, ""), "LIST": say(200, pageOf(""))})
		c := s.store(t)
		require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(to(7)...)...))
		require.Equal(t, map[string]int{"BATCH": 1, "DELETE": 7, "LIST": 1}, counts(s))
		require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(to(7)...)...))
		require.Equal(t, map[string]int{"BATCH": 1, "DELETE": 14, "LIST": 2}, counts(s))
	}
	// One that fails leaves the others deleted; one that is missing is.
	s := serve(t, answers{"BATCH": refuse(501, ""), "HEAD": refuse(404, ""), "DELETE": func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, fileName(2)):
			refuse(403, "AccessDenied")(w, r)
		case strings.HasSuffix(r.URL.Path, fileName(3)):
			refuse(404, "NoSuchKey")(w, r)
		default:
			say(204, "")(w, r)
		}
	}})
	err := s.store(t).DeleteLTXFiles(t.Context(), nths(1, 2, 3)...)
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, fileName(2))
	require.NotContains(t, err.Error(), fileName(1))
	require.NotContains(t, err.Error(), fileName(3))
}

func TestDeleteChecksumsRefused(t *testing.T) {
	s := serve(t, answers{"BATCH": func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Amz-Checksum-") {
				say(400, "<Error><Code>InvalidRequest</Code><Message>Unknown checksum</Message></Error>")(w, r)
				return
			}
		}
		deletedAll(w, r)
	}, "HEAD": refuse(404, "")})
	c := s.store(t)
	require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(1, 2)...))
	require.Equal(t, "BATCH BATCH BATCH HEAD HEAD", s.ops(), "twice with one, and with the other")
	require.NotEmpty(t, s.seen()[2].get("Content-Md5"), "one of them the protocol wants")
	require.True(t, c.lacks(batchChecksums))
	require.False(t, c.lacks(uploadChecksums))
}

func TestDeleteErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		a    answers
		is   error
	}{
		{"the request", answers{"BATCH": refuse(403, "AccessDenied")}, os.ErrPermission},
		{"no bucket", answers{"BATCH": refuse(404, "NoSuchBucket")}, ErrNoSuchBucket},
		{"the look", answers{"BATCH": deletedAll, "HEAD": refuse(403, ""), "LIST": refuse(403, "AccessDenied")}, os.ErrPermission},
	} {
		for _, files := range [][]int{to(2), to(9)} {
			t.Run(fmt.Sprint(tt.name, " of ", len(files)), func(t *testing.T) {
				s := serve(t, tt.a)
				c := s.store(t)
				err := c.DeleteLTXFiles(t.Context(), nths(files...)...)
				require.ErrorIs(t, err, tt.is)
				require.NotErrorIs(t, err, os.ErrNotExist)
				for _, n := range files {
					require.ErrorContains(t, err, "delete level 0 "+fileName(n))
				}
			})
		}
	}
}

func TestDeleteArguments(t *testing.T) {
	s := serve(t, answers{"DELETE": say(204, ""), "HEAD": refuse(404, "")})
	c := s.store(t)
	err := c.DeleteLTXFiles(t.Context(), replica.Name{Level: -1}, replica.Name{Level: 10}, replica.Name{MinTXID: 2, MaxTXID: 1}, nth(1))
	require.ErrorIs(t, err, os.ErrInvalid)
	require.Equal(t, "DELETE HEAD", s.ops(), "the others are deleted")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = c.DeleteLTXFiles(ctx, nths(1, 2)...)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, fileName(2))
	require.ErrorIs(t, replica.ClientOf(c).DeleteAll(ctx), context.Canceled)
	require.Equal(t, "DELETE HEAD", s.ops())
}

// DeleteAll deletes what is the replica's at every level, and nothing else.
func TestDeleteAll(t *testing.T) {
	var mu sync.Mutex
	deleted := map[string]bool{}
	of := func(r *http.Request) string { _, key, _ := strings.Cut(r.URL.Path[1:], "/"); return key }
	s := serve(t, answers{
		"LIST": func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			prefix := r.URL.Query().Get("prefix")
			var items []string
			for _, key := range []string{
				"db/0000/" + fileName(1), "db/0000/" + fileName(2), "db/0000/notes.txt", "db/0000/" + fileName(3) + ".tmp", "db/0009/" + fileName(1),
			} {
				if strings.HasPrefix(key, prefix) && !deleted[key] {
					items = append(items, entry(key, 1))
				}
			}
			say(200, page("", items...))(w, r)
		},
		"BATCH": func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			_, keys := batchOf(t, newCall(r))
			for _, key := range keys {
				deleted[key] = true
			}
			deletedAll(w, r)
		},
		"DELETE": func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			deleted[of(r)] = true
			say(204, "")(w, r)
		},
		"HEAD": refuse(404, ""),
	})
	require.NoError(t, replica.ClientOf(s.store(t)).DeleteAll(t.Context()))
	require.Equal(t, map[string]bool{"db/0000/" + fileName(1): true, "db/0000/" + fileName(2): true, "db/0009/" + fileName(1): true}, deleted)
	require.Equal(t, map[string]int{"LIST": 10, "BATCH": 1, "DELETE": 1, "HEAD": 3}, counts(s))
}

// Whatever fails, the rest is deleted.
func TestDeleteAllErrors(t *testing.T) {
	s := serve(t, answers{
		"LIST": func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Query().Get("prefix") {
			case "db/0001/":
				refuse(403, "AccessDenied")(w, r)
			case "db/0002/":
				say(200, page("", entry("db/0002/"+fileName(7), 1)))(w, r)
			default:
				say(200, page(""))(w, r)
			}
		},
		"DELETE": say(204, ""), "HEAD": refuse(404, ""),
	})
	err := replica.ClientOf(s.store(t)).DeleteAll(t.Context())
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "delete all: list level 1")
	require.Equal(t, map[string]int{"LIST": 10, "DELETE": 1, "HEAD": 1}, counts(s))
}

// More than a batch is deleted while the listing goes on.
func TestDeleteAllPages(t *testing.T) {
	all := to(1001)
	s := serve(t, answers{
		"LIST": func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			switch {
			case q.Get("prefix") != testLevel0 || q.Get("start-after") != "":
				say(200, page(""))(w, r)
			case q.Get("continuation-token") == "":
				say(200, pageOf("next", all[:1000]...))(w, r)
			default:
				say(200, pageOf("", all[1000:]...))(w, r)
			}
		},
		"BATCH": deletedAll, "DELETE": say(204, ""), "HEAD": refuse(404, ""),
	})
	require.NoError(t, replica.ClientOf(s.store(t)).DeleteAll(t.Context()))
	require.Equal(t, map[string]int{"LIST": 12, "BATCH": 1, "DELETE": 1, "HEAD": 1}, counts(s))
	_, keys := batchOf(t, s.of("BATCH")[0])
	require.Len(t, keys, 1000)
}
