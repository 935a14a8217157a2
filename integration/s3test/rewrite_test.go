package s3test_test

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

func (b *behindProxy) list(t *testing.T, in s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	t.Helper()
	in.Bucket = &b.bucket
	return b.client.ListObjectsV2(t.Context(), &in)
}

// keys lists one page.
func (b *behindProxy) keys(t *testing.T, in s3.ListObjectsV2Input) (keys []string) {
	t.Helper()
	out, err := b.list(t, in)
	require.NoError(t, err)
	for _, o := range out.Contents {
		keys = append(keys, aws.ToString(o.Key))
	}
	return keys
}

// A header can be missing, or be another, in the answers to some requests alone.
func TestMapHeader(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.VersityGW, 10)
	etag := aws.ToString(b.s.Head(t, b.bucket, "key").ETag)
	modified := aws.ToTime(b.s.Head(t, b.bucket, "key").LastModified)
	head := func() *s3.HeadObjectOutput {
		out, err := b.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &b.bucket, Key: aws.String("key")})
		require.NoError(t, err)
		return out
	}

	remove := b.Rewrite(s3test.AnswersTo(s3test.GetObject, s3test.MapHeader("ETag", s3test.Drop)))
	_, out, err := b.get(t.Context(), "")
	require.NoError(t, err)
	require.Nil(t, out.ETag)
	require.Equal(t, etag, aws.ToString(head().ETag), "another operation")
	remove()

	remove = b.Rewrite(s3test.MapHeader("ETag", func(etag string) string { return "W/" + strings.ToUpper(etag) }))
	require.Equal(t, "W/"+strings.ToUpper(etag), aws.ToString(head().ETag))
	_, out, err = b.get(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, "W/"+strings.ToUpper(etag), aws.ToString(out.ETag))
	remove()

	remove = b.Rewrite(s3test.AnswersTo(s3test.HeadObject, s3test.MapHeader("Last-Modified", s3test.Drop)))
	require.Nil(t, head().LastModified)
	remove()
	remove = b.Rewrite(s3test.AnswersTo(s3test.HeadObject, s3test.MapHeader("Last-Modified", s3test.Retime(func(t time.Time) string {
		return t.In(time.FixedZone("", 3600)).Format(time.RFC1123)
	}))))
	require.ErrorContains(t, b.head(t.Context()), "unable to parse time string")
	remove()
	require.Equal(t, modified, aws.ToTime(head().LastModified))
}

// Requests fail by what they carry and by the object they name.
func TestFailSome(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.VersityGW, 10)
	etag := b.s.Head(t, b.bucket, "key").ETag
	get := func(in s3.GetObjectInput) error {
		in.Bucket = &b.bucket
		out, err := b.client.GetObject(t.Context(), &in)
		if err == nil {
			err = out.Body.Close()
		}
		return err
	}
	guarded := s3.GetObjectInput{Key: aws.String("key"), IfMatch: etag}
	require.NoError(t, get(guarded))
	remove := b.Intercept(s3test.On(s3test.HasHeader("If-Match"), s3test.Fail(412, "PreconditionFailed")))
	requireCode(t, get(guarded), "PreconditionFailed")
	require.NoError(t, get(s3.GetObjectInput{Key: aws.String("key")}))
	remove()
	remove = b.Intercept(s3test.On(s3test.HasHeader("If-Unmodified-Since"), s3test.Fail(412, "PreconditionFailed")))
	require.NoError(t, get(guarded))
	requireCode(t, get(s3.GetObjectInput{Key: aws.String("key"), IfUnmodifiedSince: aws.Time(time.Now())}), "PreconditionFailed")
	remove()

	require.NoError(t, b.put(t.Context(), "archived", nil))
	remove = b.Intercept(s3test.On(s3test.All(s3test.GetObject, s3test.KeyEnds("archived")), s3test.Fail(403, "InvalidObjectState")))
	requireCode(t, get(s3.GetObjectInput{Key: aws.String("archived")}), "InvalidObjectState")
	require.NoError(t, get(guarded))
	b.s.Head(t, b.bucket, "archived")
	remove()

	remove = b.Intercept(s3test.On(s3test.HasHeader("X-Amz-Checksum-"), s3test.Fail(400, "InvalidArgument")))
	put := &s3.PutObjectInput{Bucket: &b.bucket, Key: aws.String("sum"), ChecksumCRC32: aws.String("AAAAAA==")}
	_, err := b.client.PutObject(t.Context(), put)
	requireCode(t, err, "InvalidArgument")
	_, err = b.client.PutObject(t.Context(), put, func(o *s3.Options) { o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired })
	requireCode(t, err, "InvalidArgument")
	remove()
	_, err = b.client.PutObject(t.Context(), put)
	require.NoError(t, err)
}

