package replicas

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

const listing = "<ListBucketResult><Name>bucket</Name></ListBucketResult>"

// serve answers each request with a status and what is in the body.
func serve(t *testing.T, answer func(r *http.Request) (status int, body string)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, body := answer(r)
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

func refusal(code string) string {
	return "<Error><Code>" + code + "</Code><Message>no</Message></Error>"
}

// A signature that holds without Accept-Encoding was broken by something that changes
// it. One that holds in neither way was made with a wrong key.
func TestDiagnoseAcceptEncoding(t *testing.T) {
	for _, tt := range []struct {
		without, says string
	}{
		{listing, "signAcceptEncoding=false"},
		{refusal("AccessDenied"), "signAcceptEncoding=false"},
		{refusal("SignatureDoesNotMatch"), "check the secret access key"},
		{refusal("SlowDown"), "check the secret access key"},
		{"", "check the secret access key"},
	} {
		s := serve(t, func(r *http.Request) (int, string) {
			switch {
			case strings.Contains(r.Header.Get("Authorization"), "accept-encoding"):
				return http.StatusForbidden, refusal("SignatureDoesNotMatch")
			case tt.without == listing:
				return http.StatusOK, listing
			}
			return http.StatusForbidden, tt.without
		})
		s.Start()
		source := &mount(t, "s3://bucket/path?endpoint="+s.URL).Source
		err := explain(t.Context(), source, probe(t.Context(), *source.S3))
		requireCode(t, exitcode.Permission, err, "SignatureDoesNotMatch", tt.says)
		require.NotContains(t, err.Error(), key)
	}
}

// A key with a $ that was taken for a variable's is to blame if it works as it stands.
func TestDiagnoseLiteral(t *testing.T) {
	s := serve(t, func(r *http.Request) (int, string) {
		if strings.Contains(r.Header.Get("Authorization"), "Credential=k$y/") {
			return http.StatusOK, listing
		}
		return http.StatusForbidden, refusal("InvalidAccessKeyId")
	})
	s.Start()
	source := &mount(t, "s3://bucket/path?endpoint="+s.URL).Source
	for id, says := range map[string]string{"k$y": "--no-expand-env", "$other": "check the access key's ID"} {
		source.Literal = &config.Config{AccessKeyID: id, SecretAccessKey: "pa$$word"}
		err := explain(t.Context(), source, probe(t.Context(), *source.S3))
		requireCode(t, exitcode.Permission, err, says)
		require.NotContains(t, err.Error(), "pa$$word")
	}
}

// A bucket that is found in the other part of the URL was looked for in the wrong one.
// A server that answers anything else there proves nothing.
func TestDiagnosePathStyle(t *testing.T) {
	for _, tt := range []struct {
		answer, says string
	}{
		{listing, "forcePathStyle=true"},
		{"<ListAllMyBucketsResult/>", "check its name"},
		{"<ListBucketResult><Name>other</Name></ListBucketResult>", "check its name"},
	} {
		s := serve(t, func(*http.Request) (int, string) { return http.StatusOK, tt.answer })
		s.Start()
		source := &mount(t, "s3://bucket/path?forcePathStyle=false&endpoint="+s.URL).Source
		err := explain(t.Context(), source, fmt.Errorf("check its name: %w", s3.ErrNoSuchBucket))
		requireCode(t, exitcode.NoReplica, err, tt.says)
	}
}

// A server that answers over TLS, and without gives a bare 400 or nothing, wants it.
func TestDiagnoseTLS(t *testing.T) {
	s := serve(t, func(*http.Request) (int, string) { return http.StatusOK, listing })
	s.StartTLS()
	endpoint := "http" + strings.TrimPrefix(s.URL, "https")
	source := &mount(t, "s3://bucket/path?endpoint="+endpoint).Source
	for _, err := range []error{
		probe(t.Context(), *source.S3),
		&s3.StoreError{Op: "ListObjectsV2", Status: http.StatusBadRequest, Code: "BadRequest"},
		&s3.StoreError{Op: "ListObjectsV2"}, // a connection that broke
	} {
		requireCode(t, exitcode.NoReplica, explain(t.Context(), source, err), "the store wants TLS: begin the endpoint with https://")
	}
	plain := serve(t, func(*http.Request) (int, string) { return http.StatusBadRequest, "" })
	plain.Start()
	source = &mount(t, "s3://bucket/path?endpoint="+plain.URL).Source
	requireCode(t, exitcode.NoReplica, explain(t.Context(), source, probe(t.Context(), *source.S3)), "if the store wants TLS")
}

// A store over TLS that refuses the request is one. What anything else says there, or
// nothing, is no reason to begin with https.
func TestDiagnoseTLSAnswer(t *testing.T) {
	for body, says := range map[string]string{
		refusal("AccessDenied"):     "begin the endpoint with https://",
		"":                          "check the endpoint and the network",
		"<html>Blocked</html>":      "check the endpoint and the network",
		"<ListAllMyBucketsResult/>": "check the endpoint and the network",
	} {
		s := serve(t, func(*http.Request) (int, string) { return http.StatusForbidden, body })
		s.StartTLS()
		source := &mount(t, "s3://bucket/path?endpoint=http"+strings.TrimPrefix(s.URL, "https")).Source
		silent := &s3.StoreError{Op: "ListObjectsV2"}
		require.ErrorContains(t, explain(t.Context(), source, fmt.Errorf("%w: %w", context.DeadlineExceeded, silent)), says)
	}
}

// A proof that gets no answer is none, and takes nothing from the others' time.
func TestDiagnoseSlowProof(t *testing.T) {
	was := proofTimeout
	proofTimeout = time.Second
	t.Cleanup(func() { proofTimeout = was })
	over := make(chan struct{})
	for _, tt := range []struct {
		literal, without bool // the store answers at once with the key as it stands, without the header
		says             string
	}{
		{true, false, "--no-expand-env"},
		{false, true, "signAcceptEncoding=false"},
		{false, false, "check the secret access key"},
	} {
		s := serve(t, func(r *http.Request) (int, string) {
			signed := r.Header.Get("Authorization")
			literal, without := strings.Contains(signed, "Credential=k$y/"), !strings.Contains(signed, "accept-encoding")
			switch {
			case literal && tt.literal, without && tt.without:
				return http.StatusOK, listing
			case literal, without:
				<-over
			}
			return http.StatusForbidden, refusal("SignatureDoesNotMatch")
		})
		s.Start()
		source := &mount(t, "s3://bucket/path?endpoint="+s.URL).Source
		source.Literal = &config.Config{AccessKeyID: "k$y", SecretAccessKey: "pa$$word"}
		err := probe(t.Context(), *source.S3)
		began := time.Now()
		requireCode(t, exitcode.Permission, explain(t.Context(), source, err), tt.says)
		require.Less(t, time.Since(began), proofTimeout+time.Second)
	}
	close(over)
}
