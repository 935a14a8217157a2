package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// TestReplicaClient_PartialRead of the guide.
func testReadPartial(t *testing.T, s *suite) {
	data := Bytes(1, 1000)
	name := Name(0, 1, 100)
	s.write(t, name, data)
	partial := s.read(t, name, 100, 50)
	assert.Len(t, partial, 50)
	assert.Equal(t, data[100:150], partial)
}

func testReadRanges(t *testing.T, s *suite) {
	const n = 1000
	data := Bytes(1, n)
	name := Name(0, 1, 100)
	f := s.write(t, name, data)
	for _, r := range []struct {
		offset, size int64
		want         []byte
	}{
		{0, 0, data},
		{0, 1, data[:1]},
		{0, n, data},
		{0, n + 1, data},
		{0, math.MaxInt64, data},
		{1, 0, data[1:]},
		{1, math.MaxInt64, data[1:]},
		{500, 500, data[500:]},
		{500, 501, data[500:]},
		{n - 1, 0, data[n-1:]},
		{n - 1, 1, data[n-1:]},
		{n - 1, 100, data[n-1:]},
		{n, 0, nil},
		{n, 1, nil},
		{n + 1, 0, nil},
		{n + 1, 10, nil},
		{math.MaxInt64, 0, nil},
		{math.MaxInt64, 1, nil},
		{math.MaxInt64, math.MaxInt64, nil},
	} {
		t.Run(fmt.Sprintf("%d+%d", r.offset, r.size), func(t *testing.T) {
			assert.True(t, bytes.Equal(r.want, s.read(t, name, r.offset, r.size)))
			assert.True(t, bytes.Equal(r.want, Read(t, s.store, f, r.offset, r.size)), "of the version")
		})
	}
	t.Run("of an empty file", func(t *testing.T) {
		f := s.write(t, Name(0, 50, 100), nil)
		for _, f := range []replica.File{f, {Name: f.Name}} {
			assert.Empty(t, Read(t, s.store, f, 0, 0))
			assert.Empty(t, Read(t, s.store, f, 0, 10))
			assert.Empty(t, Read(t, s.store, f, 10, 10))
		}
	})
}

func testReadInvalid(t *testing.T, s *suite) {
	f := s.write(t, Name(0, 1, 100), []byte("content"))
	for _, r := range [][2]int64{{-1, 0}, {0, -1}, {-1, -1}, {math.MinInt64, 1}, {1, math.MinInt64}} {
		for _, f := range []replica.File{f, {Name: f.Name}} {
			_, err := s.store.OpenLTXFile(t.Context(), f, r[0], r[1])
			require.ErrorIs(t, err, os.ErrInvalid, "%d+%d", r[0], r[1])
			requireFileError(t, err, "open", f.Name)
		}
	}
	for _, name := range []replica.Name{Name(-1, 1, 100), Name(10, 1, 100), Name(0, 100, 1)} {
		_, err := s.store.OpenLTXFile(t.Context(), replica.File{Name: name}, 0, 0)
		require.ErrorIs(t, err, os.ErrInvalid, name)
		requireFileError(t, err, "open", name)
	}
}

// TestReplicaClient_NotFound of the guide.
func testReadNotFound(t *testing.T, s *suite) {
	s.write(t, Name(0, 1, 100), []byte("content"))
	for _, name := range []replica.Name{Name(0, 999, 999), Name(0, 1, 99), Name(0, 2, 100), Name(1, 1, 100), Name(9, 1, 100)} {
		_, err := s.store.OpenLTXFile(t.Context(), replica.File{Name: name}, 0, 0)
		require.ErrorIs(t, err, os.ErrNotExist, name)
		requireFileError(t, err, "open", name)
		_, err = s.store.OpenLTXFile(t.Context(), replica.File{Name: name}, 1000, 10)
		require.ErrorIs(t, err, os.ErrNotExist, name)
	}
}

