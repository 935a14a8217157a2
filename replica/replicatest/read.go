package replicatest

import (
	"bytes"
	"context"
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
	s.write(t, id{0, 1, 100}, data)
	partial := s.read(t, id{0, 1, 100}, 100, 50)
	assert.Len(t, partial, 50)
	assert.Equal(t, data[100:150], partial)
}

func testReadRanges(t *testing.T, s *suite) {
	const n = 1000
	data := Bytes(1, n)
	id := id{0, 1, 100}
	f := s.write(t, id, data)
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
			assert.True(t, bytes.Equal(r.want, s.read(t, id, r.offset, r.size)))
			// And by whatever way callers get at a version.
			rc, err := replica.Open(t.Context(), s.client, f, r.offset, r.size)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(r.want, readAll(t, rc)))
		})
	}
	t.Run("of an empty file", func(t *testing.T) {
		id := id
		id.minTXID = 50
		s.write(t, id, nil)
		assert.Empty(t, s.read(t, id, 0, 0))
		assert.Empty(t, s.read(t, id, 0, 10))
		assert.Empty(t, s.read(t, id, 10, 10))
	})
}

func testReadInvalid(t *testing.T, s *suite) {
	file := id{0, 1, 100}
	s.write(t, file, []byte("content"))
	for _, r := range [][2]int64{{-1, 0}, {0, -1}, {-1, -1}, {math.MinInt64, 1}, {1, math.MinInt64}} {
		_, err := s.client.OpenLTXFile(t.Context(), file.level, file.minTXID, file.maxTXID, r[0], r[1])
		require.ErrorIs(t, err, os.ErrInvalid, "%d+%d", r[0], r[1])
		requireFileError(t, err, "open", file)
	}
	for _, id := range []id{{-1, 1, 100}, {10, 1, 100}, {0, 100, 1}} {
		_, err := s.client.OpenLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, 0, 0)
		require.ErrorIs(t, err, os.ErrInvalid, "%+v", id)
		requireFileError(t, err, "open", id)
	}
}

// TestReplicaClient_NotFound of the guide.
func testReadNotFound(t *testing.T, s *suite) {
	s.write(t, id{0, 1, 100}, []byte("content"))
	for _, id := range []id{{0, 999, 999}, {0, 1, 99}, {0, 2, 100}, {1, 1, 100}, {9, 1, 100}} {
		_, err := s.client.OpenLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, 0, 0)
		require.ErrorIs(t, err, os.ErrNotExist, "%+v", id)
		requireFileError(t, err, "open", id)
		_, err = s.client.OpenLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, 1000, 10)
		require.ErrorIs(t, err, os.ErrNotExist, "%+v", id)
	}
}

func testReadCancelled(t *testing.T, s *suite) {
	id := id{0, 1, 100}
	f := s.write(t, id, Bytes(1, 4<<20))
	_, err := s.client.OpenLTXFile(doneContext(), id.level, id.minTXID, id.maxTXID, 0, 0)
	require.ErrorIs(t, err, context.Canceled)
	requireFileError(t, err, "open", id)

	ctx, cancel := context.WithCancel(t.Context())
	readers := []io.ReadCloser{}
	r, err := s.client.OpenLTXFile(ctx, id.level, id.minTXID, id.maxTXID, 0, 0)
	require.NoError(t, err)
	readers = append(readers, r)
	r, err = replica.Open(ctx, s.client, f, 100, 0)
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
			requireFileError(t, err, "read", id)
		})
		r.Close()
	}
}

