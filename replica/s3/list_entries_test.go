package s3

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// entryOf is an object of a page whose elements are as they are given.
func entryOf(n int, elements string) string {
	return "<Contents><Key>" + fileKey(n) + "</Key>" + elements + "</Contents>"
}

// A listing's times are understood in many forms, and are the same version as ever.
func TestListTimes(t *testing.T) {
	for _, text := range []string{"2026-05-04T03:02:01.987Z", "2026-05-04T05:02:01+02:00", "2026-05-04T05:02:01+0200", "2026-05-04T03:02:01",
		"Mon, 04 May 2026 03:02:01 GMT", "1777863721", "1777863721987"} {
		s := serve(t, answers{"LIST": say(200, page("", entryOf(1, "<Size>1</Size><ETag>x</ETag><LastModified>"+text+"</LastModified>")))})
		files, err := list(t.Context(), s.store(t), replica.ListOptions{})
		require.NoError(t, err, text)
		require.Equal(t, []replica.File{{Name: nth(1), Size: 1, ModTime: modified, Version: replica.Version{ETag: `"x"`, Modified: modified.Unix(), Size: 1}}}, files, text)
		require.Equal(t, "LIST", s.ops())
	}
}

// What a listing doesn't tell of a file, a HEAD does, and the other files cost none.
func TestListIncomplete(t *testing.T) {
	const size, etag = "<Size>1</Size>", "<ETag>x</ETag>"
	asked := replica.File{Name: nth(2), Size: 7, ModTime: modified, Version: replica.Version{ETag: `"new"`, Modified: modified.Unix(), Size: 7}}
	for name, elements := range map[string]string{
		"no time": size + etag, "an empty time": size + etag + "<LastModified/>", "no such time": size + etag + "<LastModified>yesterday</LastModified>",
		"Go's zero time": size + etag + "<LastModified>0001-01-01T00:00:00Z</LastModified>", "neither time nor ETag": size,
		"no size": etag + "<LastModified>2026-05-04T03:02:01Z</LastModified>", "a negative size": etag + "<Size>-1</Size><LastModified>2026-05-04T03:02:01Z</LastModified>",
		"nothing": "", "a size that is none": "<Size>large</Size>",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"LIST": say(200, page("", entry(fileKey(1), 1), entryOf(2, elements), entry(fileKey(3), 3))), "HEAD": object(bytesOf(7), "new")})
			c, log := s.logging(t)
			for range 2 {
				files, err := list(t.Context(), c, replica.ListOptions{})
				require.NoError(t, err)
				require.Len(t, files, 3)
				require.Equal(t, asked, files[1])
			}
			require.Equal(t, "LIST HEAD LIST HEAD", s.ops())
			require.Equal(t, 1, strings.Count(log.String(), "such files are asked for one by one"), log.String())
			require.Contains(t, log.String(), fileName(2))

			// The version that is listed is the one that is read, and the one of a stat.
			f, err := c.StatLTXFile(t.Context(), nth(2), replica.StatOptions{})
			require.NoError(t, err)
			require.Equal(t, asked, f)
			s.answers["GET"] = object(bytesOf(7), "new")
			r, err := c.OpenLTXFile(t.Context(), asked, 0, 0)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.NoError(t, r.Close())
			require.Equal(t, bytesOf(7), got)
		})
	}
	strange := say(200, page("", "<Contents><Key>"+testLevel0+"readme</Key></Contents>", entry(fileKey(1), 1)))
	s := serve(t, answers{"LIST": strange})
	require.Equal(t, []int{1}, listed(t, s.store(t), 0))
	require.Equal(t, "LIST", s.ops(), "a stranger matters to nobody")
}

// A time that no answer has is the one in the file's header.
func TestListTimeInHeader(t *testing.T) {
	data := storetest.LTX(t, 1, 1)
	want, ok := ltxfile.HeaderTime(data)
	require.True(t, ok)
	untimed := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
	s := serve(t, answers{"HEAD": untimed, "GET": untimed, "LIST": say(200, page("", entryOf(1, fmt.Sprintf("<Size>%d</Size><ETag>x</ETag>", len(data)))))})
	files, err := list(t.Context(), s.store(t), replica.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, []replica.File{{Name: nth(1), Size: int64(len(data)), ModTime: want, Version: replica.Version{ETag: `"x"`, Size: int64(len(data))}}}, files)
}