// An answer of success can hold an error, or nothing that a client understands.
func TestBodyOfSuccess(t *testing.T) {
	t.Parallel()
	b := newBehindProxy(t, s3test.VersityGW, 10)
	_, err := b.delete(t.Context(), "nothing")
	require.NoError(t, err)
	remove := b.Intercept(s3test.On(s3test.CopyObject, s3test.Fail(200, "InternalError")))
	_, err = b.client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: &b.bucket, Key: aws.String("copy"), CopySource: aws.String(b.bucket + "/key")})
	requireCode(t, err, "InternalError")
	requests := b.Requests()
	require.Equal(t, 200, requests[len(requests)-1].Status)
	remove()

	for _, page := range []string{"<html>Bad</Gateway>", "", "<ListBucketResult><Contents>"} {
		remove = b.Rewrite(s3test.AnswersTo(s3test.ListObjects, s3test.MapBody(func([]byte) ([]byte, error) { return []byte(page), nil })))
		out, err := b.list(t, s3.ListObjectsV2Input{})
		require.True(t, err != nil || len(out.Contents) == 0, "%q", page)
		remove()
	}
	require.Equal(t, []string{"key"}, b.keys(t, s3.ListObjectsV2Input{}))
}

// What a listing says of objects can be changed, and the rest of it stays.
func TestMapListing(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		b := newBehindProxy(t, kind, 10)
		keys := []string{"a b/ü+%2F", "a&<b>", "key", "z"}
		for _, key := range keys {
			require.NoError(t, b.put(t.Context(), key, []byte(key)))
		}
		plain, err := b.list(t, s3.ListObjectsV2Input{})
		require.NoError(t, err)
		for _, encoding := range []types.EncodingType{"", types.EncodingTypeUrl} {
			in := s3.ListObjectsV2Input{EncodingType: encoding}
			want, err := b.list(t, in)
			require.NoError(t, err)

			remove := b.Rewrite(s3test.EachListed(func(*s3test.ListedObject) {}))
			got, err := b.list(t, in)
			require.NoError(t, err)
			for _, out := range []*s3.ListObjectsV2Output{want, got} {
				decodeKeys(t, out) // servers write a space in two ways
			}
			require.Equal(t, want.Contents, got.Contents)
			require.Equal(t, want.KeyCount, got.KeyCount)
			remove()

			remove = b.Rewrite(s3test.EachListed(func(o *s3test.ListedObject) {
				o.ETag = ""
				o.LastModified = s3test.Retime(func(t time.Time) string {
					return t.Add(5*time.Hour + 30*time.Minute).Format("2006-01-02T15:04:05.000Z")
				})(o.LastModified)
			}))
			got, err = b.list(t, in)
			require.NoError(t, err)
			decodeKeys(t, got)
			require.Len(t, got.Contents, len(keys))
			for i, o := range got.Contents {
				require.Nil(t, o.ETag)
				require.Equal(t, want.Contents[i].Key, o.Key)
				require.Equal(t, want.Contents[i].Size, o.Size)
				require.Equal(t, plain.Contents[i].LastModified.Add(5*time.Hour+30*time.Minute).Truncate(time.Millisecond), *o.LastModified)
			}
			remove()
		}

		remove := b.Rewrite(s3test.MapListing(func(l *s3test.Listing) {
			rand.New(rand.NewPCG(1, 0)).Shuffle(len(l.Contents), func(i, j int) { l.Contents[i], l.Contents[j] = l.Contents[j], l.Contents[i] })
		}))
		got := b.keys(t, s3.ListObjectsV2Input{})
		require.NotEqual(t, keys, got)
		require.ElementsMatch(t, keys, got)
		remove()
	})
}

