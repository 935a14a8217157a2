package s3

import (
	"context"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// Close ends a deletion that is under way, and waits for it: nothing is deleted, and
// no connection made, once it has returned.
func TestCloseEndsDeletions(t *testing.T) {
	began := make(chan struct{}, 1)
	s := serve(t, answers{
		"DELETE": func(w http.ResponseWriter, r *http.Request) {
			began <- struct{}{}
			hang(w, r)
		},
	})
	c := s.store(t)
	done := make(chan error, 1)
	go func() { done <- c.DeleteLTXFiles(context.Background(), nth(1)) }()
	<-began
	require.NoError(t, c.Close())
	require.Len(t, done, 1, "Close waits for it")
	require.ErrorIs(t, <-done, os.ErrClosed)
	require.Equal(t, "DELETE", s.ops())
	require.Zero(t, c.Connections())

	_, err := list(t.Context(), c, replica.ListOptions{})
	for name, err := range map[string]error{
		"delete": c.DeleteLTXFiles(t.Context(), nth(1)),
		"init":   c.Init(t.Context()),
		"list":   err,
	} {
		require.ErrorIs(t, err, os.ErrClosed, name)
	}
}

// A deletion of everything that is still listing ends as well.
func TestCloseEndsDeleteAll(t *testing.T) {
	began := make(chan struct{}, 1)
	s := serve(t, answers{
		"LIST": func(w http.ResponseWriter, r *http.Request) {
			began <- struct{}{}
			hang(w, r)
		},
		"DELETE": say(204, ""), "HEAD": refuse(404, ""),
	})
	c := s.store(t)
	done := make(chan error, 1)
	go func() { done <- replica.ClientOf(c).DeleteAll(context.Background()) }()
	<-began
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-done, os.ErrClosed)
	require.Equal(t, "LIST", s.ops())
	require.Zero(t, c.Connections())
}
