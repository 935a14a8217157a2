package database

import (
	"hash/maphash"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// TestRetention: a state that is open stays what it is while the files that it is read
// from are compacted and deleted.
func TestRetention(t *testing.T) {
	for _, warm := range []bool{false, true} {
		h := newHistory(t, 5, 4096)
		for range 8 {
			h.Commit(300, 20)
		}
		r := newRig(t, h.store, 8<<20)
		s := r.state(t, 8)
		rd, err := s.Open(t.Context())
		require.NoError(t, err)
		want, got := h.File(8), make([]byte, 300*4096)
		if warm {
			_, err = rd.ReadAt(t.Context(), got, 0)
			require.NoError(t, err)
		}
		h.Compact(1, 1, 8)
		for txid := ltx.TXID(1); txid <= 8; txid++ {
			h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
		}
		_, err = rd.ReadAt(t.Context(), got, 0)
		require.NoError(t, err)
		require.Equal(t, want, got)
		assert.True(t, r.isStill(t, s))
		rd.Close()
	}
}

// TestTouched: a state that is open goes on where files of it become another version without
// another content.
func TestTouched(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(300, 20)
	}
	r := newRig(t, h.store, 8<<20)
	rd, err := r.state(t, 3).Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	for n, data := range h.Files {
		h.Put(n, data)
	}
	got := make([]byte, 300*4096)
	_, err = rd.ReadAt(t.Context(), got, 0)
	require.NoError(t, err)
	require.Equal(t, h.File(3), got)
}

// TestSnapshotFirst: a state of which the snapshot came first stays the same once the
// other files are there.
func TestSnapshotFirst(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(300, 0) // page 1 alone, but for the first
	}
	last := replica.Name{MinTXID: 3, MaxTXID: 3}
	h.Remove(last)
	h.Snapshot(3)
	r := newRig(t, h.store, 8<<20)
	s := r.state(t, 3)
	assert.True(t, s.Time().After(h.At(3).Time))
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	h.Put(last, h.Files[last])
	r.refresh()
	assert.True(t, r.isStill(t, s))
	assert.Equal(t, h.At(3).Time, s.Time())
	h.Remove(replica.Name{Level: 9, MinTXID: 1, MaxTXID: 3})
	got := make([]byte, s.Size())
	_, err = rd.ReadAt(t.Context(), got, 0)
	require.NoError(t, err)
	require.Equal(t, h.File(3), got)
}

// TestOtherContent: files that say that they are the same state, and aren't, are found
// out by what is still cached of those before.
func TestOtherContent(t *testing.T) {
	before, after := newHistory(t, 1, 4096), newHistory(t, 2, 4096)
	for range 3 {
		before.Commit(300, 0) // page 1 alone, but for the first
		after.Commit(300, 0)
	}
	r := newRig(t, before.store, 8<<20)
	rd, err := r.state(t, 3).Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	got := make([]byte, 4096)
	_, err = rd.ReadAt(t.Context(), got, 100*4096)
	require.NoError(t, err)
	after.Compact(1, 1, 3)
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		before.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
	}
	compacted := replica.Name{Level: 1, MinTXID: 1, MaxTXID: 3}
	before.Add(compacted, after.Files[compacted])
	_, err = rd.ReadAt(t.Context(), make([]byte, 4096), 299*4096)
	require.ErrorIs(t, err, errLost)
	require.ErrorIs(t, err, replica.ErrReplaced)
	_, err = rd.ReadAt(t.Context(), got, 100*4096)
	require.NoError(t, err, "what is cached")
	require.Equal(t, before.File(3)[100*4096:101*4096], got)
}

