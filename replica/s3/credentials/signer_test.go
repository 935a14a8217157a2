package credentials

import (
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"
)

// Each secret of an access key makes a signature of its own, on one day.
func TestSignerBySecret(t *testing.T) {
	s := NewSigner(nil, 0)
	sign := func(secret string) string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/bucket/a%20key", nil)
		require.NoError(t, err)
		c := aws.Credentials{AccessKeyID: "id", SecretAccessKey: secret}
		require.NoError(t, s.SignHTTP(t.Context(), c, r, "UNSIGNED-PAYLOAD", "s3", "us-east-1", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
		return r.Header.Get("Authorization")
	}
	first := sign("one")
	require.NotEqual(t, first, sign("two"))
	require.Equal(t, first, sign("one"))
}
