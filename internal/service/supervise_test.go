package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/fs"
	"github.com/ltxfs/ltxfs/internal/settings"
)

// listen has a server think that systemd started it, and returns what it would be told.
func listen(t *testing.T, watchdog time.Duration) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", fmt.Sprint(watchdog.Microseconds()))
	return func() string {
		t.Helper()
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
		buf := make([]byte, 1024)
		n, err := conn.Read(buf)
		require.NoError(t, err)
		return string(buf[:n])
	}
}

// watchedMount is a mount that can fall ill and leave files.
type watchedMount struct {
	mounted
	mu   sync.Mutex
	left int // unpublished
	ill  error
}

func (m *watchedMount) set(left int, ill error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left, m.ill = left, ill
}

func (m *watchedMount) Usage() fs.Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fs.Usage{Unpublished: m.left}
}

func (m *watchedMount) Healthy() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ill
}

// systemd is told of the status when that changes, and that the mount lives, time and again.
func TestSupervise(t *testing.T) {
	next := listen(t, 20*time.Millisecond)
	s, _ := testServer(t, settings.Mount{Source: settings.Source{Path: "/srv/r"}, Mountpoint: "/mnt/a\nb", ReadWrite: true})
	m := &watchedMount{}
	s.mounted = m
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.supervise(ctx)
	}()
	require.Equal(t, `STATUS=/srv/r read-write on "/mnt/a\nb", 0 files unpublished`, next())
	for range 3 {
		require.Equal(t, "WATCHDOG=1", next())
	}
	m.set(1, nil)
	for got := next(); got != `STATUS=/srv/r read-write on "/mnt/a\nb", 1 file unpublished`; got = next() {
		require.Equal(t, "WATCHDOG=1", got)
	}
	require.Equal(t, "WATCHDOG=1", next())
	cancel()
	<-done
}

// The watchdog of a mount that isn't healthy isn't fed, and the log has the reason once.
func TestWatchdogIsNotFed(t *testing.T) {
	next := listen(t, time.Hour)
	s, out := testServer(t, settings.Mount{})
	m := &watchedMount{}
	s.mounted = m
	require.Empty(t, s.feed(""))
	require.Equal(t, "WATCHDOG=1", next())
	m.set(0, errors.New("a read hangs"))
	sick := s.feed("")
	require.Equal(t, "a read hangs", sick)
	require.Equal(t, sick, s.feed(sick))
	require.NoError(t, s.reporter.Status("nothing before"))
	require.Equal(t, "STATUS=nothing before", next())
	m.set(0, nil)
	require.Empty(t, s.feed(sick))
	require.Equal(t, "WATCHDOG=1", next())
	s.flush()
	require.Regexp(t, `^\S+ level=ERROR msg="the mount isn't healthy: [^\n]* error="a read hangs"\n$`, out.String())
}

// That systemd doesn't listen is in the log once, until it does again.
func TestSystemdDoesNotListen(t *testing.T) {
	next := listen(t, time.Hour)
	path := os.Getenv("NOTIFY_SOCKET")
	s, out := testServer(t, settings.Mount{})
	s.mounted = &watchedMount{}
	for range 2 {
		require.NoError(t, os.Rename(path, path+"-moved"))
		for range 3 {
			require.Empty(t, s.feed(""))
		}
		require.NoError(t, os.Rename(path+"-moved", path))
		require.Empty(t, s.feed(""))
		require.Equal(t, "WATCHDOG=1", next())
	}
	s.flush()
	require.Equal(t, 2, strings.Count(out.String(), `level=WARN msg="can't tell systemd how the mount is" error="notify systemd: `), out.String())
	require.Equal(t, 2, strings.Count(out.String(), "\n"), out.String())
}

// Without systemd, nothing is asked of the mount.
func TestNoSupervision(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s, _ := testServer(t, settings.Mount{})
	s.supervise(t.Context()) // there is no mount
}
