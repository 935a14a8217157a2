package s3

import (
	"bytes"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// A GET that shows another ETag than a PUT and a HEAD shows the file that was written, if
// its bytes are the same.
func TestVerifyOtherETagOfGET(t *testing.T) {
	data := bytesOf(100)
	ignoring := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Match")
			object(data, "read")(w, r)
		}
	}
	for _, mode := range []config.VerifyMode{config.VerifyAuto, config.VerifyFull} {
		for name, get := range map[string]http.HandlerFunc{"conditions ignored": ignoring(data), "conditions on it": object(data, "read")} {
			t.Run(string(mode)+" "+name, func(t *testing.T) {
				var o owner
				s := serve(t, answers{"PUT": o.upload(stored("v1")), "HEAD": o.own(object(data, "v1")), "GET": get})
				c := s.store(t, func(c *config.Config) { c.VerifyWrites = mode })
				for range 2 {
					f, err := write(t, c, bytes.NewReader(data))
					require.NoError(t, err)
					require.Equal(t, replica.Version{ETag: `"read"`, Modified: modified.Unix(), Size: 100}, f.Version, "no listing tells another")
				}
				require.False(t, c.lacks(ifMatch), "by the ETag that a GET shows, no condition was refused")
			})
		}
	}

	var o owner
	s := serve(t, answers{"PUT": o.upload(stored("v1")), "HEAD": o.own(object(data, "v1")), "GET": ignoring(flipped(data))})
	c := s.store(t, func(c *config.Config) { c.Timeouts.Verify = 20 * time.Millisecond })
	_, err := write(t, c, bytes.NewReader(data))
	require.ErrorIs(t, err, ErrVerify)
	require.ErrorContains(t, err, "other bytes")
	require.Empty(t, s.of("DELETE"), "what is shown with another ETag may be another's")
}

// A condition that a late store refuses isn't one that it never lets hold.
func TestVerifyLateConditions(t *testing.T) {
	data := bytesOf(100)
	s := serve(t, answers{"PUT": stored("v1"), "HEAD": object(data, "v1"), "GET": inTurn(refuse(412, "PreconditionFailed"), object(data, "v1"))})
	c := s.store(t, func(c *config.Config) { c.VerifyWrites = config.VerifyFull })
	_, err := write(t, c, bytes.NewReader(data))
	require.NoError(t, err)
	require.False(t, c.lacks(ifMatch))
}

// A PUT that names another ETag than all other answers says nothing of conditions.
func TestVerifyOtherETagOfPUT(t *testing.T) {
	data := bytesOf(100)
	var o owner
	s := serve(t, answers{"PUT": o.upload(stored("v1")), "HEAD": o.own(object(data, "v2")), "GET": object(data, "v2")})
	c := s.store(t, func(c *config.Config) { c.VerifyWrites = config.VerifyFull })
	f, err := write(t, c, bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, `"v2"`, f.Version.ETag)
	require.False(t, c.lacks(ifMatch))
}

