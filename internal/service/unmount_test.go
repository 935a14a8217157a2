package service

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/service/state"
)

func TestUmountOfWhatIsNoMount(t *testing.T) {
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	dir := t.TempDir()
	for path, says := range map[string]string{
		dir:                              "nothing is mounted there",
		filepath.Join(dir, "none"):       "nothing is mounted there",
		filepath.Join(dir, "none", "no"): "nothing is mounted there",
		"/proc":                          "of type proc",
	} {
		err := (&Unmounting{Stderr: io.Discard}).Unmount(path)
		require.Equal(t, exitcode.NotMounted, exitcode.Of(err), path)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, path)
	}
}

// awaited is given a mount of which nothing but the state file is left.
func awaited(t *testing.T, end func(f *state.File)) (stderr string, err error) {
	t.Helper()
	t.Setenv(state.PathEnv, filepath.Join(t.TempDir(), "state"))
	f, err := state.Acquire(state.Default(), state.State{PID: os.Getpid(), Phase: state.Ending, Mountpoint: "/mnt/gone", Started: time.Now()})
	require.NoError(t, err)
	var out bytes.Buffer
	u := &Unmounting{Stderr: &out, path: "/mnt/gone", Timeout: 100 * time.Millisecond}
	u.watch, err = state.Find(state.Of(uint32(os.Geteuid())), u.path)
	require.NoError(t, err)
	defer u.watch.Close()
	require.True(t, u.publishes())
	end(f)
	err = u.await()
	runtime.KeepAlive(f) // it holds a lock
	return out.String(), err
}

func TestReportStaged(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	u := &Unmounting{Stderr: &out, path: "/mnt"}
	require.NoError(t, u.reportStaged(filepath.Join(dir, "none")))
	require.NoError(t, u.reportStaged(dir))
	require.Empty(t, out.String())

	file := filepath.Join(dir, "ltx", "a.tmp")
	require.NoError(t, os.Mkdir(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte("abc"), 0o600))
	err := u.reportStaged(dir)
	require.Equal(t, exitcode.Unpublished, exitcode.Of(err))
	require.True(t, exitcode.IsReported(err))
	require.Contains(t, out.String(), "  ltx/a.tmp (3 bytes): the ltxfs that was to publish it died\n    kept in "+file+"\n")

	// What can't be looked at isn't nothing.
	err = u.reportStaged(filepath.Join(file, "x"))
	require.Equal(t, exitcode.Staging, exitcode.Of(err))
	require.ErrorContains(t, err, "can't tell what is left unpublished")
}

func TestAwait(t *testing.T) {
	ended := func(r *state.Result) func(f *state.File) {
		return func(f *state.File) {
			f.State.Phase, f.State.Result = state.Ended, r
			require.NoError(t, f.Save())
			f.Release()
		}
	}
	_, err := awaited(t, func(f *state.File) { f.Remove() })
	require.NoError(t, err)

	stderr, err := awaited(t, ended(&state.Result{ExitCode: 8, Unpublished: []state.Unpublished{{Name: "ltx/0000/x.tmp", Path: "/s/x.tmp"}}}))
	require.Equal(t, exitcode.Unpublished, exitcode.Of(err))
	require.True(t, exitcode.IsReported(err))
	require.Contains(t, stderr, "/s/x.tmp")

	_, err = awaited(t, ended(&state.Result{ExitCode: 9, Error: "covered"}))
	require.Equal(t, exitcode.Busy, exitcode.Of(err))
	require.ErrorContains(t, err, "covered")

	_, err = awaited(t, ended(nil))
	require.Equal(t, exitcode.Failure, exitcode.Of(err))
	require.ErrorContains(t, err, "died")

	_, err = awaited(t, func(*state.File) {})
	require.Equal(t, exitcode.Timeout, exitcode.Of(err))

	_, err = awaited(t, func(f *state.File) {
		f.Remove()
		next, err := state.Acquire(state.Default(), state.State{Mountpoint: "/mnt/gone", Started: time.Now()})
		require.NoError(t, err)
		next.Release()
	})
	require.NoError(t, err)
}
