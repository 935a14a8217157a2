package s3

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// shownObject is the first file as a store shows it, which may change.
type shownObject struct {
	data             []byte
	etag, listedETag string
	at, listedAt     time.Time
	conditions       func(r *http.Request) bool // nil is those that http.ServeContent knows
}

func (o *shownObject) answers() answers {
	get := func(w http.ResponseWriter, r *http.Request) {
		if o.conditions != nil {
			if !o.conditions(r) {
				refuse(412, "PreconditionFailed")(w, r)
				return
			}
			r.Header.Del("If-Match")
			r.Header.Del("If-Unmodified-Since")
		}
		if o.etag != "" {
			w.Header().Set("ETag", o.etag)
		}
		http.ServeContent(w, r, "", o.at, strings.NewReader(string(o.data)))
	}
	return answers{"GET": get, "HEAD": get, "LIST": func(w http.ResponseWriter, r *http.Request) {
		say(200, page("", fmt.Sprintf("<Contents><Key>%s</Key><Size>%d</Size><LastModified>%s</LastModified><ETag>%s</ETag></Contents>",
			fileKey(1), len(o.data), o.listedAt.Format(time.RFC3339), html.EscapeString(o.listedETag))))(w, r)
	}}
}

// read lists the first file, and reads all of what is listed.
func (o *shownObject) read(t *testing.T, c *Store) []byte {
	t.Helper()
	files, err := list(within(t, 10*time.Second), c, replica.ListOptions{})
	require.NoError(t, err)
	require.Len(t, files, 1)
	data, err := readFile(t, c, files[0])
	require.NoError(t, err)
	return data
}

func readFile(t *testing.T, c *Store, f replica.File) ([]byte, error) {
	t.Helper()
	r, err := c.OpenLTXFile(within(t, 10*time.Second), f, 0, f.Size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// What answers show in other words is confirmed once, and is then known.
func TestVersionInOtherWords(t *testing.T) {
	late := modified.Add(5*time.Hour + 30*time.Minute)
	for name, tt := range map[string]struct {
		object shownObject
		first  string // the requests of the first read, after the listing
		second string // and of the second
		lacks  []string
	}{
		"as it is listed":      {shownObject{etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified}, "GET", "GET", nil},
		"another zone":         {shownObject{etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: late}, "GET LIST GET", "GET", []string{"the same words for versions in all answers"}},
		"rounded":              {shownObject{etag: `"v"`, listedETag: `"v"`, at: modified.Add(time.Second), listedAt: modified}, "GET LIST GET", "GET", []string{"the same words for versions in all answers"}},
		"seven seconds more":   {shownObject{etag: `"v"`, listedETag: `"v"`, at: modified.Add(7 * time.Second), listedAt: modified}, "GET LIST GET", "GET", []string{"the same words for versions in all answers"}},
		"cut to the day":       {shownObject{etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified.Truncate(24 * time.Hour)}, "GET LIST GET", "GET", []string{"the same words for versions in all answers"}},
		"capitals":             {shownObject{etag: `"V"`, listedETag: `"v"`, at: modified, listedAt: modified}, "GET GET LIST GET", "GET", nil},
		"no ETag":              {shownObject{at: modified, listedAt: modified}, "GET LIST GET", "GET", []string{"ETags in all answers"}},
		"listed without":       {shownObject{etag: `"v"`, at: modified, listedAt: modified}, "GET LIST GET", "GET", []string{"ETags in all answers"}},
		"If-Match refused":     {shownObject{etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified, conditions: unless("If-Match")}, "GET GET", "GET GET", []string{"If-Match"}},
		"no ETag, and refused": {shownObject{at: modified, listedAt: modified, conditions: unless("If-Unmodified-Since")}, "GET GET LIST GET", "GET GET", []string{"ETags in all answers", "If-Unmodified-Since"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := &tt.object
			o.data = bytesOf(1000)
			s := serve(t, o.answers())
			c := s.store(t)
			require.Equal(t, o.data, o.read(t, c))
			require.Equal(t, "LIST "+tt.first, s.ops())
			require.Equal(t, o.data, o.read(t, c))
			require.Equal(t, "LIST "+tt.first+" LIST "+tt.second, s.ops())
			require.Equal(t, tt.lacks, c.Properties().Lacks)

			// Written again within a second, with another size.
			before, err := list(t.Context(), c, replica.ListOptions{})
			require.NoError(t, err)
			o.data = bytesOf(999)
			_, err = readFile(t, c, before[0])
			require.ErrorIs(t, err, replica.ErrReplaced)
		})
	}
}

func unless(header string) func(r *http.Request) bool {
	return func(r *http.Request) bool { return r.Header.Get(header) == "" }
}

// A file that is written again with the same ETag and size is another, unless the bytes
// at its ends are known to be the same. If they are known to be others, ETags are no use.
func TestVersionWrittenAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		readBefore int // bytes, from the beginning
		change     func(data []byte)
		is         error
		lacks      []string
	}{
		"the same":                 {1000, func([]byte) {}, nil, nil},
		"another header":           {1000, func(d []byte) { d[50]++ }, replica.ErrReplaced, []string{"ETags that tell contents apart"}},
		"another trailer":          {1000, func(d []byte) { d[999]++ }, replica.ErrReplaced, []string{"ETags that tell contents apart"}},
		"nothing was read":         {0, func([]byte) {}, replica.ErrReplaced, nil},
		"the beginning, the same":  {200, func([]byte) {}, replica.ErrReplaced, nil},
		"the beginning, another":   {200, func(d []byte) { d[0]++ }, replica.ErrReplaced, []string{"ETags that tell contents apart"}},
		"the beginning, the other": {200, func(d []byte) { d[999]++ }, replica.ErrReplaced, nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified}
			c := serve(t, o.answers()).store(t)
			files, err := list(t.Context(), c, replica.ListOptions{})
			require.NoError(t, err)
			f := files[0]
			if tt.readBefore > 0 {
				r, err := c.OpenLTXFile(t.Context(), f, 0, int64(tt.readBefore))
				require.NoError(t, err)
				_, err = io.ReadAll(r)
				require.NoError(t, err)
				require.NoError(t, r.Close())
			}
			tt.change(o.data)
			o.at, o.listedAt = modified.Add(100*time.Second), modified.Add(100*time.Second)
			got, err := readFile(t, c, f)
			require.Equal(t, tt.lacks, c.Properties().Lacks)
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
				require.Equal(t, o.data, o.read(t, c), "opened anew")
				return
			}
			require.NoError(t, err)
			require.Equal(t, o.data, got)
		})
	}
}

