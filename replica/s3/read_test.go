package s3

import (
	"context"
	"fmt"
	"html"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// versioned is the first file, of the version with an ETag, if one is given.
func versioned(etag string) replica.File {
	f := replica.File{Name: nth(1)}
	if etag != "" {
		f.Version = replica.Version{ETag: `"` + etag + `"`, Size: anySize}
	}
	return f
}

// readRange opens a range of the first file, and reads it to its end.
func readRange(t *testing.T, s *Store, etag string, offset, size int64) ([]byte, error) {
	t.Helper()
	r, err := s.OpenLTXFile(within(t, 20*time.Second), versioned(etag), offset, size)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	require.NoError(t, r.Close())
	return data, err
}

// A healthy read is one GET, of exactly the range.
func TestReadRange(t *testing.T) {
	data := bytesOf(1000)
	for _, tt := range []struct {
		name         string
		version      string
		offset, size int64
		header       string
		want         []byte
	}{
		{"all", "", 0, 0, "", data},
		{"from an offset on", "", 10, 0, "bytes=10-", data[10:]},
		{"a range", "", 10, 20, "bytes=10-29", data[10:30]},
		{"the beginning", "", 0, 1, "bytes=0-0", data[:1]},
		{"the last byte", "", 999, 1, "bytes=999-999", data[999:]},
		{"past the end", "", 990, 100, "bytes=990-1089", data[990:]},
		{"more than there is", "", 0, 5000, "bytes=0-4999", data},
		{"an end that no number names", "", 10, math.MaxInt64, "bytes=10-", data[10:]},
		{"the largest end", "", 10, math.MaxInt64 - 10, fmt.Sprintf("bytes=10-%d", int64(math.MaxInt64-1)), data[10:]},
		{"all of a version", "v1", 0, 0, "", data},
		{"a range of a version", "v1", 10, 20, "bytes=10-29", data[10:30]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"GET": object(data, "v1")})
			got, err := readRange(t, s.store(t), tt.version, tt.offset, tt.size)
			require.NoError(t, err)
			require.Equal(t, tt.want, got)
			require.Equal(t, "GET", s.ops())
			get := s.seen()[0]
			require.Equal(t, fileKey(1), get.key)
			require.Equal(t, tt.header, get.get("Range"))
			require.Equal(t, "HTTP/1.1", get.proto)
			match := ""
			if tt.version != "" {
				match = `"v1"`
			}
			require.Equal(t, match, get.get("If-Match"))
		})
	}
}

func TestReadHeaders(t *testing.T) {
	s := serve(t, answers{"GET": object(bytesOf(1), "v1"), "HEAD": object(bytesOf(1), "v1")})
	c := s.store(t, func(c *config.Config) { c.RequesterPays, c.SSECustomerKey = true, testSSEKey })
	_, err := readRange(t, c, "", 0, 0)
	require.NoError(t, err)
	_, err = c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.NoError(t, err)
	require.Equal(t, "GET HEAD", s.ops())
	for _, r := range s.seen() {
		require.Equal(t, "requester", r.get("X-Amz-Request-Payer"))
		require.Equal(t, "AES256", r.get("X-Amz-Server-Side-Encryption-Customer-Algorithm"))
		require.Equal(t, testSSEKey, r.get("X-Amz-Server-Side-Encryption-Customer-Key"))
		require.NotEmpty(t, r.get("X-Amz-Server-Side-Encryption-Customer-Key-Md5"))
		require.Contains(t, r.get("Authorization"), "Credential="+testKeyID+"/")
		require.Equal(t, testToken, r.get("X-Amz-Security-Token"))
	}
}

