package replicatest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// An exclusive write is a write where there is nothing, and replaces nothing.
func testWriteExclusive(t *testing.T, s *suite) {
	c, ok := s.client.(replica.ExclusiveWriter)
	if !ok {
		return
	}
	id := id{1, 1, 7}
	write := func(r io.Reader) (replica.File, error) {
		return c.WriteLTXFileExclusive(t.Context(), id.level, id.minTXID, id.maxTXID, r)
	}
	requireRefused := func(r io.Reader, want []byte) {
		t.Helper()
		f, err := write(r)
		require.ErrorIs(t, err, os.ErrExist)
		requireFileError(t, err, "write", id)
		assert.Equal(t, replica.File{}, f)
		assert.Equal(t, want, s.read(t, id, 0, 0))
		assert.Len(t, list(t, s.client, id.level, 0, false), 1)
	}
	data := LTX(t, 1, 7)
	f, err := write(bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, data, s.read(t, id, 0, 0))
	assert.Equal(t, int64(len(data)), f.Size)
	assert.True(t, f.ModTime.Equal(DefaultTime))
	assert.Equal(t, s.find(t, id).Version, f.Version)
	requireRefused(bytes.NewReader([]byte("other")), data)
	assert.Equal(t, f.Version, s.find(t, id).Version, "the refused write has changed something")

	// It comes into being while the content is read.
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(f)))
	first := []byte("first")
	requireRefused(&failingReader{r: bytes.NewReader(data), err: io.EOF, then: func() { s.write(t, id, first) }}, first)

	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(f)))
	broken := errors.New("the source broke")
	_, err = write(&failingReader{r: bytes.NewReader(data), err: broken})
	require.ErrorIs(t, err, broken)
	s.requireMissing(t, id)
	_, err = c.WriteLTXFileExclusive(t.Context(), 10, 1, 1, bytes.NewReader(nil))
	require.ErrorIs(t, err, os.ErrInvalid)
}

// Of many exclusive writers of one name, one succeeds.
func testWriteExclusiveConcurrent(t *testing.T, s *suite) {
	c, ok := s.client.(replica.ExclusiveWriter)
	if !ok {
		return
	}
	id := id{2, 3, 4}
	var g errgroup.Group
	var won atomic.Int64
	var winner atomic.Uint64
	for i := range uint64(8) {
		g.Go(func() error {
			_, err := c.WriteLTXFileExclusive(t.Context(), id.level, id.minTXID, id.maxTXID, NewReader(i, 50_000))
			if errors.Is(err, os.ErrExist) {
				return nil
			} else if err != nil {
				return err
			}
			won.Add(1)
			winner.Store(i)
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, int64(1), won.Load())
	assert.Equal(t, Bytes(winner.Load(), 50_000), s.read(t, id, 0, 0))
}
