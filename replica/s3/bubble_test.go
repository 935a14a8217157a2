package s3

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

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

// dial connects to the server.
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.dialed <- theirs
	return ours, nil
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
	c.conns.Dial = p.dial
	ready(t, c, config.DefaultRegion)
	c.pace.Answered(0)
	c.pace.Came(piece, 0)
	t.Cleanup(end)
	return s, c
}
