package packages

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// machine is a minimal Debian system of its own, in a container in which systemd has started.
type machine struct {
	t    *testing.T
	root string // its root directory
	init string // the process ID of its systemd
}

// inMachine are the Debian packages in a machine, beside the essential ones and ours.
const inMachine = "fuse3,systemd,systemd-sysv,plocate,bash-completion,rpm"

// bootTimeout bounds the installation of a machine, and its start.
const bootTimeout = 10 * time.Minute

// installMachine has apt's own mirror. $1 is the directory.
const installMachine = `
read -r uri suite <<<"$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | head -1)"
mmdebstrap --quiet --mode=root --variant=minbase --include=` + inMachine + ` --aptopt='Acquire::Languages "none"' \
	--dpkgopt=force-unsafe-io \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/ltxfs*' "$suite" "$1" "$uri"
`

// boot makes a machine and starts it, until the test ends.
func boot(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a machine is to be had by root alone: run the tests as root")
	}
	ltxfstest.OpenDevices(t) // the machine's have the same modes
	m := &machine{t: t, root: filepath.Join(t.TempDir(), "root")}
	installed := ltxfstest.Run(t, bootTimeout, "bash", "-euo", "pipefail", "-c", installMachine, "bash", m.root)
	require.Zero(t, installed.Code, installed)

	path := filepath.Join(t.TempDir(), "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer notify.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "console"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command("systemd-nspawn", "--quiet", "--directory", m.root, "--boot", "--notify-ready=yes", "--register=no", "--keep-unit",
		"--private-network", "--link-journal=no", "--console=pipe", "--bind=/dev/fuse", "--bind=/dev/autofs")
	cmd.Env = append(ltxfstest.Env(), "NOTIFY_SOCKET="+path)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // which turns the machine off
		select {
		case <-ended:
		case <-time.After(ltxfstest.Timeout):
			t.Error("the machine doesn't turn off")
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			console, _ := os.ReadFile(log.Name())
			t.Logf("the machine's console:\n%s", console)
		}
	})
	leader := regexp.MustCompile(`(?m)^X_NSPAWN_LEADER_PID=(\d+)$`)
	require.NoError(t, notify.SetReadDeadline(time.Now().Add(bootTimeout)))
	for buf, said := make([]byte, 4096), ""; m.init == "" || !strings.Contains(said, "READY=1\n"); {
		n, err := notify.Read(buf)
		require.NoError(t, err, "the machine hasn't started")
		said += string(buf[:n]) + "\n"
		if found := leader.FindStringSubmatch(said); found != nil {
			m.init = found[1]
		}
	}
	return m
}

// in is the machine for a part of the test.
func (m *machine) in(t *testing.T) *machine { return &machine{t, m.root, m.init} }

// run runs a script of bash in the machine.
func (m *machine) run(script string) ltxfstest.Result {
	m.t.Helper()
	result := ltxfstest.Run(m.t, 2*ltxfstest.Timeout, "nsenter", "--target", m.init, "--all", "--",
		"/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "bash", "-euo", "pipefail", "-c", script)
	result.Stdout = strings.ReplaceAll(result.Stdout, "\r", "") // apt gives dpkg a terminal
	return result
}

// sh is run for a script that must succeed. It returns what that prints.
func (m *machine) sh(format string, args ...any) string {
	m.t.Helper()
	result := m.run(fmt.Sprintf(format, args...))
	require.Zero(m.t, result.Code, "%v\n%s", result, m.run("journalctl --no-pager -n 60 -u 'ltxfs*'").Stdout)
	return strings.TrimSuffix(result.Stdout, "\n")
}

// put writes a file in the machine.
func (m *machine) put(path, content string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	require.NoError(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(m.t, os.WriteFile(path, []byte(content), 0o600))
}
