package integration

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// container binds the directory that holds a mountpoint as rslave, and the mountpoint
// itself, as containers do, and waits.
const container = `
mkdir "$1/parent" "$1/itself"
mount --rbind --make-rslave "$2" "$1/parent"
mount --rbind --make-rslave "$2/$3" "$1/itself"
echo started
read
`

// A container that is given the directory which holds a mountpoint, as rslave, sees what
// is mounted there, also by an ltxfs that was started anew. One that is given the
// mountpoint keeps the mount of before.
func TestContainer(t *testing.T) {
	requireRoot(t, "a mount namespace")
	t.Parallel()
	root, host, rootfs := ltxfstest.Orders(t), ltxfstest.MountPoint(t), t.TempDir()
	require.NoError(t, unix.Mount(host, host, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(host, unix.MNT_DETACH)) })
	require.NoError(t, unix.Mount("", host, "", unix.MS_SHARED, "")) // as systemd makes all mounts
	dir := filepath.Join(host, "orders")
	require.NoError(t, unix.Mkdir(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, unix.Rmdir(dir)) })

	m := ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Dir: dir})
	c := exec.Command("unshare", "--mount", "--propagation", "slave", "bash", "-euc", container, "bash", rootfs, host, "orders")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := c.StdinPipe()
	require.NoError(t, err)
	stdout, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { stdin.Close(); _ = c.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "started\n", line)
	look := func(dir string) ltxfstest.Result {
		return ltxfstest.Run(t, ltxfstest.Timeout, "nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", c.Process.Pid),
			"--", "ls", filepath.Join(rootfs, dir))
	}
	const tree = "db\nltx\nsnapshots\n"
	require.Equal(t, tree, look("parent/orders").Stdout)
	require.Equal(t, tree, look("itself").Stdout)

	m.Kill(t)
	m = ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Dir: dir})
	require.Equal(t, tree, look("parent/orders").Stdout)
	require.Contains(t, look("itself").Stderr, "Transport endpoint is not connected")
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.Empty(t, look("parent/orders").Stdout)
}