func TestReadBadArguments(t *testing.T) {
	s := serve(t, nil)
	c := s.store(t)
	for _, open := range []func() (io.ReadCloser, error){
		func() (io.ReadCloser, error) { return c.OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, -1, 0) },
		func() (io.ReadCloser, error) { return c.OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, 0, -1) },
		func() (io.ReadCloser, error) {
			return c.OpenLTXFile(t.Context(), replica.File{Name: replica.Name{Level: 10, MinTXID: 1, MaxTXID: 1}}, 0, 0)
		},
		func() (io.ReadCloser, error) {
			return c.OpenLTXFile(t.Context(), replica.File{Name: replica.Name{Level: 0, MinTXID: 2, MaxTXID: 1}}, 0, 0)
		},
	} {
		_, err := open()
		require.ErrorIs(t, err, os.ErrInvalid)
	}
	require.Empty(t, s.ops())
}

// What a store gives that wasn't asked for must be an error, not a wrong byte.
func TestReadMistrust(t *testing.T) {
	data := bytesOf(1000)
	part := func(contentRange string, n int, etag string) http.HandlerFunc {
		return say(http.StatusPartialContent, string(data[:n]), "Content-Range", contentRange, "ETag", `"`+etag+`"`)
	}
	for _, tt := range []struct {
		name         string
		version      string
		offset, size int64
		answer       http.HandlerFunc
		is           error
		text         string
	}{
		{"ranges ignored", "", 10, 20, say(200, string(data), "ETag", `"v1"`), nil, "doesn't give ranges"},
		{"another beginning", "", 10, 20, part("bytes 11-30/1000", 20, "v1"), nil, `the range "bytes 11-30/1000" in 20 bytes for "bytes=10-29"`},
		{"another end", "", 10, 20, part("bytes 10-30/1000", 21, "v1"), nil, "gives the range"},
		{"too short", "", 10, 20, part("bytes 10-28/1000", 19, "v1"), nil, "gives the range"},
		{"another length than it says", "", 10, 20, part("bytes 10-29/1000", 19, "v1"), nil, "gives the range"},
		{"not to the end", "", 10, 0, part("bytes 10-29/1000", 20, "v1"), nil, "gives the range"},
		{"no size", "", 10, 20, part("bytes 10-29/*", 20, "v1"), nil, "doesn't say how large the object is"},
		{"nonsense", "", 10, 20, part("hello", 20, "v1"), nil, "not a range"},
		{"part of what was wanted whole", "", 0, 0, part("bytes 0-19/1000", 20, "v1"), nil, "gives the range"},
		{"another version", "v1", 10, 20, part("bytes 10-29/1000", 20, "v2"), replica.ErrReplaced, ""},
		{"no version", "v1", 0, 0, say(200, string(data)), nil, "neither an ETag nor a time"},
		{"412", "v1", 10, 20, object(data, "v2"), replica.ErrReplaced, ""},
		{"no length", "", 0, 0, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}, nil, "doesn't say how long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"GET": tt.answer})
			got, err := readRange(t, s.store(t), tt.version, tt.offset, tt.size)
			require.Error(t, err)
			require.Empty(t, got)
			require.ErrorContains(t, err, tt.text)
			require.ErrorContains(t, err, "open level 0 "+fileName(1))
			require.NotErrorIs(t, err, os.ErrNotExist)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			} else {
				require.NotErrorIs(t, err, replica.ErrReplaced)
			}
			require.Equal(t, map[bool]string{false: "GET", true: "GET GET"}[tt.name == "412"], s.ops())
		})
	}
}

// A store that ignores the range of a beginning gives more, of which nothing is read.
func TestReadBeginningOfWhole(t *testing.T) {
	data := bytesOf(1000)
	s := serve(t, answers{"GET": say(200, string(data), "ETag", `"v1"`)})
	got, err := readRange(t, s.store(t), "v1", 0, 20)
	require.NoError(t, err)
	require.Equal(t, data[:20], got)
	require.Equal(t, "GET", s.ops())
}

