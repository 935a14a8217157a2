package s3

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// A store that ignores the wish for encryption has stored a file in the clear,
// which the user didn't want.
func TestStoreThatDoesNotEncrypt(t *testing.T) {
	data := bytesOf(2500)
	for name, change := range map[string]func(*config.Config){
		"SSE-C": func(c *config.Config) { c.SSECustomerKey = testSSEKey },
		"KMS":   func(c *config.Config) { c.SSEKMSKeyID = "key-1" },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"PUT": stored("v1"), "HEAD": verified(data, "v1"), "DELETE": say(204, "")})
			s.plain = true
			_, err := write(t, s.store(t, change), bytes.NewReader(data))
			require.ErrorIs(t, err, ErrNotEncrypted)
			require.Equal(t, "PUT HEAD HEAD DELETE", s.ops())
		})
		t.Run(name+" in parts", func(t *testing.T) {
			s := serve(t, inParts(data, answers{"DELETE": say(204, "")}))
			s.plain = true
			_, err := write(t, smallParts(s.store(t, change)), bytes.NewReader(data))
			require.ErrorIs(t, err, ErrNotEncrypted)
			require.Equal(t, map[string]int{"CREATE": 1, "PART": 3, "COMPLETE": 1, "HEAD": 2, "DELETE": 1}, counts(s))
		})
	}
}
