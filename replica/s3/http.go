package s3

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	// connBuffer is the size of a connection's buffers for reading and for
	// writing, in bytes. The default of 4 KiB costs a system call for each.
	connBuffer = 32 << 10

	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 256 << 10
)

// newHTTPClient makes the SDK's own kind of HTTP client: any other kind fails
// when AWS_CA_BUNDLE is set.
func newHTTPClient(cfg Config, conns *conns) (*awshttp.BuildableClient, error) {
	tlsConfig, err := newTLSConfig(cfg)
	if err != nil {
		return nil, err
	}
	return awshttp.NewBuildableClient().WithReadTimeout(0).WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext = conns.dial
		tr.TLSClientConfig = tlsConfig
		tr.TLSHandshakeTimeout = cfg.Timeouts.Connect
		// S3 speaks HTTP/1.1, and one connection a request is what it scales by.
		tr.ForceAttemptHTTP2 = false
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		// A body that the transport unpacks has another length than its header says.
		tr.DisableCompression = true
		tr.MaxConnsPerHost = cfg.MaxConnections
		tr.MaxIdleConns = cfg.MaxConnections
		tr.MaxIdleConnsPerHost = cfg.MaxConnections
		tr.ReadBufferSize, tr.WriteBufferSize = connBuffer, connBuffer
		tr.MaxResponseHeaderBytes = maxHeader
	}), nil
}

func newTLSConfig(cfg Config) (*tls.Config, error) {
	// What the user asked for: a store with a certificate of its own making.
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: cfg.SkipVerify}
	if cfg.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA certificates: %w", err)
	}
	if t.RootCAs, err = x509.SystemCertPool(); err != nil {
		t.RootCAs = x509.NewCertPool()
	}
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the CA certificates: %s has no certificate in PEM", cfg.CAFile)
	}
	return t, nil
}
