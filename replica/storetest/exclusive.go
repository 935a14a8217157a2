package storetest

import (
	"bytes"
	"errors"
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
	name := Name(1, 1, 7)
	write := func(content replica.Content) (replica.File, error) {
		return s.store.WriteLTXFile(t.Context(), name, content, replica.WriteOptions{Exclusive: true})
	}
	requireRefused := func(content replica.Content, want []byte) {
		t.Helper()
		f, err := write(content)
		require.ErrorIs(t, err, os.ErrExist)
		requireFileError(t, err, "write", name)
		assert.Equal(t, replica.File{}, f)
		assert.Equal(t, want, s.read(t, name, 0, 0))
		assert.Len(t, s.list(t, name.Level), 1)
	}
	data := LTX(t, 1, 7)
	f, err := write(bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, data, s.read(t, name, 0, 0))
	assert.Equal(t, int64(len(data)), f.Size)
	assert.True(t, f.ModTime.Equal(DefaultTime))
	assert.Equal(t, s.find(t, name).Version, f.Version)
	requireRefused(bytes.NewReader([]byte("other")), data)
	assert.Equal(t, f.Version, s.find(t, name).Version, "the refused write has changed something")

	if !s.Weak {
		// It comes into being while the content is read.
		s.delete(t, f)
		first := []byte("first")
		requireRefused(&hooked{Content: bytes.NewReader(data), then: func() { s.write(t, name, first) }}, first)
	}

	s.delete(t, f)
	_, err = write(&hooked{Content: bytes.NewReader(data), at: 10, err: errBroken})
	require.ErrorIs(t, err, errBroken)
	s.requireMissing(t, name)
}

// Of many exclusive writers of one name, one succeeds.
func testWriteExclusiveConcurrent(t *testing.T, s *suite) {
	if s.Weak {
		return
	}
	name := Name(2, 3, 4)
	var g errgroup.Group
	var won atomic.Int64
	var winner atomic.Uint64
	for i := range uint64(8) {
		g.Go(func() error {
			_, err := s.store.WriteLTXFile(t.Context(), name, bytes.NewReader(Bytes(i, 50_000)), replica.WriteOptions{Exclusive: true})
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
	assert.Equal(t, Bytes(winner.Load(), 50_000), s.read(t, name, 0, 0))
}
