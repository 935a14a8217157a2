package file

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// What a killed writer left goes with the next writer, and only that.
func TestSweep(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		require.NoError(t, s.Init(t.Context()))
		dir := filepath.Join(s.Path(), "ltx", "0")
		name := ltx.FormatFilename(1, 1)
		dead := tempPath(filepath.Join(dir, name))
		alive := tempPath(filepath.Join(dir, name))
		other := []string{
			filepath.Join(dir, name+".tmp"), // Litestream's own
			filepath.Join(dir, "."+name+".tmp"),
			filepath.Join(dir, ".stranger.0123456789abcdef.tmp"),
			filepath.Join(s.Path(), tempPath(name)),
		}
		for _, path := range append(other, dead, alive) {
			put(t, path, []byte("x"))
		}
		link, sub := tempPath(filepath.Join(dir, name)), tempPath(filepath.Join(dir, name))
		require.NoError(t, os.Symlink(dead, link))
		require.NoError(t, os.Mkdir(sub, 0o700))
		fifo := tempPath(filepath.Join(dir, name))
		require.NoError(t, unix.Mkfifo(fifo, 0o600))
		f, err := os.Open(alive)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))

		assert.Empty(t, storetest.List(t, s, 0), "temporary files are listed")
		write(t, s, 0, 5, 5, []byte("x"))
		_, err = os.Stat(dead)
		require.ErrorIs(t, err, os.ErrNotExist)
		for _, path := range append(other, alive, link, sub, fifo) {
			_, err := os.Lstat(path)
			require.NoError(t, err)
		}

		// Once is enough, until a store is made anew.
		put(t, dead, nil)
		write(t, s, 0, 5, 5, []byte("x"))
		_, err = os.Stat(dead)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		write(t, New(s.Path(), s.Layout()), 0, 5, 5, []byte("x"))
		for _, path := range []string{dead, alive} {
			_, err = os.Stat(path)
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	})
}

// Leftovers that can't be removed don't keep anyone from writing.
func TestSweepFails(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	var log bytes.Buffer
	s.SetLogger(slog.New(slog.NewTextHandler(&log, nil)))
	dir := filepath.Join(s.Path(), "ltx", "0")
	leftover := filepath.Join(dir, tempPath(ltx.FormatFilename(1, 1)))
	put(t, leftover, nil)
	require.NoError(t, os.Chmod(leftover, 0o400))
	for path := dir; path != filepath.Dir(filepath.Dir(s.Path())); path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o777))
	}
	unprivileged(t, func() { write(t, s, 0, 1, 1, []byte("x")) })
	assert.Contains(t, log.String(), "can't remove what a killed writer left")
	assert.Contains(t, log.String(), leftover[len(dir)+1:])
}

func TestDeleteAllSweeps(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	write(t, s, 0, 1, 1, nil)
	put(t, filepath.Join(s.Path(), "ltx", "0", tempPath(ltx.FormatFilename(1, 1))), nil)
	put(t, filepath.Join(s.Path(), "ltx", "5", tempPath(ltx.FormatFilename(1, 1))), nil)
	put(t, filepath.Join(s.Path(), "keep"), nil)
	require.NoError(t, NewReplicaClient(s).DeleteAll(t.Context()))
	assert.Equal(t, []string{"keep", "ltx", "ltx/0", "ltx/5"}, tree(t, s.Path()))
}

func TestTempName(t *testing.T) {
	name := ltx.FormatFilename(1, 0xabc)
	seen := make(map[string]bool)
	for range 1000 {
		temp := tempPath(name)
		assert.True(t, isTempName(temp), temp)
		assert.True(t, strings.HasPrefix(temp, "."+name+"."), temp)
		assert.False(t, seen[temp])
		seen[temp] = true
		_, ok := replica.ParseName(0, temp)
		assert.False(t, ok)
	}
	// Anyone else's, however alike.
	good := "." + name + ".0123456789abcdef.tmp"
	assert.True(t, isTempName(good))
	for i := range len(good) {
		assert.False(t, isTempName(good[:i]+"X"+good[i+1:]), "changed at %d", i)
	}
	for _, other := range []string{"", name, name + ".tmp", "." + name + ".tmp", good + "x", "x" + good, "." + name + ".0123456789abcde.tmp"} {
		assert.False(t, isTempName(other), other)
	}
}
