package file

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// What a killed writer left goes with the next writer, and only that.
func TestSweep(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		require.NoError(t, c.Init(t.Context()))
		dir := filepath.Join(c.Path(), "ltx", "0")
		name := ltx.FormatFilename(1, 1)
		dead := filepath.Join(dir, tempName(name))
		alive := filepath.Join(dir, tempName(name))
		other := []string{
			filepath.Join(dir, name+".tmp"), // Litestream's own
			filepath.Join(dir, "."+name+".tmp"),
			filepath.Join(dir, ".stranger.0123456789abcdef.tmp"),
			filepath.Join(c.Path(), filepath.Base(tempName(name))),
		}
		for _, path := range append(other, dead, alive) {
			put(t, path, []byte("x"))
		}
		link, sub := filepath.Join(dir, tempName(name)), filepath.Join(dir, tempName(name))
		require.NoError(t, os.Symlink(dead, link))
		require.NoError(t, os.Mkdir(sub, 0o700))
		fifo := filepath.Join(dir, tempName(name))
		require.NoError(t, unix.Mkfifo(fifo, 0o600))
		f, err := os.Open(alive)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))

		assert.Empty(t, replicatest.List(t, c, 0), "temporary files are listed")
		write(t, c, 0, 5, 5, []byte("x"))
		_, err = os.Stat(dead)
		require.ErrorIs(t, err, os.ErrNotExist)
		for _, path := range append(other, alive, link, sub, fifo) {
			_, err := os.Lstat(path)
			require.NoError(t, err)
		}

		// Once is enough, until a client is made anew.
		put(t, dead, nil)
		write(t, c, 0, 5, 5, []byte("x"))
		_, err = os.Stat(dead)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		write(t, New(c.Path(), c.Layout()), 0, 5, 5, []byte("x"))
		for _, path := range []string{dead, alive} {
			_, err = os.Stat(path)
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	})
}

// Leftovers that can't be removed don't keep anyone from writing.
func TestSweepFails(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	var log bytes.Buffer
	c.SetLogger(slog.New(slog.NewTextHandler(&log, nil)))
	dir := filepath.Join(c.Path(), "ltx", "0")
	leftover := filepath.Join(dir, tempName(ltx.FormatFilename(1, 1)))
	put(t, leftover, nil)
	require.NoError(t, os.Chmod(leftover, 0o400))
	for path := dir; path != filepath.Dir(filepath.Dir(c.Path())); path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o777))
	}
	unprivileged(t, func() { write(t, c, 0, 1, 1, []byte("x")) })
	assert.Contains(t, log.String(), "can't remove what a killed writer left")
	assert.Contains(t, log.String(), leftover[len(dir)+1:])
}

func TestDeleteAllSweeps(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	write(t, c, 0, 1, 1, nil)
	put(t, filepath.Join(c.Path(), "ltx", "0", tempName(ltx.FormatFilename(1, 1))), nil)
	put(t, filepath.Join(c.Path(), "ltx", "5", tempName(ltx.FormatFilename(1, 1))), nil)
	put(t, filepath.Join(c.Path(), "keep"), nil)
	require.NoError(t, c.DeleteAll(t.Context()))
	assert.Equal(t, []string{"keep"}, tree(t, c.Path()))
}
