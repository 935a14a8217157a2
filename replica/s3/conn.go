package s3

import (
	"context"
	"net"
	"sync"
	"time"
)

// conns are the connections to the store. Each has a deadline that moves on with
// every byte: TCP itself would wait for a silent peer for a quarter of an hour.
type conns struct {
	timeouts Timeouts

	mu   sync.Mutex
	open map[*conn]struct{}
}

func newConns(t Timeouts) *conns {
	return &conns{timeouts: t, open: map[*conn]struct{}{}}
}

func (c *conns) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: c.timeouts.Connect, KeepAlive: 30 * time.Second}
	raw, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wrapped := &conn{Conn: raw, conns: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[wrapped] = struct{}{}
	return wrapped, nil
}

// count is the number of open connections, those in the pool among them.
func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// close closes all connections, in use or not.
func (c *conns) close() {
	c.mu.Lock()
	open := make([]*conn, 0, len(c.open))
	for conn := range c.open {
		open = append(open, conn)
	}
	c.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // nothing is lost that anybody waits for
	}
}

// conn is a connection that fails when it is silent for too long. An idle one in
// the pool fails as well, and so leaves the pool.
type conn struct {
	net.Conn
	conns *conns
}

// Read waits for the next byte. A Write in the meantime moves its deadline, so
// that an answer may take its time after a long request.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.conns.timeouts.Stall)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write sends p, which is never large: the transport's buffer, or one copied
// chunk.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.conns.timeouts.Stall)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.SetReadDeadline(time.Now().Add(c.conns.timeouts.FirstByte))
}

func (c *conn) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.open, c)
	c.conns.mu.Unlock()
	return c.Conn.Close()
}
