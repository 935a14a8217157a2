package file

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// Two files may differ in nothing but their content and their birth: a damaged
// one, and the good copy that replaces it.
func TestVersionOfRepaired(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	path := pathOf(s, 0, 1, 1)
	putAt := func(data string) attributes {
		put(t, path, []byte(data))
		require.NoError(t, os.Chtimes(path, storetest.DefaultTime, storetest.DefaultTime))
		st, err := statPath(path)
		require.NoError(t, err)
		return st
	}
	damaged := putAt("damaged")
	if damaged.Btime == (timestamp{}) {
		// Then there is only the rest.
		assert.NotEmpty(t, damaged.version())
		return
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		require.NoError(t, os.Remove(path))
		repaired := putAt("regular")
		if repaired.Btime == damaged.Btime {
			continue // the clock has not moved yet
		}
		repaired.Ino = damaged.Ino     // which is often so by itself
		repaired.Ctime = damaged.Ctime // which coarse clocks may have alike
		assert.Equal(t, damaged.Mtime, repaired.Mtime)
		assert.Equal(t, damaged.Size, repaired.Size)
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
		if after.Ctime != before.Ctime {
			return before, after
		}
	}
	require.Fail(t, "time stands still")
	return before, after
}

// A damaged file is repaired in place, as by "cp -p": inode, size, mtime and
// birth stay.
func TestVersionOfRepairedInPlace(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	damaged, good := storetest.LTX(t, 1, 1), storetest.LTX(t, 1, 1)
	damaged[len(damaged)-1] ^= 1
	write(t, s, 0, 1, 1, damaged)
	path := pathOf(s, 0, 1, 1)
	before, after := retime(t, path, func() error {
		return errors.Join(os.WriteFile(path, good, 0o600),
			os.Chtimes(path, storetest.DefaultTime, storetest.DefaultTime))
	})
	assert.True(t, after.isSameFile(before))
	assert.Equal(t, before.Size, after.Size)
	assert.Equal(t, before.Mtime, after.Mtime)
	assert.NotEqual(t, before.version(), after.version())
	old := before.file(storetest.Name(0, 1, 1))
	_, err := s.OpenLTXFile(t.Context(), old, 0, 0)
	require.ErrorIs(t, err, replica.ErrReplaced)
	_, err = s.OpenLocal(t.Context(), old)
	require.ErrorIs(t, err, replica.ErrReplaced)
}

// A write returns the version that stays: nothing that it does comes after.
func TestVersionOfWrite(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		data := storetest.LTX(t, 1, 1)
		for _, exclusive := range []bool{true, false, false} {
			f, err := s.WriteLTXFile(t.Context(), storetest.Name(0, 1, 1), bytes.NewReader(data), replica.WriteOptions{Exclusive: exclusive})
			require.NoError(t, err)
			assert.Equal(t, replica.Version{Size: int64(len(data)), Inode: f.Version.Inode}, f.Version)
			assert.NotZero(t, f.Version.Inode)
			got, err := s.StatLTXFile(t.Context(), storetest.Name(0, 1, 1), replica.StatOptions{})
			require.NoError(t, err)
			assert.Equal(t, f, got)
			files := storetest.List(t, s, 0)
			require.Len(t, files, 1)
			assert.Equal(t, f.Version, files[0].Version)
		}
	})
}

// Reading leaves the version as it is. What changes the file makes another, even
// if its content stays, and it is the same file all the same.
func TestVersionChanges(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	f := write(t, s, 0, 1, 1, storetest.LTX(t, 1, 1))
	path := pathOf(s, 0, 1, 1)
	_, err := os.ReadFile(path)
	require.NoError(t, err)
	got, err := s.StatLTXFile(t.Context(), storetest.Name(0, 1, 1), replica.StatOptions{})
	require.NoError(t, err)
	assert.Equal(t, f, got)

	link := filepath.Join(s.Path(), "link")
	for name, change := range map[string]func() error{
		"link":  func() error { _ = os.Remove(link); return os.Link(path, link) },
		"chmod": func() error { return os.Chmod(path, 0o600) },
		"mtime": func() error { return os.Chtimes(path, time.Time{}, storetest.DefaultTime.Add(time.Nanosecond)) },
	} {
		before, after := retime(t, path, change)
		assert.NotEqual(t, before.version(), after.version(), name)
		assert.True(t, after.isSameFile(before), name)
	}
}

// A reader of one version reads on when the file is deleted or another takes its
// name, although that moves ctime.
func TestVersionReadsOn(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	data := storetest.Bytes(1, 10_000)
	for name, change := range map[string]func() error{
		"deleted":  func() error { return os.Remove(pathOf(s, 0, 1, 1)) },
		"replaced": func() error { write(t, s, 0, 1, 1, []byte("other")); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			r, err := s.OpenLTXFile(t.Context(), write(t, s, 0, 1, 1, data), 0, 0)
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
