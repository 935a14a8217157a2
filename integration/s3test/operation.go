package s3test

import (
	"net/http"
	"slices"
	"strings"
)

// Operation is the name that S3's API gives to a request.
type Operation string

// The operations that Proxy tells apart.
const (
	ListBuckets             Operation = "ListBuckets"
	CreateBucket            Operation = "CreateBucket"
	DeleteBucket            Operation = "DeleteBucket"
	HeadBucket              Operation = "HeadBucket"
	GetBucketLocation       Operation = "GetBucketLocation"
	ListObjects             Operation = "ListObjects" // of either version
	HeadObject              Operation = "HeadObject"
	GetObject               Operation = "GetObject"
	GetObjectAttributes     Operation = "GetObjectAttributes"
	PutObject               Operation = "PutObject"
	CopyObject              Operation = "CopyObject"
	DeleteObject            Operation = "DeleteObject"
	DeleteObjects           Operation = "DeleteObjects"
	CreateMultipartUpload   Operation = "CreateMultipartUpload"
	UploadPart              Operation = "UploadPart"
	CompleteMultipartUpload Operation = "CompleteMultipartUpload"
	AbortMultipartUpload    Operation = "AbortMultipartUpload"
	ListMultipartUploads    Operation = "ListMultipartUploads"
	ListParts               Operation = "ListParts"
	Other                   Operation = "Other"
)

// rule says which requests are of an operation: those with a method to a kind of
// path, and with a parameter in the query or a header, if it names one.
type rule struct {
	method string
	path   pathKind
	query  string
	header string
	op     Operation
}

type pathKind int

const (
	rootPath pathKind = iota
	bucketPath
	objectPath
)

// rules are tried in order.
var rules = []rule{
	{http.MethodGet, rootPath, "", "", ListBuckets},

	{http.MethodGet, bucketPath, "location", "", GetBucketLocation},
	{http.MethodGet, bucketPath, "uploads", "", ListMultipartUploads},
	{http.MethodGet, bucketPath, "list-type", "", ListObjects},
	{http.MethodGet, bucketPath, "prefix", "", ListObjects},
	{http.MethodHead, bucketPath, "", "", HeadBucket},
	{http.MethodPost, bucketPath, "delete", "", DeleteObjects},

	{http.MethodGet, objectPath, "uploadId", "", ListParts},
	{http.MethodGet, objectPath, "attributes", "", GetObjectAttributes},
	{http.MethodGet, objectPath, "", "", GetObject},
	{http.MethodHead, objectPath, "", "", HeadObject},
	{http.MethodPut, objectPath, "uploadId", "", UploadPart},
	{http.MethodPut, objectPath, "", "X-Amz-Copy-Source", CopyObject},
	{http.MethodPut, objectPath, "", "", PutObject},
	{http.MethodPost, objectPath, "uploads", "", CreateMultipartUpload},
	{http.MethodPost, objectPath, "uploadId", "", CompleteMultipartUpload},
	{http.MethodDelete, objectPath, "uploadId", "", AbortMultipartUpload},
	{http.MethodDelete, objectPath, "", "", DeleteObject},
}

// bareRules are for buckets without a parameter: with one that stands in no rule,
// such requests are about some setting.
var bareRules = []rule{
	{http.MethodGet, bucketPath, "", "", ListObjects},
	{http.MethodPut, bucketPath, "", "", CreateBucket},
	{http.MethodDelete, bucketPath, "", "", DeleteBucket},
}

// OperationOf tells what a request asks for. The bucket must be in its path.
func OperationOf(r *http.Request) Operation {
	query := r.URL.Query()
	bucket, key := splitPath(r)
	kind := objectPath
	switch {
	case bucket == "":
		kind = rootPath
	case key == "":
		kind = bucketPath
	}
	query.Del("x-id") // in which the SDK gives the operation's name
	candidates := rules
	if len(query) == 0 {
		candidates = slices.Concat(bareRules, rules)
	}
	for _, c := range candidates {
		if c.method == r.Method && c.path == kind &&
			(c.query == "" || query.Has(c.query)) && (c.header == "" || r.Header.Get(c.header) != "") {
			return c.op
		}
	}
	return Other
}

// splitPath returns the bucket and the key that a request names.
func splitPath(r *http.Request) (bucket, key string) {
	bucket, key, _ = strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	return bucket, key
}
