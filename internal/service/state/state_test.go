package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/exitcode"
)

// dirAt is a directory of this process's user.
func dirAt(path string) Dir { return Dir{path, uint32(os.Geteuid())} }

func testDir(t *testing.T) Dir {
	t.Helper()
	return dirAt(filepath.Join(t.TempDir(), "ltxfs"))
}

func TestLifeOfAMount(t *testing.T) {
	dir := testDir(t)
	_, err := Find([]Dir{dir}, "/mnt/a")
	require.ErrorIs(t, err, fs.ErrNotExist)

	want := State{PID: os.Getpid(), Phase: Starting, Mountpoint: "/mnt/a", Replica: "/srv/r", Version: "v1"}
	f, err := Acquire(dir, want)
	require.NoError(t, err)
	info, err := os.Stat(dir.path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())

	w, err := Find([]Dir{testDir(t), dir}, "/mnt/a")
	require.NoError(t, err)
	defer w.Close()
	got, err := w.Load()
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.True(t, w.Alive())
	require.NoError(t, w.Signal(0))

	_, err = Acquire(dir, want)
	require.ErrorIs(t, err, ErrLocked)
	other, err := Acquire(dir, State{Mountpoint: "/mnt/b"})
	require.NoError(t, err)
	other.Remove()
	_, err = Find([]Dir{dir}, "/mnt/b")
	require.ErrorIs(t, err, fs.ErrNotExist)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.Wait(ctx), context.DeadlineExceeded)

	f.State.Phase = Ended
	f.State.Result = &Result{ExitCode: 8, Unpublished: []Unpublished{{Name: "ltx/0000/x.tmp", Path: "/s/x", Size: 3, Error: "bad"}}}
	require.NoError(t, f.Save())
	f.Release()
	require.NoError(t, w.Wait(context.Background()))
	got, err = w.Load()
	require.NoError(t, err)
	require.Equal(t, f.State, got)
	require.ErrorIs(t, w.Signal(0), os.ErrProcessDone)
	require.NoError(t, os.Remove(w.base+".json"))
	require.ErrorIs(t, w.Signal(0), os.ErrProcessDone, "with its state gone")
	require.False(t, w.Alive())
	require.False(t, (*Watch)(nil).Alive())

	again, err := Acquire(dir, want)
	require.NoError(t, err)
	again.Release()
}

func TestSignalRefusesAnotherUsersProcess(t *testing.T) {
	dir := testDir(t)
	f, err := Acquire(dir, State{PID: os.Getpid(), Mountpoint: "/mnt/a"})
	require.NoError(t, err)
	defer f.Release()
	w, err := Find([]Dir{dir}, "/mnt/a")
	require.NoError(t, err)
	defer w.Close()
	w.dir.uid++
	require.ErrorContains(t, w.Signal(unix.SIGTERM), "belongs to user")
	f.State.PID = 1
	require.NoError(t, f.Save())
	require.ErrorIs(t, w.Signal(unix.SIGTERM), os.ErrProcessDone)
}

func TestDirectoryOfAnotherIsRefused(t *testing.T) {
	dir := testDir(t)
	require.NoError(t, os.Mkdir(dir.path, 0o777))
	require.NoError(t, os.Chmod(dir.path, 0o777))
	_, err := Acquire(dir, State{Mountpoint: "/mnt/a"})
	require.ErrorContains(t, err, "chmod")
	_, err = Find([]Dir{dir}, "/mnt/a")
	require.ErrorContains(t, err, "chmod")

	require.NoError(t, os.Chmod(dir.path, 0o700))
	dir.uid++
	_, err = Acquire(dir, State{Mountpoint: "/mnt/a"})
	require.ErrorContains(t, err, "belongs to user")

	file := testDir(t)
	require.NoError(t, os.WriteFile(file.path, nil, 0o600))
	_, err = Acquire(file, State{Mountpoint: "/mnt/a"})
	require.ErrorContains(t, err, "not a directory")

	missing := dirAt(filepath.Join(t.TempDir(), "no", "such"))
	_, err = Acquire(missing, State{Mountpoint: "/mnt/a"})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Of a relative path, nobody could tell from which directory.
func TestRelativeDirectoryIsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv(PathEnv, "state")
	_, err := Acquire(Default(), State{Mountpoint: "/mnt/a"})
	require.EqualError(t, err, "LTXFS_STATE_DIR=state: give an absolute path")
	require.Equal(t, exitcode.Usage, exitcode.Of(err))
	require.NoDirExists(t, "state")
	_, err = Find(Of(uint32(os.Geteuid())), "/mnt/a")
	require.Equal(t, exitcode.Usage, exitcode.Of(err))
}

