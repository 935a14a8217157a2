package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

// sentinels are all that an error of a store may count as.
var sentinels = []error{
	os.ErrNotExist, os.ErrPermission, os.ErrExist, replica.ErrReplaced, replica.ErrUnavailable, ErrNoSuchBucket, ErrNoCredentials,
	ErrRegion, ErrPathStyle, ErrConfiguration, ErrNoSuchProfile, transport.ErrUnreachable, transport.ErrNoSuchHost, transport.ErrProxy, transport.ErrTLS, transport.ErrNoTLS, transport.ErrUntrusted, context.Canceled, context.DeadlineExceeded, errPrecondition, errRange, errDigest, errNoSuchUpload,
}

// requireKinds fails the test unless err counts as these, and as nothing else.
func requireKinds(t *testing.T, err error, kinds ...error) {
	t.Helper()
	require.Error(t, err)
	for _, sentinel := range sentinels {
		want := slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(kind, sentinel) })
		require.Equal(t, want, errors.Is(err, sentinel), "%v as %v", err, sentinel)
	}
}

// What an answer counts as: by its code, and else by its status.
func TestErrorKinds(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		kinds  []error
		text   string
	}{
		{404, "NoSuchKey", []error{os.ErrNotExist}, "It is so. (NoSuchKey, HTTP status 404)"},
		{404, "", []error{os.ErrNotExist}, "404"},
		{404, "NoSuchBucket", []error{ErrNoSuchBucket}, "the bucket does not exist: check its name, the endpoint and the region"},
		{404, "NoSuchUpload", []error{errNoSuchUpload}, ""},
		{404, "SomethingNew", []error{os.ErrNotExist}, "SomethingNew"},
		{401, "", []error{os.ErrPermission}, ""},
		{403, "", []error{os.ErrPermission}, "check the credentials"},
		{403, "AccessDenied", []error{os.ErrPermission}, "It is so."},
		{403, "AllAccessDisabled", []error{os.ErrPermission}, ""},
		{403, "AccountProblem", []error{os.ErrPermission}, ""},
		{403, "InvalidAccessKeyId", []error{os.ErrPermission}, ""},
		{403, "SignatureDoesNotMatch", []error{os.ErrPermission}, ""},
		{400, "InvalidToken", []error{os.ErrPermission}, ""},
		{400, "ExpiredToken", []error{os.ErrPermission}, ""},
		{403, "RequestTimeTooSkewed", []error{os.ErrPermission}, ""},
		{403, "InvalidObjectState", nil, "InvalidObjectState"},
		{412, "PreconditionFailed", []error{replica.ErrReplaced, errPrecondition}, ""},
		{412, "", []error{replica.ErrReplaced, errPrecondition}, ""},
		{409, "ConditionalRequestConflict", []error{replica.ErrReplaced, errPrecondition}, ""},
		{400, "BadDigest", []error{errDigest}, ""},
		{400, "XAmzContentChecksumMismatch", []error{errDigest}, ""},
		{301, "PermanentRedirect", []error{ErrRegion}, "give it with region="},
		{301, "", []error{ErrRegion}, ""},
		{403, "SecondLevelDomainForbidden", []error{ErrPathStyle}, ""},
		{403, "PathStyleDomainForbidden", []error{ErrPathStyle}, ""},
		{403, "VirtualHostDomainRequired", []error{ErrPathStyle}, ""},
		{407, "", []error{transport.ErrProxy}, "407"},
		{400, "AuthorizationHeaderMalformed", []error{ErrRegion}, "give it with region="},
		{400, "SomethingElse", nil, "SomethingElse"},
		{500, "InternalError", nil, "InternalError"},
		{503, "SlowDown", nil, "SlowDown"},
		{503, "", nil, "503"},
	} {
		t.Run(fmt.Sprintf("%d %s", tt.status, tt.code), func(t *testing.T) {
			s := serve(t, answers{"GET": refuse(tt.status, tt.code)})
			_, err := readRange(t, s.store(t), "", 0, 0)
			requireKinds(t, err, tt.kinds...)
			require.ErrorContains(t, err, tt.text)
			require.ErrorContains(t, err, "open level 0 "+fileName(1)+": ")
			require.ErrorContains(t, err, "GetObject: ")
			var e *StoreError
			require.ErrorAs(t, err, &e)
			require.Equal(t, tt.status, e.Status)
			require.Equal(t, "GetObject", e.Op)
		})
	}
	// The answer to HEAD has no body that could hold a code.
	for status, kind := range map[int]error{401: os.ErrPermission, 403: os.ErrPermission, 404: os.ErrNotExist} {
		s := serve(t, answers{"HEAD": refuse(status, "")})
		_, err := s.store(t).StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
		requireKinds(t, err, kind)
		require.ErrorContains(t, err, "stat level 0 "+fileName(1))
	}
}

