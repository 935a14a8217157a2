package s3

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// pipe connects a conn with what a test does on its other end.
func pipe(t *testing.T, timeouts config.Timeouts) (*conns, net.Conn, net.Conn) {
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
	all := newConns(timeouts)
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

func TestConnsCount(t *testing.T) {
	all, c, peer := pipe(t, config.Timeouts{Connect: time.Second, Stall: time.Second, FirstByte: time.Second})
	require.Equal(t, 1, all.count())
	all.close()
	require.Zero(t, all.count())
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = c.Write([]byte("?"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = peer.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Error(t, c.Close(), "it is closed")
	require.Zero(t, all.count())
}

func TestDialRefused(t *testing.T) {
	const nobody = "127.0.0.1:1"
	all := newConns(config.Timeouts{Connect: time.Second, Stall: time.Second, FirstByte: time.Second})
	_, err := all.dial(t.Context(), "tcp", nobody)
	require.Error(t, err)
	require.Zero(t, all.count())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = all.dial(ctx, "tcp", nobody)
	require.Error(t, err)
}

// What is idle for too long leaves the pool, and Close ends the rest.
func TestIdleConnectionsEnd(t *testing.T) {
	s := serve(t, answers{"HEAD": object(bytesOf(1), "v1")})
	c := s.store(t, func(c *config.Config) { c.Timeouts.Stall = 50 * time.Millisecond })
	_, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.Connections() == 0 }, 5*time.Second, 5*time.Millisecond)
	_, err = c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
	require.NoError(t, err)
	require.Equal(t, 2, s.connections())
}

// There are no more connections than configured.
func TestMaxConnections(t *testing.T) {
	arrived := make(chan struct{}, 10)
	release := make(chan struct{})
	s := serve(t, answers{"HEAD": func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		object(bytesOf(1), "v1")(w, r)
	}})
	c := s.store(t, func(c *config.Config) { c.MaxConnections = 2 })
	done := make(chan error, 5)
	for range cap(done) {
		go func() {
			_, err := c.StatLTXFile(t.Context(), nth(1), replica.StatOptions{})
			done <- err
		}()
	}
	<-arrived
	<-arrived
	close(release)
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.LessOrEqual(t, s.connections(), 2)
}

// Uploads, in one request or in parts, leave connections to who reads.
func TestConnectionsBesideUploads(t *testing.T) {
	data := bytesOf(6 * testPart)
	for name, op := range map[string]string{"whole": "PUT", "in parts": "PART"} {
		t.Run(name, func(t *testing.T) {
			sent, answer := make(chan struct{}, 24), make(chan struct{})
			release := sync.OnceFunc(func() { close(answer) })
			held := func(w http.ResponseWriter, r *http.Request) {
				sent <- struct{}{}
				<-answer
				partAnswer(w, r)
			}
			s := serve(t, inParts(data, answers{op: held, "HEAD": verified(data, "v1-4")}))
			defer release()
			c := s.store(t, func(c *config.Config) { c.MaxConnections = 5 })
			if op == "PART" {
				smallParts(c)
			}
			done := make(chan error, 4)
			for i := range cap(done) {
				go func() {
					_, err := c.WriteLTXFile(t.Context(), nth(i+1), bytes.NewReader(data), replica.WriteOptions{})
					done <- err
				}()
			}
			for range 3 {
				<-sent
			}
			for range 10 {
				_, err := c.StatLTXFile(within(t, 10*time.Second), nth(9), replica.StatOptions{})
				require.NoError(t, err)
			}
			require.Empty(t, sent, "a fourth upload has a connection")
			release()
			for range cap(done) {
				require.NoError(t, <-done)
			}
		})
	}
}
