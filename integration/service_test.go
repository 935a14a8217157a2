package integration

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// systemd hears that the mount is there, what is unpublished whenever that changes, that the
// mount lives, and that it is about to end.
func TestNotify(t *testing.T) {
	t.Parallel()
	systemd := newDatagrams(t, filepath.Join(t.TempDir(), "notify"))
	root := t.TempDir()
	m := ltxfstest.Start(t, root, ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: []string{"NOTIFY_SOCKET=" + systemd.path, "WATCHDOG_USEC=200000"}})
	require.Equal(t, "READY=1", systemd.next(t))
	require.Len(t, ltxfstest.Mounts(m.Dir), 1, "the mount is there when systemd hears so")
	status := func(unpublished string) string {
		return fmt.Sprintf("STATUS=%s read-write on %s, %s unpublished", root, m.Dir, unpublished)
	}
	alive := 0
	until := func(want string) {
		t.Helper()
		for got := systemd.next(t); got != want; got = systemd.next(t) {
			require.Equal(t, "WATCHDOG=1", got)
			alive++
		}
	}
	until(status("0 files"))
	p := m.Process(t)
	require.NoError(t, p.WriteFile("ltx/0000/notes.txt", []byte("notes")))
	until(status("1 file"))
	require.NoError(t, p.Unlink("ltx/0000/notes.txt"))
	until(status("0 files"))
	for range 3 {
		require.Equal(t, "WATCHDOG=1", systemd.next(t))
	}
	m.Signal(t, syscall.SIGTERM)
	until("STOPPING=1")
	require.Equal(t, ltxfstest.ExitOK, m.Wait(t), m.Log())
	require.Positive(t, alive)
}

// SIGUSR1 logs what the process does, and the mount lives on.
func TestDump(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	ltxfstest.RequireOrders(t, m)
	m.Signal(t, syscall.SIGUSR1)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the dump is in the log", func() bool {
		return strings.Contains(m.Log(), `service.(*server).dump(`) && strings.Contains(m.Log(), "service.Run(")
	})
	require.Regexp(t, `(?m)^\S+ level=INFO msg=dump version=\S+ up=\d+s goroutines=\d+ unpublished=0 budget=134217728 budget_used=\d+ cached=\d+ hits=\d+ misses=\d+ fetched=\d+ evictions=0 replicas=1 inodes=\d+$`, m.Log())
	require.Regexp(t, `(?m)^\S+ level=INFO msg="asked of the store" requests\.list\.count=`, m.Log())
	require.Regexp(t, `(?m)^\S+ level=INFO msg="goroutine \d+ \[[^\]]+\]" stack="[^\n]*internal/service\.Run\(`, m.Log())
	ltxfstest.RequireOrders(t, m)
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

// At SIGHUP, the mount forgets what it knows of other writers' files, and lives on. What the
// kernel knows of a name, it keeps.
func TestDropListings(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	name2, data2 := testFile(t, 2)
	_, data1 := testFile(t, 1)
	stored := func(name string) string { return filepath.Join(root, ltxfstest.StorePath(0, name)) }
	ltxfstest.Store(t, stored(name1), data1, time.Now())
	m := ltxfstest.Mount(t, root, "--freshness=1h")
	p := m.Process(t)
	state2 := "db/at/0000000000000002.db"
	shows := func(names []string, first, second error) {
		t.Helper()
		got, err := p.ReadDir("ltx/0000")
		require.NoError(t, err)
		require.ElementsMatch(t, names, got)
		_, err = p.Stat("ltx/0000/" + name1)
		require.Equal(t, first, err)
		_, err = p.Stat("ltx/0000/" + name2)
		require.Equal(t, second, err)
	}
	hangUp := func() {
		t.Helper()
		before := len(m.Log())
		m.Signal(t, syscall.SIGHUP)
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the listings are dropped", func() bool {
			return strings.Contains(m.LogFrom(before), `msg="dropped all listings" signal=hangup`)
		})
	}
	shows([]string{name1}, nil, syscall.ENOENT)
	_, err := p.Stat(state2)
	require.Equal(t, syscall.ENOENT, err)
	ltxfstest.Store(t, stored(name2), data2, time.Now())
	shows([]string{name1}, nil, syscall.ENOENT)
	hangUp()
	shows([]string{name1, name2}, nil, nil)
	names, err := p.ReadDir("db/at")
	require.NoError(t, err)
	require.Contains(t, names, filepath.Base(state2))

	work := ltxfstest.NewProcess(t, m.Path("ltx", "0000"), nil)
	f, err := work.Open(name1, unix.O_RDONLY, 0)
	require.NoError(t, err)
	_, err = f.ReadAt(len(data1), 0)
	require.NoError(t, err)
	require.NoError(t, os.Remove(stored(name1)))
	shows([]string{name1, name2}, nil, nil)
	where := workIn(t, m.Path("ltx", "0000"))
	hangUp()
	require.Equal(t, m.Path("ltx", "0000"), where(), "whoever works in a directory still does")
	shows([]string{name2}, nil, nil)
	got, err := f.ReadAt(len(data1), 0)
	require.NoError(t, err, "what is open stays")
	require.Equal(t, data1, got)
	require.NoError(t, f.Close())
	work.Close()
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

