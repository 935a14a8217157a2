package s3test_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// A proxy notes each request with what it costs, and lets all of them through.
func TestProxyCounts(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		p := s3test.NewProxy(t, s.Endpoint)
		client := s.ClientAt(t, p.Endpoint)
		require.Contains(t, p.URL(bucket, "db"), "s3://"+bucket+"/db?")

		key := aws.String("a b/ü+%2F") // a path that must not be normalized
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &bucket, Key: key, Body: bytes.NewReader([]byte("0123456789")),
		})
		require.NoError(t, err)
		require.Equal(t, []string{*key}, s.Keys(t, bucket, ""))
		got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: key, Range: aws.String("bytes=2-4")})
		require.NoError(t, err)
		body, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		require.Equal(t, "234", string(body))
		_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("nothing")})
		requireCode(t, err, "NotFound")
		_, err = client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
		require.NoError(t, err)

		requests := p.Requests()
		require.Len(t, requests, 4)
		put, get, head, list := requests[0], requests[1], requests[2], requests[3]
		require.Equal(t, s3test.PutObject, put.Operation)
		require.Equal(t, bucket, put.Bucket)
		require.Equal(t, *key, put.Key)
		require.Equal(t, int64(10), put.Up)
		require.Equal(t, 200, put.Status)
		require.Equal(t, s3test.GetObject, get.Operation)
		require.Equal(t, "bytes=2-4", get.Range)
		require.Equal(t, int64(3), get.Down)
		require.Equal(t, 206, get.Status)
		require.Equal(t, s3test.HeadObject, head.Operation)
		require.Equal(t, 404, head.Status)
		require.Equal(t, s3test.ListObjects, list.Operation)
		require.Equal(t, "2", list.Query.Get("list-type"))
		require.Positive(t, list.Down)
		for _, r := range requests {
			require.False(t, r.Intercepted)
			require.NotEmpty(t, r.Header.Get("Authorization"))
		}
		up, down := p.Bytes()
		require.Equal(t, int64(10), up)
		require.Equal(t, put.Down+3+head.Down+list.Down, down)

		p.Reset()
		require.Empty(t, p.Requests())
		data := bytes.Repeat([]byte("x"), 2*partSize)
		putParts(t, client, bucket, "parts", data)
		up2, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("no")})
		require.NoError(t, err)
		_, err = client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: aws.String("no"), UploadId: up2.UploadId})
		require.NoError(t, err)
		_, err = client.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{
			Objects: []types.ObjectIdentifier{{Key: aws.String("parts")}, {Key: key}},
		}})
		require.NoError(t, err)
		_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("nothing")})
		require.NoError(t, err)
		require.Empty(t, s.Keys(t, bucket, ""))
		require.Equal(t, map[s3test.Operation]int{
			s3test.CreateMultipartUpload:   2,
			s3test.UploadPart:              2,
			s3test.CompleteMultipartUpload: 1,
			s3test.AbortMultipartUpload:    1,
			s3test.DeleteObjects:           1,
			s3test.DeleteObject:            1,
		}, p.Counts())
		up, _ = p.Bytes()
		require.Greater(t, up, int64(len(data)))
		require.Less(t, up, int64(len(data)+4096), "the parts once")
	})
}

// Where the server breaks a connection or has gone, so does the proxy.
func TestProxyServerGone(t *testing.T) {
	t.Parallel()
	s := s3test.VersityGW.Start(t)
	bucket := s.Bucket(t)
	p := s3test.NewProxy(t, s.Endpoint)
	client := s.ClientAt(t, p.Endpoint)
	put := func() error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("key")})
		return err
	}
	require.NoError(t, put())
	s.Stop(t)
	require.ErrorIs(t, put(), io.EOF)
	requests := p.Requests()
	require.Zero(t, requests[len(requests)-1].Status)
	s.Start(t)
	require.NoError(t, put())
}

// Many clients at a time are counted right.
func TestProxyConcurrent(t *testing.T) {
	t.Parallel()
	s := s3test.VersityGW.Shared(t)
	bucket := s.Bucket(t)
	p := s3test.NewProxy(t, s.Endpoint)
	client := s.ClientAt(t, p.Endpoint)
	const clients, each = 16, 20
	errs := make(chan error, clients)
	for i := range clients {
		go func() {
			var err error
			for j := 0; j < each && err == nil; j++ {
				_, err = client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &bucket, Key: aws.String(fmt.Sprintf("%d/%d", i, j)), Body: bytes.NewReader([]byte("12345")),
				})
			}
			errs <- err
		}()
	}
	for range clients {
		require.NoError(t, <-errs)
	}
	require.Equal(t, map[s3test.Operation]int{s3test.PutObject: clients * each}, p.Counts())
	up, _ := p.Bytes()
	require.Equal(t, int64(clients*each*5), up)
	require.Len(t, s.Keys(t, bucket, ""), clients*each)
}
