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
	over bool // there are to be no more
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
	if c.over {
		_ = raw.Close() // nobody has used it
		return nil, errClientClosed
	}
	c.open[wrapped] = struct{}{}
	return wrapped, nil
}

// count is the number of open connections, those in the pool among them.
func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// close closes all connections, in use or not, and lets nobody make more.
func (c *conns) close() {
	c.mu.Lock()
	c.over = true
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
	if err := c.SetWriteDeadline(time.Now().Add(c.conns.timeouts.Stall)); err != nil {
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
	wait := c.conns.timeouts.Stall
	if c.asked {
		wait = c.conns.timeouts.FirstByte
	}
	return c.SetReadDeadline(time.Now().Add(wait))
}

func (c *conn) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.open, c)
	c.conns.mu.Unlock()
	return c.Conn.Close()
}
