package s3

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// bucketOf lists keys by prefix and delimiter, 1,000 names at a time.
func bucketOf(keys ...string) http.HandlerFunc {
	slices.Sort(keys)
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		prefix := q.Get("prefix")
		var names, items []string
		for _, key := range keys {
			rest, ok := strings.CutPrefix(key, prefix)
			if !ok {
				continue
			}
			name, item := key, entry(key, 1)
			if i := strings.Index(rest, q.Get("delimiter")); i >= 0 && q.Has("delimiter") {
				name = prefix + rest[:i+1]
				item = below(name)
			}
			if name > max(q.Get("start-after"), q.Get("continuation-token")) && !slices.Contains(names, name) {
				names, items = append(names, name), append(items, item)
			}
		}
		token := ""
		if len(names) > pageSize {
			items, token = items[:pageSize], names[pageSize-1]
		}
		say(200, page(token, items...))(w, r)
	}
}

// prefixes are what a server was asked to list.
func prefixes(s *server) (all []string) {
	for _, c := range s.of("LIST") {
		all = append(all, c.param("prefix"))
	}
	return all
}

// manyNames are more than fit one page, before and after a replica's.
func manyNames(root string) (keys []string) {
	for n := range 1100 {
		keys = append(keys, fmt.Sprintf("%s+%04d/x", root, n), fmt.Sprintf("%s~%04d/x", root, n))
	}
	return keys
}

// Where a replica is, and which requests it takes to find that out.
func TestLocate(t *testing.T) {
	file := fileName(1)
	for _, tt := range []struct {
		name     string
		path     string
		layout   replica.Layout // given
		keys     []string
		root     string
		found    replica.Layout
		requests []string
	}{
		{name: "empty", path: "db", root: "db/", found: replica.LitestreamS3, requests: []string{"db/"}},
		{name: "empty, and given", path: "db", layout: replica.Guide, root: "db/", found: replica.Guide, requests: []string{"db/"}},
		{name: "Litestream's", path: "db", keys: []string{"db/0000/" + file}, root: "db/", found: replica.LitestreamS3, requests: []string{"db/"}},
		{name: "a snapshot alone", path: "db", keys: []string{"db/0009/" + file}, root: "db/", found: replica.LitestreamS3, requests: []string{"db/"}},
		{name: "of files", path: "db", keys: []string{"db/ltx/0/" + file}, root: "db/", found: replica.LitestreamFile, requests: []string{"db/", "db/ltx/"}},
		{name: "the guide's", path: "db", keys: []string{"db/ltx/0000/" + file}, root: "db/", found: replica.Guide, requests: []string{"db/", "db/ltx/"}},
		{name: "the guide's snapshot", path: "db", keys: []string{"db/snapshots/" + file}, root: "db/", found: replica.Guide, requests: []string{"db/"}},
		{name: "deeper", path: "a/b/c", keys: []string{"a/b/c/0001/" + file}, root: "a/b/c/", found: replica.LitestreamS3, requests: []string{"a/b/c/"}},
		{name: "not another database's", path: "db", keys: []string{"db2/ltx/0/" + file}, root: "db/", found: replica.LitestreamS3, requests: []string{"db/"}},
		{name: "beside other names", path: "db", keys: []string{"db/0000/" + file, "db/notes.txt", "db/old/x", "db/ltx/readme"}, root: "db/", found: replica.LitestreamS3, requests: []string{"db/", "db/ltx/"}},

		{name: "mixed, and given", path: "db", layout: replica.LitestreamFile, keys: []string{"db/0000/" + file, "db/ltx/0/" + file}, root: "db/", found: replica.LitestreamFile, requests: []string{"db/", "db/ltx/"}},
		{name: "mixed, but one is empty", path: "db", keys: []string{"db/0000/readme", "db/ltx/0/" + file}, root: "db/", found: replica.LitestreamFile,
			requests: append([]string{"db/", "db/ltx/", "db/ltx/0/"}, levels("db/", replica.LitestreamS3)...)},

		{name: "a bucket's root", path: "", keys: []string{"0000/" + file}, root: "", found: replica.LitestreamS3, requests: []string{""}},
		{name: "s3://bucket/ of Litestream", path: "", keys: []string{"/0000/" + file}, root: "/", found: replica.LitestreamS3, requests: []string{"", "/"}},
		{name: "s3://bucket of Litestream", path: ".", keys: []string{"./0000/" + file}, root: "./", found: replica.LitestreamS3, requests: []string{"", "./"}},
		{name: "the other way round", path: ".", keys: []string{"/0000/" + file}, root: "/", found: replica.LitestreamS3, requests: []string{"", "/"}},
		{name: "an empty bucket", path: "", root: "/", found: replica.LitestreamS3, requests: []string{"", "/"}},
		{name: "an empty bucket without a slash", path: ".", root: "./", found: replica.LitestreamS3, requests: []string{"", "./"}},

		{name: "among many names", path: "db", keys: append(manyNames("db/"), "db/0000/"+file), root: "db/", found: replica.LitestreamS3,
			requests: []string{"db/", "db/00", "db/ltx", "db/snapshots"}},
		{name: "of files among many names", path: "db", keys: append(manyNames("db/"), "db/ltx/3/"+file), root: "db/", found: replica.LitestreamFile,
			requests: []string{"db/", "db/00", "db/ltx", "db/snapshots", "db/ltx/"}},
		{name: "the guide's snapshot among many names", path: "db", keys: append(manyNames("db/"), "db/snapshots/"+file), root: "db/", found: replica.Guide,
			requests: []string{"db/", "db/00", "db/ltx", "db/snapshots"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"LIST": bucketOf(tt.keys...)})
			c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout, c.RequesterPays = tt.path, tt.layout, true })
			require.NoError(t, c.Init(within(t, 10*time.Second)))
			require.Equal(t, tt.root, c.ready.Load().root)
			require.Equal(t, tt.found, c.Layout())
			require.Equal(t, tt.requests, prefixes(s))
			require.Len(t, s.seen(), len(tt.requests))
			for _, list := range s.seen() {
				require.Equal(t, "requester", list.get("X-Amz-Request-Payer"))
				require.Equal(t, "/", list.param("delimiter"))
			}
		})
	}
}

