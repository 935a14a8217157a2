package file

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// calls is every method of a client that needs its directory.
func calls(t *testing.T, c *ReplicaClient, f replica.File) map[string]func() error {
	t.Helper()
	return map[string]func() error{
		"list": func() error { _, err := c.LTXFiles(t.Context(), f.Level, 0, false); return err },
		"stat": func() error { _, err := c.StatLTXFile(t.Context(), f.Level, f.MinTXID, f.MaxTXID); return err },
		"open": func() error {
			_, err := c.OpenLTXFile(t.Context(), f.Level, f.MinTXID, f.MaxTXID, 0, 0)
			return err
		},
		"open version": func() error { _, err := c.OpenLTXFileVersion(t.Context(), f, 0, 0); return err },
		"open local":   func() error { _, err := c.OpenLocal(t.Context(), f); return err },
		"write": func() error {
			_, err := c.WriteLTXFile(t.Context(), f.Level, f.MinTXID, f.MaxTXID, bytes.NewReader(nil))
			return err
		},
		"write exclusive": func() error {
			_, err := c.WriteLTXFileExclusive(t.Context(), f.Level, f.MinTXID, f.MaxTXID, bytes.NewReader(nil))
			return err
		},
		"delete":     func() error { return c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{f.Info()}) },
		"delete all": func() error { return c.DeleteAll(t.Context()) },
		"space":      func() error { _, err := c.Space(t.Context()); return err },
	}
}

func requireUnavailable(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, replica.ErrUnavailable)
	require.NotErrorIs(t, err, os.ErrNotExist)
}

// A disk that is not mounted is no empty replica, and no file of it is missing.
func TestRootVanishes(t *testing.T) {
	for name, vanish := range map[string]func(root string) error{
		"removed": os.RemoveAll,
		"renamed": func(root string) error { return os.Rename(root, root+".away") },
		"a file": func(root string) error {
			if err := os.Rename(root, root+".away"); err != nil {
				return err
			}
			return os.WriteFile(root, []byte("x"), 0o600)
		},
	} {
		for _, inited := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "root")
				require.NoError(t, os.Mkdir(root, 0o700))
				c := New(root, replica.LitestreamFile)
				f := write(t, c, 0, 1, 1, []byte("x"))
				require.NoError(t, vanish(root))
				before := tree(t, filepath.Dir(root))
				if !inited {
					c = New(root, replica.Layout{})
				}
				for name, call := range calls(t, c, f) {
					t.Run(name, func(t *testing.T) {
						err := call()
						requireUnavailable(t, err)
						assert.ErrorContains(t, err, root)
					})
				}
				assert.Equal(t, before, tree(t, filepath.Dir(root)), "the client has made or removed something")
			})
		}
	}
}

// The client works again once the directory is back.
func TestRootComesBack(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.Mkdir(root, 0o700))
	c := New(root, replica.LitestreamFile)
	f := write(t, c, 0, 1, 1, []byte("x"))
	require.NoError(t, os.Rename(root, root+".away"))
	_, err := c.StatLTXFile(t.Context(), 0, 1, 1)
	requireUnavailable(t, err)
	require.NoError(t, os.Rename(root+".away", root))
	got, err := c.StatLTXFile(t.Context(), 0, 1, 1)
	require.NoError(t, err)
	assert.Equal(t, f, got)
}

// What vanishes with the root while it is listed isn't passed over.
func TestRootVanishesDuringListing(t *testing.T) {
	for read := range 3 {
		root := filepath.Join(t.TempDir(), "root")
		require.NoError(t, os.Mkdir(root, 0o700))
		c := New(root, replica.LitestreamFile)
		for txid := ltx.TXID(1); txid <= 3; txid++ {
			write(t, c, 0, txid, txid, nil)
		}
		it, err := c.LTXFiles(t.Context(), 0, 0, false)
		require.NoError(t, err)
		for range read {
			require.True(t, it.Next())
		}
		require.NoError(t, os.RemoveAll(root))
		require.False(t, it.Next())
		requireUnavailable(t, it.Err())
		requireUnavailable(t, it.Close())
	}
}

// A root that vanishes in the middle of a write isn't made again, nor is the
// write a success if it goes elsewhere with the directory.
func TestRootVanishesDuringWrite(t *testing.T) {
	for name, vanish := range map[string]func(root string) error{
		"removed": os.RemoveAll,
		"renamed": func(root string) error { return os.Rename(root, root+".away") },
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, c *ReplicaClient) {
				c.sys.syncFile = func(f *os.File) error { return vanish(c.Path()) }
				t.Cleanup(func() { _ = os.RemoveAll(c.Path() + ".away") })
				_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader([]byte("x")))
				requireUnavailable(t, err)
				_, err = os.Stat(c.Path())
				require.ErrorIs(t, err, os.ErrNotExist, "the client has made the root")
			})
		})
	}
}

// A file that is missing in a replica that is there is only that.
func TestMissingFile(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	write(t, c, 0, 1, 1, nil)
	for level := range 2 {
		missing := replica.File{Level: level, MinTXID: 2, MaxTXID: 2, Version: "00"}
		for name, call := range calls(t, c, missing) {
			switch name {
			case "stat", "open", "open version", "open local":
				err := call()
				require.ErrorIs(t, err, os.ErrNotExist, name)
				require.NotErrorIs(t, err, replica.ErrUnavailable, name)
			case "list", "delete":
				require.NoError(t, call(), name)
			}
		}
	}
	assert.Len(t, replicatest.List(t, c, 0), 1)
}