// decodeKeys makes the keys of a listing plain.
func decodeKeys(t *testing.T, out *s3.ListObjectsV2Output) {
	t.Helper()
	if out.EncodingType != types.EncodingTypeUrl {
		return
	}
	for i := range out.Contents {
		key, err := url.QueryUnescape(*out.Contents[i].Key)
		require.NoError(t, err)
		out.Contents[i].Key = &key
	}
}

// A key that XML 1.0 can't hold makes a listing one that the SDK can't parse.
func TestAddListed(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		b := newBehindProxy(t, kind, 10)
		require.NoError(t, b.put(t.Context(), "dir/a", nil))
		b.Rewrite(s3test.AddListed("zz\bjunk"))
		_, err := b.list(t, s3.ListObjectsV2Input{Prefix: aws.String("dir/")})
		require.ErrorContains(t, err, "illegal character code")
	})
}

// A server that knows ListObjects alone begins every listing anew, and gives no
// token; with a marker it goes on.
func TestListAsV1(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		b := newBehindProxy(t, kind, 10)
		require.NoError(t, b.put(t.Context(), "a b", nil))
		require.NoError(t, b.put(t.Context(), "z", nil))
		first, err := b.list(t, s3.ListObjectsV2Input{MaxKeys: aws.Int32(2)})
		require.NoError(t, err)
		rest := s3.ListObjectsV2Input{ContinuationToken: first.NextContinuationToken}

		remove := b.ListAsV1(b.s, 2)
		out, err := b.list(t, s3.ListObjectsV2Input{})
		require.NoError(t, err)
		require.True(t, *out.IsTruncated)
		require.Nil(t, out.NextContinuationToken)
		require.Nil(t, out.KeyCount)
		for _, in := range []s3.ListObjectsV2Input{{}, {StartAfter: aws.String("key")}, rest} {
			require.Equal(t, []string{"a b", "key"}, b.keys(t, in))
		}
		v1, err := b.client.ListObjects(t.Context(), &s3.ListObjectsInput{Bucket: &b.bucket, Marker: aws.String("a b")})
		require.NoError(t, err)
		require.Len(t, v1.Contents, 2)
		remove()
		require.Equal(t, []string{"z"}, b.keys(t, rest))
	})
}

// A proxy that changes what is signed has the request refused, unless it signs
// anew.
func TestAlter(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		b := newBehindProxy(t, kind, 10)
		remove := b.Alter(func(r *http.Request) { r.Header.Set("Accept-Encoding", "br") })
		_, _, err := b.get(t.Context(), "")
		requireCode(t, err, "SignatureDoesNotMatch")
		remove()

		// A server that ignores a condition.
		remove = b.Alter(func(r *http.Request) {
			if s3test.HasHeader("If-None-Match").Match(r) {
				r.Header.Del("If-None-Match")
				b.s.Sign(r)
			}
		})
		in := &s3.PutObjectInput{Bucket: &b.bucket, Key: aws.String("key"), IfNoneMatch: aws.String("*")}
		_, err = b.client.PutObject(t.Context(), in)
		require.NoError(t, err)
		remove()
		_, err = b.client.PutObject(t.Context(), in)
		requireCode(t, err, "PreconditionFailed")
		requests := b.Requests()
		require.True(t, slices.ContainsFunc(requests, func(r s3test.Request) bool { return r.Header.Get("If-None-Match") == "*" }),
			"what is noted is what the client sent")
	})
}