// levels are the prefixes of all levels.
func levels(root string, layout replica.Layout) (all []string) {
	for _, dir := range layout.LevelDirs() {
		all = append(all, root+dir+"/")
	}
	return all
}

// Two layouts with files are an error that names both.
func TestLocateMixed(t *testing.T) {
	file := fileName(1)
	for _, tt := range []struct {
		path  string
		keys  []string
		names []string
	}{
		{"db", []string{"db/0000/" + file, "db/ltx/0/" + file}, []string{`litestream-file at "db/"`, `litestream-s3 at "db/"`}},
		{"db", []string{"db/0000/" + file, "db/snapshots/" + file}, []string{`guide at "db/"`, `litestream-s3 at "db/"`}},
	} {
		s := serve(t, answers{"LIST": bucketOf(tt.keys...)})
		c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout = tt.path, replica.Layout{} })
		err := c.Init(t.Context())
		require.ErrorIs(t, err, replica.ErrMixedLayouts)
		for _, name := range append(tt.names, "choose one with --layout") {
			require.ErrorContains(t, err, name)
		}
		require.True(t, c.Layout().IsZero())
	}
}

// A URL of a directory in a replica says of which, and one above replicas what is
// below.
func TestLocateElsewhere(t *testing.T) {
	file := fileName(1)
	for path, want := range map[string]string{
		"db/0000": "s3://bucket/db", "db/ltx/0": "s3://bucket/db", "0000": "s3://bucket", "ltx/0000": "s3://bucket", "a/b/snapshots": "s3://bucket/a/b",
	} {
		s := serve(t, answers{"LIST": bucketOf(path + "/" + file)})
		c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout = path, replica.Layout{} })
		err := c.Init(t.Context())
		require.ErrorIs(t, err, ErrInside)
		require.True(t, strings.HasSuffix(err.Error(), "did you mean "+want), err.Error())
		require.Equal(t, "LIST", s.ops())
	}

	s := serve(t, answers{"LIST": bucketOf("dbs/a/0000/"+file, "dbs/b/0000/"+file, "dbs/c/0000/"+file, "dbs/d/0000/"+file)})
	c, log := s.unready(t, func(c *config.Config) { c.Path = "dbs" })
	require.NoError(t, c.Init(t.Context()))
	require.Contains(t, log.String(), "level=WARN")
	require.Contains(t, log.String(), `below="a, b, c"`)
	require.Equal(t, "LIST", s.ops())
}

// What Litestream 0.3 has written is named, also where the URL is that of a directory in
// it, and is in nobody's way beside LTX files.
func TestLocateLitestream03(t *testing.T) {
	const generation = "generations/0123456789abcdef/"
	file := fileName(1)
	keys := func(root string) []string {
		return []string{root + generation + "snapshots/00000000.snapshot.lz4", root + generation + "wal/00000000_00000000.wal.lz4"}
	}
	for path, keys := range map[string][]string{
		"db": keys("db/"), "": keys(""), ".": keys(""), "a/b": append(manyNames("a/b/"), keys("a/b/")...),
		"db/generations": keys("db/"), "db/" + generation: keys("db/"), "db/" + generation + "wal": keys("db/"), "generations": keys(""),
	} {
		s := serve(t, answers{"LIST": bucketOf(keys...)})
		c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout = path, replica.Layout{} })
		require.ErrorIs(t, c.Init(t.Context()), replica.ErrLitestream03, path)
	}
	for path, keys := range map[string][]string{
		"db":                append(keys("db/"), "db/0000/"+file),
		"db/generations":    {"db/generations/other/x"},
		"generations":       {"generations/0000/" + file},
		"x/" + generation:   {"x/" + generation + "0000/" + file},
		"not/a/generations": nil,
	} {
		s := serve(t, answers{"LIST": bucketOf(keys...)})
		c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout = path, replica.Layout{} })
		require.NoError(t, c.Init(t.Context()), path)
	}
}