// Whatever answers, an error is one line that isn't long.
func TestErrorText(t *testing.T) {
	html := "<!DOCTYPE html>\n<html><head><title>404\nNot Found</title></head><body>" + strings.Repeat("<p>nothing\r\n", 1000) + "</body></html>"
	huge := "<Error><Code>" + strings.Repeat("Odd\n", 1000) + "</Code><Message>" + strings.Repeat("a\n\tb", 1000) + "\xff</Message></Error>"
	for _, tt := range []struct {
		status int
		body   string
		kinds  []error
	}{
		{404, html, []error{os.ErrNotExist}},
		{403, html, []error{os.ErrPermission}},
		{502, html, nil},
		{404, huge, []error{os.ErrNotExist}},
		{400, strings.ReplaceAll(huge, "\xff", ""), nil},
		{400, "<Error><Code>Odd</Code></Error>", nil},
		{400, "", nil},
		// It says so, but isn't the SDK.
		{404, "<Error><Code>NoSuchKey</Code><Message>can't get identity: none</Message></Error>", []error{os.ErrNotExist}},
	} {
		s := serve(t, answers{"GET": say(tt.status, tt.body)})
		_, err := readRange(t, s.store(t), "", 0, 0)
		requireKinds(t, err, tt.kinds...)
		requireOneLine(t, err)
	}
}

func requireOneLine(t *testing.T, err error) {
	t.Helper()
	require.Less(t, len(err.Error()), 3*maxText)
	require.NotContains(t, err.Error(), "\n")
	require.NotContains(t, err.Error(), "\r")
	require.True(t, utf8.ValidString(err.Error()))
}

// HEAD doesn't tell a missing object from a missing bucket: the bucket is asked
// for, unless it has been seen a moment ago.
func TestErrorWhichIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name         string
		bucket, list http.HandlerFunc
		kind         error
		ops          string
	}{
		{"the bucket", refuse(404, ""), refuse(404, "NoSuchBucket"), ErrNoSuchBucket, " BUCKET LIST"},
		{"the user", refuse(404, ""), refuse(404, "XAdminUserNotFound"), os.ErrPermission, " BUCKET LIST"},
		{"the bucket for a moment, then the object", refuse(404, ""), say(200, page("")), os.ErrNotExist, " BUCKET LIST AGAIN"},
		{"the object", say(200, ""), nil, os.ErrNotExist, " BUCKET"},
		{"nobody may know", refuse(403, ""), nil, os.ErrNotExist, " BUCKET"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"HEAD": refuse(404, ""), "GET": refuse(404, ""), "BUCKET": tt.bucket, "LIST": tt.list})
			c := s.store(t)
			ops := func(op string) string { return op + strings.Replace(tt.ops, "AGAIN", op, 1) }
			c.alive.Store(0)
			_, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
			requireKinds(t, err, tt.kind)
			require.Equal(t, ops("HEAD"), s.ops())
			c.alive.Store(0)
			_, err = c.OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, 0, 0)
			requireKinds(t, err, tt.kind)
			require.Equal(t, ops("HEAD")+" "+ops("GET"), s.ops())
		})
	}
	s := serve(t, answers{"HEAD": refuse(404, ""), "BUCKET": say(200, "")})
	c := s.store(t)
	c.alive.Store(0)
	for range 3 {
		_, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
		requireKinds(t, err, os.ErrNotExist)
	}
	require.Equal(t, "HEAD BUCKET HEAD HEAD", s.ops())
}

