package storetest

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

func testDelete(t *testing.T, s *suite) {
	a := s.write(t, Name(1, 1, 1), []byte("a"))
	s.write(t, Name(1, 1, 2), []byte("b"))
	s.write(t, Name(2, 1, 1), []byte("c"))
	s.delete(t, a)
	s.requireMissing(t, Name(1, 1, 1))
	// Only that file, of that level.
	assert.Equal(t, []byte("b"), s.read(t, Name(1, 1, 2), 0, 0))
	assert.Equal(t, []byte("c"), s.read(t, Name(2, 1, 1), 0, 0))
}

func testDeleteMissing(t *testing.T, s *suite) {
	s.delete(t)
	gone := replica.File{Name: Name(3, 1, 1)}
	s.delete(t, gone) // there is no level 3 at all
	f := s.write(t, Name(3, 2, 2), []byte("x"))
	s.delete(t, gone, f, gone)
	s.requireMissing(t, Name(3, 2, 2))
	s.delete(t, f) // it is gone already
}

func testDeleteMany(t *testing.T, s *suite) {
	var files []replica.File
	for level := range 4 {
		for i := range 30 {
			files = append(files, s.write(t, Name(level, ltx.TXID(i+1), ltx.TXID(i+1)), []byte("x")))
		}
	}
	keep := s.write(t, Name(2, 100, 100), []byte("x"))
	s.delete(t, files...)
	for level := range 4 {
		left := s.list(t, level)
		if level == 2 {
			assert.Equal(t, []string{keep.Base()}, bases(left))
			continue
		}
		assert.Empty(t, left)
	}
}

// A file that can't be is an error, and the others are deleted all the same.
func testDeleteInvalid(t *testing.T, s *suite) {
	a := s.write(t, Name(1, 1, 1), []byte("a"))
	b := s.write(t, Name(1, 2, 2), []byte("b"))
	err := s.store.DeleteLTXFiles(t.Context(), a.Name, Name(10, 1, 1), Name(1, 2, 1), b.Name)
	require.ErrorIs(t, err, os.ErrInvalid)
	requireFileError(t, err, "delete", Name(10, 1, 1))
	assert.ErrorContains(t, err, ltx.FormatFilename(2, 1))
	assert.Empty(t, s.list(t, 1))
}

func testDeleteCancelled(t *testing.T, s *suite) {
	f := s.write(t, Name(1, 1, 1), []byte("x"))
	err := s.store.DeleteLTXFiles(doneContext(), f.Name)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, []byte("x"), s.read(t, f.Name, 0, 0))
}

func testDeleteAndWriteAgain(t *testing.T, s *suite) {
	name := Name(1, 1, 1)
	var before replica.Version
	for i := range 10 {
		f := s.write(t, name, []byte{byte(i)})
		assert.Equal(t, []byte{byte(i)}, s.read(t, name, 0, 0))
		if !s.Weak {
			assert.NotEqual(t, before, f.Version)
		}
		before = f.Version
		s.delete(t, f)
		s.requireMissing(t, name)
	}
}