func TestLocateErrors(t *testing.T) {
	file := fileName(1)
	failAt := func(prefix string, then http.HandlerFunc, keys ...string) http.HandlerFunc {
		good := bucketOf(keys...)
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("prefix") == prefix {
				then(w, r)
				return
			}
			good(w, r)
		}
	}
	denied := refuse(403, "AccessDenied")
	for _, tt := range []struct {
		name string
		path string
		list http.HandlerFunc
		is   error
	}{
		{"no bucket", "db", refuse(404, "NoSuchBucket"), ErrNoSuchBucket},
		{"404", "db", refuse(404, ""), ErrNoSuchBucket},
		{"denied", "db", denied, os.ErrPermission},
		{"denied below", "db", failAt("db/ltx/", denied, "db/ltx/0/"+file), os.ErrPermission},
		{"denied among many", "db", failAt("db/ltx", denied, manyNames("db/")...), os.ErrPermission},
		{"denied for the files", "db", failAt("db/0000/", denied, "db/0000/"+file, "db/ltx/0/"+file), os.ErrPermission},
		{"denied in another form of the root", "", failAt("/", denied, "/0000/"+file), os.ErrPermission},
		{"denied in an empty bucket", "", failAt("/", denied), os.ErrPermission},
		{"another region", "db", refuse(301, "PermanentRedirect"), ErrRegion},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"LIST": tt.list})
			c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout = tt.path, replica.Layout{} })
			err := c.Init(within(t, 10*time.Second))
			require.ErrorIs(t, err, tt.is)
			require.NotErrorIs(t, err, os.ErrNotExist)
			require.ErrorContains(t, err, "replica s3://bucket")
		})
	}
}

// A store that refuses keys that aren't clean has the clean ones.
func TestLocateRefusesKeys(t *testing.T) {
	s := serve(t, answers{"LIST": func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Query().Get("prefix"), "/") {
			refuse(400, "XMinioInvalidObjectName")(w, r)
			return
		}
		say(200, page(""))(w, r)
	}})
	c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout = "", replica.Layout{} })
	require.NoError(t, c.Init(t.Context()))
	require.Equal(t, "", c.ready.Load().root)
}

// The region of a bucket at AWS is asked for, be the answer a refusal, and then
// used: two requests in all, of the three that are allowed.
func TestRegion(t *testing.T) {
	const named = "X-Amz-Bucket-Region"
	for _, tt := range []struct {
		name   string
		bucket http.HandlerFunc
		want   string
		is     error
	}{
		{"told", say(200, "", named, "eu-west-1"), "eu-west-1", nil},
		{"with a redirect", say(301, "", named, "eu-west-1"), "eu-west-1", nil},
		{"with a refusal", say(403, "", named, "eu-west-1"), "eu-west-1", nil},
		{"with 400", say(400, "", named, "eu-west-1"), "eu-west-1", nil},
		{"not told", say(200, ""), "us-east-1", nil},
		{"no bucket", say(404, ""), "", ErrNoSuchBucket},
		{"refused", say(403, ""), "", os.ErrPermission},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"BUCKET": tt.bucket, "LIST": bucketOf("db/0000/" + fileName(1))})
			c, _ := s.unready(t, func(c *config.Config) { c.Endpoint, c.ForcePathStyle, c.Layout = "", new(true), replica.Layout{} })
			t.Setenv("AWS_ENDPOINT_URL_S3", s.URL)
			err := c.Init(within(t, 10*time.Second))
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
				require.ErrorContains(t, err, "find the bucket's region")
				require.NotErrorIs(t, err, os.ErrNotExist)
				require.Equal(t, "BUCKET", s.ops())
				return
			}
			require.NoError(t, err)
			require.Equal(t, "BUCKET LIST", s.ops())
			require.Contains(t, s.seen()[0].get("Authorization"), "/us-east-1/s3/")
			require.Contains(t, s.seen()[1].get("Authorization"), "/"+tt.want+"/s3/")
		})
	}
}

// It isn't asked for where it is given, or means nothing.
func TestRegionGiven(t *testing.T) {
	s := serve(t, nil)
	for _, tt := range []struct {
		change func(*config.Config)
		want   string
	}{
		{func(c *config.Config) { c.Region = "eu-north-1" }, "eu-north-1"},
		{func(*config.Config) {}, "us-east-1"},
		{func(c *config.Config) {
			c.Endpoint, c.Bucket = "", "arn:aws:s3:eu-west-1:123456789012:accesspoint/backups"
		}, "eu-west-1"},
		{func(c *config.Config) { c.Endpoint, c.Region = "", "eu-north-1" }, "eu-north-1"},
	} {
		c, _ := s.unready(t, tt.change)
		region, err := c.region(t.Context())
		require.NoError(t, err)
		require.Equal(t, tt.want, region)
	}
	require.Empty(t, s.ops())
	require.Nil(t, answerOf(errors.New("odd")))
}
