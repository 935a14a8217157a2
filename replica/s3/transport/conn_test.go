package transport

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica/s3/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// connections are those of a pool of their own.
func connections(t *testing.T, timeouts config.Timeouts) *Connections {
	t.Helper()
	c, err := NewPool().Connections(config.Config{Timeouts: timeouts})
	require.NoError(t, err)
	return c
}

// pipe connects a conn with what a test does on its other end.
func pipe(t *testing.T, timeouts config.Timeouts) (*Connections, net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		peer, err := l.Accept()
		if err == nil {
			accepted <- peer
		}
		close(accepted)
	}()
	all := connections(t, timeouts)
	c, err := all.dial(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	peer := <-accepted
	require.NotNil(t, peer)
	t.Cleanup(func() { _, _ = c.Close(), peer.Close() })
	return all, c, peer
}

// elapsed is how long a Read of one byte takes that times out.
func elapsed(t *testing.T, c net.Conn) time.Duration {
	t.Helper()
	began := time.Now()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	return time.Since(began)
}

// Without a byte, a connection lasts as long as Stall, and after a request as
// long as FirstByte, whichever of Read and Write begins first.
func TestConnDeadlines(t *testing.T) {
	const short, long = 50 * time.Millisecond, 400 * time.Millisecond
	_, c, peer := pipe(t, config.Timeouts{Connect: time.Second, Stall: short, FirstByte: long})
	require.InDelta(t, short.Seconds(), elapsed(t, c).Seconds(), 0.3, "nothing was asked")
	require.Less(t, elapsed(t, c), long)

	_, err := c.Write([]byte("?"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, elapsed(t, c), long, "a Read after the Write")

	_, err = peer.Write([]byte("!"))
	require.NoError(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	require.NoError(t, err)
	require.Less(t, elapsed(t, c), long, "the answer has begun")
}

func TestConnWriteMovesReadDeadline(t *testing.T) {
	_, c, _ := pipe(t, config.Timeouts{Connect: time.Second, Stall: 200 * time.Millisecond, FirstByte: 600 * time.Millisecond})
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	_, err := c.Write([]byte("?"))
	require.NoError(t, err)
	require.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
	require.GreaterOrEqual(t, time.Since(began), 600*time.Millisecond)
}

// A peer that takes nothing is a stall as well.
func TestConnWriteStalls(t *testing.T) {
	_, c, _ := pipe(t, config.Timeouts{Connect: time.Second, Stall: 50 * time.Millisecond, FirstByte: time.Hour})
	var err error
	for range 10_000 {
		if _, err = c.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestConnectionsCount(t *testing.T) {
	all, c, peer := pipe(t, config.Timeouts{Connect: time.Second, Stall: time.Second, FirstByte: time.Second})
	require.Equal(t, 1, all.Count())
	all.close()
	require.Zero(t, all.Count())
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = c.Write([]byte("?"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = peer.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Error(t, c.Close(), "it is closed")
	require.Zero(t, all.Count())
}

func TestDialRefused(t *testing.T) {
	const nobody = "127.0.0.1:1"
	all := connections(t, config.Timeouts{Connect: time.Second, Stall: time.Second, FirstByte: time.Second})
	_, err := all.dial(t.Context(), "tcp", nobody)
	require.Error(t, err)
	require.Zero(t, all.Count())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = all.dial(ctx, "tcp", nobody)
	require.Error(t, err)
}

// A connection that is made while the pool closes is closed as well.
func TestCloseEndsDials(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c := connections(t, config.Timeouts{Connect: time.Second, Stall: time.Second, FirstByte: time.Second})
	c.close()
	conn, err := c.dial(t.Context(), "tcp", l.Addr().String())
	require.ErrorIs(t, err, os.ErrClosed)
	require.Nil(t, conn)
	require.Zero(t, c.Count())
}
