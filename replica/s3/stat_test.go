package s3

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestStat(t *testing.T) {
	s := serve(t, answers{"HEAD": object(bytesOf(1234), "v1", "X-Amz-Meta-Litestream-Timestamp", "2025-01-02T03:04:05.5Z")})
	f, err := s.store(t).StatLTXFile(t.Context(), replica.Name{Level: 3, MinTXID: 1, MaxTXID: 2}, replica.StatOptions{})
	require.NoError(t, err)
	require.Equal(t, replica.File{
		Name: replica.Name{Level: 3, MinTXID: 1, MaxTXID: 2}, Size: 1234, ModTime: modified,
		Version: replica.Version{ETag: `"v1"`, Modified: modified.Unix(), Size: 1234},
	}, f)
	require.Equal(t, "HEAD", s.ops())
	require.Equal(t, "db/0003/0000000000000001-0000000000000002.ltx", s.seen()[0].key)
	require.Empty(t, s.seen()[0].get("X-Amz-Checksum-Mode"))
	_, err = s.store(t).StatLTXFile(t.Context(), replica.Name{Level: 10, MinTXID: 1, MaxTXID: 2}, replica.StatOptions{})
	require.ErrorIs(t, err, os.ErrInvalid)
}

func TestStatStrangeAnswer(t *testing.T) {
	s := serve(t, answers{"HEAD": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
		w.Header().Set("Transfer-Encoding", "chunked")
	}})
	_, err := s.store(t).StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.ErrorContains(t, err, "doesn't say how large the object is")
	s.answers["LIST"] = say(200, pageOf("", 1))
	f, err := s.store(t).StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(1), f.Size)
}

// The timestamp is in the metadata, or else in the header, or else it is the
// time of the last modification.
func TestStatExact(t *testing.T) {
	file := storetest.LTX(t, 1, 1)
	const name = "X-Amz-Meta-Litestream-Timestamp"
	other := say(200, page("", entry(fileKey(1), 9)))
	v := func(n ...int) http.HandlerFunc {
		var all []http.HandlerFunc
		for _, n := range n {
			all = append(all, object(file, fmt.Sprint("v", n)))
		}
		return inTurn(all...)
	}
	for _, tt := range []struct {
		name string
		head http.HandlerFunc
		get  http.HandlerFunc
		want time.Time
		ops  string
		is   error
		list http.HandlerFunc
	}{
		{"metadata", object(file, "v1", name, "2025-01-02T03:04:05.123456789Z"), nil, time.Date(2025, 1, 2, 3, 4, 5, 123456789, time.UTC), "HEAD", nil, nil},
		{"of another zone", object(file, "v1", name, "2025-01-02T03:04:05+02:00"), nil, time.Date(2025, 1, 2, 1, 4, 5, 0, time.UTC), "HEAD", nil, nil},
		{"none", object(file, "v1"), object(file, "v1"), storetest.DefaultTime, "HEAD GET", nil, nil},
		{"broken", object(file, "v1", name, "yesterday"), object(file, "v1"), storetest.DefaultTime, "HEAD GET", nil, nil},
		{"no header either", object(bytesOf(200), "v1"), object(bytesOf(200), "v1"), modified, "HEAD GET", nil, nil},
		{"too short for a header", object(bytesOf(99), "v1"), nil, modified, "HEAD", nil, nil},
		{"replaced meanwhile", inTurn(object(file, "v1"), object(file, "v2")), object(file, "v2"), storetest.DefaultTime, "HEAD GET GET HEAD LIST HEAD GET", nil, other},
		{"replaced again and again", v(1, 2, 2, 3, 3, 4), v(2, 2, 3, 3, 4, 4), time.Time{}, "HEAD GET GET HEAD LIST HEAD GET GET HEAD LIST HEAD GET GET HEAD LIST", replica.ErrReplaced, other},
		{"deleted meanwhile", object(file, "v1"), refuse(404, "NoSuchKey"), time.Time{}, "HEAD GET", os.ErrNotExist, nil},
		{"not to be read", object(file, "v1"), refuse(403, "AccessDenied"), modified, "HEAD GET", nil, nil},
		{"not to be looked at", refuse(403, ""), nil, time.Time{}, "HEAD LIST", os.ErrPermission, refuse(403, "AccessDenied")},
		{"missing", refuse(404, ""), nil, time.Time{}, "HEAD", os.ErrNotExist, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"HEAD": tt.head, "GET": tt.get, "LIST": tt.list})
			f, err := s.store(t).StatLTXFile(within(t, 10*time.Second), nth(1), replica.StatOptions{ExactTime: true})
			require.Equal(t, tt.ops, s.ops())
			for _, get := range s.of("GET") {
				require.Equal(t, "bytes=0-99", get.get("Range"))
			}
			requireGuarded(t, s.of("GET"))
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
				require.ErrorContains(t, err, "stat level 0 "+fileName(1))
				require.Zero(t, f)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, f.ModTime)
		})
	}
}

// requireGuarded makes sure that each GET has a condition, but one after a refused one.
func requireGuarded(t *testing.T, gets []call) {
	t.Helper()
	for i, get := range gets {
		if get.get("If-Match") == "" {
			require.Positive(t, i)
			require.NotEmpty(t, gets[i-1].get("If-Match"))
		}
	}
}

// A header that breaks off is an error, not a missing timestamp.
func TestStatExactBroken(t *testing.T) {
	file := storetest.LTX(t, 1, 1)
	s := serve(t, answers{"HEAD": object(file, "v1"), "GET": cut(file, "v1", 0, false)})
	_, err := s.store(t).StatLTXFile(within(t, 10*time.Second), nth(1), replica.StatOptions{ExactTime: true})
	require.ErrorContains(t, err, "read the header")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, s.of("GET"), 1+maxResumes)
}
