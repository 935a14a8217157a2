package s3test_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// rclone's servers live in their time zones, and give the same time everywhere.
func TestRcloneZones(t *testing.T) {
	t.Parallel()
	for _, kind := range s3test.Rclone {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			zone, err := time.LoadLocation(kind.Zone)
			require.NoError(t, err)
			s := kind.Start(t)
			logged, err := time.ParseInLocation("2006/01/02 15:04:05", strings.Join(strings.Fields(s.Log())[:2], " "), zone)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), logged, time.Minute, "in the server's log, as if it lived in %s", zone)

			bucket := s.Bucket(t)
			s.Put(t, bucket, "key", []byte("value"))
			modified := aws.ToTime(s.Head(t, bucket, "key").LastModified)
			require.WithinDuration(t, time.Now(), modified, time.Minute)
			require.Equal(t, modified.UTC(), s.Objects(t, bucket, "key")[0].LastModified.UTC().Truncate(time.Second))
		})
	}
}

// What rclone's server lacks of TestFeatures: it has no checksums of what came in
// parts, and after a restart neither metadata nor checksums at all.
func TestRcloneForgets(t *testing.T) {
	t.Parallel()
	s := s3test.Rclone[0].Start(t)
	bucket, client, data := s.Bucket(t), s.Client(t), []byte("value")
	sum := crc64NVME(data)
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &bucket, Key: aws.String("whole"), Body: strings.NewReader(string(data)), ChecksumCRC64NVME: &sum,
		Metadata: map[string]string{"litestream-timestamp": "2026-01-02T03:04:05.123456789Z"},
	})
	require.NoError(t, err)
	putParts(t, client, bucket, "parts", data)
	before := s.Head(t, bucket, "whole")
	require.Equal(t, sum, aws.ToString(before.ChecksumCRC64NVME))
	require.Len(t, before.Metadata, 1)
	require.Nil(t, s.Head(t, bucket, "parts").ChecksumCRC64NVME)

	s.Stop(t)
	s.Start(t)
	after := s.Head(t, bucket, "whole")
	require.Equal(t, before.ETag, after.ETag)
	require.Equal(t, before.LastModified, after.LastModified)
	require.Nil(t, after.ChecksumCRC64NVME)
	require.Empty(t, after.Metadata)
}
