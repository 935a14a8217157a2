package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// Two files may differ in nothing but their content and their birth: a damaged
// one, and the good copy that replaces it.
func TestVersionOfRepaired(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	path := pathOf(c, 0, 1, 1)
	putAt := func(data string) attributes {
		put(t, path, []byte(data))
		require.NoError(t, os.Chtimes(path, replicatest.DefaultTime, replicatest.DefaultTime))
		st, err := statPath(path)
		require.NoError(t, err)
		return st
	}
	damaged := putAt("damaged")
	if damaged.birth == (timestamp{}) {
		// Then there is only the rest.
		assert.NotEmpty(t, damaged.version())
		return
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		require.NoError(t, os.Remove(path))
		repaired := putAt("regular")
		if repaired.birth == damaged.birth {
			continue // the clock has not moved yet
		}
		repaired.inode = damaged.inode // which is often so by itself
		repaired.ctime = damaged.ctime // which coarse clocks may have alike
		assert.Equal(t, damaged.mtime, repaired.mtime)
		assert.Equal(t, damaged.size, repaired.size)
		assert.NotEqual(t, damaged.version(), repaired.version())
		return
	}
	require.Fail(t, "time stands still")
}

// retime does something to a file until that has moved its ctime: the clock
// behind that may stand still for some milliseconds.
func retime(t *testing.T, path string, change func() error) (before, after attributes) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		var err error
		before, err = statPath(path)
		require.NoError(t, err)
		require.NoError(t, change())
		after, err = statPath(path)
		require.NoError(t, err)
		if after.ctime != before.ctime {
			return before, after
		}
	}
	require.Fail(t, "time stands still")
	return before, after
}

// A damaged file is repaired in place, as by "cp -p": inode, size, mtime and
// birth stay.
func TestVersionOfRepairedInPlace(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	damaged, good := replicatest.LTX(t, 1, 1), replicatest.LTX(t, 1, 1)
	damaged[len(damaged)-1] ^= 1
	write(t, c, 0, 1, 1, damaged)
	path := pathOf(c, 0, 1, 1)
	before, after := retime(t, path, func() error {
		return errors.Join(os.WriteFile(path, good, 0o600),
			os.Chtimes(path, replicatest.DefaultTime, replicatest.DefaultTime))
	})
	assert.True(t, after.isSameFile(before))
	assert.Equal(t, before.size, after.size)
	assert.Equal(t, before.mtime, after.mtime)
	assert.NotEqual(t, before.version(), after.version())
	old := before.file(0, 1, 1)
	_, err := c.OpenLTXFileVersion(t.Context(), old, 0, 0)
	require.ErrorIs(t, err, replica.ErrReplaced)
	_, err = c.OpenLocal(t.Context(), old)
	require.ErrorIs(t, err, replica.ErrReplaced)
}

// A write returns the version that stays: nothing that it does comes after.
func TestVersionOfWrite(t *testing.T) {
	both(t, func(t *testing.T, c *ReplicaClient) {
		for _, write := range []func(context.Context, int, ltx.TXID, ltx.TXID, io.Reader) (replica.File, error){
			c.WriteLTXFileExclusive, c.WriteLTXFileVersion, c.WriteLTXFileVersion,
		} {
			f, err := write(t.Context(), 0, 1, 1, bytes.NewReader(replicatest.LTX(t, 1, 1)))
			require.NoError(t, err)
			assert.Regexp(t, "^[0-9a-f]{32}$", string(f.Version))
			got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
			require.NoError(t, err)
			assert.Equal(t, f, got)
			it, err := c.LTXFiles(t.Context(), 0, 0, false)
			require.NoError(t, err)
			require.True(t, it.Next())
			assert.Equal(t, f.Version, it.(replica.VersionIterator).Version())
			require.NoError(t, it.Close())
		}
	})
}

// Reading leaves the version as it is. What changes the file makes another, even
// if its content stays, and it is the same file all the same.
func TestVersionChanges(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	f := write(t, c, 0, 1, 1, replicatest.LTX(t, 1, 1))
	path := pathOf(c, 0, 1, 1)
	_, err := os.ReadFile(path)
	require.NoError(t, err)
	got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
	require.NoError(t, err)
	assert.Equal(t, f, got)

	link := filepath.Join(c.Path(), "link")
	for name, change := range map[string]func() error{
		"link":  func() error { _ = os.Remove(link); return os.Link(path, link) },
		"chmod": func() error { return os.Chmod(path, 0o600) },
		"mtime": func() error { return os.Chtimes(path, time.Time{}, replicatest.DefaultTime.Add(time.Nanosecond)) },
	} {
		before, after := retime(t, path, change)
		assert.NotEqual(t, before.version(), after.version(), name)
		assert.True(t, after.isSameFile(before), name)
	}
}

// A reader of one version reads on when the file is deleted or another takes its
// name, although that moves ctime.
func TestVersionReadsOn(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	data := replicatest.Bytes(1, 10_000)
	for name, change := range map[string]func() error{
		"deleted":  func() error { return os.Remove(pathOf(c, 0, 1, 1)) },
		"replaced": func() error { write(t, c, 0, 1, 1, []byte("other")); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := c.OpenLTXFileVersion(t.Context(), write(t, c, 0, 1, 1, data), 0, 0)
			require.NoError(t, err)
			defer r.Close()
			first := make([]byte, 10)
			_, err = io.ReadFull(r, first)
			require.NoError(t, err)
			require.NoError(t, change())
			rest, err := io.ReadAll(r)
			require.NoError(t, err)
			assert.Equal(t, data, append(first, rest...))
		})
	}
}
