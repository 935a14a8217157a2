package holders

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// process writes what /proc shows of a process.
func process(t *testing.T, proc, pid string, links map[string]string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(proc, pid)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "fd"), 0o755))
	for name, target := range links {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
}

func TestFindInATableOfProcesses(t *testing.T) {
	proc := t.TempDir()
	process(t, proc, "9", map[string]string{"cwd": "/mnt/a/ltx"}, map[string]string{"cmdline": "bash\x00-l\x00"})
	process(t, proc, "10", map[string]string{"cwd": "/", "fd/0": "/dev/null", "fd/7": "/mnt/a/ltx/0000/x (deleted)"}, map[string]string{"cmdline": "", "comm": "kworker\n"})
	process(t, proc, "11", map[string]string{"cwd": "/mnt/ab", "root": "/", "fd/0": "/mnt/abc"}, map[string]string{"cmdline": "other\x00"})
	process(t, proc, "12", map[string]string{"root": "/mnt/a"}, map[string]string{"cmdline": "jail\x00\x01" + strings.Repeat("x", 200)})
	process(t, proc, "13", nil, map[string]string{"cmdline": "mapper\x00",
		"maps": "7f00-7f01 r-xp 00000000 00:00 0\n7f01-7f02 r--p 00000000 00:32 5    /mnt/a/ltx/0000/y\n"})
	process(t, proc, "self", map[string]string{"cwd": "/mnt/a"}, nil)

	found := find(proc, "/mnt/a", 10)
	require.Len(t, found, 4)
	require.Equal(t, "9 bash -l (works in /mnt/a/ltx)", found[0].String())
	require.Equal(t, "10 kworker (has open /mnt/a/ltx/0000/x (deleted))", found[1].String())
	require.Equal(t, "has its root in /mnt/a", found[2].Use)
	require.True(t, strings.HasPrefix(found[2].Command, "jail  xxx"))
	require.LessOrEqual(t, len(found[2].Command), maxCommand+len("…"))
	require.Equal(t, "has mapped /mnt/a/ltx/0000/y", found[3].Use)

	require.Len(t, find(proc, "/mnt/a", 2), 2)
	require.Empty(t, find(filepath.Join(proc, "none"), "/mnt/a", 2))
}

func TestFindAProcess(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	cmd := exec.Command("cat")
	cmd.Dir = dir
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer cmd.Wait()
	defer stdin.Close()
	_, err = stdin.Write([]byte("x"))
	require.NoError(t, err)
	_, err = stdout.Read(make([]byte, 1)) // cat runs
	require.NoError(t, err)

	found := Find(dir, 5)
	require.Len(t, found, 1)
	require.Equal(t, cmd.Process.Pid, found[0].PID)
	require.True(t, bytes.Contains([]byte(found[0].Command), []byte("cat")))
}
