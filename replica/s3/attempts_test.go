package s3

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// A deadline that passes between two attempts is told with what the attempts
// failed with.
func TestDeadlineTellsOfAttempts(t *testing.T) {
	const addr = "127.0.0.1:1" // where nobody listens
	c, err := New(config.Config{
		Bucket: "b", Path: "p", Endpoint: "http://" + addr, AccessKeyID: testKeyID, SecretAccessKey: testSecret,
		Layout: replica.LitestreamS3, Retry: config.Retry{MinBackoff: time.Hour},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err = c.Init(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "context deadline exceeded, after: dial tcp "+addr+": connect: connection refused")
}
