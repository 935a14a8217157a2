package file

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// It deletes what it can, and names what it can't.
func TestDeleteGoesOn(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	var files []replica.Name
	for level := range 3 {
		f := write(t, s, level, 1, 1, nil)
		files = append(files, f.Name)
	}
	for _, path := range append(tree(t, s.Path()), "..", ".") {
		require.NoError(t, os.Chmod(filepath.Join(s.Path(), path), 0o777))
	}
	locked := filepath.Join(s.Path(), "ltx", "1")
	require.NoError(t, os.Chmod(locked, 0o555))
	t.Cleanup(func() { _ = os.Chmod(locked, 0o700) })
	for _, remove := range []func() error{
		func() error { return s.DeleteLTXFiles(t.Context(), files...) },
		func() error { return NewReplicaClient(s).DeleteAll(t.Context()) },
	} {
		unprivileged(t, func() {
			err := remove()
			require.ErrorIs(t, err, os.ErrPermission)
			var fe *replica.FileError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, "delete", fe.Op)
			assert.Equal(t, 1, fe.Name.Level)
		})
		for level := range 3 {
			assert.Equal(t, level == 1, len(storetest.List(t, s, level)) == 1)
		}
	}
}

func TestDeleteSyncsOnce(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	var files []replica.Name
	for txid := ltx.TXID(1); txid <= 10; txid++ {
		for level := range 2 {
			f := write(t, s, level, txid, txid, nil)
			files = append(files, f.Name)
		}
	}
	synced := make(map[string]int)
	s.sys.syncDir = func(f *os.File) error { synced[filepath.Base(f.Name())]++; return nil }
	require.NoError(t, s.DeleteLTXFiles(t.Context(), files...))
	assert.Equal(t, map[string]int{"0": 1, "1": 1}, synced)
	require.NoError(t, s.DeleteLTXFiles(t.Context(), files...))
	assert.Equal(t, map[string]int{"0": 1, "1": 1}, synced, "nothing was there to delete")
}

// What was deleted before ctx was done is brought to disk, and what is left is
// counted.
func TestDeleteCancelledHalfway(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	var files []replica.Name
	for txid := ltx.TXID(1); txid <= 10; txid++ {
		f := write(t, s, 0, txid, txid, nil)
		files = append(files, f.Name)
	}
	ctx := &countedContext{Context: t.Context(), left: 4}
	synced := 0
	s.sys.syncDir = func(*os.File) error { synced++; return nil }
	err := s.DeleteLTXFiles(ctx, files...)
	require.ErrorIs(t, err, context.Canceled)
	left := len(storetest.List(t, s, 0))
	assert.Greater(t, left, 0)
	assert.Less(t, left, 10)
	assert.Equal(t, 1, synced)
	assert.ErrorContains(t, err, "of 10 are left")

	err = NewReplicaClient(s).DeleteAll(&countedContext{Context: t.Context(), left: 4})
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "list level 0")
	require.Len(t, storetest.List(t, s, 0), left)
	err = NewReplicaClient(s).DeleteAll(&countedContext{Context: t.Context(), left: 3 * left})
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "are left")
	assert.Less(t, len(storetest.List(t, s, 0)), left)
	assert.NotEmpty(t, storetest.List(t, s, 0))
}

// countedContext is done once it has been asked so many times.
type countedContext struct {
	context.Context
	left int
}

func (c *countedContext) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}
