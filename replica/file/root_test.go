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
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// calls is every method of a client that needs its directory.
func calls(t *testing.T, s *Store, f replica.File) map[string]func() error {
	t.Helper()
	return map[string]func() error{
		"list":       func() error { _, err := list(s, f.Level, replica.ListOptions{}); return err },
		"list names": func() error { _, err := list(s, f.Level, replica.ListOptions{NamesOnly: true}); return err },
		"stat":       func() error { _, err := s.StatLTXFile(t.Context(), f.Name, replica.StatOptions{}); return err },
		"stat exact": func() error {
			_, err := s.StatLTXFile(t.Context(), f.Name, replica.StatOptions{ExactTime: true})
			return err
		},
		"open":         func() error { _, err := s.OpenLTXFile(t.Context(), replica.File{Name: f.Name}, 0, 0); return err },
		"open version": func() error { _, err := s.OpenLTXFile(t.Context(), f, 0, 0); return err },
		"open local":   func() error { _, err := s.OpenLocal(t.Context(), f); return err },
		"write": func() error {
			_, err := s.WriteLTXFile(t.Context(), f.Name, bytes.NewReader(nil), replica.WriteOptions{})
			return err
		},
		"write exclusive": func() error {
			_, err := s.WriteLTXFile(t.Context(), f.Name, bytes.NewReader(nil), replica.WriteOptions{Exclusive: true})
			return err
		},
		"delete":     func() error { return s.DeleteLTXFiles(t.Context(), f.Name) },
		"delete all": func() error { return NewReplicaClient(s).DeleteAll(t.Context()) },
		"space":      func() error { _, err := s.Space(t.Context()); return err },
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
				s := New(root, replica.LitestreamFile)
				f := write(t, s, 0, 1, 1, []byte("x"))
				require.NoError(t, vanish(root))
				before := tree(t, filepath.Dir(root))
				if !inited {
					s = New(root, replica.Layout{})
				}
				for name, call := range calls(t, s, f) {
					t.Run(name, func(t *testing.T) {
						err := call()
						requireUnavailable(t, err)
						assert.ErrorContains(t, err, root)
					})
				}
				assert.Equal(t, before, tree(t, filepath.Dir(root)), "the store has made or removed something")
			})
		}
	}
}

// The store works again once the directory is back.
func TestRootComesBack(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	require.NoError(t, os.Mkdir(root, 0o700))
	s := New(root, replica.LitestreamFile)
	f := write(t, s, 0, 1, 1, []byte("x"))
	require.NoError(t, os.Rename(root, root+".away"))
	_, err := s.StatLTXFile(t.Context(), storetest.Name(0, 1, 1), replica.StatOptions{})
	requireUnavailable(t, err)
	require.NoError(t, os.Rename(root+".away", root))
	got, err := s.StatLTXFile(t.Context(), storetest.Name(0, 1, 1), replica.StatOptions{})
	require.NoError(t, err)
	assert.Equal(t, f, got)
}

// What vanishes with the root while it is listed isn't passed over.
func TestRootVanishesDuringListing(t *testing.T) {
	for read := range 3 {
		root := filepath.Join(t.TempDir(), "root")
		require.NoError(t, os.Mkdir(root, 0o700))
		s := New(root, replica.LitestreamFile)
		for txid := ltx.TXID(1); txid <= 3; txid++ {
			write(t, s, 0, txid, txid, nil)
		}
		it, err := NewReplicaClient(s).LTXFiles(t.Context(), 0, 0, false)
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
			both(t, func(t *testing.T, s *Store) {
				s.sys.syncFile = func(f *os.File) error { return vanish(s.Path()) }
				t.Cleanup(func() { _ = os.RemoveAll(s.Path() + ".away") })
				_, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader([]byte("x")), replica.WriteOptions{})
				requireUnavailable(t, err)
				_, err = os.Stat(s.Path())
				require.ErrorIs(t, err, os.ErrNotExist, "the store has made the root")
			})
		})
	}
}

// A file that is missing in a replica that is there is only that.
func TestMissingFile(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	write(t, s, 0, 1, 1, nil)
	for level := range 2 {
		missing := replica.File{Name: storetest.Name(level, 2, 2), Version: replica.Version{Size: 1}}
		for name, call := range calls(t, s, missing) {
			switch name {
			case "stat", "stat exact", "open", "open version", "open local":
				err := call()
				require.ErrorIs(t, err, os.ErrNotExist, name)
				require.NotErrorIs(t, err, replica.ErrUnavailable, name)
			case "list", "list names", "delete":
				require.NoError(t, call(), name)
			}
		}
	}
	assert.Len(t, storetest.List(t, s, 0), 1)
}
