package litestreamcompat

// sseKey is 32 bytes in base64, as it stands in a URL.
const sseKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY%3D"

// urls are URLs of replicas in S3 that mean the same to Litestream and to ltxfs.
var urls = []string{
	// Where in a bucket.
	"s3://bucket",
	"s3://bucket/",
	"s3://bucket/db",
	"s3://bucket/db/",
	"s3://bucket/a/b/c.db",
	"s3://bucket//a//b",
	"s3://bucket/a/./b/../c",
	"s3://bucket/../a",
	"s3://bucket/with%20space/%C3%BC+1",
	"s3://bucket/a%2Fb",
	"s3://bucket/%2e%2e/a",
	"s3://bucket/ü",
	"s3://my.dotted.bucket/db",
	"s3://bucket/db?",

	// AWS by its host names.
	"s3://bucket.s3.amazonaws.com/db",
	"s3://bucket.s3.eu-west-1.amazonaws.com/db",
	"s3://my.dotted.bucket.s3.eu-west-1.amazonaws.com/db",
	"s3://bucket.s3.eu-west-1.amazonaws.com/db?region=us-west-2",
	"s3://bucket/db?region=ap-southeast-2",
	"s3://bucket/db?region=us-east-1&forcePathStyle=true",
	"s3://bucket/db?force-path-style=yes",
	"s3://bucket/db?force-path-style=F",

	// Access points.
	"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/db-access",
	"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/db-access/",
	"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/db-access/backups/db",
	"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/db-access//backups/../db/",
	"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/db-access/backups?sign-payload=true&storage-class=STANDARD_IA",

	// Other providers, by their host names.
	"s3://bucket.nyc3.digitaloceanspaces.com/db",
	"s3://bucket.s3.us-west-002.backblazeb2.com/db",
	"s3://bucket.s3.us-west-002.backblazeb2.com/db?force-path-style=false",
	"s3://bucket.s3.filebase.com/db",
	"s3://bucket.s3.fr-par.scw.cloud/db",

	// And by their endpoints.
	"s3://bucket/db?endpoint=https://fly.storage.tigris.dev",
	"s3://bucket/db?endpoint=https://t3.storage.dev&region=auto",
	"s3://bucket/db?endpoint=https://fly.storage.tigris.dev&require-content-md5=true&part-size=6291456",
	"s3://bucket/db?endpoint=https://account123.r2.cloudflarestorage.com",
	"s3://bucket/db?endpoint=account123.r2.cloudflarestorage.com&region=auto",
	"s3://bucket/db?endpoint=https://nyc3.digitaloceanspaces.com",
	"s3://bucket/db?endpoint=https://nyc3.digitaloceanspaces.com&forcePathStyle=false",
	"s3://bucket/db?endpoint=https://s3.us-west-002.backblazeb2.com",
	"s3://bucket/db?endpoint=https://s3.us-west-002.backblazeb2.com&forcePathStyle=false",
	"s3://bucket/db?endpoint=https://s3.filebase.com",
	"s3://bucket/db?endpoint=https://s3.fr-par.scw.cloud",
	"s3://bucket/db?endpoint=https://project.supabase.co",
	"s3://bucket/db?endpoint=https://fsn1.your-objectstorage.com",
	"s3://bucket/db?endpoint=https://storage.googleapis.com",
	"s3://bucket/db?endpoint=storage.googleapis.com&sign-payload=0",
	"s3://bucket/db?endpoint=https://s3.eu-central-1.wasabisys.com&region=eu-central-1",
	"s3://bucket/db?endpoint=https://minio.example.com:9000",
	"s3://bucket/db?endpoint=https://minio.example.com:9000&force-path-style=no",
	"s3://bucket/db?endpoint=http://minio.example.com:9000",
	"s3://bucket/db?endpoint=minio.example.com:9000",
	"s3://bucket/db?endpoint=192.168.1.7:9000",
	"s3://bucket/db?endpoint=10.1.2.3:9000&region=eu-west-3",
	"s3://bucket/db?endpoint=nas.local:9000",
	"s3://bucket/db?endpoint=http://172.20.0.2:9000",

	// A bucket before a host and a port.
	"s3://bucket.minio.example.org:9000/db",
	"s3://bucket.192.168.1.7:9000/db",
	"s3://bucket.nas.local:9000/db?region=eu-west-3",

	// The other settings.
	"s3://bucket/db?region=eu-west-1&storageClass=GLACIER_IR",
	"s3://bucket/db?region=eu-west-1&storage-class=ONEZONE_IA",
	"s3://bucket/db?region=eu-west-1&signPayload=false",
	"s3://bucket/db?region=eu-west-1&sign-payload=true",
	"s3://bucket/db?region=eu-west-1&signAcceptEncoding=false",
	"s3://bucket/db?region=eu-west-1&sign-accept-encoding=0",
	"s3://bucket/db?region=eu-west-1&requireContentMD5=false",
	"s3://bucket/db?region=eu-west-1&require-content-md5=NO",
	"s3://bucket/db?region=eu-west-1&putObjectContentMD5=true",
	"s3://bucket/db?region=eu-west-1&put-object-content-md5=1",
	"s3://bucket/db?region=eu-west-1&partSize=10485760&concurrency=3",
	"s3://bucket/db?region=eu-west-1&part-size=5242880",
	"s3://bucket/db?region=eu-west-1&sseCustomerKey=" + sseKey,
	"s3://bucket/db?region=eu-west-1&sse-customer-algorithm=AES256&sse-customer-key=" + sseKey,
	"s3://bucket/db?region=eu-west-1&sseKmsKeyId=alias/db",
	"s3://bucket/db?region=eu-west-1&sse-kms-key-id=arn:aws:kms:eu-west-1:123456789012:key/1",
	"s3://bucket/db?region=eu-west-1&skipVerify=yes",
	"s3://bucket/db?region=eu-west-1&skip-verify=false",
}

// refused are URLs that neither takes.
var refused = []string{
	"s3://",
	"s3:///path",
	"s3://%",
	"s3://bucket/%zz",
	"s3://bucket:9000:1/db",
	"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/",
	"s3://arn:aws:s3:us-east-1:123456789012:bucket/x",
	"s3://arn:\xf6:accesspoint/",
	"s3://bucket/db?concurrency=-1",
	"s3://bucket/db?concurrency=0",
	"s3://bucket/db?concurrency=abc",
	"s3://bucket/db?part-size=0",
	"s3://bucket/db?part-size=abc",
	"s3://bucket/db?partSize=-5242880",
	"bucket/db",
}

// exceptions are URLs that ltxfs means otherwise, or refuses, and why.
var exceptions = []struct {
	url, reason string
}{
	{"s3://bucket/db?forcePathStile=true", "a setting that isn't known is an error: a typo would pass in silence"},
	{"s3://bucket/db?forcePathStyle=maybe", "what is no boolean is an error; Litestream takes it for false"},
	{"s3://key:secret@bucket/db", "credentials don't belong into a URL, where ps and logs show them; Litestream drops them in silence"},
	{"s3://bucket/db?partSize=1048576", "a part size that no store takes is an error at once, and not with the first upload"},
	{"s3://bucket/db?sseCustomerKey=short", "a key of the wrong size is an error at once, and not at the first request"},
	{"s3://bucket/db?sseCustomerKey=" + sseKey + "&sseKmsKeyId=alias/db", "both keys are an error at once, and not at the first request"},
}
