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

// An object that isn't this write's says nothing of it, unless the store has named
// its version: what answered the PUT may have been no store.
func TestAnotherObjectIsNoSuccess(t *testing.T) {
	data := bytesOf(100)
	ago := modified.Add(-5 * time.Second).Format(http.TimeFormat)
	s := serve(t, answers{"PUT": say(200, "", "Date", ago), "HEAD": object(data[:50], "other")})
	c := s.store(t, func(c *config.Config) { c.Timeouts.Verify = 20 * time.Millisecond })
	_, err := write(t, c, bytes.NewReader(data))
	require.ErrorIs(t, err, ErrVerify)
}

// An object with this write's ID is looked at, whatever its version.
func TestOwnObjectOfAnotherVersion(t *testing.T) {
	data := bytesOf(100)
	ago := modified.Add(-5 * time.Second).Format(http.TimeFormat)
	for name, has := range map[string][]byte{"whole": data, "half": data[:50]} {
		var o owner
		s := serve(t, answers{"PUT": o.upload(stored("v1", "Date", ago)), "HEAD": o.own(verified(has, "v2")), "GET": object(has, "v2"), "DELETE": say(204, "")})
		f, err := write(t, s.store(t), bytes.NewReader(data))
		if name == "half" {
			require.ErrorIs(t, err, ErrVerify)
			require.Equal(t, "PUT HEAD GET HEAD DELETE", s.ops())
			continue
		}
		require.NoError(t, err)
		require.Equal(t, `"v2"`, f.Version.ETag)
	}
}

// An exclusive write takes another's object of the same content for its own, and
// never deletes it.
func TestAdoptedIsNotDiscarded(t *testing.T) {
	data := bytesOf(100)
	s := serve(t, answers{"PUT": refuse(412, "PreconditionFailed"), "HEAD": verified(data, "other"), "DELETE": say(204, "")})
	s.plain = true
	c := s.store(t, func(c *config.Config) { c.SSEKMSKeyID = "key-1" })
	_, err := c.WriteLTXFile(within(t, 10*time.Second), nth(1), bytes.NewReader(data), replica.WriteOptions{Exclusive: true})
	require.ErrorIs(t, err, os.ErrExist)
	require.Empty(t, s.of("DELETE"))
}
