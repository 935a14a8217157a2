package s3test

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// clientTimeout bounds a request, its body included.
const clientTimeout = time.Minute

// Client is a client of the server, which doesn't repeat what fails and lets go
// of its connections when the test ends.
func (s *Server) Client(t testing.TB) *s3.Client {
	t.Helper()
	return s.ClientAt(t, s.Endpoint)
}

// ClientAt is Client at another endpoint: that of a proxy before the server.
func (s *Server) ClientAt(t testing.TB, endpoint string) *s3.Client {
	t.Helper()
	tr := newTransport(true)
	tr.TLSClientConfig = s.tls
	t.Cleanup(tr.CloseIdleConnections)
	return newClient(endpoint, s.Region, s.AccessKey, s.SecretKey, tr)
}

// newClient makes a client that depends on nothing in the environment.
func newClient(endpoint, region, accessKey, secretKey string, tr http.RoundTripper) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint,
		UsePathStyle: true,
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(accessKey, secretKey, ""),
		HTTPClient:   &http.Client{Transport: tr, Timeout: clientTimeout},
		Retryer:      aws.NopRetryer{},
	})
}

// newTransport makes a transport that uses no proxy. Without keepAlive, it
// leaves no connection and no goroutine behind a request.
func newTransport(keepAlive bool) *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		DisableKeepAlives:   !keepAlive,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 100,
	}
}

// Env is what a child needs in its environment to use the server: credentials,
// and nothing of what the developer may have.
func (s *Server) Env() []string { return childEnv(s.AccessKey, s.SecretKey) }

func childEnv(accessKey, secretKey string) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + accessKey,
		"AWS_SECRET_ACCESS_KEY=" + secretKey,
		"AWS_SESSION_TOKEN=",
		"AWS_PROFILE=",
		"AWS_REGION=",
		"AWS_DEFAULT_REGION=",
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// URL names a replica in the server. Each of query is name=value.
func (s *Server) URL(bucket, path string, query ...string) string {
	return URL(s.Endpoint, bucket, path, query...)
}

// URL names a replica at an endpoint. Each of query is name=value.
func URL(endpoint, bucket, path string, query ...string) string {
	q := url.Values{"endpoint": {endpoint}}
	for _, kv := range query {
		name, value, _ := strings.Cut(kv, "=")
		q.Set(name, value)
	}
	u := url.URL{Scheme: "s3", Host: bucket, RawQuery: q.Encode()}
	if path != "" {
		u.Path = "/" + strings.TrimPrefix(path, "/")
	}
	return u.String()
}
