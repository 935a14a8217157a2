package s3test_test

import (
	"bytes"
	"encoding/base64"
	"hash/crc64"
	"io"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// partSize is the smallest that S3 has.
const partSize = 5 << 20

// What the tests of ltxfs suppose of both servers: a checksum of the whole object,
// however it was written, and conditions.
func TestFeatures(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket, client := s.Bucket(t), s.Client(t)
		data := bytes.Repeat([]byte("0123456789abcdef"), partSize/16+1)

		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &bucket, Key: aws.String("whole"), Body: bytes.NewReader(data),
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme,
			Metadata:          map[string]string{"litestream-timestamp": "2026-01-02T03:04:05.123456789Z"},
		})
		require.NoError(t, err)
		head := s.Head(t, bucket, "whole")
		require.Equal(t, crc64NVME(data), aws.ToString(head.ChecksumCRC64NVME))
		require.Equal(t, types.ChecksumTypeFullObject, head.ChecksumType)
		require.Equal(t, "2026-01-02T03:04:05.123456789Z", head.Metadata["litestream-timestamp"])

		putParts(t, client, bucket, "parts", data)
		head = s.Head(t, bucket, "parts")
		require.Equal(t, crc64NVME(data), aws.ToString(head.ChecksumCRC64NVME))
		require.Equal(t, types.ChecksumTypeFullObject, head.ChecksumType)
		require.Empty(t, s.Uploads(t, bucket))

		get := func(etag, part string) ([]byte, error) {
			out, err := client.GetObject(t.Context(), &s3.GetObjectInput{
				Bucket: &bucket, Key: aws.String("parts"), Range: &part, IfMatch: &etag,
			})
			if err != nil {
				return nil, err
			}
			defer out.Body.Close()
			return io.ReadAll(out.Body)
		}
		got, err := get(*head.ETag, "bytes=5-99")
		require.NoError(t, err)
		require.Equal(t, data[5:100], got)
		_, err = get(*head.ETag, "bytes=99999999-")
		requireCode(t, err, "InvalidRange")
		_, err = get(`"0123"`, "bytes=0-")
		requireCode(t, err, "PreconditionFailed")
		_, err = client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: &bucket, Key: aws.String("whole"), IfNoneMatch: aws.String("*"),
		})
		requireCode(t, err, "PreconditionFailed")
	})
}

// putParts writes an object in parts.
func putParts(t *testing.T, client *s3.Client, bucket, key string, data []byte) {
	t.Helper()
	up, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
		Bucket: &bucket, Key: &key,
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject,
	})
	require.NoError(t, err)
	var parts []types.CompletedPart
	for n := int32(1); len(data) > 0; n++ {
		size := min(len(data), partSize)
		part, err := client.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: &bucket, Key: &key, UploadId: up.UploadId, PartNumber: &n, Body: bytes.NewReader(data[:size]),
			ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme,
		})
		require.NoError(t, err)
		parts = append(parts, types.CompletedPart{ETag: part.ETag, PartNumber: &n, ChecksumCRC64NVME: part.ChecksumCRC64NVME})
		data = data[size:]
	}
	_, err = client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &bucket, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	require.NoError(t, err)
}

// crc64NVME is the checksum as S3 writes it.
func crc64NVME(data []byte) string {
	h := crc64.New(crc64.MakeTable(0x9a6c9329ac4bc9b5))
	h.Write(data)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}
