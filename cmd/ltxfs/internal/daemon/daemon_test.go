package daemon

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
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
	if !r.InBackground() || os.Getenv(readyEnv) != "" {
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
	for _, want := range []string{os.Getenv("LTXFS_TEST_MESSAGE"), ""} {
		if got, err := Message(); err != nil || got != want || os.Getenv(messageEnv) != "" {
			return 95
		}
	}
	if err := r.Ready(Ready{PID: os.Getpid(), LogFile: "x.log"}, log); err != nil {
		return 93
	}
	if dir, err := os.Getwd(); err != nil || dir != "/" {
		return 96
	}
	if err := r.Started(); (err != nil) != (r.socket != "") {
		return 94
	}
	fmt.Fprintln(os.Stderr, "serving")
	<-terminated
	return 8
}

// output is a buffer that a goroutine of Start may still write to.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func start(t *testing.T, role string, timeout time.Duration, interrupt <-chan os.Signal) (*Process, string, error) {
	t.Helper()
	return startWith(t, role, Options{Timeout: timeout, Interrupt: interrupt})
}

func startWith(t *testing.T, role string, opts Options) (*Process, string, error) {
	t.Helper()
	t.Setenv(helperEnv, role)
	t.Setenv("LTXFS_TEST_MESSAGE", opts.Message)
	dir, err := os.Getwd()
	require.NoError(t, err)
	t.Setenv("LTXFS_TEST_DIR", dir)
	opts.Program, err = os.Executable()
	require.NoError(t, err)
	var out output
	opts.Stderr, opts.EndWithParent = &out, true
	p, err := Start(opts)
	return p, out.String(), err
}

// A message can be longer than a pipe holds, and is not in the arguments of the
// process.
func TestMessage(t *testing.T) {
	message := strings.Repeat("secret ", 15_000)
	p, _, err := startWith(t, "mounts", Options{Timeout: time.Minute, Message: message})
	require.NoError(t, err)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	require.NoError(t, err)
	require.NotContains(t, string(cmdline), "secret")
	code, err := p.Stop(time.Minute)
	require.NoError(t, err)
	require.Equal(t, 8, code)

	_, _, err = startWith(t, "fails", Options{Timeout: time.Minute, Message: message[:1000]})
	var exit *ExitError
	require.ErrorAs(t, err, &exit, "a process that doesn't read its message")
}

func TestStartAndStop(t *testing.T) {
	p, out, err := start(t, "mounts", time.Minute, nil)
	require.NoError(t, err)
	require.Equal(t, "starting\n", out)
	require.Positive(t, p.PID)
	require.Equal(t, "x.log", p.LogFile)
	code, err := p.Stop(time.Minute)
	require.NoError(t, err)
	require.Equal(t, 8, code)
}

func TestStandardErrorGoesToTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	t.Setenv("LTXFS_TEST_LOG", path)
	p, out, err := start(t, "logs", time.Minute, nil)
	require.NoError(t, err)
	require.Equal(t, "starting\n", out)
	_, err = p.Stop(time.Minute)
	require.NoError(t, err)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "serving\n", string(got))
}

func TestFailureIsPassedOn(t *testing.T) {
	_, out, err := start(t, "fails", time.Minute, nil)
	var exit *ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.Code)
	require.Equal(t, "starting\nltxfs: no such replica\n", out)

	_, _, err = start(t, "dies", time.Minute, nil)
	require.ErrorContains(t, err, "has died")

	_, err = Start(Options{Program: "/no/such/program", Stderr: io.Discard, Timeout: time.Minute})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestProcessThatHangsIsKilled(t *testing.T) {
	_, _, err := start(t, "hangs", 200*time.Millisecond, nil)
	require.ErrorIs(t, err, ErrTimeout)
}

func TestInterrupt(t *testing.T) {
	interrupt := make(chan os.Signal, 1)
	interrupt <- os.Interrupt
	_, _, err := start(t, "slow", time.Minute, interrupt)
	require.ErrorContains(t, err, "interrupt")
	require.NotErrorIs(t, err, ErrTimeout)
}

func TestNobodyWaits(t *testing.T) {
	t.Setenv(readyEnv, "")
	r := FromEnvironment()
	require.False(t, r.InBackground())
	require.NoError(t, r.Ready(Ready{}, nil))
}

func TestSystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer conn.Close()
	t.Setenv(readyEnv, "")
	t.Setenv(notifyEnv, path)
	r := FromEnvironment()
	_, set := os.LookupEnv(notifyEnv)
	require.False(t, set)
	require.NoError(t, r.Ready(Ready{}, nil))
	require.NoError(t, r.Started())
	require.NoError(t, r.Stopping())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	buf := make([]byte, 64)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		n, err := conn.Read(buf)
		require.NoError(t, err)
		require.Equal(t, want, string(buf[:n]))
	}
	require.ErrorIs(t, (&Reporter{socket: path + "-none"}).Stopping(), os.ErrNotExist)
}

// A socket that isn't there any more keeps nobody from hearing of the mount.
func TestStaleSystemdSocket(t *testing.T) {
	t.Setenv(notifyEnv, filepath.Join(t.TempDir(), "none"))
	p, _, err := start(t, "mounts", time.Minute, nil)
	require.NoError(t, err)
	code, err := p.Stop(time.Minute)
	require.NoError(t, err)
	require.Equal(t, 8, code)
}