// Where nothing shows whose a file is, its bytes do.
func TestVerifyUnsigned(t *testing.T) {
	data := bytesOf(100)
	bare := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", modified, bytes.NewReader(data))
		}
	}
	now := modified.Format(http.TimeFormat)
	listing := say(200, page("", "<Contents><Key>"+fileKey(1)+"</Key><Size>100</Size><LastModified>"+modified.Format(time.RFC3339)+"</LastModified></Contents>"))
	for _, tt := range []struct {
		name      string
		mode      config.VerifyMode
		put       http.HandlerFunc
		head, get http.HandlerFunc
		is        error
		ops       string // "" if it is any
	}{
		{name: "its own", head: bare(data), get: bare(data), ops: "PUT HEAD GET LIST"},
		{name: "its own, by checksum", mode: config.VerifyChecksum, head: bare(data), get: bare(data), ops: "PUT HEAD GET LIST"},
		{name: "its own, by size", mode: config.VerifySize, head: bare(data), get: bare(data), ops: "PUT HEAD GET LIST"},
		{name: "full", mode: config.VerifyFull, head: bare(data), get: bare(data), ops: "PUT HEAD GET LIST"},
		{name: "late", head: inTurn(refuse(404, ""), bare([]byte("old")), bare(data)), get: bare(data), ops: "PUT HEAD HEAD HEAD GET LIST"},
		{name: "late, after one of its size", head: bare(data), get: inTurn(bare(flipped(data)), bare(data)), ops: "PUT HEAD GET HEAD GET LIST"},
		{name: "no ETag but of the PUT", put: stored("v1", "Date", now), head: bare(data), get: bare(data)},
		{name: "another's", head: bare(flipped(data)), get: bare(flipped(data)), is: ErrVerify},
		{name: "another's, by size", mode: config.VerifySize, head: bare(flipped(data)), get: bare(flipped(data)), is: ErrVerify},
		{name: "another's, of another size", head: bare(data[:99]), get: bare(data[:99]), is: ErrVerify},
		{name: "another's, later", put: stored("v1", "Date", longAgo), head: bare(flipped(data)), get: bare(flipped(data))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.put == nil {
				tt.put = say(200, "", "Date", now)
			}
			s := serve(t, answers{"PUT": tt.put, "HEAD": tt.head, "GET": tt.get, "LIST": listing})
			c := s.store(t, func(c *config.Config) {
				c.VerifyWrites = tt.mode
				if tt.is != nil {
					c.Timeouts.Verify = 20 * time.Millisecond
				}
			})
			_, err := write(t, c, bytes.NewReader(data))
			require.Empty(t, s.of("DELETE"))
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
				return
			}
			require.NoError(t, err)
			if tt.ops != "" {
				require.Equal(t, tt.ops, s.ops())
			}
		})
	}
}

// An exclusive write whose answer was lost finds its own file where that bears no sign.
func TestAdoptUnsigned(t *testing.T) {
	data := bytesOf(100)
	for name, has := range map[string][]byte{"its own": data, "another's": flipped(data), "another's, longer": append(bytesOf(100), 1)} {
		s := serve(t, answers{"PUT": inTurn(reset, refuse(412, "PreconditionFailed")), "HEAD": object(has, "v1"), "GET": object(has, "v1")})
		_, err := s.store(t).WriteLTXFile(within(t, 10*time.Second), nth(1), bytes.NewReader(data), replica.WriteOptions{Exclusive: true})
		if name != "its own" {
			require.ErrorIs(t, err, os.ErrExist, name)
			continue
		}
		require.NoError(t, err)
	}
}

// A time of another zone, later than now, isn't one of another write.
func TestVerifyInAnotherZone(t *testing.T) {
	data := bytesOf(100)
	ahead := objectFrom(time.Now().Add(2*time.Hour), data[:50], "v2")
	put := func(w http.ResponseWriter, r *http.Request) {
		stored("v1", "Date", time.Now().UTC().Format(http.TimeFormat))(w, r)
	}
	s := serve(t, answers{"PUT": put, "HEAD": ahead, "GET": ahead})
	c := s.store(t, func(c *config.Config) { c.Timeouts.Verify = 20 * time.Millisecond })
	_, err := write(t, c, bytes.NewReader(data))
	require.ErrorIs(t, err, ErrVerify)
}

// What a GET without an ETag shows may be late: the file isn't deleted for it.
func TestVerifyLateWithoutETags(t *testing.T) {
	data := bytesOf(100)
	bare := func(data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", modified, bytes.NewReader(data))
		}
	}
	var o owner
	s := serve(t, answers{"PUT": o.upload(stored("")), "HEAD": o.own(bare(data)), "GET": inTurn(bare(flipped(data)), bare(data)),
		"LIST": say(200, page("", entry(fileKey(1), 100)))})
	_, err := write(t, s.store(t), bytes.NewReader(data))
	require.NoError(t, err)
	require.Empty(t, s.of("DELETE"))
}
