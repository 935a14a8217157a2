package settings

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestIsPublic(t *testing.T) {
	for name, want := range map[string]bool{
		"region": true, "forcePathStyle": true, "force-path-style": true, "sseKmsKeyId": true, "sse-customer-key-md5": true,
		"sseCustomerKey": false, "sse-customer-key": false, "SSECustomerKey": false,
		"accessKeyId": false, "secretAccessKey": false, "sessionToken": false, "nonsense": false, "": false,
	} {
		require.Equal(t, want, isPublic(name), name)
	}
}

// A text that cites an argument doesn't cite its secrets.
func TestScrubArgument(t *testing.T) {
	for arg, want := range map[string]string{
		"":                                    "",
		"mount":                               "mount",
		"/srv/a@b?key=value#c":                "/srv/a@b?key=value#c",
		"a:b@c?d=e":                           "a:b@c?d=e",
		"s3://bucket/path":                    "s3://bucket/path",
		"s3://bucket/p@th":                    "s3://bucket/p@th",
		"s3://bucket.host:9000/p@th":          "s3://bucket.host:9000/p@th",
		"s3://arn:aws:s3:r:1:ap/x/p@th":       "s3://arn:aws:s3:r:1:ap/x/p@th",
		"s3://bucket?region=eu&key=ABC":       "s3://bucket?region=eu&key=(secret)",
		"s3://bucket?key=A%2FB&region=eu":     "s3://bucket?key=(secret)&region=eu",
		"s3://bucket?%72egion=eu":             "s3://bucket?%72egion=eu",
		"s3://bucket?key=AB&CD==&region=eu":   "s3://bucket?key=(secret)&CD=(secret)&region=eu",
		"s3://bucket?key=AB;CD&region=eu":     "s3://bucket?key=(secret);(secret)&region=eu",
		"s3://bucket?key=":                    "s3://bucket?key=",
		"s3://id:se/cret@bucket/path":         "s3://(secret)@bucket/path",
		"S3://id:secret@bucket?region=eu@x":   "S3://(secret)@bucket?region=eu@x",
		"s3:/bucket?key=ABC":                  "s3:/bucket?key=(secret)",
		"s3://bucket#ABC?key=d":               "s3://bucket#(secret)",
		"s3://bucket?":                        "s3://bucket?",
		"s3://bucket?sseCustomerKey=ABC&x=YZ": "s3://bucket?sseCustomerKey=(secret)&x=(secret)",
	} {
		require.Equal(t, "a "+want+" b", Scrub("a "+arg+" b", []string{"ltxfs", arg}), arg)
	}
}

// A secret is hidden wherever it stands, decoded or not.
func TestScrub(t *testing.T) {
	args := []string{"ltxfs", "s3://bucket?key=0123456%3D&regoin=us&endpoint=localhost"}
	require.Equal(t, "a (secret) b (secret) us localhost", Scrub("a 0123456%3D b 0123456= us localhost", args))
	require.Equal(t, "/a?key=0123456789", Scrub("/a?key=0123456789", []string{"/a?key=0123456789"}))
}
