package database

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
)

// TestOpenRequests: a state is opened with one request for the header of the file that
// ends it, and one for the end of each file of its plan; and the next one with what is
// new.
func TestOpenRequests(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(100, 0)
	h.Snapshot(1)
	for range 9 {
		h.Commit(100, 3)
	}
	r := newRig(t, h.store, 32<<20)
	_, err := r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 10, h.store.Calls(mock.OpList))
	assert.Zero(t, h.store.Calls(mock.OpOpen), "to list the states")

	s := r.state(t, 9)
	assert.Equal(t, 1, h.store.Calls(mock.OpOpen), "for the header")
	assert.Equal(t, int64(ltx.HeaderSize), h.store.BytesRead())
	h.store.ResetCalls()
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 10, h.store.Calls(mock.OpOpen), "for the header of the snapshot, and the ends of it and eight files")
	h.store.ResetCalls()
	again, err := s.Open(t.Context())
	require.NoError(t, err)
	assert.Zero(t, h.store.Calls(mock.OpOpen), "to open it once more")
	again.Close()
	rd.Close()
	next, err := r.state(t, 10).Open(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, h.store.Calls(mock.OpOpen), "for the header and the end of what is new")
	next.Close()
}

// TestOpenWhole: a file for which that is a request less comes whole, and the header with it.
func TestOpenWhole(t *testing.T) {
	for _, pages := range []uint32{20, 60, 90, 110} {
		h := newHistory(t, 1, 4096)
		h.Commit(pages, 0)
		h.Commit(pages, 0)
		size := int64(len(h.Files[replica.Name{MinTXID: 1, MaxTXID: 1}]))
		whole := size <= 192<<10
		require.Equal(t, pages < 110, whole, "%d pages are %d bytes", pages, size)
		r := newRig(t, h.store, 4<<20)
		s := r.state(t, 2)
		last := int64(len(h.Files[replica.Name{MinTXID: 2, MaxTXID: 2}]))
		h.store.ResetCalls()
		rd, err := s.Open(t.Context())
		require.NoError(t, err)
		rd.Close()
		if whole {
			require.Equal(t, 2, h.store.Calls(mock.OpOpen), "%d bytes", size)
			require.Equal(t, size+last, h.store.BytesRead())
		} else {
			require.Equal(t, 3, h.store.Calls(mock.OpOpen), "%d bytes", size)
			require.Equal(t, endSize+ltx.HeaderSize+last, h.store.BytesRead())
		}
	}
}

// TestLongIndex: a page index longer than what is read of a file's end is read in
// parts, and nothing of the pages.
func TestLongIndex(t *testing.T) {
	h := newHistory(t, 1, 512)
	h.Commit(60_000, 0)
	r := newRig(t, h.store, 16<<20)
	s := r.state(t, 1)
	h.store.ResetCalls()
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	data := h.Files[replica.Name{MinTXID: 1, MaxTXID: 1}]
	_, index, err := ltxfile.IndexAt(data, int64(len(data)))
	require.NoError(t, err)
	require.Greater(t, index, int64(endSize))
	assert.Equal(t, max(index, endSize)+24, h.store.BytesRead(), "the index, its size and the trailer")
	assert.Equal(t, 2, h.store.Calls(mock.OpOpen))
	rd.Close()
	require.Equal(t, h.File(1), r.bytes(t, 1))
}

// TestClosed: of what states were read from, no more is kept than of the one that was
// closed last, though they are still known.
func TestClosed(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 50 {
		h.Commit(100, 2)
	}
	r := newRig(t, h.store, 8<<20)
	var states []*State
	kept := func() (files int) {
		for _, s := range states {
			files += s.now.len()
		}
		return files
	}
	for txid := ltx.TXID(1); txid <= 50; txid++ {
		s := r.state(t, txid)
		rd, err := s.Open(t.Context())
		require.NoError(t, err)
		states = append(states, s)
		require.LessOrEqual(t, kept(), int(txid)+int(txid)-1)
		rd.Close()
	}
	require.Equal(t, 50, kept())
	r.forget()
	require.Zero(t, kept())
	require.Equal(t, int64(r.headers.Len()+r.times.Len())*knownSize, r.memory.n.Load(), "bytes")
}

// TestMapOnDisk: a page map that is too large for the memory lies on disk, and is as good.
func TestMapOnDisk(t *testing.T) {
	h := newHistory(t, 1, 512)
	h.Commit(20_000, 0)
	h.Snapshot(1)
	for range 5 {
		h.Commit(20_000, 3000)
	}
	r := newRig(t, h.store, 512<<10)
	rd, err := r.state(t, 6).Open(t.Context())
	require.NoError(t, err)
	assert.LessOrEqual(t, r.opts.Maps.used, 128<<10)
	want, got := h.File(6), make([]byte, 20_000*512)
	_, err = rd.ReadAt(t.Context(), got, 0)
	require.NoError(t, err)
	require.Equal(t, want, got)
	rd.Close()
	r.forget()
	assert.Zero(t, r.opts.Maps.used, "bytes of maps once none is needed")
}

// TestMapFailed: a full disk is told as such, and no error of a page map is one of the store.
func TestMapFailed(t *testing.T) {
	m := NewMaps(1<<20, &counter{})
	full := m.failed("write", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
	require.ErrorIs(t, full, syscall.ENOSPC)
	require.ErrorContains(t, full, "TMPDIR")
	m.dir = filepath.Join(t.TempDir(), "none")
	_, err := os.CreateTemp(m.dir, "")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.False(t, IsGone(m.failed("create", err)))
}

// TestManyFilesDeadline: a store that hangs holds up nobody for longer than the deadline,
// and is asked no more then, however many files there are.
func TestManyFilesDeadline(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 600 {
		h.Commit(2, 0)
	}
	r := newRig(t, h.store, 8<<20)
	s := r.state(t, 600)
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	for name, look := range map[string]func(ctx context.Context) error{
		"open":     func(ctx context.Context) error { _, err := s.Open(ctx); return err },
		"instants": func(ctx context.Context) error { _, err := r.Instants(ctx, tl); return err },
	} {
		h.store.ResetCalls()
		remove := h.store.Inject(mock.Fault{Op: mock.OpOpen, Wait: make(chan struct{})})
		ctx, cancel := flight.Deadline(t.Context(), 50*time.Millisecond)
		began := time.Now()
		require.ErrorIs(t, look(ctx), context.DeadlineExceeded, name)
		assert.Less(t, time.Since(began), 10*time.Second, name)
		assert.LessOrEqual(t, h.store.Calls(mock.OpOpen), mostAhead+1, name)
		cancel()
		remove()
	}
}

// TestNoRoomForMap: that a page map can't be written is told as what it is.
func TestNoRoomForMap(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	h := newHistory(t, 1, 512)
	h.Commit(20_000, 0)
	r := newRig(t, h.store, 512<<10)
	s := r.state(t, 1)
	h.store.ResetCalls()
	_, err := s.Open(t.Context())
	require.ErrorContains(t, err, "TMPDIR")
	require.NotErrorIs(t, err, os.ErrNotExist)
	assert.Zero(t, h.store.Calls(mock.OpList))
}