// A file that is written again and again with the same content doesn't make its times
// count for nothing: the listing moves with them.
func TestVersionWrittenAgainAndAgain(t *testing.T) {
	o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified}
	c := serve(t, o.answers()).store(t)
	files, err := list(t.Context(), c, replica.ListOptions{})
	require.NoError(t, err)
	for range 3 {
		got, err := readFile(t, c, files[0])
		require.NoError(t, err)
		require.Equal(t, o.data, got)
		o.at = o.at.Add(100 * time.Second)
		o.listedAt = o.at
	}
	o.data = bytes.Repeat([]byte{'x'}, 1000)
	_, err = readFile(t, c, files[0])
	require.ErrorIs(t, err, replica.ErrReplaced)
	require.Equal(t, []string{"ETags that tell contents apart"}, c.Properties().Lacks)
}

// A HEAD that rounds a time which a GET and listings cut tells of the same file.
func TestVersionRoundedByHead(t *testing.T) {
	o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified}
	a := o.answers()
	a["HEAD"] = objectFrom(modified.Add(time.Second), o.data, "v")
	c := serve(t, a).store(t)
	told, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.NoError(t, err)
	require.Equal(t, modified.Add(time.Second), told.ModTime)
	got, err := readFile(t, c, told)
	require.NoError(t, err)
	require.Equal(t, o.data, got)
	require.Equal(t, o.data, o.read(t, c))
	again, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{Known: told.Version})
	require.NoError(t, err)
	require.Equal(t, told, again)
}

// Two sizes with one ETag show that it isn't of the content.
func TestVersionsOfOneETag(t *testing.T) {
	one := func(n int) string {
		return strings.Replace(entry(fileKey(n), int64(n)), fmt.Sprintf("v%d", n), "all", 1)
	}
	s := serve(t, answers{"LIST": say(200, page("", one(1), one(2)))})
	c, log := s.logging(t)
	for range 2 {
		files, err := list(t.Context(), c, replica.ListOptions{})
		require.NoError(t, err)
		require.Empty(t, files[1].Version.ETag)
	}
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	require.Contains(t, log.String(), c.cfg.String())
}

// What a HEAD has told of a file stays, though listings live in another zone: one more
// HEAD shows that the words are for one version. One that was written since is another.
func TestVersionToldByHead(t *testing.T) {
	late := modified.Add(-3 * time.Hour)
	o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: late}
	s := serve(t, o.answers())
	c := s.store(t)
	told, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.NoError(t, err)
	for range 2 {
		files, err := list(t.Context(), c, replica.ListOptions{})
		require.NoError(t, err)
		require.Equal(t, []replica.File{told}, files)
	}
	require.Equal(t, "HEAD LIST HEAD LIST", s.ops())
	data, err := readFile(t, c, told)
	require.NoError(t, err)
	require.Equal(t, o.data, data)

	o.at, o.listedAt = modified.Add(time.Minute), late.Add(time.Minute)
	files, err := list(t.Context(), c, replica.ListOptions{})
	require.NoError(t, err)
	require.Equal(t, o.listedAt, files[0].ModTime)
	require.NotEqual(t, told.Version, files[0].Version)
}

