package s3

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

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
