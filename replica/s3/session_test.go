package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go/logging"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// signedHeaders are those that a request's signature covers.
func (c call) signedHeaders() string {
	_, rest, _ := strings.Cut(c.get("Authorization"), "SignedHeaders=")
	list, _, _ := strings.Cut(rest, ",")
	return list
}

// get asks for one file.
func get(t *testing.T, s *server, change ...func(*config.Config)) call {
	t.Helper()
	s.answers["GET"] = object([]byte("x"), "v1")
	_, err := readRange(t, s.store(t, change...), "", 0, 0)
	require.NoError(t, err)
	calls := s.of("GET")
	return calls[len(calls)-1]
}

func TestSessionHeaders(t *testing.T) {
	s := serve(t, answers{})
	plain := get(t, s)
	require.Contains(t, plain.get("User-Agent"), "ltxfs")
	require.Empty(t, plain.get("X-Tigris-Consistent"))
	require.Contains(t, plain.signedHeaders(), "accept-encoding")
	require.Equal(t, "identity", plain.get("Accept-Encoding"))

	tigris := get(t, s, func(c *config.Config) { c.ConsistentReads = true })
	require.Equal(t, "true", tigris.get("X-Tigris-Consistent"))
	require.Contains(t, tigris.signedHeaders(), "x-tigris-consistent")

	google := get(t, s, func(c *config.Config) { c.SignAcceptEncoding = new(false) })
	require.NotContains(t, google.signedHeaders(), "accept-encoding")
	require.Contains(t, google.signedHeaders(), "host")

	public := get(t, s, func(c *config.Config) {
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Anonymous = "", "", "", true
	})
	require.Empty(t, public.get("Authorization"))
}

// The body is part of the signature, or left out of it.
func TestSessionPayload(t *testing.T) {
	data := bytesOf(1000)
	digest := sha256.Sum256(data)
	for name, tt := range map[string]struct {
		sign *bool
		want string
	}{
		"signed":   {nil, hex.EncodeToString(digest[:])},
		"unsigned": {new(false), "UNSIGNED-PAYLOAD"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"PUT": stored("v1"), "HEAD": object(data, "v1", "X-Amz-Checksum-Crc64nvme", checksumOf(data)), "LIST": say(200, pageOf(""))})
			c := s.store(t, func(c *config.Config) { c.SignPayload = tt.sign })
			_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(data), replica.WriteOptions{})
			require.NoError(t, err)
			require.Equal(t, tt.want, s.of("PUT")[0].get("X-Amz-Content-Sha256"))
			require.Empty(t, listed(t, c, 0))
		})
	}
}

// Where bodies aren't signed, no request's is.
func TestSessionPayloadUnsigned(t *testing.T) {
	data := bytesOf(2 * testPart)
	gone := inTurn(object(data, "v1-4"), refuse(404, ""))
	s := serve(t, inParts(data, answers{
		"HEAD": gone, "GET": object(data, "v1-4"), "LIST": say(200, pageOf("")), "DELETE": say(204, ""), "BATCH": deletedAll,
		"BUCKET": say(200, ""),
	}))
	c := smallParts(s.store(t, func(c *config.Config) { c.SignPayload = new(false) }))
	_, err := write(t, c, bytes.NewReader(data))
	require.NoError(t, err)
	require.Empty(t, listed(t, c, 0))
	require.NoError(t, c.DeleteLTXFiles(t.Context(), nth(1)))
	require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(1, 2)...))
	c.alive.Store(0)
	_, err = c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Len(t, counts(s), 9)
	for _, call := range s.seen() {
		require.Equal(t, "UNSIGNED-PAYLOAD", call.get("X-Amz-Content-Sha256"), call.op)
	}
}

// Keys come from the SDK's chain where none are given.
func TestSessionChain(t *testing.T) {
	s := serve(t, answers{"GET": object([]byte("x"), "v1")})
	c, _ := s.unready(t, func(c *config.Config) { c.AccessKeyID, c.SecretAccessKey, c.SessionToken = "", "", "" })
	t.Setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	ready(t, c, "eu-west-1")
	_, err := readRange(t, c, "", 0, 0)
	require.NoError(t, err)
	require.Contains(t, s.seen()[0].get("Authorization"), "Credential=ENVIRONMENT/")
	require.Contains(t, s.seen()[0].get("Authorization"), "/eu-west-1/s3/")
}