func testReadCancelled(t *testing.T, s *suite) {
	f := s.write(t, Name(0, 1, 100), Bytes(1, 4<<20))
	_, err := s.store.OpenLTXFile(doneContext(), f, 0, 0)
	require.ErrorIs(t, err, context.Canceled)
	requireFileError(t, err, "open", f.Name)

	ctx, cancel := context.WithCancel(t.Context())
	readers := []io.ReadCloser{}
	r, err := s.store.OpenLTXFile(ctx, replica.File{Name: f.Name}, 0, 0)
	require.NoError(t, err)
	readers = append(readers, r)
	r, err = s.store.OpenLTXFile(ctx, f, 100, 0)
	require.NoError(t, err)
	readers = append(readers, r)
	for _, r := range readers {
		_, err := io.ReadFull(r, make([]byte, 10))
		require.NoError(t, err)
	}
	cancel()
	for _, r := range readers {
		within(t, func() {
			n, err := io.Copy(io.Discard, r)
			assert.ErrorIs(t, err, context.Canceled)
			assert.Less(t, n, int64(4<<20)-200, "it read on to the end")
			requireFileError(t, err, "read", f.Name)
		})
		r.Close()
	}
}

func testReadConcurrent(t *testing.T, s *suite) {
	data := Bytes(1, 1<<20)
	f := s.write(t, Name(0, 1, 100), data)
	var g errgroup.Group
	for i := range 16 {
		g.Go(func() error {
			offset, size := int64(i*60_000), int64(70_000)
			r, err := s.store.OpenLTXFile(t.Context(), f, offset, size)
			if err != nil {
				return err
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if !bytes.Equal(got, data[offset:offset+size]) {
				return fmt.Errorf("reader %d got other bytes", i)
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}

// readOn reads the rest of a file whose first bytes were read, and fails the test
// unless that is the rest of the old content, or replica.ErrReplaced.
func readOn(t *testing.T, r io.ReadCloser, first, old []byte) {
	t.Helper()
	defer r.Close()
	rest, err := io.ReadAll(r)
	got := append(bytes.Clone(first), rest...)
	if err != nil {
		require.ErrorIs(t, err, replica.ErrReplaced)
	} else {
		require.Len(t, got, len(old))
	}
	require.True(t, bytes.HasPrefix(old, got), "the reader mixed two contents")
}

// openAndRead opens a file and reads its first bytes.
func openAndRead(t *testing.T, s *suite, f replica.File) (io.ReadCloser, []byte) {
	t.Helper()
	r, err := s.store.OpenLTXFile(t.Context(), f, 0, 0)
	require.NoError(t, err)
	first := make([]byte, 1000)
	_, err = io.ReadFull(r, first)
	require.NoError(t, err)
	return r, first
}

func testReadWhileReplaced(t *testing.T, s *suite) {
	name := Name(0, 1, 100)
	old := Bytes(1, 2<<20)
	f := s.write(t, name, old)
	withVersion, first1 := openAndRead(t, s, f)
	without, first2 := openAndRead(t, s, replica.File{Name: name})
	s.write(t, name, Bytes(2, 2<<20))
	readOn(t, withVersion, first1, old)
	readOn(t, without, first2, old)
	assert.Equal(t, Bytes(2, 2<<20), s.read(t, name, 0, 0))
}

func testReadWhileDeleted(t *testing.T, s *suite) {
	old := Bytes(1, 2<<20)
	f := s.write(t, Name(0, 1, 100), old)
	withVersion, first1 := openAndRead(t, s, f)
	without, first2 := openAndRead(t, s, replica.File{Name: f.Name})
	s.delete(t, f)
	readOn(t, withVersion, first1, old)
	readOn(t, without, first2, old)
	s.requireMissing(t, f.Name)
}

func testReadVersion(t *testing.T, s *suite) {
	data := LTX(t, 1, 100)
	s.write(t, Name(0, 1, 100), data)
	f := s.find(t, Name(0, 1, 100))
	require.False(t, f.Version.IsZero())
	assert.Equal(t, data[10:30], Read(t, s.store, f, 10, 20))

	_, err := s.store.OpenLTXFile(t.Context(), f, -1, 0)
	require.ErrorIs(t, err, os.ErrInvalid)
	_, err = s.store.OpenLTXFile(doneContext(), f, 0, 0)
	require.ErrorIs(t, err, context.Canceled)

	missing := f
	missing.MinTXID = 50
	_, err = s.store.OpenLTXFile(t.Context(), missing, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// requireReplaced fails the test unless reading f is replica.ErrReplaced: on
// opening, or, of a weak store, while reading.
func (s *suite) requireReplaced(t *testing.T, f replica.File) {
	t.Helper()
	r, err := s.store.OpenLTXFile(t.Context(), f, 0, 0)
	op := "open"
	if err == nil && s.Weak {
		op = "read"
		_, err = io.ReadAll(r)
		require.ErrorIs(t, r.Close(), replica.ErrReplaced, "Close tells those who didn't read to the end")
	}
	require.ErrorIs(t, err, replica.ErrReplaced)
	requireFileError(t, err, op, f.Name)
}

func testReadVersionReplaced(t *testing.T, s *suite) {
	name := Name(0, 1, 100)
	s.write(t, name, LTX(t, 1, 100))
	old := s.find(t, name)
	changed := LTX(t, 1, 100, Seed(1))
	if s.Weak {
		changed = LTX(t, 1, 100, Seed(1), Commit(9)) // which tells, by its size
	}
	s.write(t, name, changed)
	s.requireReplaced(t, old)
	require.NotEqual(t, old.Version, s.find(t, name).Version)

	s.delete(t, old)
	_, err := s.store.OpenLTXFile(t.Context(), old, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func testReadVersionOverwritten(t *testing.T, s *suite) {
	if s.Overwrite == nil {
		return
	}
	name := Name(0, 1, 100)
	old := LTX(t, 1, 100, Commit(500), Noise())
	for title, change := range map[string]func(data []byte) []byte{
		"same size": func(data []byte) []byte { data[len(data)-1]++; return data },
		"shorter":   func(data []byte) []byte { return data[:len(data)/2] },
		"longer":    func(data []byte) []byte { return append(data, 1) },
		"empty":     func([]byte) []byte { return nil },
	} {
		t.Run(title, func(t *testing.T) {
			s.write(t, name, old)
			f := s.find(t, name)
			r, first := openAndRead(t, s, f)
			s.Overwrite(t, s.store, f, change(bytes.Clone(old)))
			readOn(t, r, first, old)
			s.requireReplaced(t, f)
		})
	}
}

func testReadNoLeak(t *testing.T, s *suite) {
	f := s.write(t, Name(0, 1, 100), LTX(t, 1, 100, Noise()))
	other := f
	other.Version.Size++
	check := watchLeaks(t)
	for range 100 {
		r, err := s.store.OpenLTXFile(t.Context(), f, 0, 0)
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 10))
		require.NoError(t, err)
		require.NoError(t, r.Close()) // without reading on
		_, err = s.store.OpenLTXFile(t.Context(), replica.File{Name: Name(0, 7, 7)}, 0, 0)
		require.Error(t, err)
		r, err = s.store.OpenLTXFile(t.Context(), other, 0, 0)
		if err == nil {
			r.Close()
		}
	}
	check()
}

// A store whose files the kernel mustn't read by itself says so, wrappers of those
// whose files it may among them.
func testOpenLocal(t *testing.T, s *suite) {
	name := Name(0, 1, 100)
	data := LTX(t, 1, 100)
	s.write(t, name, data)
	f := s.find(t, name)
	local, err := s.store.OpenLocal(t.Context(), f)
	if !s.OpensLocal {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		requireFileError(t, err, "open", name)
		require.Nil(t, local)
		return
	}
	require.NoError(t, err)
	defer local.Close()
	got := make([]byte, len(data))
	_, err = local.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, data, got)
	_, err = local.WriteAt([]byte("x"), 0)
	require.Error(t, err, "it may be written to")

	_, err = s.store.OpenLocal(doneContext(), f)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.store.OpenLocal(t.Context(), replica.File{Name: name})
	require.ErrorIs(t, err, os.ErrInvalid)

	s.write(t, name, LTX(t, 1, 100, Seed(1)))
	_, err = s.store.OpenLocal(t.Context(), f)
	require.ErrorIs(t, err, replica.ErrReplaced)
	requireFileError(t, err, "open", name)
	_, err = local.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, data, got, "the descriptor shows another version")

	s.delete(t, f)
	_, err = s.store.OpenLocal(t.Context(), f)
	require.ErrorIs(t, err, os.ErrNotExist)
}