func TestErrorUnreachable(t *testing.T) {
	s := serve(t, nil)
	c := s.store(t)
	s.stop()
	_, err := readRange(t, c, "", 0, 0)
	requireKinds(t, err, transport.ErrUnreachable)
	require.ErrorContains(t, err, "connection refused")

	for kind, err := range map[error]error{
		transport.ErrNoSuchHost:  &net.DNSError{Err: "no such host", Name: "s3.example", IsNotFound: true},
		context.DeadlineExceeded: &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded},
		transport.ErrNoTLS:       http.ErrSchemeMismatch,
	} {
		requireKinds(t, storeError(t.Context(), "GetObject", fmt.Errorf("operation error: %w", err)), kind)
	}
	requireKinds(t, storeError(t.Context(), "GetObject", &net.OpError{Op: "proxyconnect", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}), transport.ErrProxy)
	requireKinds(t, storeError(t.Context(), "GetObject", errors.New("odd")))
	// What isn't about the store's objects must not say that one is missing.
	requireKinds(t, storeError(t.Context(), "configure", &fs.PathError{Op: "open", Path: "/x", Err: os.ErrNotExist}))
	require.NoError(t, storeError(t.Context(), "GetObject", nil))
}

// What goes wrong with credentials is neither the store's answer nor about a
// file of the replica.
func TestErrorNoCredentials(t *testing.T) {
	metadata := serve(t, nil) // answers everything with an odd status
	refusing := newServer(nil)
	refusing.Config.Handler = refuse(http.StatusForbidden, "")
	refusing.Start()
	t.Cleanup(refusing.stop)
	for _, tt := range []struct {
		name string
		env  map[string]string
	}{
		{"none", nil},
		{"the instance's refused", map[string]string{"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": refusing.URL}},
		{"the container's refused", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": refusing.URL}},
		{"the container's odd", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.URL}},
		{"no web identity token", map[string]string{
			"AWS_WEB_IDENTITY_TOKEN_FILE": filepath.Join(t.TempDir(), "missing"), "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r", "AWS_REGION": "us-east-1",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, nil)
			c, _ := s.unready(t, func(c *config.Config) { c.AccessKeyID, c.SecretAccessKey, c.SessionToken = "", "", "" })
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			err := c.Init(within(t, 15*time.Second))
			requireKinds(t, err, ErrNoCredentials)
			require.ErrorContains(t, err, "set AWS_ACCESS_KEY_ID")
			require.ErrorContains(t, err, tt.env["AWS_WEB_IDENTITY_TOKEN_FILE"])
			requireOneLine(t, err)
			require.Empty(t, s.ops())
		})
	}
}

func TestErrorMissingProfile(t *testing.T) {
	s := serve(t, nil)
	c, _ := s.unready(t, func(c *config.Config) {
		c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Profile = "", "", "", "nowhere"
	})
	err := c.Init(t.Context())
	require.ErrorContains(t, err, "nowhere")
	requireKinds(t, err, ErrNoSuchProfile)
	require.NotErrorIs(t, err, os.ErrNotExist)
	requireOneLine(t, err)
}

// An error of the context comes first, with what it interrupted.
func TestErrorContext(t *testing.T) {
	s := serve(t, answers{"GET": refuse(503, "SlowDown"), "HEAD": hang})
	c := s.store(t, func(c *config.Config) { c.Retry.MinBackoff, c.Retry.MaxBackoff = time.Minute, time.Minute })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.StatLTXFile(ctx, nth(1), replica.StatOptions{})
	requireKinds(t, err, context.DeadlineExceeded)

	cancelled, stop := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, stop)
	_, err = c.StatLTXFile(cancelled, nth(1), replica.StatOptions{})
	requireKinds(t, err, context.Canceled)

	err = storeError(cancelled, "GetObject", errors.New("connection reset"))
	requireKinds(t, err, context.Canceled)
	require.ErrorContains(t, err, "after: connection reset")
	require.NotContains(t, storeError(cancelled, "GetObject", context.Canceled).Error(), "after")
}