// An assumed role's keys are asked for once.
func TestSessionRole(t *testing.T) {
	const keys = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>` +
		`<AccessKeyId>ASSUMED</AccessKeyId><SecretAccessKey>planted-of-role</SecretAccessKey><SessionToken>planted-role-token</SessionToken>` +
		`<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`
	s := serve(t, answers{"GET": object([]byte("x"), "v1"), "POST": say(200, keys, "Content-Type", "text/xml")})
	isolate(t)
	c, _ := s.unready(t, func(c *config.Config) {
		c.RoleARN, c.ExternalID, c.Debug = "arn:aws:iam::123456789012:role/backup", "external", "all,signing"
	})
	t.Setenv("AWS_ENDPOINT_URL_STS", s.URL)
	ready(t, c, config.DefaultRegion)
	for range 2 {
		_, err := readRange(t, c, "", 0, 0)
		require.NoError(t, err)
	}
	require.Equal(t, "POST GET GET", s.ops())
	form, err := url.ParseQuery(string(s.seen()[0].body))
	require.NoError(t, err)
	require.Equal(t, []string{"AssumeRole", "arn:aws:iam::123456789012:role/backup", "external", "ltxfs"},
		[]string{form.Get("Action"), form.Get("RoleArn"), form.Get("ExternalId"), form.Get("RoleSessionName")})
	require.Contains(t, s.seen()[0].get("Authorization"), "Credential="+testKeyID)
	require.Contains(t, s.seen()[1].get("Authorization"), "Credential=ASSUMED")
	require.Equal(t, "planted-role-token", s.seen()[1].get("X-Amz-Security-Token"))
}

// The SDK's log at its most talkative, of every kind of request, shows headers
// but no secret; unready looks for those at the end.
func TestDebugShowsNoSecret(t *testing.T) {
	data := bytesOf(100)
	sum := []string{"X-Amz-Checksum-Crc64nvme", checksumOf(data)}
	s := serve(t, answers{
		"PUT": inTurn(refuse(503, "SlowDown"), stored("v1")), "HEAD": inTurn(object(data, "v1", sum...), refuse(404, "")), "GET": object(data, "v1"),
		"LIST": say(200, pageOf("")), "BATCH": say(200, "<DeleteResult></DeleteResult>"), "DELETE": refuse(403, "AccessDenied"),
	})
	c, log := s.logging(t, func(c *config.Config) { c.Debug, c.SSECustomerKey = "all, signing", testSSEKey })
	_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(data), replica.WriteOptions{})
	require.NoError(t, err)
	_, err = readRange(t, c, "v1", 0, 0)
	require.NoError(t, err)
	require.Empty(t, listed(t, c, 0))
	require.NoError(t, c.DeleteLTXFiles(t.Context(), nths(1, 2)...))
	err = c.DeleteLTXFiles(t.Context(), nths(1)...)
	require.Error(t, err)
	requireNoSecret(t, err.Error())

	text := log.String()
	for _, want := range []string{
		"Authorization: (secret)", "X-Amz-Security-Token: (secret)", "X-Amz-Server-Side-Encryption-Customer-Key: (secret)",
		"x-amz-security-token: (secret)", "STRING TO SIGN", "HTTP/1.1 200 OK", "X-Amz-Server-Side-Encryption-Customer-Key-Md5",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "Signature=")
	require.NotContains(t, text, string(data))

	// As much as that is only told on request.
	c, log = s.logging(t)
	_, err = readRange(t, c, "v1", 0, 0)
	require.NoError(t, err)
	require.NotContains(t, log.String(), "aws sdk")
}

func TestRedact(t *testing.T) {
	for _, name := range []string{
		"Authorization", "X-Amz-Security-Token", "X-Amz-Server-Side-Encryption-Customer-Key", "X-Aws-Ec2-Metadata-Token", "X-Amz-Sso_bearer_token",
		"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key",
	} {
		for _, header := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			got := redact("GET / HTTP/1.1\r\nHost: x\r\n" + header + ": hunter2\r\n" + header + ":hunter2\nRange: bytes=0-1\r\n")
			require.Equal(t, "GET / HTTP/1.1\r\nHost: x\r\n"+header+": (secret)\n"+header+": (secret)\nRange: bytes=0-1\r\n", got)
		}
	}
}

func TestDebugMode(t *testing.T) {
	for words, want := range map[string]aws.ClientLogMode{
		"": 0, "nonsense": 0, "signing": aws.LogSigning, "request, response": aws.LogRequest | aws.LogResponse, "retries": aws.LogRetries,
		"all": aws.LogRequest | aws.LogResponse | aws.LogRetries,
	} {
		require.Equal(t, want, debugMode(words))
		require.False(t, debugMode(words).IsRequestWithBody())
		require.False(t, debugMode(words).IsResponseWithBody())
	}
}

func TestSDKLogger(t *testing.T) {
	s := serve(t, nil)
	c, log := s.unready(t)
	sdkLogger{c.bucket}.Logf(logging.Warn, "careful %d", 1)
	sdkLogger{c.bucket}.Logf(logging.Debug, "by the way")
	require.Contains(t, log.String(), `level=WARN msg="aws sdk" text="careful 1"`)
	require.Contains(t, log.String(), `level=DEBUG msg="aws sdk" text="by the way"`)
}

// A session can't be made of a configuration that can't be loaded.
func TestSessionErrors(t *testing.T) {
	s := serve(t, answers{"LIST": func(w http.ResponseWriter, r *http.Request) { say(200, pageOf(""))(w, r) }})
	c, _ := s.unready(t)
	t.Setenv("AWS_CA_BUNDLE", "/nonexistent/bundle.pem")
	err := c.Init(t.Context())
	require.ErrorContains(t, err, "load the AWS configuration")
	require.ErrorContains(t, err, "/nonexistent/bundle.pem")
	t.Setenv("AWS_CA_BUNDLE", "")
	require.NoError(t, c.Init(t.Context()), "it is tried again")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, c.Init(ctx), context.Canceled)
}
