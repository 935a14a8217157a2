package replicatest

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

func testDelete(t *testing.T, s *suite) {
	a := s.write(t, id{1, 1, 1}, []byte("a"))
	s.write(t, id{1, 1, 2}, []byte("b"))
	s.write(t, id{2, 1, 1}, []byte("c"))
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(a)))
	s.requireMissing(t, id{1, 1, 1})
	// Only that file, of that level.
	assert.Equal(t, []byte("b"), s.read(t, id{1, 1, 2}, 0, 0))
	assert.Equal(t, []byte("c"), s.read(t, id{2, 1, 1}, 0, 0))
}

func testDeleteMissing(t *testing.T, s *suite) {
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), nil))
	gone := replica.File{Level: 3, MinTXID: 1, MaxTXID: 1}
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(gone)), "there is no level 3 at all")
	f := s.write(t, id{3, 2, 2}, []byte("x"))
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(gone, f, gone)))
	s.requireMissing(t, id{3, 2, 2})
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(f)), "it is gone already")
}

func testDeleteMany(t *testing.T, s *suite) {
	var files []replica.File
	for level := range 4 {
		for i := range 30 {
			files = append(files, s.write(t, id{level, ltx.TXID(i + 1), ltx.TXID(i + 1)}, []byte("x")))
		}
	}
	keep := s.write(t, id{2, 100, 100}, []byte("x"))
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(files...)))
	for level := range 4 {
		left := list(t, s.client, level, 0, false)
		if level == 2 {
			assert.Equal(t, []string{keep.Name()}, names(left))
			continue
		}
		assert.Empty(t, left)
	}
}

// A file that can't be is an error, and the others are deleted all the same.
func testDeleteInvalid(t *testing.T, s *suite) {
	a := s.write(t, id{1, 1, 1}, []byte("a"))
	b := s.write(t, id{1, 2, 2}, []byte("b"))
	files := info(a, replica.File{Level: 10, MinTXID: 1, MaxTXID: 1}, replica.File{Level: 1, MinTXID: 2, MaxTXID: 1}, b)
	err := s.client.DeleteLTXFiles(t.Context(), files)
	require.ErrorIs(t, err, os.ErrInvalid)
	requireFileError(t, err, "delete", id{10, 1, 1})
	assert.ErrorContains(t, err, ltx.FormatFilename(2, 1))
	assert.Empty(t, list(t, s.client, 1, 0, false))

	require.Error(t, s.client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{nil}))
}

func testDeleteCancelled(t *testing.T, s *suite) {
	f := s.write(t, id{1, 1, 1}, []byte("x"))
	err := s.client.DeleteLTXFiles(doneContext(), info(f))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []byte("x"), s.read(t, id{1, 1, 1}, 0, 0))
}

func testDeleteAndWriteAgain(t *testing.T, s *suite) {
	id := id{1, 1, 1}
	var before replica.File
	for i := range 10 {
		f := s.write(t, id, []byte{byte(i)})
		assert.Equal(t, []byte{byte(i)}, s.read(t, id, 0, 0))
		if i > 0 && f.Version != "" {
			assert.NotEqual(t, before.Version, f.Version)
		}
		before = f
		require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(f)))
		s.requireMissing(t, id)
	}
}

// "Cleanup" of the guide.
func testDeleteAll(t *testing.T, s *suite) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		for i := range 3 {
			s.write(t, id{level, ltx.TXID(i + 1), ltx.TXID(i + 2)}, []byte("x"))
		}
	}
	require.NoError(t, s.client.DeleteAll(t.Context()))
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		assert.Empty(t, list(t, s.client, level, 0, false), "files should be deleted")
	}
	s.requireMissing(t, id{0, 1, 2})

	// The replica can be used as before.
	s.write(t, id{0, 1, 1}, []byte("again"))
	assert.Equal(t, []byte("again"), s.read(t, id{0, 1, 1}, 0, 0))
}

func testDeleteAllTwice(t *testing.T, s *suite) {
	require.NoError(t, s.client.DeleteAll(t.Context()), "of an empty replica")
	s.write(t, id{0, 1, 1}, []byte("x"))
	require.NoError(t, s.client.DeleteAll(t.Context()))
	require.NoError(t, s.client.DeleteAll(t.Context()))
}

func testDeleteAllLeavesStrangers(t *testing.T, s *suite) {
	if s.PutStranger == nil {
		return
	}
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		s.write(t, id{level, 1, 1}, []byte("x"))
	}
	var checks []func(*testing.T)
	for _, level := range []int{0, 3, 9} {
		checks = append(checks, s.PutStranger(t, s.client, level))
	}
	require.NoError(t, s.client.DeleteAll(t.Context()))
	for _, check := range checks {
		check(t)
	}
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		assert.Empty(t, list(t, s.client, level, 0, false))
	}
}

func testDeleteAllCancelled(t *testing.T, s *suite) {
	s.write(t, id{0, 1, 1}, []byte("x"))
	err := s.client.DeleteAll(doneContext())
	require.Error(t, err)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	assert.Equal(t, []byte("x"), s.read(t, id{0, 1, 1}, 0, 0))
}
