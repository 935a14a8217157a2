package s3

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// pipes are the connections to a server within a bubble of synctest, where time is exact.
type pipes struct {
	dialed chan net.Conn
	closed context.Context
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed.Done():
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// dial connects through conns, as the client does.
func (p *pipes) dial(all *conns) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		p.dialed <- theirs
		c := &conn{Conn: ours, conns: all, timeouts: all.timeouts}
		all.mu.Lock()
		defer all.mu.Unlock()
		all.open[c] = struct{}{}
		return c, nil
	}
}

// serveInBubble starts a server within a bubble, which has been fast, and a store that may ask for one
// GET again.
func serveInBubble(t *testing.T, a answers, change ...func(*config.Config)) (*server, *Store) {
	t.Helper()
	s := &server{answers: a, Server: &httptest.Server{URL: "http://store"}}
	web := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	closed, end := context.WithCancel(t.Context())
	p := &pipes{make(chan net.Conn), closed}
	go func() { _ = web.Serve(p) }()
	t.Cleanup(func() { _ = web.Close() })
	c, _ := s.unready(t, change...)
	client, err := newHTTPClient(c.cfg, c.conns)
	require.NoError(t, err)
	c.share(client.WithTransportOptions(func(tr *http.Transport) { tr.DialContext = p.dial(c.conns) }))
	ready(t, c, config.DefaultRegion)
	c.pace.answered(0)
	c.pace.came(piece, 0)
	t.Cleanup(end)
	return s, c
}