// Where answers show ever other times, the ETag alone tells, once that is known: in the first
// read, also of a store that refuses conditions.
func TestVersionUnsteadyTimes(t *testing.T) {
	for name, refuses := range map[string]bool{"takes conditions": false, "refuses conditions": true} {
		t.Run(name, func(t *testing.T) {
			o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified}
			a := o.answers()
			get := a["GET"]
			a["GET"] = func(w http.ResponseWriter, r *http.Request) {
				if refuses && (r.Header.Get("If-Match") != "" || r.Header.Get("If-Unmodified-Since") != "") {
					w.WriteHeader(http.StatusPreconditionFailed)
					return
				}
				o.at = o.at.Add(7 * time.Second)
				get(w, r)
			}
			s := serve(t, a)
			c := s.store(t)
			require.Equal(t, o.data, o.read(t, c))
			require.Contains(t, c.Properties().Lacks, "steady times of modification")
			n := len(s.of("LIST"))
			require.Equal(t, o.data, o.read(t, c))
			require.Len(t, s.of("LIST"), n+1, "the one that is read from")

			files, err := list(t.Context(), c, replica.ListOptions{})
			require.NoError(t, err)
			o.etag = `"w"`
			_, err = readFile(t, c, files[0])
			require.ErrorIs(t, err, replica.ErrReplaced)
		})
	}
}

// A HEAD that says of every file that it is empty is not believed.
func TestVersionEmptyByHead(t *testing.T) {
	o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified}
	a := o.answers()
	a["HEAD"] = object(nil, "v")
	f, err := serve(t, a).store(t).StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(1000), f.Size)
}

// Another version with the same ETag shows that ETags tell nothing, though no answer to a
// GET has a time.
func TestVersionsOfOneETagWithoutTimes(t *testing.T) {
	o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, listedAt: modified}
	c := serve(t, o.answers()).store(t)
	require.Equal(t, o.data, o.read(t, c))
	o.data, o.listedAt = bytes.Repeat([]byte{'x'}, 1000), modified.Add(time.Minute)
	o.read(t, c)
	require.Equal(t, []string{"ETags that tell contents apart"}, c.Properties().Lacks)
	files, err := list(t.Context(), c, replica.ListOptions{})
	require.NoError(t, err)
	_, err = readFile(t, c, files[0])
	require.ErrorContains(t, err, "neither an ETag nor a time of modification")
}

// Where HEADs and GETs round up, a version may have the words with which an older one was
// listed: that one is another.
func TestVersionInWordsOfAnOlder(t *testing.T) {
	for _, etag := range []string{"", `"all"`} {
		o := &shownObject{data: bytesOf(1000), etag: etag, listedETag: etag, at: modified.Add(time.Second), listedAt: modified}
		c := serve(t, o.answers()).store(t)
		require.Equal(t, o.data, o.read(t, c))
		files, err := list(t.Context(), c, replica.ListOptions{})
		require.NoError(t, err)

		o.data = bytes.Repeat([]byte{'x'}, 1000)
		o.at, o.listedAt = modified, modified.Add(-time.Second)
		f, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{Known: files[0].Version})
		require.NoError(t, err)
		require.NotEqual(t, files[0].Version, f.Version)
		got, err := readFile(t, c, f)
		require.NoError(t, err)
		require.Equal(t, o.data, got)
	}
}

// A store that shows the version before and the one after in turn, and lists the one before
// for longer than it should, isn't one whose times tell nothing: it has two to show.
func TestVersionsInTurn(t *testing.T) {
	o := &shownObject{data: bytesOf(1000), etag: `"v"`, listedETag: `"v"`, at: modified, listedAt: modified}
	c := serve(t, o.answers()).store(t)
	files, err := list(t.Context(), c, replica.ListOptions{})
	require.NoError(t, err)
	middle := func() error {
		r, err := c.OpenLTXFile(t.Context(), files[0], 300, 100)
		if err == nil {
			require.NoError(t, r.Close())
		}
		return err
	}
	require.NoError(t, middle())
	o.at = modified.Add(7 * time.Second)
	for range 2 {
		require.ErrorIs(t, middle(), replica.ErrReplaced)
	}
	require.NotContains(t, c.Properties().Lacks, "steady times of modification")
}