// A range outside of the object is empty if the object is as short as that.
func TestReadPastEnd(t *testing.T) {
	outside := refuse(http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
	for _, tt := range []struct {
		name         string
		version      string
		offset, size int64
		length       int
		head         http.HandlerFunc
		is           error
		text         string
	}{
		{name: "an empty object", size: 10, head: object(nil, "v1")},
		{name: "at the end", offset: 100, size: 10, head: object(bytesOf(100), "v1")},
		{name: "after the end", offset: 200, head: object(bytesOf(100), "v1")},
		{name: "of that version", version: "v1", offset: 100, head: object(bytesOf(100), "v1")},
		{name: "of another", version: "v1", offset: 100, head: object(bytesOf(100), "v2"), is: replica.ErrReplaced},
		{name: "a lie", offset: 99, size: 1, head: object(bytesOf(100), "v1"), text: "refuses a range from 99 on of an object of 100 bytes"},
		{name: "gone since", offset: 99, head: refuse(404, ""), is: os.ErrNotExist},
		{name: "forbidden", offset: 99, head: refuse(403, ""), is: os.ErrPermission},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"GET": outside, "HEAD": tt.head})
			got, err := readRange(t, s.store(t), tt.version, tt.offset, tt.size)
			require.Empty(t, got)
			require.Equal(t, map[bool]string{false: "GET HEAD", true: "GET HEAD GET HEAD"}[tt.name == "a lie"], s.ops())
			switch {
			case tt.is != nil:
				require.ErrorIs(t, err, tt.is)
			case tt.text != "":
				require.ErrorContains(t, err, tt.text)
			default:
				require.NoError(t, err)
			}
		})
	}
}

// Connections are kept: many reads in a row need one.
func TestReadReusesConnection(t *testing.T) {
	s := serve(t, answers{"GET": object(bytesOf(100_000), "v1"), "HEAD": object(bytesOf(100_000), "v1")})
	c := s.store(t)
	for range 20 {
		_, err := readRange(t, c, "v1", 10, 70_000)
		require.NoError(t, err)
		_, err = c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
		require.NoError(t, err)
	}
	require.Equal(t, 40, len(s.seen()))
	require.Equal(t, 1, s.connections())
	require.Equal(t, 1, c.Connections())
}

func TestReadContext(t *testing.T) {
	data := bytesOf(1000)
	s := serve(t, answers{"GET": object(data, "v1")})
	c := s.store(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := c.OpenLTXFile(ctx, replica.File{Name: nth(1)}, 0, 0)
	require.NoError(t, err)
	n, err := r.Read(make([]byte, 10))
	require.NoError(t, err)
	require.Positive(t, n)
	cancel()
	_, err = io.ReadAll(r)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "read level 0 "+fileName(1))
	require.NoError(t, r.Close())
	_, err = c.OpenLTXFile(ctx, replica.File{Name: nth(1)}, 0, 0)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "GET", s.ops())
}

// An object that has the ETag of the version, and another size, is another, and no ETag
// of that store tells versions apart any more.
func TestReadAnotherSize(t *testing.T) {
	data := bytesOf(1000)
	s := serve(t, answers{"GET": object(data, "v1")})
	c := s.store(t)
	_, err := c.OpenLTXFile(t.Context(), versionAt(1001, modified), 10, 20)
	require.ErrorIs(t, err, replica.ErrReplaced)
	require.ErrorContains(t, err, "of 1000 bytes")
	r, err := c.OpenLTXFile(t.Context(), versionAt(1000, modified), 10, 20)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	calls := s.of("GET")
	require.Equal(t, `"v1"`, calls[0].get("If-Match"))
}

// versionAt is a file of the ETag "v1".
func versionAt(size int64, modified time.Time) replica.File {
	return replica.File{Name: nth(1), Size: size, Version: replica.Version{ETag: `"v1"`, Modified: modified.Unix(), Size: size}}
}

