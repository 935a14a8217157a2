package s3test_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

func TestOperationOf(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]s3test.Operation{
		"GET /?x-id=ListBuckets":            s3test.ListBuckets,
		"PUT /b":                            s3test.CreateBucket,
		"DELETE /b/":                        s3test.DeleteBucket,
		"HEAD /b":                           s3test.HeadBucket,
		"GET /b?location":                   s3test.GetBucketLocation,
		"GET /b/?location=":                 s3test.GetBucketLocation,
		"GET /b":                            s3test.ListObjects,
		"GET /b?list-type=2&prefix=a%2F":    s3test.ListObjects,
		"GET /b?prefix=a":                   s3test.ListObjects,
		"GET /b?uploads":                    s3test.ListMultipartUploads,
		"GET /b?uploads&prefix=a":           s3test.ListMultipartUploads,
		"GET /b?versioning":                 s3test.Other,
		"PUT /b?policy":                     s3test.Other,
		"DELETE /b?policy":                  s3test.Other,
		"POST /b?delete":                    s3test.DeleteObjects,
		"POST /b/?delete=":                  s3test.DeleteObjects,
		"HEAD /b/k":                         s3test.HeadObject,
		"GET /b/k?x-id=GetObject":           s3test.GetObject,
		"GET /b/a/b/c":                      s3test.GetObject,
		"GET /b//k":                         s3test.GetObject,
		"GET /b/k?attributes":               s3test.GetObjectAttributes,
		"PUT /b/k?x-id=PutObject":           s3test.PutObject,
		"DELETE /b/k":                       s3test.DeleteObject,
		"POST /b/k?uploads":                 s3test.CreateMultipartUpload,
		"PUT /b/k?partNumber=1&uploadId=u":  s3test.UploadPart,
		"POST /b/k?uploadId=u":              s3test.CompleteMultipartUpload,
		"DELETE /b/k?uploadId=u&x-id=Abort": s3test.AbortMultipartUpload,
		"GET /b/k?uploadId=u":               s3test.ListParts,
		"POST /":                            s3test.Other,
		"PATCH /b/k":                        s3test.Other,
		"PUT /b/k X-Amz-Copy-Source":        s3test.CopyObject,
		"PUT /b/k?x-id=CopyObject X-Amz-Copy-Source":  s3test.CopyObject,
		"GET /b?list-type=2 X-Amz-Copy-Source":        s3test.ListObjects,
		"PUT /b/k?partNumber=1&uploadId=u X-Amz-Date": s3test.UploadPart,
	} {
		method, rest, _ := strings.Cut(request, " ")
		target, header, _ := strings.Cut(rest, " ")
		r, err := http.NewRequest(method, "http://127.0.0.1"+target, nil)
		require.NoError(t, err)
		if header != "" {
			r.Header.Set(header, "x")
		}
		require.Equal(t, want, s3test.OperationOf(r), request)
	}
}