// workIn has a process work in a directory, which says where it is, and ends, when asked.
func workIn(t *testing.T, dir string) (where func() string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", `cd "$1"; echo; read line; exec readlink /proc/self/cwd`, "sh", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	out := bufio.NewReader(pipe)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
	stop := time.AfterFunc(ltxfstest.Timeout, func() { _ = cmd.Process.Kill() })
	_, err = out.ReadString('\n')
	require.NoError(t, err)
	return func() string {
		defer stop.Stop()
		_, err := in.Write([]byte("\n"))
		require.NoError(t, err)
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimSuffix(line, "\n")
	}
}

// deletedLine is what the log has of each deletion.
var deletedLine = regexp.MustCompile(`(?m)^time=\S+ level=INFO msg=deleted file=ltx/0000/(\S+)$`)

// logrotate moves the log aside, or copies and empties it, while lines come, and each is in
// one of the files, whole.
func TestLogrotate(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]string{
		"rename":       "nocreate\npostrotate\nkill -HUP %d\nendscript",
		"copytruncate": "copytruncate",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Chmod(dir, 0o755)) // logrotate refuses one that others can write to
			log := filepath.Join(dir, "ltxfs.log")
			m := ltxfstest.Mount(t, t.TempDir(), "--rw", "--log-file="+log)
			if strings.Contains(how, "%d") {
				how = fmt.Sprintf(how, m.PID)
			}
			config := filepath.Join(dir, "config")
			require.NoError(t, os.WriteFile(config, []byte(log+" {\nrotate 9\nmissingok\nnotifempty\n"+how+"\n}\n"), 0o644))
			rotate := func() {
				ltxfstest.MustRun(t, "/usr/sbin/logrotate", "--force", "--state", filepath.Join(dir, "state"), config)
			}
			const rounds, each = 4, 25
			p := m.Process(t)
			for round := range rounds {
				work := func() {
					for i := range each {
						publishAndDelete(t, p, ltx.TXID(round*each+i+1))
					}
				}
				if name == "copytruncate" { // which loses what comes while it copies
					work()
					requireDeletions(t, dir, (round+1)*each)
					rotate()
					continue
				}
				rotated := make(chan struct{})
				go func() { defer close(rotated); rotate() }()
				work()
				<-rotated
				ltxfstest.Eventually(t, ltxfstest.Timeout, "the log is open again", func() bool {
					text, _ := os.ReadFile(log)
					return strings.Contains(string(text), "dropped all listings")
				})
			}
			requireDeletions(t, dir, rounds*each)
			require.FileExists(t, log+fmt.Sprint(".", rounds))
			for _, path := range m.Descriptors(t) {
				require.NotRegexp(t, regexp.QuoteMeta(log)+`\.\d`, path, "a log that was moved away is still open")
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t))
			text, err := os.ReadFile(log)
			require.NoError(t, err)
			require.Contains(t, string(text), "msg=unmounted")
		})
	}
}

// requireDeletions requires that the log files in a directory have the deletions of so many
// files, from TXID 1 on, each once.
func requireDeletions(t *testing.T, dir string, n int) {
	t.Helper()
	var times map[string]int
	count := func() int {
		times = map[string]int{}
		logs, err := filepath.Glob(filepath.Join(dir, "ltxfs.log*"))
		require.NoError(t, err)
		for _, path := range logs {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotContains(t, string(text), "\x00", "a hole in %s", path)
			for _, match := range deletedLine.FindAllStringSubmatch(string(text), -1) {
				times[match[1]]++
			}
		}
		return len(times)
	}
	ltxfstest.Eventually(t, ltxfstest.Timeout, "all deletions are in the log", func() bool { return count() >= n })
	want := map[string]int{}
	for txid := range ltx.TXID(n) {
		want[ltx.FormatFilename(txid+1, txid+1)] = 1
	}
	require.Equal(t, want, times)
}

// A daemon lets go of a log file that was moved away, with its standard error too.
func TestDaemonReopensLog(t *testing.T) {
	t.Parallel()
	dir, log := ltxfstest.MountPoint(t), filepath.Join(t.TempDir(), "log")
	umountAtEnd(t, dir)
	result := ltxfstest.Ltxfs(t, "mount", "--daemon", "--log-file", log, ltxfstest.Orders(t), dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	var pid int
	_, err := fmt.Sscanf(regexp.MustCompile(`process \d+`).FindString(result.Stdout), "process %d", &pid)
	require.NoError(t, err, result)
	require.NoError(t, os.Rename(log, log+".1"))
	require.NoError(t, unix.Kill(pid, unix.SIGHUP))
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the log is open again", func() bool {
		text, _ := os.ReadFile(log)
		return strings.Contains(string(text), "dropped all listings")
	})
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/2", pid))
	require.NoError(t, err)
	require.Equal(t, log, target)
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(t, err)
	require.NotEmpty(t, open)
	for _, fd := range open {
		if target, err := os.Readlink(fd); err == nil {
			require.NotEqual(t, log+".1", target)
		}
	}
	result = ltxfstest.Ltxfs(t, "umount", dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
}

// ltxfs umount --lazy takes a mount away from those who use it, at once.
func TestUmountLazy(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--grace=1h")
	p := m.Process(t)
	_, err := p.Open(ltxfstest.OrdersFiles(t)[0].Path(), unix.O_RDONLY, 0)
	require.NoError(t, err)
	result := ltxfstest.Ltxfs(t, "umount", "--lazy", m.Dir)
	require.Equal(t, ltxfstest.ExitOK, result.Code, result)
	require.Equal(t, ltxfstest.ExitOK, m.Wait(t), m.Log())
	require.Contains(t, m.Log(), "msg=unmounted")
}
