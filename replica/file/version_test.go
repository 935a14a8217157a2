package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
		assert.Equal(t, damaged.mtime, repaired.mtime)
		assert.Equal(t, damaged.size, repaired.size)
		assert.NotEqual(t, damaged.version(), repaired.version())
		return
	}
	require.Fail(t, "time stands still")
}

// What doesn't change the content doesn't change the version.
func TestVersionStays(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	f := write(t, c, 0, 1, 1, replicatest.LTX(t, 1, 1))
	assert.Regexp(t, "^[0-9a-f]{32}$", string(f.Version))
	path := pathOf(c, 0, 1, 1)
	for name, change := range map[string]func() error{
		"link":   func() error { return os.Link(path, filepath.Join(c.Path(), "link")) },
		"chmod":  func() error { return os.Chmod(path, 0o400) },
		"rename": func() error { return errors.Join(os.Rename(path, path+".x"), os.Rename(path+".x", path)) },
		"read":   func() error { _, err := os.ReadFile(path); return err },
	} {
		require.NoError(t, change())
		got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
		require.NoError(t, err)
		assert.Equal(t, f, got, name)
	}
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.Chtimes(path, time.Time{}, replicatest.DefaultTime.Add(time.Nanosecond)))
	got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
	require.NoError(t, err)
	assert.NotEqual(t, f.Version, got.Version)
}
