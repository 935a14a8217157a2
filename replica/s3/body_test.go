package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// told is the value of one of the counters of what a store was asked, as metric names it.
func told(t *testing.T, s *Store, name string, labels ...string) int {
	t.Helper()
	return int(metric(t, s, name, labels...).GetCounter().GetValue())
}

// metric is what is told of the requests of a store, by a name without its beginning, and the
// values of the labels.
func metric(t *testing.T, s *Store, name string, labels ...string) *dto.Metric {
	t.Helper()
	all := prometheus.NewPedanticRegistry()
	all.MustRegister(s.own.Collectors()...)
	families, err := all.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "ltxfs_s3_"+name && slices.EqualFunc(m.GetLabel(), labels, func(l *dto.LabelPair, value string) bool { return l.GetValue() == value }) {
				return m
			}
		}
	}
	require.NotEmpty(t, labels, "there is no metric %s", name)
	return nil // none has these labels yet
}

// A body that breaks off is resumed where it stopped, of the same version.
func TestBodyResumes(t *testing.T) {
	data := bytesOf(300_000)
	whole := object(data, "v1")
	stalled := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:n])
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}
	}
	for _, tt := range []struct {
		name         string
		version      string
		offset, size int64
		get          http.HandlerFunc
		want         []byte
		ranges       []string
	}{
		{"cut short", "", 0, 0, inTurn(cut(data, "v1", 1000, false), whole), data, []string{"", "bytes=1000-299999"}},
		{"cut short twice", "", 0, 0, inTurn(cut(data, "v1", 1000, false), cut(data, "v1", 1, false), whole), data,
			[]string{"", "bytes=1000-299999", "bytes=1001-299999"}},
		{"a version", "v1", 0, 0, inTurn(cut(data, "v1", 1000, false), whole), data, []string{"", "bytes=1000-299999"}},
		{"a range", "v1", 100, 2000, inTurn(cut(data, "v1", 1000, false), whole), data[100:2100], []string{"bytes=100-2099", "bytes=1100-2099"}},
		{"to the end", "", 100, 0, inTurn(cut(data, "v1", 1000, false), whole), data[100:], []string{"bytes=100-", "bytes=1100-299999"}},
		{"before its first byte", "", 0, 0, inTurn(cut(data, "v1", 0, false), whole), data, []string{"", "bytes=0-299999"}},
		{"reset", "", 0, 10, inTurn(cut(data, "v1", 0, true), whole), data[:10], []string{"bytes=0-9", "bytes=0-9"}},
		{"stalled", "", 0, 0, inTurn(stalled(5000), whole), data, []string{"", "bytes=5000-299999"}},
		{"again and again, with a byte each", "", 10, 20, cut(data, "v1", 1, false), data[10:30], nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"GET": tt.get})
			c := s.store(t, func(c *config.Config) { c.Timeouts.Stall, c.Hedge = 300*time.Millisecond, new(false) })
			got, err := readRange(t, c, tt.version, tt.offset, tt.size)
			require.NoError(t, err)
			require.True(t, string(tt.want) == string(got), "other bytes: %d of %d", len(got), len(tt.want))
			calls := s.of("GET")
			require.Equal(t, len(calls)-1, told(t, c, "resumes_total"))
			if tt.ranges == nil {
				require.Len(t, calls, len(tt.want))
				return
			}
			require.Len(t, calls, len(tt.ranges))
			for i, want := range tt.ranges {
				require.Equal(t, want, calls[i].get("Range"))
				if i > 0 || tt.version != "" {
					require.Equal(t, `"v1"`, calls[i].get("If-Match"), "request %d", i)
				}
			}
		})
	}
}

// What comes in place of the rest is never taken for it, nor for the end.
func TestBodyResumeRefused(t *testing.T) {
	data := bytesOf(3000)
	begun := cut(data, "v1", 1000, false)
	for _, tt := range []struct {
		name string
		rest http.HandlerFunc
		head http.HandlerFunc
		is   error
		text string
	}{
		{"replaced", object(bytesOf(3000), "v2"), object(bytesOf(3000), "v2"), replica.ErrReplaced, ""},
		{"replaced, If-Match ignored", say(http.StatusPartialContent, string(data[1000:]),
			"Content-Range", "bytes 1000-2999/3000", "ETag", `"v2"`), nil, replica.ErrReplaced, ""},
		{"deleted", refuse(404, "NoSuchKey"), nil, os.ErrNotExist, ""},
		{"revoked", refuse(403, "AccessDenied"), nil, os.ErrPermission, ""},
		{"ranges ignored", say(200, string(data), "ETag", `"v1"`), nil, nil, "doesn't give ranges"},
		{"shorter by now", say(http.StatusPartialContent, string(data[1000:2000]),
			"Content-Range", "bytes 1000-1999/2000", "ETag", `"v1"`), nil, replica.ErrReplaced, "of 2000 bytes"},
		{"outside by now", refuse(416, "InvalidRange"), object(data[:1000], "v1"), replica.ErrReplaced, "of 1000 bytes"},
		{"outside, of another version", refuse(416, "InvalidRange"), object(data[:1000], "v2"), replica.ErrReplaced, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"GET": inTurn(begun, tt.rest), "HEAD": tt.head, "LIST": say(200, page("", entry(fileKey(1), 2)))})
			got, err := readRange(t, s.store(t), "", 0, 0)
			require.Error(t, err)
			require.Equal(t, data[:1000], got)
			require.ErrorContains(t, err, "read level 0 "+fileName(1))
			require.ErrorContains(t, err, tt.text)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			require.Len(t, s.of("GET"), map[bool]int{false: 2, true: 3}[tt.name == "replaced"], "a refused condition is tried without")
		})
	}
}

