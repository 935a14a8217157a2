// Package transport has the connections to stores in S3: their deadlines and TLS, what is
// counted of requests, and GETs that are sent again since they are late.
package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

var (
	// ErrUnreachable means that there was no connection to the store, or none
	// that was safe: a name without an address, a port where nobody listens, a
	// certificate that isn't trusted.
	ErrUnreachable = errors.New("the store can't be reached")

	// ErrNoSuchHost is ErrUnreachable because the host has no address.
	ErrNoSuchHost = fmt.Errorf("no such host: %w", ErrUnreachable)

	// ErrProxy is ErrUnreachable because of the proxy that the environment names.
	ErrProxy = fmt.Errorf("the proxy fails: %w", ErrUnreachable)

	// ErrTLS is ErrUnreachable because of TLS.
	ErrTLS = fmt.Errorf("no safe connection: %w", ErrUnreachable)

	// ErrNoTLS is ErrTLS because the store speaks none.
	ErrNoTLS = fmt.Errorf("the store speaks no TLS: %w", ErrTLS)

	// ErrUntrusted is ErrTLS because the certificate's authority isn't known.
	ErrUntrusted = fmt.Errorf("the certificate's authority isn't known: %w", ErrTLS)

	// ErrClosed means that the store, or its Pool, was closed. It is os.ErrClosed.
	ErrClosed = fmt.Errorf("the store is closed: %w", os.ErrClosed)
)

const (
	// connBuffer is the size of a connection's buffers for reading and for
	// writing, in bytes. The default of 4 KiB costs a system call for each.
	connBuffer = 32 << 10

	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 256 << 10

	// completeTimeout is how long a store may take to make an object of its
	// parts, without a word: some copy them.
	completeTimeout = 5 * time.Minute
)

// NewClient makes the SDK's own kind of HTTP client over the connections: any other kind fails
// when AWS_CA_BUNDLE is set.
func (c *Connections) NewClient(cfg config.Config) (*awshttp.BuildableClient, error) {
	tlsConfig, err := newTLSConfig(cfg)
	if err != nil {
		return nil, err
	}
	return awshttp.NewBuildableClient().WithReadTimeout(0).WithTransportOptions(func(tr *http.Transport) {
		tr.DialContext = c.dial
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
		tr.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			return &net.OpError{Op: opProxy, Net: "tcp", Err: &ProxyRefusal{answer.StatusCode, proxy.Host}}
		}
	}), nil
}

func newTLSConfig(cfg config.Config) (*tls.Config, error) {
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

// opProxy is the Op of an error of net/http about a proxy.
const opProxy = "proxyconnect"

// ProxyRefusal is the answer of a proxy that doesn't connect to the store.
type ProxyRefusal struct {
	Status int // of HTTP
	host   string
}

func (e *ProxyRefusal) Error() string {
	return fmt.Sprintf("the proxy %s answers %d %s", e.host, e.Status, http.StatusText(e.Status))
}

// Kind is what an error counts as that is no answer of the store: one of these, or context.DeadlineExceeded.
func Kind(err error) []error {
	timeout, isNet := errors.AsType[net.Error](err)
	_, noName := errors.AsType[*net.DNSError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	_, distrust := errors.AsType[*tls.CertificateVerificationError](err)
	_, untrusted := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case isOp && op.Op == opProxy:
		return []error{ErrProxy}
	case noTLS, errors.Is(err, http.ErrSchemeMismatch):
		return []error{ErrNoTLS}
	case untrusted:
		return []error{ErrUntrusted}
	case distrust:
		return []error{ErrTLS}
	case isNet && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return []error{context.DeadlineExceeded}
	case noName:
		return []error{ErrNoSuchHost}
	case isOp && op.Op == "dial":
		return []error{ErrUnreachable}
	}
	return nil
}

func (c *Connections) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return c.connect(ctx, network, addr, c.timeouts)
}

// dialPatiently is dial for a request on which the store may be silent for long.
func (c *Connections) dialPatiently(ctx context.Context, network, addr string) (net.Conn, error) {
	t := c.timeouts
	t.FirstByte = max(t.FirstByte, completeTimeout)
	t.Stall = t.FirstByte
	return c.connect(ctx, network, addr, t)
}

func (c *Connections) connect(ctx context.Context, network, addr string, t config.Timeouts) (net.Conn, error) {
	raw, err := c.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wrapped := &conn{Conn: raw, conns: c, timeouts: t}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		_ = raw.Close() // nobody has used it
		return nil, ErrClosed
	}
	c.open[wrapped] = struct{}{}
	return wrapped, nil
}

// Count is the number of open connections, idle ones among them.
func (c *Connections) Count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// close closes all connections, in use or not, and lets nobody make more.
func (c *Connections) close() {
	c.mu.Lock()
	c.over = true
	open := slices.Collect(maps.Keys(c.open))
	c.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // nothing is lost that anybody waits for
	}
}

// conn is a connection that fails when it is silent for too long. An idle one
// fails as well, and so leaves the client that keeps it.
type conn struct {
	net.Conn
	conns    *Connections
	timeouts config.Timeouts

	mu    sync.Mutex
	asked bool // something was sent, and nothing has come since
}

// Read waits for the next byte. A Write in the meantime moves its deadline, so
// that an answer may take its time after a long request.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.expect(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.mu.Lock()
		c.asked = false
		c.mu.Unlock()
	}
	return n, err
}

// Write sends p, which is never large: the transport's buffer, or one copied
// chunk.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeouts.Stall)); err != nil {
		return 0, err
	}
	// Before p is sent: the answer may have been read by the time that the
	// Write of a fast peer returns.
	c.mu.Lock()
	c.asked = true
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.expect()
}

// expect sets by when a byte must come. A Read may begin before the Write that
// it gets the answer to, or after it.
func (c *conn) expect() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := c.timeouts.Stall
	if c.asked {
		wait = c.timeouts.FirstByte
	}
	return c.SetReadDeadline(time.Now().Add(wait))
}

func (c *conn) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.open, c)
	c.conns.mu.Unlock()
	return c.Conn.Close()
}
