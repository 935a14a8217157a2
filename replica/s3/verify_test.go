package s3

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// longAgo is a Date long before the objects' modification.
const longAgo = "Mon, 04 May 2020 03:02:01 GMT"

// flipped is data with one wrong bit.
func flipped(data []byte) []byte {
	wrong := bytes.Clone(data)
	wrong[len(wrong)/2] ^= 1
	return wrong
}

// How a write makes sure, in each mode, of each kind of store.
func TestVerify(t *testing.T) {
	data := bytesOf(1000)
	gone := refuse(404, "")
	var o owner
	for _, tt := range []struct {
		name string
		mode config.VerifyMode
		put  http.HandlerFunc // default: stored v1
		head http.HandlerFunc
		get  http.HandlerFunc
		ops  string
		is   []error // nil is success
		text string
	}{
		{name: "checksum", head: verified(data, "v1"), ops: "PUT HEAD"},
		{name: "explicit checksum", mode: config.VerifyChecksum, head: verified(data, "v1"), ops: "PUT HEAD"},
		{name: "no checksum: read back", head: object(data, "v1"), get: object(data, "v1"), ops: "PUT HEAD GET"},
		{name: "checksum of parts: read back", head: object(data, "v1", "X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=-1"), get: object(data, "v1"), ops: "PUT HEAD GET"},
		{name: "explicit, but none", mode: config.VerifyChecksum, head: object(data, "v1"), ops: "PUT HEAD", is: []error{}, text: "use --verify-writes=full"},
		{name: "full", mode: config.VerifyFull, get: object(data, "v1"), ops: "PUT GET"},
		{name: "size", mode: config.VerifySize, head: object(data, "v1"), ops: "PUT HEAD"},
		{name: "size, with a wrong checksum", mode: config.VerifySize, head: object(data, "v1", "X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA="), ops: "PUT HEAD"},
		{name: "no ETag of the PUT", put: say(200, ""), head: o.own(verified(data, "v7")), ops: "PUT HEAD"},

		{name: "late", head: inTurn(gone, gone, verified(data, "v1")), ops: "PUT HEAD HEAD HEAD"},
		{name: "the old one, then the new", head: inTurn(verified([]byte("old"), "v0"), verified(data, "v1")), ops: "PUT HEAD HEAD"},
		{name: "late to be read", mode: config.VerifyFull, get: inTurn(refuse(404, "NoSuchKey"), object([]byte("old"), "v0"), object([]byte("old"), "v0"), object(data, "v1")), head: object([]byte("old"), "v0"), ops: "PUT GET GET GET HEAD GET"},
		{name: "late, and no ETag", put: say(200, ""), head: inTurn(verified([]byte("old"), "v0"), o.own(verified(data, "v1"))), ops: "PUT HEAD HEAD"},

		{name: "another checksum", head: verifiedAs(data, checksumOf(flipped(data)), "v1"), ops: "PUT HEAD HEAD DELETE", is: []error{}, text: "checksum is another"},
		{name: "another size", head: verified(data[:999], "v1"), get: object(data[:999], "v1"), ops: "PUT HEAD GET HEAD DELETE", is: []error{}, text: "999 of 1000"},
		{name: "another size, by size", mode: config.VerifySize, head: object(data[:999], "v1"), get: object(data[:999], "v1"), ops: "PUT HEAD GET HEAD DELETE", is: []error{}, text: "999 of 1000"},
		{name: "another size, by a HEAD alone", head: verified(nil, "v1"), get: object(data, "v1"), ops: "PUT HEAD GET"},
		{name: "a flipped bit", mode: config.VerifyFull, head: object(data, "v1"), get: object(flipped(data), "v1"), ops: "PUT GET HEAD DELETE", is: []error{}, text: "other bytes"},
		{name: "a byte less", mode: config.VerifyFull, head: object(data, "v1"), get: object(data[:999], "v1"), ops: "PUT GET HEAD DELETE", is: []error{}, text: "999 of 1000"},
		{name: "damaged, and replaced since", head: inTurn(verifiedAs(data, "AAAAAAAAAAA=", "v1"), verified(data, "v2")), ops: "PUT HEAD HEAD", is: []error{}},
		{name: "damaged, and deleted since", head: inTurn(verifiedAs(data, "AAAAAAAAAAA=", "v1"), gone), ops: "PUT HEAD HEAD", is: []error{}},

		{name: "another writer's", put: stored("v1", "Date", longAgo), head: verified(data, "v2"), ops: "PUT HEAD"},
		{name: "another writer's, read back", mode: config.VerifyFull, put: stored("v1", "Date", longAgo), get: object(data, "v2"), head: object(data, "v2"), ops: "PUT GET GET HEAD"},
		{name: "forbidden", head: refuse(403, ""), ops: "PUT HEAD", is: []error{os.ErrPermission}},
		{name: "forbidden to be read", mode: config.VerifyFull, get: refuse(403, "AccessDenied"), ops: "PUT GET", is: []error{os.ErrPermission}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			put := tt.put
			if put == nil {
				put = stored("v1")
			}
			s := serve(t, answers{"PUT": o.upload(put), "HEAD": tt.head, "GET": tt.get, "DELETE": say(204, "")})
			f, err := write(t, s.store(t, func(c *config.Config) { c.VerifyWrites = tt.mode }), bytes.NewReader(data))
			require.Equal(t, tt.ops, s.ops())
			requireGuarded(t, s.of("GET"))
			for _, get := range s.of("GET") {
				require.Contains(t, []string{`"v1"`, ""}, get.get("If-Match"))
			}
			for _, del := range s.of("DELETE") {
				require.Equal(t, fileKey(1), del.key)
				require.Equal(t, `"v1"`, del.get("If-Match"), "only what is still ours")
			}
			if tt.is == nil {
				require.NoError(t, err)
				require.NotEmpty(t, f.Version.ETag)
				require.Equal(t, int64(1000), f.Version.Size)
				require.Equal(t, int64(1000), f.Size)
				return
			}
			requireKinds(t, err, tt.is...)
			require.ErrorContains(t, err, tt.text)
			require.ErrorContains(t, err, "write level 0 "+fileName(1))
			require.Zero(t, f)
			// Where nothing shows that the object is wrong, it isn't said to be.
			require.Equal(t, len(tt.is) == 0 && tt.mode != config.VerifyChecksum, isVerify(err))
		})
	}
}