func TestStoreErrorText(t *testing.T) {
	for want, e := range map[string]*StoreError{
		"Op: text":                          {Op: "Op", text: "text"},
		"Op: text (HTTP status 500)":        {Op: "Op", text: "text", Status: 500},
		"Op: text (Code, HTTP status 500)":  {Op: "Op", text: "text", Status: 500, Code: "Code"},
		"Op: text (Code, HTTP status 1000)": {Op: "Op", text: "text", Status: 1000, Code: "Code"},
	} {
		require.Equal(t, want, e.Error())
	}
	require.Equal(t, "a b c", clip(" a\n\tb\r\nc "))
	require.Equal(t, strings.Repeat("x", maxText)+"…", clip(strings.Repeat("x", maxText+1)))
	require.True(t, utf8.ValidString(clip(strings.Repeat("ü", maxText))))
	for code, want := range map[string][]error{"Unknown": nil, "AccessDenied": {os.ErrPermission}} {
		e := &StoreError{Op: "DeleteObjects", Code: code, Status: 200}
		e.classify(nil)
		require.Equal(t, want, e.is)
	}
}

// FuzzErrorAnswer: every answer that is an error gives one, which counts as what
// the table says of its code and status, and is one short line.
func FuzzErrorAnswer(f *testing.F) {
	for _, body := range []string{
		"", "<html>", "<Error><Code>NoSuchKey</Code></Error>", "<Error><Code>NoSuchBucket</Code><Message>a\nb</Message></Error>",
		"<Error><Code>AccessDenied</Code><Code>NoSuchKey</Code></Error>", "<Error><Code/></Error>", "<Error><Code>\n NoSuchBucket</Code></Error>",
		"<Error><Code>PermanentRedirect</Code><Endpoint>x</Endpoint></Error>", "<Error><Message>get identity: none</Message></Error>",
		"<?xml version='1.0' encoding='latin1'?><Error/>", strings.Repeat("<a>", 1000), "\x00\x1b[31m",
	} {
		for _, status := range []int{301, 400, 403, 404, 412, 416, 500, 503} {
			f.Add(status, body)
		}
	}
	type reply struct {
		status int
		body   string
	}
	var next atomic.Pointer[reply]
	s := serve(f, answers{
		"GET":  func(w http.ResponseWriter, r *http.Request) { say(next.Load().status, next.Load().body)(w, r) },
		"HEAD": object(nil, "v1"),
	})
	c := s.store(f, func(c *config.Config) { c.Retry.Attempts = 1 })
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 300 || status > 599 || status == http.StatusNotModified || len(body) > 1<<16 {
			return // no error, or not to be sent
		}
		next.Store(&reply{status, body})
		c.sawBucket()
		r, err := c.OpenLTXFile(t.Context(), replica.File{Name: nth(1)}, 0, 0)
		if err == nil {
			// The empty object has nothing where the range begins.
			require.True(t, status == http.StatusRequestedRangeNotSatisfiable || strings.Contains(body, "InvalidRange"))
			data, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Empty(t, data)
			require.NoError(t, r.Close())
			return
		}
		requireOneLine(t, err)
		var e *StoreError
		require.ErrorAs(t, err, &e)
		require.Contains(t, []int{0, status}, e.Status)
		require.False(t, errors.Is(err, ErrNoSuchBucket) && errors.Is(err, os.ErrNotExist))
		require.NotErrorIs(t, err, ErrNoCredentials)
		kind, known := kinds.code[e.Code]
		if !known {
			kind = kinds.status[e.Status]
		}
		for _, each := range []error{os.ErrNotExist, os.ErrPermission, ErrNoSuchBucket, errPrecondition, errNoSuchUpload, errDigest} {
			require.Equal(t, kind != nil && errors.Is(kind, each), errors.Is(err, each), "%v as %v", err, each)
		}
		require.Equal(t, errors.Is(err, errPrecondition), errors.Is(err, replica.ErrReplaced))
	})
}
