package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/internal/service"
	"github.com/ltxfs/ltxfs/internal/service/state"
)

// A bundle of a mount whose stores don't answer has all but the metrics.
func TestBundleOfWhatHangs(t *testing.T) {
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	dir := t.TempDir()
	f, err := state.Acquire(state.Default(), state.State{PID: os.Getpid(), Mountpoint: dir})
	require.NoError(t, err)
	defer f.Remove()
	l, err := f.Listen()
	require.NoError(t, err)
	ctx, giveUp := context.WithCancel(t.Context())
	process := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			giveUp() // before the timeout does
			<-r.Context().Done()
		}
		_, _ = w.Write([]byte("answer to " + r.URL.String()))
	})}
	served := make(chan error)
	go func() { served <- process.Serve(l) }()

	c, err := service.Connect(dir)
	require.NoError(t, err)
	defer c.Close()
	path := filepath.Join(t.TempDir(), "bundle")
	bundle, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, writeBundle(ctx, bundle, c))
	require.NoError(t, bundle.Close())
	parts := ltxfstest.Unpack(t, path)
	for name, asked := range map[string]string{
		"settings.txt": "/settings", "health.txt": "/healthz", "goroutines.txt": "/debug/pprof/goroutine?debug=2", "heap.pprof": "/debug/pprof/heap",
	} {
		require.Equal(t, "answer to "+asked, parts[name], name)
	}
	require.Contains(t, parts["metrics.txt.missing"], "context canceled")
	require.Regexp(t, `(?m)^/proc/\d+/status:\nName:\s`, parts["process.txt"])
	require.Regexp(t, `(?m)^/proc/\d+/task/\d+/wchan:\n\w`, parts["process.txt"], "what its threads wait for")
	require.NoError(t, process.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)
}
