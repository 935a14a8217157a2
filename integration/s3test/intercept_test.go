package s3test_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// behindProxy is a bucket with the object "key" and a client that sees it through
// a proxy.
type behindProxy struct {
	*s3test.Proxy
	s      *s3test.Server
	bucket string
	client *s3.Client
	data   []byte
}

func newBehindProxy(t *testing.T, kind *s3test.Kind, size int) *behindProxy {
	t.Helper()
	s := kind.Shared(t)
	p := s3test.NewProxy(t, s.Endpoint)
	b := &behindProxy{Proxy: p, s: s, bucket: s.Bucket(t), client: s.ClientAt(t, p.Endpoint)}
	for i := range size {
		b.data = append(b.data, byte(i>>8^i))
	}
	s.Put(t, b.bucket, "key", b.data)
	return b
}

// get reads a range of the object, or all of it, and returns what came before an
// error, too.
func (b *behindProxy) get(ctx context.Context, part string) ([]byte, *s3.GetObjectOutput, error) {
	in := &s3.GetObjectInput{Bucket: &b.bucket, Key: aws.String("key")}
	if part != "" {
		in.Range = &part
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	return data, out, err
}

func (b *behindProxy) head(ctx context.Context) error {
	_, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: aws.String("key")})
	return err
}

func (b *behindProxy) put(ctx context.Context, key string, data []byte) error {
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.bucket, Key: &key, Body: bytes.NewReader(data)})
	return err
}

func (b *behindProxy) delete(ctx context.Context, keys ...string) (*s3.DeleteObjectsOutput, error) {
	batch := &types.Delete{}
	for _, key := range keys {
		batch.Objects = append(batch.Objects, types.ObjectIdentifier{Key: &key})
	}
	return b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b.bucket, Delete: batch})
}

func TestFail(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.VersityGW, 10)
	for _, test := range []struct {
		status int
		code   string
	}{
		{403, "AccessDenied"}, {503, "SlowDown"}, {408, "RequestCanceled"}, {404, "NoSuchBucket"},
	} {
		b.Reset()
		remove := b.Intercept(s3test.On(s3test.GetObject, s3test.Times(2, s3test.Fail(test.status, test.code))))
		require.NoError(t, b.head(t.Context()), "another operation")
		for range 2 {
			_, _, err := b.get(t.Context(), "")
			requireCode(t, err, test.code)
			requireStatus(t, err, test.status)
		}
		_, _, err := b.get(t.Context(), "")
		require.NoError(t, err)
		requests := b.Requests()
		require.Equal(t, []bool{false, true, true, false},
			[]bool{requests[0].Intercepted, requests[1].Intercepted, requests[2].Intercepted, requests[3].Intercepted})
		require.Equal(t, test.status, requests[1].Status)
		remove()
	}

	remove := b.Intercept(s3test.FailSaying(400, "InvalidArgument", "no such header"))
	require.ErrorContains(t, b.put(t.Context(), "key", nil), "InvalidArgument: no such header")
	remove()
	remove = b.Intercept(s3test.FailSaying(400, "InvalidArgument", ""))
	require.ErrorContains(t, b.put(t.Context(), "key", nil), "InvalidArgument: UnknownError", "as the SDK says where there is no message")
	remove()
	remove = b.Intercept(s3test.Fail(503, "SlowDown"))
	requireCode(t, b.put(t.Context(), "large", make([]byte, 3<<20)), "SlowDown")
	requireStatus(t, b.head(t.Context()), 503)
	remove()
	require.NoError(t, b.head(t.Context()))
	require.Equal(t, []string{"key"}, b.s.Keys(t, b.bucket, ""))
}

func TestFailFraction(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.VersityGW, 10)
	const requests = 400
	round := func(seed uint64) (failed []bool) {
		remove := b.FailFraction(503, "SlowDown", 0.1, seed)
		defer remove()
		for range requests {
			failed = append(failed, b.head(t.Context()) != nil)
		}
		return failed
	}
	first := round(1)
	n := 0
	for _, f := range first {
		if f {
			n++
		}
	}
	require.InDelta(t, requests/10, n, requests/20)
	require.Equal(t, first, round(1))
	require.NotEqual(t, first, round(2))
}

func TestBreakAndHang(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.VersityGW, 10)
	remove := b.Intercept(s3test.Break(false))
	require.ErrorIs(t, b.head(t.Context()), io.EOF)
	remove()
	remove = b.Intercept(s3test.Break(true))
	require.ErrorIs(t, b.head(t.Context()), syscall.ECONNRESET)
	remove()

	b.Intercept(b.Hang())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.head(ctx), context.DeadlineExceeded)
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, b.put(ctx, "key", make([]byte, 100)), context.DeadlineExceeded)
}

