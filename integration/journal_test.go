package integration

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// datagrams is a socket that takes datagrams, as systemd and its journal do.
type datagrams struct {
	path string
	conn *net.UnixConn
}

func newDatagrams(t *testing.T, path string) *datagrams {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // one of these tests has closed it
	require.NoError(t, os.Chmod(path, 0o666))
	return &datagrams{path, conn}
}

// next is the next datagram.
func (d *datagrams) next(t *testing.T) string {
	t.Helper()
	require.NoError(t, d.conn.SetReadDeadline(time.Now().Add(ltxfstest.Timeout)))
	buf := make([]byte, 64<<10)
	n, err := d.conn.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}

// entry is the next entry of the journal. Its values have no line feeds.
func (d *datagrams) entry(t *testing.T) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for _, line := range ltxfstest.Lines(d.next(t)) {
		name, value, ok := strings.Cut(line, "=")
		require.True(t, ok, line)
		fields[name] = value
	}
	return fields
}

// journalLtxfs is an ltxfs that takes a socket for the journal's, in a script that makes it
// believe that its standard error goes there.
func journalLtxfs(t *testing.T, socket string) (script string) {
	t.Helper()
	dir := t.TempDir()
	binary, script := filepath.Join(dir, "ltxfs"), filepath.Join(dir, "script")
	build := exec.Command("go", "build", "-ldflags", "-X github.com/coreos/go-systemd/v22/journal.journalSocket="+socket, "-o", binary, "./cmd/ltxfs")
	build.Dir = ltxfstest.Root()
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nJOURNAL_STREAM=$(stat -L -c %%d:%%i /proc/self/fd/2) exec %s \"$@\"\n", binary), 0o755))
	return script
}

// A mount whose standard error is the journal logs there, with fields; a journal that nobody
// reads holds up no request, and what can't get there goes to standard error.
func TestJournal(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "ltxfs-journal-") // a socket's path can't be long
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	journal := newDatagrams(t, filepath.Join(dir, "socket"))
	script := journalLtxfs(t, journal.path)
	root := t.TempDir()
	mount := func(flags ...string) *ltxfstest.Mounted {
		return ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Binary: script, Flags: append([]string{"--rw", "--log-level=debug"}, flags...)})
	}
	m := mount()
	until := func(begin string) map[string]string {
		t.Helper()
		for {
			if e := journal.entry(t); strings.HasPrefix(e["MESSAGE"], begin) {
				return e
			}
		}
	}
	e := until("mounted ")
	for name, want := range map[string]string{
		"PRIORITY": "6", "LTXFS_REPLICA": root, "LTXFS_MOUNTPOINT": m.Dir, "LTXFS_MODE": "read-write", "LTXFS_PID": fmt.Sprint(m.PID),
	} {
		require.Equal(t, want, e[name], name)
	}
	require.Contains(t, e["MESSAGE"], "mounted replica="+root+" mountpoint="+m.Dir+" mode=read-write ")

	p := m.Process(t)
	require.Equal(t, syscall.EBADMSG, p.WriteFile(file1, []byte("no LTX")))
	require.NoError(t, p.Unlink(file1))
	e = until("not published ")
	require.Equal(t, "4", e["PRIORITY"])
	require.Equal(t, file1, e["LTXFS_FILE"])
	require.Equal(t, syscall.EBADMSG.Error(), e["LTXFS_ERRNO"])

	// More than the socket takes, and nobody reads.
	_, data := testFile(t, 1)
	const writes = 200
	for range writes {
		require.NoError(t, p.WriteFile(file1, data))
		require.NoError(t, p.Unlink(file1))
	}
	for range writes {
		require.Equal(t, file1, until("deleted file=")["LTXFS_FILE"])
	}
	m.Signal(t, syscall.SIGTERM)
	require.Equal(t, "6", until("unmounted ")["PRIORITY"])
	require.Equal(t, ltxfstest.ExitOK, m.Wait(t), m.Log())
	require.Empty(t, m.Log())

	m = mount("--log-format=text")
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.Contains(t, m.Log(), "level=INFO msg=mounted")

	m = mount()
	until("mounted ")
	require.NoError(t, journal.conn.Close())
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.Contains(t, m.Log(), `"level":"INFO","msg":"unmounted","mountpoint":"`+m.Dir)
	m = mount()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.Contains(t, m.Log(), "level=INFO msg=mounted")
}