// TestOtherContentInFullCache: each page that is cached counts, though there is no room for
// what it is compared with.
func TestOtherContentInFullCache(t *testing.T) {
	h, first := newHistory(t, 1, 4096), replica.Name{MinTXID: 1, MaxTXID: 1}
	h.Commit(3000, 0)
	compacted := replica.Name{Level: 1, MinTXID: 1, MaxTXID: 1}
	for _, of := range []int{0, 4, 9} { // tenths
		h.Remove(compacted)
		h.Put(first, h.Files[first])
		r := newRig(t, h.store, 4<<20)
		s := r.state(t, 1)
		rd, err := s.Open(t.Context())
		require.NoError(t, err)
		buf := make([]byte, 100*4096)
		for page := range int64(19) {
			_, err = rd.ReadAt(t.Context(), buf, page*int64(len(buf)))
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { return h.store.OpenReaders() == 0 }, time.Minute, time.Millisecond, "what is read ahead has come")
		cached, err := s.cachedOf(s.now, &content{}, maphash.MakeSeed())
		require.NoError(t, err)
		require.Greater(t, len(cached), 500)
		other := &storetest.History{}
		*other = *h.History
		other.States = []storetest.State{h.At(1)}
		other.States[0].Pages = maps.Clone(h.At(1).Pages)
		other.States[0].Pages[cached[len(cached)*of/10].pgno] = make([]byte, 4096)
		h.Remove(first)
		h.Put(compacted, other.Encode(1, 1, h.At(1).Time, func(uint32) bool { return true }))
		_, err = s.successor(t.Context(), s.now)
		require.ErrorIs(t, err, errLost, "with another page %d", cached[len(cached)*of/10].pgno)
		rd.Close()
	}
}

// TestSnapshotStays: a state that is read from a snapshot stays the same when no more than
// that is left of it. One that was read from other files, which are gone, doesn't go over to
// it: its time is another.
func TestSnapshotStays(t *testing.T) {
	for _, before := range []bool{true, false} {
		h := newHistory(t, 1, 4096)
		for range 3 {
			h.Commit(300, 20)
		}
		if before {
			h.Snapshot(3)
		}
		r := newRig(t, h.store, 8<<20)
		s := r.state(t, 3)
		rd, err := s.Open(t.Context())
		require.NoError(t, err)
		if !before {
			h.Snapshot(3)
		}
		for txid := ltx.TXID(1); txid <= 3; txid++ {
			h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
		}
		r.refresh()
		assert.Equal(t, before, r.isStill(t, s))
		assert.Equal(t, h.At(3).Time, s.Time())
		got := make([]byte, s.Size())
		_, err = rd.ReadAt(t.Context(), got, 0)
		rd.Close()
		assert.Equal(t, before, r.isStill(t, s))
		if !before {
			require.ErrorIs(t, err, errLost)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, h.File(3), got)
	}
}

// TestForgotten: what is known of files and states that are gone doesn't grow for ever, and
// what is known of others isn't forgotten.
func TestForgotten(t *testing.T) {
	h := newHistory(t, 1, 512)
	r := newRig(t, h.store, 8<<20)
	var first time.Time
	for txid := ltx.TXID(1); txid <= 3*keptGone; txid++ {
		h.Commit(2, 1)
		r.refresh()
		s := r.state(t, txid)
		h.Snapshot(txid)
		h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
		if txid == 1 {
			first = s.Time()
		} else if txid > 2 {
			h.Remove(replica.Name{Level: 9, MinTXID: 1, MaxTXID: txid - 1})
		}
		require.LessOrEqual(t, max(r.headers.Len(), r.times.Len()), keptGone+10)
	}
	r.refresh()
	require.Equal(t, first, r.state(t, 1).Time(), "a snapshot has a later one")
}

// TestLostAgain: a state that is lost while it is open can't be opened again, and who tries
// holds nothing of it.
func TestLostAgain(t *testing.T) {
	h := newHistory(t, 1, 512)
	h.Commit(200, 1)
	r := newRig(t, h.store, 8<<20)
	s := r.state(t, 1)
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	h.Remove(replica.Name{MinTXID: 1, MaxTXID: 1})
	for range 2 {
		_, err = rd.ReadAt(t.Context(), make([]byte, 512), 0)
		require.ErrorIs(t, err, replica.ErrReplaced)
		_, err = s.Open(t.Context())
		require.ErrorIs(t, err, replica.ErrReplaced)
	}
	rd.Close()
	r.forget()
	require.Zero(t, r.opts.Maps.used, "bytes of page maps")
}
