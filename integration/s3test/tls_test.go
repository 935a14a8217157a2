package s3test_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// A server with TLS has a certificate that only who is told of it trusts, and
// keeps it when it is started again.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := s3test.StartMinIOTLS(t)
	require.Regexp(t, `^https://127\.0\.0\.1:\d+$`, s.Endpoint)
	require.FileExists(t, s.CAFile)
	bucket := s.Bucket(t)
	client := s.Client(t)
	s.Stop(t)
	s.Start(t)
	_, err := client.HeadBucket(context.Background(), &s3.HeadBucketInput{Bucket: &bucket})
	require.NoError(t, err)

	stranger := s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, UsePathStyle: true, Region: s.Region, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
	_, err = stranger.HeadBucket(context.Background(), &s3.HeadBucketInput{Bucket: &bucket})
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}
