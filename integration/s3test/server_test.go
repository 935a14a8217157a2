package s3test_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

func TestMain(m *testing.M) { s3test.Main(m) }

func TestObjects(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		require.Same(t, s, kind.Shared(t))
		bucket := s.Bucket(t)
		require.Empty(t, s.Keys(t, bucket, ""))
		require.Empty(t, s.Uploads(t, bucket))

		one := s.Put(t, bucket, "a/1", []byte("one"))
		two := s.Put(t, bucket, "a/2", []byte("two"))
		s.Put(t, bucket, "b", nil)
		require.NotEqual(t, one, two)
		require.Equal(t, "one", string(s.Get(t, bucket, "a/1")))
		require.Equal(t, []string{"a/1", "a/2", "b"}, s.Keys(t, bucket, ""))
		objects := s.Objects(t, bucket, "a/")
		require.Len(t, objects, 2)
		require.Equal(t, two, objects[1].ETag)
		require.Equal(t, int64(3), objects[1].Size)
		require.Equal(t, two, aws.ToString(s.Head(t, bucket, "a/2").ETag))
		require.Empty(t, s.Keys(t, s.Bucket(t), ""), "another bucket")

		s.Delete(t, bucket, "a/1", "b", "nothing")
		require.Equal(t, []string{"a/2"}, s.Keys(t, bucket, ""))
		up, err := s.Client(t).CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
			Bucket: &bucket, Key: aws.String("c/d"),
		})
		require.NoError(t, err)
		require.Equal(t, []s3test.Upload{{Key: "c/d", ID: *up.UploadId}}, s.Uploads(t, bucket))
	})
}

// A listing of more than one page is whole, and a bucket with as much goes when
// its test ends.
func TestManyObjects(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		var bucket string
		t.Run("put", func(t *testing.T) {
			bucket = s.Bucket(t)
			client := s.Client(t)
			var want []string
			for i := range 1001 {
				key := fmt.Sprintf("%04d", i)
				_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: &bucket, Key: &key, Body: bytes.NewReader([]byte(key)),
				})
				require.NoError(t, err)
				want = append(want, key)
			}
			require.Equal(t, want, s.Keys(t, bucket, ""))
		})
		_, err := s.Client(t).HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &bucket})
		requireCode(t, err, "NotFound")
	})
}

func TestStopStart(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Start(t)
		require.NotSame(t, s, kind.Shared(t))
		bucket := s.Bucket(t)
		s.Put(t, bucket, "key", []byte("value"))
		endpoint, pid := s.Endpoint, s.PID()

		s.Stop(t)
		requireNoProcess(t, pid)
		requireRefused(t, s)
		s.Start(t)
		require.Equal(t, endpoint, s.Endpoint)
		require.NotEqual(t, pid, s.PID())
		require.Equal(t, "value", string(s.Get(t, bucket, "key")))

		pid = s.PID()
		s.Kill(t)
		requireNoProcess(t, pid)
		requireRefused(t, s)
		s.Start(t)
		require.Equal(t, "value", string(s.Get(t, bucket, "key")))
	})
}

func TestPauseResume(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Start(t)
		bucket := s.Bucket(t)
		s.Put(t, bucket, "key", []byte("value"))
		s.Pause(t)
		conn, err := net.Dial("tcp", s.Endpoint[len("http://"):])
		require.NoError(t, err, "a paused server takes connections")
		require.NoError(t, conn.Close())
		client := s.Client(t)
		head := func(ctx context.Context) error {
			_, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String("key")})
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, head(ctx), context.DeadlineExceeded)

		answer := make(chan error, 1)
		go func() { answer <- head(t.Context()) }()
		s.Resume(t)
		require.NoError(t, <-answer)

		s.Pause(t) // and it ends all the same
		pid := s.PID()
		s.Stop(t)
		requireNoProcess(t, pid)
	})
}

// A server that a test has started ends with it, in whatever state it is.
func TestEndsWithTest(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		var servers []*s3test.Server
		t.Run("start", func(t *testing.T) {
			running, paused := kind.Start(t), kind.Start(t)
			paused.Pause(t)
			require.NotEqual(t, running.Endpoint, paused.Endpoint)
			servers = append(servers, running, paused)
		})
		for _, s := range servers {
			requireNoProcess(t, s.PID())
			requireRefused(t, s)
		}
	})
}

func TestRevokedUser(t *testing.T) {
	t.Parallel()
	s := s3test.VersityGW.Shared(t)
	bucket, other := s.Bucket(t), s.Bucket(t)
	user := s.NewUser(t, bucket)
	client := user.Client(t)
	put := func(bucket string) error {
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("key")})
		return err
	}
	require.NoError(t, put(bucket))
	requireCode(t, put(other), "AccessDenied")
	require.Contains(t, user.Env(), "AWS_ACCESS_KEY_ID="+user.AccessKey)

	user.Revoke(t)
	requireCode(t, put(bucket), "InvalidAccessKeyId")
	require.Equal(t, []string{"key"}, s.Keys(t, bucket, ""), "the bucket stays")
}

func TestURL(t *testing.T) {
	t.Parallel()
	const endpoint = "http://127.0.0.1:9000"
	for _, test := range []struct {
		path  string
		query []string
		want  string
	}{
		{"", nil, "s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A9000"},
		{"/", nil, "s3://bucket/?endpoint=http%3A%2F%2F127.0.0.1%3A9000"},
		{"a b/c", []string{"region=eu", "partSize=5MiB"}, "s3://bucket/a%20b/c?endpoint=http%3A%2F%2F127.0.0.1%3A9000&partSize=5MiB&region=eu"},
	} {
		require.Equal(t, test.want, s3test.URL(endpoint, "bucket", test.path, test.query...))
	}
}

// The credentials are those that a child gets, and no setting of the developer's
// reaches it.
func TestEnv(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	env := s.Env()
	require.Contains(t, env, "AWS_ACCESS_KEY_ID="+s.AccessKey)
	require.Contains(t, env, "AWS_SECRET_ACCESS_KEY="+s.SecretKey)
	require.Contains(t, env, "AWS_PROFILE=")
}

func requireRefused(t *testing.T, s *s3test.Server) {
	t.Helper()
	_, err := net.Dial("tcp", s.Endpoint[len("http://"):])
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func requireNoProcess(t *testing.T, pid int) {
	t.Helper()
	_, err := os.Stat(filepath.Join("/proc", fmt.Sprint(pid)))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var apiErr smithy.APIError
	require.True(t, errors.As(err, &apiErr), "not an answer of S3: %v", err)
	require.Equal(t, code, apiErr.ErrorCode(), "%v", err)
}