func TestBrokenStateFile(t *testing.T) {
	dir := testDir(t)
	f, err := Acquire(dir, State{Mountpoint: "/mnt/a"})
	require.NoError(t, err)
	w, err := Find([]Dir{dir}, "/mnt/a")
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, os.WriteFile(dir.base("/mnt/a")+".json", []byte("{"), 0o600))
	_, err = w.Load()
	require.Error(t, err)
	f.Remove()
	_, err = w.Load()
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestManyTakeTheLockInTurn(t *testing.T) {
	dir := testDir(t)
	var holders atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for taken := 0; taken < 20; {
				f, err := Acquire(dir, State{Mountpoint: "/mnt/a"})
				if errors.Is(err, ErrLocked) {
					continue
				}
				if !assert.NoError(t, err) {
					return
				}
				taken++
				assert.EqualValues(t, 1, holders.Add(1))
				holders.Add(-1)
				f.Remove()
			}
		})
	}
	wg.Wait()
}

func TestNames(t *testing.T) {
	dir := dirAt("/run/x")
	require.NotEqual(t, dir.base("/mnt/a"), dir.base("/mnt-a"))
	require.True(t, strings.HasPrefix(dir.base("/mnt/a b"), "/run/x/mnt-a-b-"))
	require.Less(t, len(filepath.Base(dir.LogPath("/"+strings.Repeat("x/", 2000)))), 128)
}

func TestPrune(t *testing.T) {
	dir := testDir(t)
	old := time.Now().Add(-2 * keepFor)
	ended, err := Acquire(dir, State{Mountpoint: "/mnt/ended"})
	require.NoError(t, err)
	ended.Release()
	living, err := Acquire(dir, State{Mountpoint: "/mnt/living"})
	require.NoError(t, err)
	defer living.Release()
	tmp := filepath.Join(dir.path, "x.tmp")
	require.NoError(t, os.WriteFile(tmp, nil, 0o600))
	logs := []string{ended.base + ".log", dir.LogPath("/mnt/gone"), dir.LogPath("/mnt/gone") + ".1", living.base + ".log"}
	for _, path := range logs {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	for _, path := range append(logs, ended.base+".json", living.base+".json", tmp) {
		require.NoError(t, os.Chtimes(path, old, old))
	}
	recent, err := Acquire(dir, State{Mountpoint: "/mnt/recent"})
	require.NoError(t, err)
	recent.Release()

	require.NoFileExists(t, tmp)
	require.NoFileExists(t, ended.base+".json")
	require.NoFileExists(t, ended.base+".lock")
	for _, path := range logs[:3] {
		require.NoFileExists(t, path)
	}
	require.FileExists(t, logs[3])
	require.FileExists(t, living.base+".json")
	require.FileExists(t, recent.base+".json")
}

func TestDefault(t *testing.T) {
	runtime := t.TempDir()
	t.Setenv(PathEnv, "/some/where")
	require.Equal(t, "/some/where", Default().path)
	require.Equal(t, "/some/where", Of(uint32(os.Geteuid()))[0].path)
	t.Setenv(PathEnv, "")
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	d := Default()
	if os.Geteuid() != 0 {
		require.Equal(t, filepath.Join(runtime, "ltxfs"), d.path)
		require.Equal(t, d, Of(d.uid)[0])
		t.Setenv("XDG_RUNTIME_DIR", "")
		require.Equal(t, tmpPath(d.uid), Default().path)
	}
	require.Contains(t, Of(d.uid), d)
	others := Of(424242)
	require.Equal(t, "/run/user/424242/ltxfs", others[0].path)
	require.Equal(t, filepath.Join(os.TempDir(), "ltxfs-424242"), others[1].path)
	require.Equal(t, "/run/ltxfs", Of(0)[0].path)
}