func testReadConcurrent(t *testing.T, s *suite) {
	id := id{0, 1, 100}
	data := Bytes(1, 1<<20)
	f := s.write(t, id, data)
	var g errgroup.Group
	for i := range 16 {
		g.Go(func() error {
			offset, size := int64(i*60_000), int64(70_000)
			r, err := replica.Open(t.Context(), s.client, f, offset, size)
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
	r, err := replica.Open(t.Context(), s.client, f, 0, 0)
	require.NoError(t, err)
	first := make([]byte, 1000)
	_, err = io.ReadFull(r, first)
	require.NoError(t, err)
	return r, first
}

func testReadWhileReplaced(t *testing.T, s *suite) {
	id := id{0, 1, 100}
	old := Bytes(1, 2<<20)
	f := s.write(t, id, old)
	withVersion, first1 := openAndRead(t, s, f)
	f.Version = ""
	without, first2 := openAndRead(t, s, f)
	s.write(t, id, Bytes(2, 2<<20))
	readOn(t, withVersion, first1, old)
	readOn(t, without, first2, old)
	assert.Equal(t, Bytes(2, 2<<20), s.read(t, id, 0, 0))
}

func testReadWhileDeleted(t *testing.T, s *suite) {
	id := id{0, 1, 100}
	old := Bytes(1, 2<<20)
	f := s.write(t, id, old)
	r, first := openAndRead(t, s, f)
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(f)))
	readOn(t, r, first, old)
	s.requireMissing(t, id)
}

func testReadVersion(t *testing.T, s *suite) {
	c, ok := s.client.(replica.VersionOpener)
	if !ok {
		return
	}
	id := id{0, 1, 100}
	data := LTX(t, 1, 100)
	s.write(t, id, data)
	f := s.find(t, id)
	require.NotEmpty(t, f.Version)

	r, err := c.OpenLTXFileVersion(t.Context(), f, 10, 20)
	require.NoError(t, err)
	assert.Equal(t, data[10:30], readAll(t, r))

	_, err = c.OpenLTXFileVersion(t.Context(), f, -1, 0)
	require.ErrorIs(t, err, os.ErrInvalid)
	_, err = c.OpenLTXFileVersion(doneContext(), f, 0, 0)
	require.ErrorIs(t, err, context.Canceled)

	none := f
	none.Version = ""
	_, err = c.OpenLTXFileVersion(t.Context(), none, 0, 0)
	require.ErrorIs(t, err, os.ErrInvalid)

	missing := f
	missing.MinTXID = 50
	_, err = c.OpenLTXFileVersion(t.Context(), missing, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func testReadVersionReplaced(t *testing.T, s *suite) {
	c, ok := s.client.(replica.VersionOpener)
	if !ok {
		return
	}
	id := id{0, 1, 100}
	s.write(t, id, LTX(t, 1, 100))
	old := s.find(t, id)
	s.write(t, id, LTX(t, 1, 100, Seed(1)))
	_, err := c.OpenLTXFileVersion(t.Context(), old, 0, 0)
	require.ErrorIs(t, err, replica.ErrReplaced)
	requireFileError(t, err, "open", id)
	require.NotEqual(t, old.Version, s.find(t, id).Version)

	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(old)))
	_, err = c.OpenLTXFileVersion(t.Context(), old, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func testReadVersionOverwritten(t *testing.T, s *suite) {
	c, ok := s.client.(replica.VersionOpener)
	if !ok || s.Overwrite == nil {
		return
	}
	id := id{0, 1, 100}
	old := LTX(t, 1, 100, Commit(500), Noise())
	s.write(t, id, old)
	for name, change := range map[string]func(data []byte) []byte{
		"same size": func(data []byte) []byte { data[len(data)-1]++; return data },
		"shorter":   func(data []byte) []byte { return data[:len(data)/2] },
		"longer":    func(data []byte) []byte { return append(data, 1) },
		"empty":     func([]byte) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			s.write(t, id, old)
			f := s.find(t, id)
			r, first := openAndRead(t, s, f)
			s.Overwrite(t, s.client, f, change(bytes.Clone(old)))
			readOn(t, r, first, old)
			_, err := c.OpenLTXFileVersion(t.Context(), f, 0, 0)
			require.ErrorIs(t, err, replica.ErrReplaced)
		})
	}
}

func testReadNoLeak(t *testing.T, s *suite) {
	id := id{0, 1, 100}
	f := s.write(t, id, LTX(t, 1, 100, Noise()))
	check := watchLeaks(t)
	for range 100 {
		r, err := replica.Open(t.Context(), s.client, f, 0, 0)
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 10))
		require.NoError(t, err)
		require.NoError(t, r.Close()) // without reading on
		_, err = s.client.OpenLTXFile(t.Context(), 0, 7, 7, 0, 0)
		require.Error(t, err)
		f := f
		f.Version = "0123456789abcdef"
		r, err = replica.Open(t.Context(), s.client, f, 0, 0)
		if err == nil {
			r.Close()
		}
	}
	check()
}

func testOpenLocal(t *testing.T, s *suite) {
	c, ok := s.client.(replica.LocalOpener)
	if !ok {
		return
	}
	id := id{0, 1, 100}
	data := LTX(t, 1, 100)
	s.write(t, id, data)
	f := s.find(t, id)
	local, err := c.OpenLocal(t.Context(), f)
	require.NoError(t, err)
	defer local.Close()
	got := make([]byte, len(data))
	_, err = local.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, data, got)
	_, err = local.WriteAt([]byte("x"), 0)
	require.Error(t, err, "it may be written to")

	_, err = c.OpenLocal(doneContext(), f)
	require.ErrorIs(t, err, context.Canceled)
	none := f
	none.Version = ""
	_, err = c.OpenLocal(t.Context(), none)
	require.ErrorIs(t, err, os.ErrInvalid)

	s.write(t, id, LTX(t, 1, 100, Seed(1)))
	_, err = c.OpenLocal(t.Context(), f)
	require.ErrorIs(t, err, replica.ErrReplaced)
	requireFileError(t, err, "open", id)
	_, err = local.ReadAt(got, 0)
	require.NoError(t, err)
	assert.Equal(t, data, got, "the descriptor shows another version")

	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(f)))
	_, err = c.OpenLocal(t.Context(), f)
	require.ErrorIs(t, err, os.ErrNotExist)
}
