package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

// helperEnv has the test binary play the process that is started.
const helperEnv = "LTXFS_TEST_DAEMON"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperEnv); role != "" {
		os.Exit(helper(role))
	}
	os.Exit(m.Run())
}

func helper(role string) int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, unix.SIGTERM)
	r := FromEnvironment()
	if !r.InBackground() || os.Getenv(ReadyEnv) != "" {
		return 90
	}
	fmt.Fprintln(os.Stderr, "starting")
	switch role {
	case "fails":
		fmt.Fprintln(os.Stderr, "ltxfs: no such replica")
		return 3
	case "dies":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case "hangs":
		signal.Ignore(unix.SIGTERM)
		select {}
	case "slow":
		<-terminated
		return 0
	}
	var log *os.File
	if role == "logs" {
		var err error
		if log, err = os.Create(os.Getenv("LTXFS_TEST_LOG")); err != nil {
			return 91
		}
	}
	if dir, err := os.Getwd(); err != nil || dir != os.Getenv("LTXFS_TEST_DIR") {
		return 92
	}
	if group, err := unix.Getpgid(os.Getppid()); err != nil || group != unix.Getpgrp() {
		return 97
	}
	if err := r.Ready(log); err != nil {
		return 93
	}
	if dir, err := os.Getwd(); err != nil || dir != "/" {
		return 96
	}
	if session, err := unix.Getsid(0); err != nil || session != os.Getpid() {
		return 98
	}
	if err := r.Started(); (err != nil) != r.Supervised() {
		return 94
	}
	fmt.Fprintln(os.Stderr, "serving")
	<-terminated
	return 8
}

func start(t *testing.T, role string, timeout time.Duration) (p *Process, stderr string, err error) {
	t.Helper()
	t.Setenv(helperEnv, role)
	dir, err := os.Getwd()
	require.NoError(t, err)
	t.Setenv("LTXFS_TEST_DIR", dir)
	out, err := os.CreateTemp(t.TempDir(), "stderr")
	require.NoError(t, err)
	defer out.Close()
	p, err = Start(t.Context(), Options{Args: []string{"an argument"}, Stderr: out, Timeout: timeout, EndWithParent: true})
	text, rerr := os.ReadFile(out.Name())
	require.NoError(t, rerr)
	return p, string(text), err
}

func TestStartAndStop(t *testing.T) {
	p, out, err := start(t, "mounts", time.Minute)
	require.NoError(t, err)
	require.Equal(t, "starting\n", out)
	require.Positive(t, p.PID)
	require.Empty(t, p.LogFile)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	require.NoError(t, err)
	require.Contains(t, string(cmdline), "\x00an argument\x00")
	code, err := p.Stop(time.Minute)
	require.NoError(t, err)
	require.Equal(t, 8, code)
}

func TestStandardErrorGoesToTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	t.Setenv("LTXFS_TEST_LOG", path)
	p, out, err := start(t, "logs", time.Minute)
	require.NoError(t, err)
	require.Equal(t, "starting\n", out)
	require.Equal(t, path, p.LogFile)
	_, err = p.Stop(time.Minute)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "serving\n", string(got))
}

func TestFailureIsPassedOn(t *testing.T) {
	_, out, err := start(t, "fails", time.Minute)
	require.True(t, exitcode.IsReported(err))
	require.Equal(t, exitcode.NoReplica, exitcode.Of(err))
	require.Equal(t, "starting\nltxfs: no such replica\n", out)

	_, _, err = start(t, "dies", time.Minute)
	require.ErrorContains(t, err, "has died")

	_, err = Start(t.Context(), Options{Args: []string{"no such\x00argument"}, Timeout: time.Minute})
	require.ErrorIs(t, err, unix.EINVAL)
}

func TestProcessThatHangsIsKilled(t *testing.T) {
	_, _, err := start(t, "hangs", 200*time.Millisecond)
	require.ErrorIs(t, err, errTimeout)
	require.Equal(t, exitcode.Timeout, exitcode.Of(err))
}

func TestInterrupt(t *testing.T) {
	t.Setenv(helperEnv, "slow")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupt"))
	_, err := Start(ctx, Options{Timeout: time.Minute, EndWithParent: true})
	require.ErrorContains(t, err, "interrupt")
	require.NotErrorIs(t, err, errTimeout)
}

func TestNobodyWaits(t *testing.T) {
	t.Setenv(ReadyEnv, "")
	r := FromEnvironment()
	require.False(t, r.InBackground())
	require.NoError(t, r.Ready(nil))
}

func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer conn.Close()
	t.Setenv(ReadyEnv, "")
	t.Setenv(notifyEnv, path)
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	r := FromEnvironment()
	require.True(t, r.Supervised())
	require.Equal(t, 3*time.Second, r.Watchdog)
	requireNoneSet := func() {
		t.Helper()
		for _, name := range []string{notifyEnv, "WATCHDOG_USEC", "WATCHDOG_PID"} {
			_, set := os.LookupEnv(name)
			require.False(t, set, "a child would inherit %s", name)
		}
	}
	requireNoneSet()
	require.NoError(t, r.Ready(nil))
	require.NoError(t, r.Started())
	require.NoError(t, r.Status("a = b"))
	require.NoError(t, r.Alive())
	require.NoError(t, r.Stopping())
	requireNoneSet()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	buf := make([]byte, 64)
	for _, want := range []string{"READY=1", "STATUS=a = b", "WATCHDOG=1", "STOPPING=1"} {
		n, err := conn.Read(buf)
		require.NoError(t, err)
		require.Equal(t, want, string(buf[:n]))
	}
	require.ErrorIs(t, (&Reporter{socket: path + "-none"}).Stopping(), os.ErrNotExist)
	requireNoneSet()
}

// A watchdog that watches another process, such as the one that starts this one, isn't ours.
func TestWatchdogOfAnother(t *testing.T) {
	t.Setenv(ReadyEnv, "")
	t.Setenv(notifyEnv, "/none")
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getppid()))
	require.Zero(t, FromEnvironment().Watchdog)
}

// A socket that isn't there any more keeps nobody from hearing of the mount.
func TestStaleSystemdSocket(t *testing.T) {
	t.Setenv(notifyEnv, filepath.Join(t.TempDir(), "none"))
	p, _, err := start(t, "mounts", time.Minute)
	require.NoError(t, err)
	code, err := p.Stop(time.Minute)
	require.NoError(t, err)
	require.Equal(t, 8, code)
}

// A systemd that doesn't read holds nothing up for long.
func TestNotifyHasADeadline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer conn.Close()
	t.Setenv(ReadyEnv, "")
	t.Setenv(notifyEnv, path)
	r := FromEnvironment()
	for err = r.Alive(); err == nil; err = r.Alive() { // until its queue is full
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
