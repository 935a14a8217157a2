package s3

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Close ends a deletion of everything that is under way: nothing is deleted, and no
// connection made, once it has returned.
func TestCloseEndsDeletions(t *testing.T) {
	began := make(chan struct{}, 1)
	s := serve(t, answers{
		"LIST": func(w http.ResponseWriter, r *http.Request) {
			began <- struct{}{}
			hang(w, r)
		},
		"DELETE": say(204, ""), "HEAD": refuse(404, ""),
	})
	c := s.client(t)
	done := make(chan error, 1)
	go func() { done <- c.DeleteAll(context.Background()) }()
	<-began
	require.NoError(t, c.Close())
	require.Len(t, done, 1, "Close waits for it")
	require.ErrorIs(t, <-done, os.ErrClosed)
	require.Equal(t, "LIST", s.ops())
	require.Zero(t, c.Connections())

	for name, err := range map[string]error{
		"delete": c.DeleteLTXFiles(t.Context(), infos(1)),
		"init":   c.Init(t.Context()),
	} {
		require.ErrorIs(t, err, os.ErrClosed, name)
	}
	it, err := c.LTXFiles(t.Context(), 0, 0, false)
	require.ErrorIs(t, err, os.ErrClosed)
	require.Nil(t, it)
}

// A connection that is made while the client closes is closed as well.
func TestCloseEndsDials(t *testing.T) {
	s := serve(t, nil)
	c := newConns(Timeouts{Connect: time.Second, Stall: time.Second, FirstByte: time.Second})
	c.close()
	conn, err := c.dial(t.Context(), "tcp", s.Listener.Addr().String())
	require.ErrorIs(t, err, os.ErrClosed)
	require.Nil(t, conn)
	require.Zero(t, c.count())
}