// verifiedAs is verified, of a store with a wrong checksum.
func verifiedAs(data []byte, checksum, etag string) http.HandlerFunc {
	return object(data, etag, "X-Amz-Checksum-Crc64nvme", checksum, "X-Amz-Checksum-Type", "FULL_OBJECT")
}

// A store that never shows a write is an error in the end, and nothing is deleted:
// it may be there.
func TestVerifyNeverShows(t *testing.T) {
	data := bytesOf(100)
	for name, a := range map[string]answers{
		"never there":      {"HEAD": refuse(404, "")},
		"ever the old one": {"HEAD": verified([]byte("old"), "v0")},
		"never readable":   {"HEAD": object(data, "v1"), "GET": refuse(404, "NoSuchKey")},
	} {
		t.Run(name, func(t *testing.T) {
			a["PUT"] = stored("v1")
			s := serve(t, a)
			c := s.store(t, func(c *config.Config) { c.Timeouts.Verify = 300 * time.Millisecond })
			began := time.Now()
			_, err := write(t, c, bytes.NewReader(data))
			require.ErrorIs(t, err, ErrVerify)
			require.ErrorContains(t, err, "for 300ms")
			require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond)
			require.Less(t, time.Since(began), 5*time.Second)
			require.Empty(t, s.of("DELETE"))
			require.Len(t, s.of("PUT"), 1)
			require.Greater(t, len(s.seen()), 3)
		})
	}
}

// The store's clock, in whole seconds, tells another writer's object from one
// that was there before.
func TestVerifyOtherWriter(t *testing.T) {
	data := bytesOf(100)
	for _, tt := range []struct {
		date string
		is   error
	}{
		{modified.Add(-2 * time.Second).Format(http.TimeFormat), nil}, // the last writer wins
		{modified.Add(-time.Second).Format(http.TimeFormat), ErrVerify},
		{modified.Format(http.TimeFormat), ErrVerify},
		{modified.Add(time.Hour).Format(http.TimeFormat), ErrVerify},
		{"yesterday", ErrVerify},
	} {
		s := serve(t, answers{"PUT": stored("v1", "Date", tt.date), "HEAD": verified(flipped(data), "v2")})
		_, err := write(t, s.store(t, func(c *config.Config) { c.Timeouts.Verify = 20 * time.Millisecond }), bytes.NewReader(data))
		if tt.is == nil {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, tt.is, tt.date)
	}
}

// A damaged object that can't be deleted is told.
func TestVerifyDiscardFails(t *testing.T) {
	data := bytesOf(100)
	s := serve(t, answers{"PUT": stored("v1"), "HEAD": verifiedAs(data, "AAAAAAAAAAA=", "v1"), "DELETE": refuse(403, "AccessDenied")})
	c, log := s.logging(t)
	_, err := write(t, c, bytes.NewReader(data))
	require.ErrorIs(t, err, ErrVerify)
	require.ErrorContains(t, err, "can't be deleted")
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), fileKey(1))
}

// The context ends the waiting for a late store.
func TestVerifyContext(t *testing.T) {
	s := serve(t, answers{"PUT": stored("v1"), "HEAD": refuse(404, "")})
	c := s.store(t, func(c *config.Config) {
		c.Timeouts.Verify, c.Retry.MinBackoff, c.Retry.MaxBackoff = time.Hour, time.Hour, time.Hour
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := c.WriteLTXFile(ctx, nth(1), bytes.NewReader(bytesOf(10)), replica.WriteOptions{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, isVerify(err))
	require.Less(t, time.Since(began), 5*time.Second)
}

// A damaged object is deleted though the context is done by then.
func TestVerifyDiscardsAfterContext(t *testing.T) {
	data := bytesOf(100)
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, answers{
		"PUT": stored("v1"), "DELETE": say(204, ""),
		"HEAD": inTurn(func(w http.ResponseWriter, r *http.Request) {
			time.AfterFunc(20*time.Millisecond, cancel)
			verifiedAs(data, "AAAAAAAAAAA=", "v1")(w, r)
		}, func(w http.ResponseWriter, r *http.Request) {
			<-ctx.Done()
			object(data, "v1")(w, r)
		}),
	})
	c := s.store(t)
	_, err := c.WriteLTXFile(ctx, nth(1), bytes.NewReader(data), replica.WriteOptions{})
	require.ErrorIs(t, err, ErrVerify)
	require.Equal(t, "PUT HEAD HEAD DELETE", s.ops())
}

func isVerify(err error) bool { return errors.Is(err, ErrVerify) }