// A file that can't be told of is an error that names it; one that has vanished is none.
func TestListIncompleteErrors(t *testing.T) {
	incomplete := say(200, page("", entry(fileKey(1), 1), entryOf(2, "<Size>1</Size>")))
	for name, tt := range map[string]struct {
		head http.HandlerFunc
		text string
	}{
		"neither ETag nor time": {say(200, "1"), "nothing tells its versions apart"},
		"refused":               {refuse(403, "AccessDenied"), "access denied"},
		"another code":          {refuse(503, ""), "HTTP status 503"},
	} {
		s := serve(t, answers{"LIST": incomplete, "HEAD": tt.head})
		err := listError(t, s.store(t), false)
		require.ErrorContains(t, err, "list level 0: stat level 0 "+fileName(2), name)
		require.ErrorContains(t, err, tt.text)
	}
	s := serve(t, answers{"LIST": incomplete, "HEAD": refuse(404, "")})
	require.Equal(t, []int{1}, listed(t, s.store(t), 0))
}

// What isn't a whole listing is an error that says what came, and no empty replica.
func TestListOtherAnswers(t *testing.T) {
	whole := pageOf("", 1, 2)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, whole)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for name, tt := range map[string]struct {
		answer   http.HandlerFunc
		text     string
		requests int
	}{
		"cut":                {cut([]byte(whole), "x", 300, false), "unexpected EOF", 3},
		"cut, and reset":     {cut([]byte(whole), "x", 300, true), "connection reset by peer", 3},
		"cut before it came": {say(200, whole[:300]), "the listing breaks off after 300 bytes", 3},
		"twice":              {say(200, whole+whole), "goes on after the end of the listing", 1},
		"compressed":         {say(200, packed.String(), "Content-Encoding", "gzip"), `Content-Encoding "gzip"`, 1},
		"JSON":               {say(200, "[]", "Content-Type", "application/json"), `it begins with "[]", Content-Type "application/json"`, 1},
		"nothing":            {say(200, ""), "the answer is not a listing", 1},
		"a permanent error":  {say(200, "<Error><Code>AccessDenied</Code><Message>It is so.</Message></Error>"), "It is so. (AccessDenied, HTTP status 200)", 1},
		"a passing error":    {say(200, "<Error><Code>SlowDown</Code><Message>It is so.</Message></Error>"), "It is so. (SlowDown, HTTP status 200)", 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"LIST": tt.answer})
			require.ErrorContains(t, listError(t, s.store(t), false), tt.text)
			require.Len(t, s.of("LIST"), tt.requests)
			c, _ := s.unready(t)
			require.ErrorContains(t, c.Init(t.Context()), tt.text)
		})
	}
	s := serve(t, answers{"LIST": inTurn(say(200, whole[:300]), say(200, whole))})
	require.Equal(t, []int{1, 2}, listed(t, s.store(t), 0))
}

// A probe takes a listing in any form, of the bucket that it asks for.
func TestProbe(t *testing.T) {
	for answer, text := range map[string]string{
		page("", entryOf(1, "<LastModified>yesterday</LastModified>"), entry(testLevel0+"\b", 1)): "",
		strings.Replace(pageOf("", 1), "<Name>bucket", "<Name>other", 1):                          `about the bucket "other"`,
		strings.Replace(pageOf("", 1), "<Name>bucket</Name>", "", 1):                              `about the bucket ""`,
		"<html>hello</html>": "the answer is not a listing",
		"<Error><Code>SignatureDoesNotMatch</Code><Message>It is so.</Message></Error>": "SignatureDoesNotMatch, HTTP status 200",
	} {
		err := serve(t, answers{"LIST": say(200, answer)}).store(t).Probe(t.Context())
		if text == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, text)
		}
	}
}
