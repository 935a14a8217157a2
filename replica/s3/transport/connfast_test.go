package transport

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// fastPeer is a connection whose every Write returns only after the answer was
// read.
type fastPeer struct {
	net.Conn
	answered func()
}

func (f *fastPeer) Write(p []byte) (int, error) {
	n, err := f.Conn.Write(p)
	f.answered()
	return n, err
}

// A connection is idle once its answer was read, even if the Write of the request
// returns later.
func TestConnAnsweredDuringWrite(t *testing.T) {
	const short, long = 50 * time.Millisecond, time.Minute
	all, dialed, peer := pipe(t, config.Timeouts{Connect: time.Second, Stall: short, FirstByte: long})
	c := &conn{Conn: dialed.(*conn).Conn, conns: all, timeouts: all.timeouts}
	c.Conn = &fastPeer{Conn: c.Conn, answered: func() {
		_, err := peer.Write([]byte("!"))
		require.NoError(t, err)
		_, err = io.ReadFull(c, make([]byte, 1))
		require.NoError(t, err)
	}}
	_, err := c.Write([]byte("?"))
	require.NoError(t, err)
	require.Less(t, elapsed(t, c), long/2)
}
