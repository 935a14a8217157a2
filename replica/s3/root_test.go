package s3

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

func TestRoots(t *testing.T) {
	for path, want := range map[string][]string{
		"": {"", "./", "/"}, ".": {"", "./", "/"}, "db": {"db/"}, "a/b": {"a/b/"}, "/db": {"/db/", "db/"}, "a//b": {"a//b/", "a/b/"},
	} {
		require.Equal(t, want, roots(path), path)
		require.Contains(t, want, litestreamRoot(path))
		require.Contains(t, want, cleanRoot(path))
	}
}

// doubtful returns a client of the empty root of a bucket, whose server lists what
// keys names by the time of each request.
func doubtful(t *testing.T, keys *[]string) (*server, *Store) {
	t.Helper()
	data := bytesOf(10)
	s := serve(t, answers{
		"LIST": func(w http.ResponseWriter, r *http.Request) { bucketOf(*keys...)(w, r) },
		"PUT":  stored("v1"), "HEAD": verified(data, "v1"),
	})
	c, _ := s.unready(t, func(c *config.Config) { c.Path, c.Layout = "", replica.Layout{} })
	require.NoError(t, c.Init(t.Context()))
	require.Equal(t, "/", c.ready.Load().root)
	require.Equal(t, []string{"", "/"}, prefixes(s))
	return s, c
}

// The first write shows whether the store cleans keys.
func TestSettleRoot(t *testing.T) {
	data := bytesOf(10)
	const own, clean = "/0000/", "0000/"
	for _, tt := range []struct {
		name  string
		keys  []string // once the file is written
		asked []string
		root  string
		again bool // the next write asks again
	}{
		{"kept", []string{own + fileName(1)}, []string{own + fileName(1)}, "/", false},
		{"cleaned", []string{clean + fileName(1)}, []string{own + fileName(1), clean + fileName(1)}, "", false},
		{"not listed yet", nil, []string{own + fileName(1), clean + fileName(1)}, "/", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var keys []string
			s, c := doubtful(t, &keys)
			keys = tt.keys
			_, err := write(t, c, bytes.NewReader(data))
			require.NoError(t, err)
			require.Equal(t, tt.asked, prefixes(s)[2:])
			require.Equal(t, own+fileName(1), s.of("PUT")[0].key)
			require.Equal(t, tt.root, c.ready.Load().root)
			n := len(s.of("LIST"))
			_, err = write(t, c, bytes.NewReader(data))
			require.NoError(t, err)
			require.Equal(t, tt.again, len(s.of("LIST")) > n)
			require.Equal(t, tt.root+clean+fileName(1), s.of("PUT")[1].key)
		})
	}
}

// A listing finds what another writer has written, whatever the store made of its
// keys.
func TestSettleByListing(t *testing.T) {
	var keys []string
	s, c := doubtful(t, &keys)
	require.Empty(t, listed(t, c, 0))
	require.Equal(t, []string{"/0000/", "0000/"}, prefixes(s)[2:])
	keys = []string{"0000/" + fileName(1), "0000/" + fileName(2)}
	require.Equal(t, []int{2}, listed(t, c, 2))
	require.Equal(t, []string{"/0000/", "0000/", "0000/"}, prefixes(s)[4:])
	require.Equal(t, "0000/0000000000000002", s.of("LIST")[6].param("start-after"))
	require.Equal(t, []int{1, 2}, listed(t, c, 0))
	require.Len(t, s.of("LIST"), 8, "there is no doubt any more")
}

func TestSettleErrors(t *testing.T) {
	data := bytesOf(10)
	var keys []string
	s, c := doubtful(t, &keys)
	s.answers["LIST"] = refuse(403, "AccessDenied")
	_, err := write(t, c, bytes.NewReader(data))
	require.ErrorIs(t, err, os.ErrPermission)
	s.answers["LIST"] = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Query().Get("prefix"), "/") {
			say(200, page(""))(w, r)
			return
		}
		refuse(403, "AccessDenied")(w, r)
	}
	require.ErrorIs(t, listError(t, c, false), os.ErrPermission)
}

// While this client writes under a doubtful root, what others wrote elsewhere
// settles nothing: its own file tells where it has come to be.
func TestRootIsNotSettledUnderAWrite(t *testing.T) {
	data := bytesOf(100)
	inPut, gate := make(chan struct{}), make(chan struct{})
	var put atomic.Bool
	list := func(w http.ResponseWriter, r *http.Request) {
		keys := []string{"0000/" + fileName(2)}
		if put.Load() {
			keys = append(keys, "/0000/"+fileName(1))
		}
		bucketOf(keys...)(w, r)
	}
	var o owner
	s := serve(t, answers{
		"PUT": o.upload(func(w http.ResponseWriter, r *http.Request) {
			close(inPut)
			<-gate
			put.Store(true)
			stored("v1")(w, r)
		}),
		"HEAD": o.own(verified(data, "v1")), "LIST": list,
	})
	c := s.store(t, func(c *config.Config) { c.Path = "" })
	c.ready.Load().root = "/"
	c.ready.Load().doubtful = true
	done := make(chan error, 1)
	go func() {
		_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), bytes.NewReader(data), replica.WriteOptions{})
		done <- err
	}()
	<-inPut
	require.Empty(t, listed(t, c, 0))
	close(gate)
	require.NoError(t, <-done)
	require.Equal(t, "/", c.ready.Load().root)
	require.False(t, c.ready.Load().doubtful)
	require.Equal(t, []int{1}, listed(t, c, 0))
}

// A file that another writer has written under the clean root is found without a
// listing by the caller, by a stat as by a read.
func TestRootIsFoundByAsking(t *testing.T) {
	data := bytesOf(1)
	for name, ask := range map[string]func(c *Store) error{
		"stat": func(c *Store) error {
			_, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
			return err
		},
		"read": func(c *Store) error {
			r, err := c.OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, 0, 0)
			if err == nil {
				require.NoError(t, r.Close())
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			clean := func(answer http.HandlerFunc) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, "//") {
						refuse(404, "NoSuchKey")(w, r)
						return
					}
					answer(w, r)
				}
			}
			s := serve(t, answers{
				"HEAD": clean(object(data, "v1")), "GET": clean(object(data, "v1")), "LIST": bucketOf("0000/" + fileName(1)),
			})
			c := s.store(t, func(c *config.Config) { c.Path = "" })
			c.ready.Load().root = "/"
			c.ready.Load().doubtful = true
			require.NoError(t, ask(c))
			require.Equal(t, "", c.ready.Load().root)
		})
	}
}
