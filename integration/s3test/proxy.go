package s3test

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"
)

// Proxy stands between a server and its clients. It counts and notes their
// requests, and can answer in the server's place. What it doesn't answer, it
// passes on as it is, so that signatures stay right, and where the server breaks
// a connection or can't be reached, it breaks the client's.
type Proxy struct {
	Endpoint string // http://127.0.0.1:PORT

	handler  *httputil.ReverseProxy
	upstream *url.URL
	done     chan struct{} // closed when the test ends

	mu           sync.Mutex
	requests     []*Request
	interceptors []*Interceptor
	alterers     []*func(*http.Request)
	rewriters    []*Rewriter
	open, most   int // connections
}

// Request is what a Proxy notes of a request.
type Request struct {
	Operation Operation
	Method    string
	Path      string // decoded
	Bucket    string
	Key       string // or "" for a request to a bucket
	Query     url.Values
	Header    http.Header // as the client sent it
	Range     string      // the header's, such as bytes=0-99
	Time      time.Time   // when it came

	Status      int   // what the client got, 0 if nothing
	Up          int64 // bytes of the body that the client sent
	Down        int64 // bytes of the body that it was sent
	Intercepted bool  // by a function that has answered it
}

// NewProxy starts a proxy before an endpoint, which may be another proxy's. It
// ends with the test.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	transport := newTransport(true)
	quiet := log.New(io.Discard, "", 0)
	p := &Proxy{Endpoint: "http://" + l.Addr().String(), upstream: u, done: make(chan struct{})}
	p.handler = &httputil.ReverseProxy{
		Transport:      transport,
		FlushInterval:  -1,
		ErrorLog:       quiet,
		Rewrite:        p.rewrite,
		ModifyResponse: p.modify,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := &http.Server{Handler: p, ErrorLog: quiet, ReadHeaderTimeout: clientTimeout, ConnState: p.connection}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		close(p.done)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	return p
}

// connection counts connections.
func (p *Proxy) connection(_ net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		p.open++
		p.most = max(p.most, p.open)
	case http.StateClosed, http.StateHijacked:
		p.open--
	}
}

// MostConnections is how many connections were open at a time.
func (p *Proxy) MostConnections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// added adds a function to one of a proxy's lists, until remove is called.
func added[F any](p *Proxy, list *[]*F, f F) (remove func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*list = append(*list, &f)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		*list = slices.DeleteFunc(*list, func(g *F) bool { return g == &f })
	}
}

// rewrite directs a request to the server and keeps all that is signed, the host
// included, but for what the test alters.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.URL.Scheme, r.Out.URL.Host = p.upstream.Scheme, p.upstream.Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.Out.Host = r.In.Host
	p.mu.Lock()
	alterers := slices.Clone(p.alterers)
	p.mu.Unlock()
	for _, alter := range alterers {
		(*alter)(r.Out)
	}
}

func (p *Proxy) modify(resp *http.Response) error {
	p.mu.Lock()
	rewriters := slices.Clone(p.rewriters)
	p.mu.Unlock()
	for _, rewrite := range rewriters {
		if err := (*rewrite)(resp); err != nil {
			return err
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key := splitPath(r)
	req := &Request{
		Operation: OperationOf(r),
		Method:    r.Method,
		Path:      r.URL.Path,
		Bucket:    bucket,
		Key:       key,
		Query:     r.URL.Query(),
		Header:    r.Header.Clone(),
		Range:     r.Header.Get("Range"),
		Time:      time.Now(),
	}
	p.mu.Lock()
	p.requests = append(p.requests, req)
	interceptors := slices.Clone(p.interceptors)
	p.mu.Unlock()

	r.Body = &countingBody{ReadCloser: r.Body, p: p, req: req}
	rec := &recorder{ResponseWriter: w, p: p, req: req}
	for _, intercept := range interceptors {
		p.mark(req, true) // before the client can have its answer
		if (*intercept)(rec, r) {
			return
		}
		p.mark(req, false)
	}
	p.handler.ServeHTTP(rec, r)
}

func (p *Proxy) mark(req *Request, intercepted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	req.Intercepted = intercepted
}

// Requests are those that have come since the proxy was started or Reset, in
// order. Those that are under way are among them.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var requests []Request
	for _, r := range p.requests {
		requests = append(requests, *r)
	}
	return requests
}

// Counts is how many requests of each operation have come.
func (p *Proxy) Counts() map[Operation]int {
	counts := map[Operation]int{}
	for _, r := range p.Requests() {
		counts[r.Operation]++
	}
	return counts
}

// Bytes is how many bytes of bodies have gone to the server and to the clients.
func (p *Proxy) Bytes() (up, down int64) {
	for _, r := range p.Requests() {
		up += r.Up
		down += r.Down
	}
	return up, down
}

// Reset forgets all requests so far.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// URL names a replica behind the proxy. Each of query is name=value.
func (p *Proxy) URL(bucket, path string, query ...string) string {
	return URL(p.Endpoint, bucket, path, query...)
}

// countingBody counts what the client sends.
type countingBody struct {
	io.ReadCloser
	p   *Proxy
	req *Request
}

// Read implements io.Reader.
func (b *countingBody) Read(data []byte) (int, error) {
	n, err := b.ReadCloser.Read(data)
	b.p.mu.Lock()
	b.req.Up += int64(n)
	b.p.mu.Unlock()
	return n, err
}

// recorder counts what the client is sent, before it can have it.
type recorder struct {
	http.ResponseWriter
	p   *Proxy
	req *Request
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if status >= 200 {
		w.p.mu.Lock()
		w.req.Status = status
		w.p.mu.Unlock()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *recorder) Write(data []byte) (int, error) {
	w.p.mu.Lock()
	if w.req.Status == 0 {
		w.req.Status = http.StatusOK
	}
	w.req.Down += int64(len(data))
	w.p.mu.Unlock()
	return w.ResponseWriter.Write(data)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
