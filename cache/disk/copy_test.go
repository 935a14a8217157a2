package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/mock"
)

// A copy is of what has the length that it is to have, once.
func TestCopy(t *testing.T) {
	r := newRig(t)
	size := int64(3*blockSize + 1000)
	data := r.data[:size]
	c := r.cache()
	broken := errors.New("broken")
	for _, wrong := range []struct {
		of   io.Reader
		want error
	}{
		{io.MultiReader(bytes.NewReader(data[:2*blockSize+7]), iotest.ErrReader(broken)), broken},
		{io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), broken},
		{bytes.NewReader(data[:size-1]), io.ErrUnexpectedEOF},
	} {
		require.ErrorIs(t, c.MakeCopy(t.Context(), "a", size, wrong.of), wrong.want)
		require.Nil(t, c.Copy("a", size), "as long as it isn't complete")
	}
	require.ErrorContains(t, c.MakeCopy(t.Context(), "a", size, bytes.NewReader(r.data)), "larger")
	require.Nil(t, c.Copy("a", size))
	require.NoError(t, c.MakeCopy(t.Context(), "a", size, bytes.NewReader(data)))
	require.NoError(t, c.MakeCopy(t.Context(), "a", size, iotest.ErrReader(broken)), "it is there")
	f, err := c.OpenCopy("a", size)
	require.NoError(t, err)
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.NoError(t, f.Close())
	k := c.Copy("a", size)
	p := make([]byte, size)
	_, err = k.ReadAt(p, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, p))
	require.Equal(t, size, c.Stats().HitBytes)
	flip(t, r.entry(""), 5)
	_, err = k.ReadAt(p, 0)
	require.ErrorIs(t, err, ErrIncomplete)
	k.Close()
	require.Nil(t, c.Copy("a", size), "what is damaged goes")
	require.Nil(t, c.Copy("b", size))
	require.ErrorIs(t, c.MakeCopy(t.Context(), "c", 200<<20, bytes.NewReader(nil)), ErrIncomplete, "larger than the cache")
}

// Making a copy ends when it is to, wherever it is.
func TestCopyEnds(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	of := bytes.NewReader(r.data)
	err := c.MakeCopy(ctx, "a", int64(len(r.data)), readerFunc(func(p []byte) (int, error) {
		if of.Len() <= len(r.data)-blockSize {
			cancel(stop)
		}
		return of.Read(p)
	}))
	require.ErrorIs(t, err, stop)
	require.Equal(t, len(r.data)-2*blockSize, of.Len(), "the block that was being read is the last")
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// All of a file is kept and verified, and what is there isn't asked for again. Who has it reads
// that, whatever becomes of the entry, and nothing of the store.
func TestComplete(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	c := r.cache()
	r.read(c, blockSize, blockSize)
	r.mock.ResetCalls()
	s := c.Around(r.mock, "replica")
	w, err := s.Complete(t.Context(), r.file, time.Minute)
	require.NoError(t, err)
	require.Equal(t, size-blockSize, r.mock.BytesRead())
	require.EqualValues(t, 1, c.Stats().Completed)
	again, err := s.Complete(t.Context(), r.file, time.Minute)
	require.NoError(t, err)
	again.Close()
	require.Equal(t, size-blockSize, r.mock.BytesRead())
	require.Zero(t, r.read(c, 0, size))

	path := r.entry("")
	require.NoError(t, os.Link(path, r.dir+"/link"))
	for _, evicted := range r.entries() {
		require.NoError(t, os.Remove(evicted))
	}
	r.mock.ResetCalls()
	got := make([]byte, size)
	_, err = w.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.data, got))
	flip(t, r.dir+"/link", size/2)
	_, err = w.ReadAt(got, 0)
	require.ErrorIs(t, err, ErrIncomplete)
	w.Close()
	require.Zero(t, r.mock.Calls(mock.OpOpen))
}

// What isn't valid isn't given as a whole file, nor what a store doesn't give to its end.
func TestNotCompleted(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	s := c.Around(r.mock, "replica")
	remove := r.mock.Inject(mock.Fault{Op: mock.OpRead, AfterBytes: 3 * blockSize, Wait: make(chan struct{})})
	_, err := s.Complete(t.Context(), r.file, 50*time.Millisecond)
	require.ErrorContains(t, err, "nothing came for 50ms")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	remove()
	r.data[len(r.data)/2] ^= 1
	r.file = r.mock.Put(0, 1, 1, r.data)
	_, err = s.Complete(t.Context(), r.file, time.Minute)
	require.ErrorContains(t, err, "verify")
	require.Zero(t, c.Stats().Completed)
}

// What another process fills isn't completed beside it, for which the store isn't asked.
func TestCompletedElsewhere(t *testing.T) {
	r := newRig(t)
	rc, err := r.cache().Around(r.mock, "replica").OpenLTXFile(t.Context(), r.file, 0, 0)
	require.NoError(t, err)
	r.mock.ResetCalls()
	_, err = r.cache().Around(r.mock, "replica").Complete(t.Context(), r.file, time.Minute)
	require.ErrorIs(t, err, ErrIncomplete)
	require.Zero(t, r.mock.Calls(mock.OpOpen))
	require.NoError(t, rc.Close())
}
