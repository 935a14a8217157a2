package s3test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// Object is an object in a listing.
type Object struct {
	Key          string
	Size         int64 // in bytes
	ETag         string
	LastModified time.Time
}

// Bucket makes an empty bucket. In a shared server it goes, with all in it, when
// the test ends.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	bucket := "t" + strings.ToLower(rand.Text()[:16])
	_, err := s.admin.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
	s.require(t, err)
	if s.shared { // else the whole server goes
		t.Cleanup(func() { s.removeBucket(t, bucket) })
	}
	return bucket
}

func (s *Server) removeBucket(t testing.TB, bucket string) {
	t.Helper()
	ctx := context.Background() // the test's own is done
	for _, up := range s.Uploads(t, bucket) {
		_, err := s.admin.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
			Bucket: &bucket, Key: &up.Key, UploadId: &up.ID,
		})
		s.require(t, err)
	}
	// A server may still be cleaning up after a write that was broken off.
	var err error
	for deadline := time.Now().Add(removeTimeout); ; time.Sleep(100 * time.Millisecond) {
		s.Delete(t, bucket, s.Keys(t, bucket, "")...)
		if _, err = s.admin.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket}); err == nil || time.Now().After(deadline) {
			break
		}
	}
	s.require(t, err)
}

// removeTimeout is how long a bucket may not be empty after all in it was deleted.
const removeTimeout = 10 * time.Second

// Put writes an object in one request and returns its ETag.
func (s *Server) Put(t testing.TB, bucket, key string, data []byte) (etag string) {
	t.Helper()
	out, err := s.admin.PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: bytes.NewReader(data),
	})
	s.require(t, err)
	return aws.ToString(out.ETag)
}

// Get reads an object.
func (s *Server) Get(t testing.TB, bucket, key string) []byte {
	t.Helper()
	out, err := s.admin.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	s.require(t, err)
	defer out.Body.Close()
	data, err := io.ReadAll(out.Body)
	s.require(t, err)
	return data
}

// Head is an object's attributes, the store's checksum included.
func (s *Server) Head(t testing.TB, bucket, key string) *s3.HeadObjectOutput {
	t.Helper()
	out, err := s.admin.HeadObject(context.Background(), &s3.HeadObjectInput{
		Bucket: &bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled,
	})
	s.require(t, err)
	return out
}

// Objects lists the objects whose keys begin with prefix, in the order of their
// keys.
func (s *Server) Objects(t testing.TB, bucket, prefix string) []Object {
	t.Helper()
	var objects []Object
	pages := s3.NewListObjectsV2Paginator(s.admin, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		s.require(t, err)
		for _, o := range page.Contents {
			objects = append(objects, Object{
				Key:          aws.ToString(o.Key),
				Size:         aws.ToInt64(o.Size),
				ETag:         aws.ToString(o.ETag),
				LastModified: aws.ToTime(o.LastModified),
			})
		}
	}
	return objects
}

// Keys lists the keys that begin with prefix, sorted.
func (s *Server) Keys(t testing.TB, bucket, prefix string) []string {
	t.Helper()
	var keys []string
	for _, o := range s.Objects(t, bucket, prefix) {
		keys = append(keys, o.Key)
	}
	return keys
}

// Delete deletes objects. Those that aren't there are no error.
func (s *Server) Delete(t testing.TB, bucket string, keys ...string) {
	t.Helper()
	const most = 1000 // in one request
	for len(keys) > 0 {
		n := min(len(keys), most)
		batch := &types.Delete{Quiet: aws.Bool(true)}
		for _, key := range keys[:n] {
			batch.Objects = append(batch.Objects, types.ObjectIdentifier{Key: &key})
		}
		keys = keys[n:]
		out, err := s.admin.DeleteObjects(context.Background(), &s3.DeleteObjectsInput{Bucket: &bucket, Delete: batch})
		s.require(t, err)
		for _, e := range out.Errors {
			t.Fatalf("%s: delete %s: %s", s.Name, aws.ToString(e.Key), aws.ToString(e.Message))
		}
	}
}

// Upload is a multipart upload that is neither complete nor aborted.
type Upload struct {
	Key string
	ID  string
}

// Uploads lists the unfinished multipart uploads of a bucket.
func (s *Server) Uploads(t testing.TB, bucket string) []Upload {
	t.Helper()
	var uploads []Upload
	pages := s3.NewListMultipartUploadsPaginator(s.admin, &s3.ListMultipartUploadsInput{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		// So says rclone of a bucket that never had any.
		if e := smithy.APIError(nil); errors.As(err, &e) && e.ErrorCode() == "NoSuchUpload" {
			break
		}
		s.require(t, err)
		for _, up := range page.Uploads {
			uploads = append(uploads, Upload{Key: aws.ToString(up.Key), ID: aws.ToString(up.UploadId)})
		}
	}
	return uploads
}

func (s *Server) require(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
}