// What has neither an ETag nor a time is no object of a store, and nothing tells whether
// the rest is of the same.
func TestBodyWithoutVersion(t *testing.T) {
	s := serve(t, answers{"GET": say(200, "<html>sign in</html>", "Content-Type", "text/html")})
	c := s.store(t)
	for _, version := range []string{"", "v1"} {
		got, err := readRange(t, c, version, 0, 0)
		require.ErrorContains(t, err, "neither an ETag nor a time of modification")
		require.NotErrorIs(t, err, replica.ErrReplaced)
		require.Empty(t, got)
	}
	require.Empty(t, c.Properties().Lacks)
}

// A store that gives not a byte more is an error in the end, never the end of
// the file. The error stays.
func TestBodyGivesUp(t *testing.T) {
	data := bytesOf(3000)
	s := serve(t, answers{"GET": inTurn(cut(data, "v1", 1000, false), cut(data, "v1", 0, false))})
	c := s.store(t)
	r, err := c.OpenLTXFile(within(t, 20*time.Second), replica.File{Name: nth(1)}, 0, 0)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.Equal(t, data[:1000], got)
	require.ErrorContains(t, err, "broke off at 1000, 5 times")
	require.NotErrorIs(t, err, io.EOF)
	require.Len(t, s.of("GET"), 1+maxResumes)
	n, again := r.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, err, again)
	require.Len(t, s.of("GET"), 1+maxResumes)
	require.NoError(t, r.Close())
}

// A stall is a timeout.
func TestBodyStallsForGood(t *testing.T) {
	s := serve(t, answers{"GET": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", "10")
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	}})
	c := s.store(t, func(c *config.Config) { c.Timeouts.Stall = 30 * time.Millisecond })
	_, err := readRange(t, c, "v1", 0, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, s.of("GET"), 1+maxResumes)
	require.Equal(t, 1+maxResumes, told(t, c, "stalls_total"))
	require.Equal(t, 1+maxResumes, told(t, c, "requests_total", "GetObject", "200"))
}

// A store that doesn't even begin to answer is asked again, and then it is a
// timeout.
func TestFirstByteTimeout(t *testing.T) {
	data := bytesOf(10)
	s := serve(t, answers{"GET": inTurn(hang, object(data, "v1"))})
	c := s.store(t, func(c *config.Config) { c.Timeouts.FirstByte = 100 * time.Millisecond })
	got, err := readRange(t, c, "", 0, 0)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.Equal(t, "GET GET", s.ops())
	require.Equal(t, 1, told(t, c, "stalls_total"))
	require.Equal(t, 1, told(t, c, "retries_total", "GetObject"))
	require.Equal(t, 1, told(t, c, "requests_total", "GetObject", "none"))

	s = serve(t, answers{"GET": hang})
	c = s.store(t, func(c *config.Config) { c.Timeouts.FirstByte = 50 * time.Millisecond })
	_, err = readRange(t, c, "", 0, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "GET GET GET", s.ops())
}

// The context ends a read that waits for a byte, and one that waits to resume.
func TestBodyContext(t *testing.T) {
	data := bytesOf(3000)
	for name, get := range map[string]http.HandlerFunc{
		"stalled": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Length", "3000")
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		},
		"resumed": cut(data, "v1", 0, false),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"GET": get})
			c := s.store(t, func(c *config.Config) { c.Retry.MinBackoff, c.Retry.MaxBackoff = time.Hour, time.Hour })
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			r, err := c.OpenLTXFile(ctx, replica.File{Name: nth(1)}, 0, 0)
			require.NoError(t, err)
			defer r.Close()
			began := time.Now()
			_, err = io.ReadAll(r)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, time.Since(began), 2*time.Second)
			require.LessOrEqual(t, len(s.of("GET")), 2)
		})
	}
}

func TestBodyClose(t *testing.T) {
	s := serve(t, answers{"GET": object(bytesOf(3000), "v1")})
	r, err := s.store(t).OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, 0, 0)
	require.NoError(t, err)
	n, err := r.Read(nil)
	require.Zero(t, n)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, errClosed)
	require.Equal(t, "GET", s.ops())
}

// At the end, Close leaves io.EOF as it is.
func TestBodyEnd(t *testing.T) {
	s := serve(t, answers{"GET": object([]byte("abc"), "v1")})
	r, err := s.store(t).OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, 0, 0)
	require.NoError(t, err)
	var b strings.Builder
	_, err = io.Copy(&b, r)
	require.NoError(t, err)
	require.Equal(t, "abc", b.String())
	require.NoError(t, r.Close())
	_, err = r.Read(make([]byte, 1))
	require.True(t, errors.Is(err, io.EOF))
}
