package s3test_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// What a server counts is what it was asked, and what it counts for it isn't.
func TestTraffic(t *testing.T) {
	t.Parallel()
	const size = 300_000
	s := s3test.StartMinIO(t)
	bucket := s.Bucket(t)
	before := s.Traffic(t)
	s.Put(t, bucket, "a", make([]byte, size))
	put := s.Traffic(t)
	for range 3 {
		s.Get(t, bucket, "a")
	}
	got := s.Traffic(t).Sub(put)
	put = put.Sub(before)
	require.Equal(t, int64(1), put.Requests)
	require.InDelta(t, size, put.Received, 1000)
	require.Equal(t, int64(3), got.Requests)
	require.InDelta(t, 3*size, got.Sent, 3000)
	require.Zero(t, s.Traffic(t).Sub(s.Traffic(t)))
}