// A store without ETags has versions by size and time, of what each answer tells.
func TestReadVersionWithoutETag(t *testing.T) {
	data := bytesOf(1000)
	answer := func(size int, at time.Time) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", at, strings.NewReader(string(data[:size])))
		}
	}
	at := func(size int64, modified time.Time) replica.Version {
		return replica.Version{Modified: modified.Unix(), Size: size}
	}
	for _, tt := range []struct {
		name    string
		version replica.Version
		offset  int64
		get     http.HandlerFunc
		is      error
	}{
		{"the same", at(1000, modified), 0, answer(1000, modified), nil},
		{"a range of it", at(1000, modified), 10, answer(1000, modified), nil},
		{"at its end", at(1000, modified), 1000, answer(1000, modified), nil},
		{"another size", at(999, modified), 0, answer(1000, modified), replica.ErrReplaced},
		{"another size of a range", at(999, modified), 10, answer(1000, modified), replica.ErrReplaced},
		{"another size, past its end", at(1000, modified), 1000, answer(900, modified), replica.ErrReplaced},
		{"another time", at(1000, modified), 0, answer(1000, modified.Add(time.Second)), replica.ErrReplaced},
		{"another time of a range", at(1000, modified), 10, answer(1000, modified.Add(-time.Second)), replica.ErrReplaced},
	} {
		t.Run(tt.name, func(t *testing.T) {
			shown := time.Unix(tt.version.Modified, 0).UTC()
			if tt.is != nil {
				shown = modified.Add(time.Hour) // by another writer, since
			}
			list := fmt.Sprintf("<Contents><Key>%s</Key><Size>1000</Size><LastModified>%s</LastModified></Contents>", fileKey(1), shown.Format(time.RFC3339))
			s := serve(t, answers{"GET": tt.get, "HEAD": tt.get, "LIST": say(200, page("", list))})
			c := s.store(t)
			r, err := c.OpenLTXFile(t.Context(), replica.File{Name: nth(1), Version: tt.version}, tt.offset, 0)
			require.Empty(t, s.of("GET")[0].get("If-Match"))
			require.Equal(t, modified.UTC().Format(http.TimeFormat), s.of("GET")[0].get("If-Unmodified-Since"))
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
				return
			}
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.Equal(t, data[tt.offset:], got)

			// What it tells itself, it gives back.
			f, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
			require.NoError(t, err)
			require.Equal(t, tt.version, f.Version)
		})
	}
}

// A store that knows no conditions is asked without, once it has said so twice, and what
// it answers is compared.
func TestReadConditionsUnknown(t *testing.T) {
	data := bytesOf(1000)
	for _, tt := range []struct {
		name, header string
		refusal      http.HandlerFunc
	}{
		{`"v1"`, "If-Match", refuse(501, "NotImplemented")},
		{`"v1"`, "If-Match", refuse(400, "InvalidArgument")},
		{`"v1"`, "If-Match", refuse(405, "MethodNotAllowed")},
		{`"v1"`, "If-Match", refuse(409, "Conflict")},
		{`"v1"`, "If-Match", say(304, "")},
		{"", "If-Unmodified-Since", refuse(501, "NotImplemented")},
	} {
		name, header := tt.name, tt.header
		list := fmt.Sprintf("<Contents><Key>%s</Key><Size>1000</Size><LastModified>%s</LastModified><ETag>%s</ETag></Contents>",
			fileKey(1), modified.Format(time.RFC3339), html.EscapeString(name))
		s := serve(t, answers{"GET": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(header) != "" {
				tt.refusal(w, r)
				return
			}
			w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
			say(200, string(data), "ETag", name)(w, r)
		}, "LIST": say(200, page("", list))})
		c := s.store(t)
		f := replica.File{Name: nth(1), Version: replica.Version{ETag: name, Modified: modified.Unix(), Size: 1000}}
		for range 3 {
			r, err := c.OpenLTXFile(t.Context(), f, 0, 0)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, data, got)
			require.NoError(t, r.Close())
		}
		want := map[string][]string{`"v1"`: {"If-Match"}, "": {"ETags in all answers", "If-Unmodified-Since"}}[name]
		require.Equal(t, want, c.Properties().Lacks)
		require.Len(t, s.of("GET"), map[string]int{`"v1"`: 5, "": 6}[name], "without ETags, a listing confirms the first answer")
		f.Version.Size++
		_, err := c.OpenLTXFile(t.Context(), f, 0, 0)
		require.ErrorIs(t, err, replica.ErrReplaced)
	}
}
