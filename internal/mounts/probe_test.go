package mounts

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestResolve(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a", "b"), 0o755))
	require.NoError(t, os.Symlink("a", filepath.Join(root, "rel")))
	require.NoError(t, os.Symlink(filepath.Join(root, "rel", "b"), filepath.Join(root, "abs")))
	require.NoError(t, os.Symlink("loop", filepath.Join(root, "loop")))
	for path, want := range map[string]string{
		"a/b": "a/b", "rel/b": "a/b", "abs": "a/b", "rel": "a", "a/none": "a/none", "abs/": "a/b",
	} {
		got, err := Resolve(root + "/" + path)
		require.NoError(t, err, path)
		require.Equal(t, filepath.Join(root, want), got, path)
	}
	_, err = Resolve(filepath.Join(root, "loop"))
	require.ErrorIs(t, err, unix.ELOOP)
	_, err = Resolve(filepath.Join(root, "none", "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	got, err := Resolve("/")
	require.NoError(t, err)
	require.Equal(t, "/", got)
}

func TestWithin(t *testing.T) {
	block := make(chan struct{})
	defer close(block)
	_, err := Within(10*time.Millisecond, func() (int, error) { <-block; return 1, nil })
	require.ErrorIs(t, err, ErrHung)
	require.EqualError(t, err, "no answer within 10ms")
	want := errors.New("x")
	n, err := Within(time.Minute, func() (int, error) { return 7, want })
	require.Equal(t, 7, n)
	require.ErrorIs(t, err, want)
	require.NoError(t, Probe(t.TempDir()))
	require.True(t, IsDead(&os.PathError{Err: unix.ENOTCONN}))
}
