package remote

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A page that ends with a directory is gone on after, without tokens as well.
func TestListingsWithDirectories(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		var names []string
		for txid := ltx.TXID(1); txid <= 6; txid++ {
			name := ltx.FormatFilename(txid, txid)
			names = append(names, name)
			s.Put(t, bucket, "db/0000/"+name, storetest.LTX(t, txid, txid))
			s.Put(t, bucket, "db/0000/"+name[:20]+"/notes", nil) // before it
			s.Put(t, bucket, "db/0000/"+name+"-old/notes", nil)  // and behind
		}
		for most := 2; most <= 4; most++ {
			proxy := s3test.NewProxy(t, s.Endpoint)
			proxy.ListAsV1(s, most)
			m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Env: s.Env()})
			p := m.Process(t)
			got, err := p.ReadDir("ltx/0000")
			require.NoError(t, err, "%d a page", most)
			require.Equal(t, names, got, "%d a page", most)
			p.Close()
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}

// What answers in the place of a listing isn't an empty level: the log says what came.
func TestNoListings(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	name := ltx.FormatFilename(1, 1)
	s.Put(t, bucket, "db/0000/"+name, storetest.LTX(t, 1, 1))
	for what, tt := range map[string]struct {
		answer func(page []byte) []byte
		says   string
	}{
		"twice":      {func(page []byte) []byte { return append(page, page...) }, "the answer goes on after the end of the listing"},
		"compressed": {packed, `it begins with \"\\x1f\\x8b`},
		"JSON":       {func([]byte) []byte { return []byte("{}") }, `it begins with \"{}\"`},
		"an error": {func([]byte) []byte {
			return []byte("<Error><Code>AccountProblem</Code><Message>The account is suspended.</Message></Error>")
		}, "The account is suspended. (AccountProblem, HTTP status 200)"},
		"nothing": {func([]byte) []byte { return nil }, "the answer is not a listing"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			proxy := s3test.NewProxy(t, s.Endpoint)
			m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--freshness=0s"}, Env: s.Env()})
			p := m.Process(t)
			remove := proxy.Rewrite(s3test.AnswersTo(s3test.ListObjects, s3test.MapBody(func(page []byte) ([]byte, error) { return tt.answer(page), nil })))
			_, err := p.ReadDir("ltx/0000")
			require.Error(t, err)
			require.NotErrorIs(t, err, unix.ENOENT)
			ltxfstest.Eventually(t, ltxfstest.Timeout, "the log says what came", func() bool { return strings.Contains(m.Log(), tt.says) })
			remove()
			got, err := p.ReadDir("ltx/0000")
			require.NoError(t, err)
			require.Equal(t, []string{name}, got)
			p.Close()
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}

// A listing that breaks off, however it does, is asked for again.
func TestListingsCut(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	var names []string
	for txid := ltx.TXID(1); txid <= 9; txid++ {
		names = append(names, ltx.FormatFilename(txid, txid))
		s.Put(t, bucket, "db/0000/"+names[txid-1], storetest.LTX(t, txid, txid))
	}
	proxy := s3test.NewProxy(t, s.Endpoint)
	m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--freshness=0s"}, Env: s.Env()})
	p := m.Process(t)
	var cut atomic.Int64
	proxy.Rewrite(s3test.AnswersTo(s3test.ListObjects, s3test.MapBody(func(page []byte) ([]byte, error) {
		if n := cut.Add(1); n <= 2 {
			return page[:int64(len(page))*n/3], nil
		}
		return page, nil
	})))
	got, err := p.ReadDir("ltx/0000")
	require.NoError(t, err)
	require.Equal(t, names, got)
	require.GreaterOrEqual(t, cut.Load(), int64(3))
	p.Close()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

func packed(page []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.Copy(w, bytes.NewReader(page)) // into memory
	_ = w.Close()
	return b.Bytes()
}
