package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// mountsWithin is how soon the first access to an automount is answered.
const mountsWithin = 2 * time.Second

// The first access to an automount mounts, and is answered. A mount that nobody uses
// expires, its daemon ends, and the next access mounts again.
func TestAutomount(t *testing.T) {
	requireRoot(t, "an autofs trigger")
	t.Parallel()
	helper := filepath.Join(t.TempDir(), "mount.ltxfs")
	require.NoError(t, os.Symlink(ltxfstest.Binary(), helper))
	for name, tt := range map[string]struct {
		key     string
		user    bool
		command []string
	}{
		"mount.ltxfs":     {command: []string{helper, "REPLICA", "DIR", "-o", "ro"}},
		"mount.fuse":      {command: []string{"mount", "-t", "fuse", ltxfstest.Binary() + "#REPLICA", "DIR", "-o", "ro"}},
		"writable":        {command: []string{helper, "REPLICA", "DIR", "-o", "rw,staging_dir=STAGING"}},
		"an indirect map": {command: []string{helper, "REPLICA", "DIR", "-o", "ro"}, key: "orders"},
		"by fusermount3":  {command: []string{ltxfstest.Binary(), "mount", "--daemon", "REPLICA", "DIR"}, user: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, state := ltxfstest.Orders(t), t.TempDir()
			trigger := ltxfstest.Trigger{Dir: ltxfstest.MountPoint(t), Key: tt.key, Env: []string{"LTXFS_STATE_DIR=" + state}}
			dir := filepath.Join(trigger.Dir, tt.key)
			words := strings.NewReplacer("REPLICA", root, "DIR", dir, "STAGING", t.TempDir())
			for _, arg := range tt.command {
				trigger.Command = append(trigger.Command, words.Replace(arg))
			}
			if tt.user {
				trigger.Credential = ltxfstest.User(t)
				ltxfstest.Give(t, trigger.Credential, root, state)
			}
			a := ltxfstest.Automount(t, trigger)

			listed := accessSoon(t, a, "ls", dir)
			require.Equal(t, "db\nltx\nsnapshots\n", listed.Stdout, listed)
			a.Expect("mount 0")
			pid := servedBy(t, state)
			session, err := unix.Getsid(pid)
			require.NoError(t, err)
			require.Equal(t, pid, session, "the daemon has left the automounter's session")

			// Who works in the mount keeps it.
			user := a.Command("bash", "-c", "cd "+dir+" && echo there && read")
			stdin, err := user.StdinPipe()
			require.NoError(t, err)
			stdout, err := user.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, user.Start())
			_, err = stdout.Read(make([]byte, 8))
			require.NoError(t, err)
			a.Expire()
			a.Expect("expire " + unix.EAGAIN.Error())
			_, err = stdin.Write([]byte("\n"))
			require.NoError(t, err)
			require.NoError(t, user.Wait())
			a.Expire()
			a.Expect("expire ok")

			// At once: the daemon may still be about to end.
			file := filepath.Join("ltx", "9", name1)
			same := accessSoon(t, a, "cmp", filepath.Join(root, file), filepath.Join(dir, file))
			require.Zero(t, same.Code, same)
			a.Expect("mount 0")

			require.NoError(t, unix.Kill(servedBy(t, state), unix.SIGTERM))
			waitForEnd(t, state)
			listed = accessSoon(t, a, "ls", dir)
			require.Equal(t, "db\nltx\nsnapshots\n", listed.Stdout, listed)
			a.Expect("mount 0")
			a.Expire()
			a.Expect("expire ok")
			waitForEnd(t, state)
		})
	}
	t.Run("fails", func(t *testing.T) {
		t.Parallel()
		dir := ltxfstest.MountPoint(t)
		a := ltxfstest.Automount(t, ltxfstest.Trigger{Dir: dir, Command: []string{helper, dir + "-none", dir, "-o", "ro"}})
		listed := accessSoon(t, a, "ls", dir)
		require.NotZero(t, listed.Code, listed)
		require.Contains(t, listed.Stderr, "No such file or directory", listed)
		a.Expect("mount 3")
	})
}

// accessSoon runs a program that looks into an automount.
func accessSoon(t *testing.T, a *ltxfstest.Automounter, name string, args ...string) ltxfstest.Result {
	t.Helper()
	begin := time.Now()
	result := a.Run(name, args...)
	require.Less(t, time.Since(begin), mountsWithin, result)
	return result
}

// servedBy is the process that the one state file in a directory tells of.
func servedBy(t *testing.T, stateDir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(stateDir, "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	var state struct{ PID int }
	require.NoError(t, json.Unmarshal(data, &state))
	return state.PID
}

// waitForEnd waits until no process serves a mount by a state directory, and none has
// left a word of an error.
func waitForEnd(t *testing.T, stateDir string) {
	t.Helper()
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the daemon has ended well", func() bool {
		locks, err := filepath.Glob(filepath.Join(stateDir, "*.lock"))
		return err == nil && len(locks) == 0
	})
}