// Only every n-th request stalls, and is passed on or given up.
func TestStall(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.VersityGW, 10)
	const pause = 300 * time.Millisecond
	b.Intercept(b.Stall(3, pause))
	for i := range 6 {
		began := time.Now()
		require.NoError(t, b.head(t.Context()))
		require.Equal(t, i%3 == 2, time.Since(began) >= pause, i)
	}
	for i := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), pause/2)
		defer cancel()
		if err := b.head(ctx); i == 2 {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
	}
	requests := b.Requests()
	require.Zero(t, requests[len(requests)-1].Status)
	require.True(t, requests[len(requests)-1].Intercepted)
}

func TestCutBodies(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		const size, cut = 1 << 20, 64 << 10
		b := newBehindProxy(t, kind, size)
		for name, test := range map[string]struct {
			reset bool
			err   error
		}{
			"closed": {false, io.ErrUnexpectedEOF},
			"reset":  {true, syscall.ECONNRESET},
		} {
			remove := b.CutBodies(cut, test.reset)
			got, _, err := b.get(t.Context(), "")
			require.ErrorIs(t, err, test.err, name)
			require.LessOrEqual(t, len(got), cut)
			require.NotEmpty(t, got, "a client that goes on where it stopped comes to an end")
			require.True(t, bytes.HasPrefix(b.data, got))
			got, _, err = b.get(t.Context(), "bytes=100-65635")
			require.NoError(t, err, "not more than the cut")
			require.Equal(t, b.data[100:100+cut], got)
			require.NoError(t, b.head(t.Context()))
			remove()
		}
		got, _, err := b.get(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, b.data, got)
	})
}

func TestWrongRanges(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.MinIO, 100)
	remove := b.Intercept(s3test.IgnoreRanges(b.s))
	got, out, err := b.get(t.Context(), "bytes=10-19")
	require.NoError(t, err)
	require.Equal(t, b.data, got)
	require.Nil(t, out.ContentRange)
	require.NotEmpty(t, aws.ToString(out.ETag))
	remove()

	remove = b.Rewrite(s3test.ShiftRange(5))
	got, out, err = b.get(t.Context(), "bytes=10-19")
	require.NoError(t, err)
	require.Equal(t, b.data[10:20], got)
	require.Equal(t, "bytes 15-24/100", aws.ToString(out.ContentRange))
	remove()
	_, out, err = b.get(t.Context(), "bytes=10-19")
	require.NoError(t, err)
	require.Equal(t, "bytes 10-19/100", aws.ToString(out.ContentRange))
}

func TestDeletions(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		b := newBehindProxy(t, kind, 10)
		require.NoError(t, b.put(t.Context(), "other", nil))
		both := []string{"key", "other"}

		remove := b.Intercept(s3test.DeleteNothing)
		out, err := b.delete(t.Context(), both...)
		require.NoError(t, err)
		require.Empty(t, out.Errors)
		require.Len(t, out.Deleted, 2)
		_, err = b.client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &b.bucket, Key: aws.String("key")})
		require.NoError(t, err)
		require.Equal(t, both, b.s.Keys(t, b.bucket, ""))
		remove()

		remove = b.Intercept(s3test.DeleteErrors(b.s, func(key string) string {
			if strings.HasPrefix(key, "k") {
				return "AccessDenied"
			}
			return ""
		}))
		out, err = b.delete(t.Context(), both...)
		require.NoError(t, err)
		require.Len(t, out.Errors, 1)
		require.Equal(t, "key", aws.ToString(out.Errors[0].Key))
		require.Equal(t, "AccessDenied", aws.ToString(out.Errors[0].Code))
		require.Len(t, out.Deleted, 1)
		require.Equal(t, []string{"key"}, b.s.Keys(t, b.bucket, ""))
		remove()
		_, err = b.delete(t.Context(), both...)
		require.NoError(t, err)
		require.Empty(t, b.s.Keys(t, b.bucket, ""))
	})
}

func TestLag(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.MinIO, 10)
	remove := b.Intercept(s3test.Lag(2))
	requireCode(t, b.head(t.Context()), "NotFound")
	_, _, err := b.get(t.Context(), "")
	require.NoError(t, err)
	requireCode(t, b.head(t.Context()), "NotFound")
	require.NoError(t, b.head(t.Context()))
	remove()
}

func requireStatus(t *testing.T, err error, status int) {
	t.Helper()
	var resp *awshttp.ResponseError
	require.True(t, errors.As(err, &resp), "%v", err)
	require.Equal(t, status, resp.HTTPStatusCode())
}
