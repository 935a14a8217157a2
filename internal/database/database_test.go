package database

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// names are the files that a store has.
func names(t testing.TB, s replica.Store) (all []replica.Name) {
	for level := range replica.MaxLevel + 1 {
		for f, err := range s.LTXFiles(t.Context(), level, replica.ListOptions{}) {
			require.NoError(t, err)
			all = append(all, f.Name)
		}
	}
	return all
}

// planOf is what Litestream restores a TXID from, by its rule and nothing else.
func planOf(files []replica.Name, txid ltx.TXID) (plan []replica.Name) {
	var at ltx.TXID
	for _, f := range files {
		if f.Level == 9 && f.MaxTXID <= txid && f.MaxTXID > at {
			at, plan = f.MaxTXID, []replica.Name{f}
		}
	}
	for at < txid {
		var best *replica.Name
		for _, f := range files {
			if f.Level == 9 || f.MinTXID > at+1 || f.MaxTXID <= at || f.MaxTXID > txid {
				continue
			}
			if best == nil || cmp.Or(
				cmp.Compare(f.MaxTXID, best.MaxTXID), cmp.Compare(best.MinTXID, f.MinTXID), cmp.Compare(f.Level, best.Level)) > 0 {
				best = &f
			}
		}
		if best == nil {
			return nil
		}
		at, plan = best.MaxTXID, append(plan, *best)
	}
	return plan
}

// TestStates: of random histories with files missing at random, exactly those states
// are there that Litestream restores, from the same files, and each is what it was,
// however much memory there is.
func TestStates(t *testing.T) {
	for seed := range uint64(60) {
		pageSize := uint32(512) << (seed % 8)
		h := newHistory(t, seed, pageSize)
		h.Checksums = seed%3 == 0
		h.Random(30, max(200_000/pageSize, 4))
		if seed%4 > 0 {
			h.Prune(float64(seed%4) * 0.2)
		}
		r := newRig(t, h.store, int64(1<<20)<<(seed%5))
		files := names(t, h.store)
		tl, err := r.Timeline(t.Context())
		require.NoError(t, err)
		n := 0
		for txid := ltx.TXID(1); txid <= h.Last()+1; txid++ {
			want := planOf(files, txid)
			i, ok := tl.Search(txid)
			require.Equal(t, want != nil, ok, "seed %d: state %s", seed, txid)
			if !ok {
				assert.Empty(t, tl.plan(txid), "seed %d: state %s", seed, txid)
				continue
			}
			n++
			var got []replica.Name
			for _, f := range tl.plan(txid) {
				got = append(got, f.Name)
			}
			require.Equal(t, want, got, "seed %d: state %s", seed, txid)
			require.Equal(t, txid, tl.end(i).MaxTXID)
			require.Equal(t, h.File(txid), r.bytes(t, txid), "seed %d: state %s", seed, txid)
		}
		require.Equal(t, n, tl.Len())
	}
}

// TestMixedChecksums: files that have checksums and files that don't make one state.
func TestMixedChecksums(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for i := range 8 {
		h.Checksums = i%2 == 0
		h.Commit(40, 5)
		if i%3 == 0 {
			h.Snapshot(h.Last())
		}
	}
	r := newRig(t, h.store, 4<<20)
	for txid := ltx.TXID(1); txid <= h.Last(); txid++ {
		require.Equal(t, h.File(txid), r.bytes(t, txid))
	}
}

// TestReadAt: any part of a state is what it is, whichever state was read before.
func TestReadAt(t *testing.T) {
	for seed := range uint64(8) {
		h := newHistory(t, seed, 512<<seed)
		h.Random(20, max(400_000/h.PageSize, 4))
		r := newRig(t, h.store, 4<<20)
		rng := rand.New(rand.NewPCG(seed, 2))
		for range 30 {
			txid := 1 + ltx.TXID(rng.Uint64N(uint64(h.Last())))
			want := h.File(txid)
			rd, err := r.state(t, txid).Open(t.Context())
			require.NoError(t, err)
			for range 20 {
				off := rng.Int64N(int64(len(want)) + 10)
				b := make([]byte, 1+rng.IntN(100_000))
				n, err := rd.ReadAt(t.Context(), b, off)
				require.NoError(t, err)
				from, to := min(off, int64(len(want))), min(off+int64(len(b)), int64(len(want)))
				require.Equal(t, want[from:to], b[:n], "seed %d: state %s at %d", seed, txid, off)
			}
			rd.Close()
		}
	}
}

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

// TestGapIsListedAgain: a file that is missing since it was compacted between two
// listings is no gap.
func TestGapIsListedAgain(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 6 {
		h.Commit(10, 2)
	}
	h.Snapshot(1)
	r := newRig(t, h.store, 4<<20)
	// Level 1 is listed before the file comes, level 0 after the others have gone.
	_, err := r.index.Level(t.Context(), 1)
	require.NoError(t, err)
	h.Compact(1, 2, 4)
	for txid := ltx.TXID(2); txid <= 4; txid++ {
		h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
	}
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Empty(t, tl.gaps)
	assert.Equal(t, ltx.TXID(6), tl.TXID(tl.Len()-1))

	// Nor is what level 0 lacks before files that are still there.
	h.Compact(1, 2, 6)
	h.Remove(replica.Name{Level: 1, MinTXID: 2, MaxTXID: 4})
	r.refresh()
	h.store.ResetCalls()
	tl, err = r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Empty(t, tl.gaps)
	assert.Equal(t, []ltx.TXID{1, 6}, []ltx.TXID{tl.TXID(0), tl.TXID(tl.Len() - 1)})
	assert.Equal(t, 2, tl.Len())
	assert.Equal(t, replica.MaxLevel+1, h.store.Calls(mock.OpList), "listings")

	h.Remove(replica.Name{Level: 1, MinTXID: 2, MaxTXID: 6})
	r.refresh()
	tl, err = r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []gap{{2, 4}}, tl.gaps)
	assert.Contains(t, r.log.String(), `from=0000000000000002 to=0000000000000004 "last restorable"=0000000000000001`)
	h.store.ResetCalls()
	_, err = r.Timeline(t.Context())
	require.NoError(t, err)
	assert.Zero(t, h.store.Calls(mock.OpList), "a gap that is known is believed")
}

// TestDamage: what is missing or damaged is an error for what needs it, and for nothing
// else.
func TestDamage(t *testing.T) {
	h := newHistory(t, 3, 4096)
	h.Commit(50, 0)
	h.Snapshot(1)
	h.Commit(50, 0) // page 1 alone
	snapshot := replica.Name{Level: 9, MinTXID: 1, MaxTXID: 1}
	good := h.Files[snapshot]
	h.Remove(replica.Name{MinTXID: 1, MaxTXID: 1})
	read := func(page int64) error {
		r := newRig(t, h.store, 4<<20)
		rd, err := r.state(t, 2).Open(t.Context())
		if err != nil {
			return err
		}
		defer rd.Close()
		_, err = rd.ReadAt(t.Context(), make([]byte, 4096), (page-1)*4096)
		return err
	}
	require.NoError(t, read(20))

	data := slices.Clone(good)
	off, n, err := ltxfile.IndexAt(data, int64(len(data)))
	require.NoError(t, err)
	var frames []ltxfile.Frame
	require.NoError(t, ltxfile.ReadIndex(bytes.NewReader(data[off:off+n]), off, func(f ltxfile.Frame) error {
		frames = append(frames, f)
		return nil
	}))
	data[frames[19].Offset+3] ^= 1 // the page number
	h.Add(snapshot, data)
	require.ErrorIs(t, read(20), ErrDamaged)
	require.NoError(t, read(21))

	data = slices.Clone(good)
	data[off+5] ^= 0xff // the index
	h.Add(snapshot, data)
	require.ErrorIs(t, read(21), ErrDamaged)

	h.Add(snapshot, without(good, frames, 20))
	require.ErrorIs(t, read(20), errIncomplete)
	require.NoError(t, read(21))

	h.Add(snapshot, good[:len(good)/2])
	require.ErrorIs(t, read(21), ErrDamaged)
	h.Add(snapshot, nil)
	require.ErrorIs(t, read(21), ErrDamaged)
}

// TestDamageElsewhere: a damaged file that Litestream wouldn't restore from does no harm.
func TestDamageElsewhere(t *testing.T) {
	h := newHistory(t, 3, 4096)
	for range 4 {
		h.Commit(50, 5)
	}
	h.Compact(1, 1, 3)
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		h.Add(replica.Name{MinTXID: txid, MaxTXID: txid}, []byte("damaged"))
	}
	r := newRig(t, h.store, 4<<20)
	for txid := ltx.TXID(3); txid <= 4; txid++ {
		require.Equal(t, h.File(txid), r.bytes(t, txid))
	}
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	i, ok := tl.Search(2)
	require.True(t, ok)
	_, err = r.State(t.Context(), tl, i)
	require.ErrorIs(t, err, ErrDamaged)
}

// without is a file without one of its pages, made whole again.
func without(file []byte, frames []ltxfile.Frame, pgno uint32) []byte {
	b, index := slices.Clone(file[:ltx.HeaderSize]), []byte(nil)
	for _, f := range frames {
		if f.Pgno == pgno {
			continue
		}
		for _, n := range []uint64{uint64(f.Pgno), uint64(len(b)), uint64(f.Size)} {
			index = binary.AppendUvarint(index, n)
		}
		b = append(b, file[f.Offset:f.Offset+f.Size]...)
	}
	index = append(index, 0)
	b = append(append(b, make([]byte, ltx.PageHeaderSize)...), index...)
	return append(binary.BigEndian.AppendUint64(b, uint64(len(index))), make([]byte, ltx.TrailerSize)...)
}

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

// TestWrittenAgain: a TXID that was written again is another state, and the one that is
// open doesn't become it.
func TestWrittenAgain(t *testing.T) {
	before := newHistory(t, 1, 4096)
	after := newHistoryIn(t, before.store, 2, 4096)
	for range 3 {
		before.Commit(300, 20)
	}
	r := newRig(t, before.store, 8<<20)
	s := r.state(t, 3)
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	for range 3 {
		after.Commit(300, 20)
	}
	// Even with the same time and size, the versions differ.
	r.refresh()
	assert.False(t, r.isStill(t, s))
	for range 2 {
		_, err = rd.ReadAt(t.Context(), make([]byte, 4096), 0)
		require.ErrorIs(t, err, replica.ErrReplaced)
	}
	require.Equal(t, after.File(3), r.bytes(t, 3))
}

// TestChangedSinceListed: a file that became another version since it was listed, as
// when its time is set late, is looked at anew.
func TestChangedSinceListed(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(20, 2)
	}
	for name, look := range map[string]func(r *rig) error{
		"state": func(r *rig) error { r.state(t, 3); return nil },
		"bytes": func(r *rig) error { require.Equal(t, h.File(3), r.bytes(t, 3)); return nil },
		"time": func(r *rig) error {
			return r.Current(t.Context(), func(tl *Timeline) error {
				i, err := r.At(t.Context(), tl, h.At(3).Time)
				if err == nil {
					assert.Equal(t, 2, i)
				}
				return err
			})
		},
		"instants": func(r *rig) error {
			return r.Current(t.Context(), func(tl *Timeline) error {
				all, err := r.Instants(t.Context(), tl)
				if err == nil {
					assert.Len(t, all, 3)
				}
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, h.store, 4<<20)
			_, err := r.Timeline(t.Context())
			require.NoError(t, err)
			for n, data := range h.Files {
				h.Put(n, data)
			}
			require.NoError(t, look(r))
		})
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
		cached, err := s.cachedOf(s.now, nil, maphash.MakeSeed())
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

// TestReopened: a state that nobody has open is another one once it would be read from other
// files, since programs may have pages of those before.
func TestReopened(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(300, 20)
	}
	r := newRig(t, h.store, 8<<20)
	s := r.state(t, 3)
	open := func(s *State) error {
		rd, err := s.Open(t.Context())
		if err == nil {
			rd.Close()
		}
		return err
	}
	require.NoError(t, open(s))
	require.NoError(t, open(r.state(t, 1)), "and s isn't the one that was closed last")
	require.NoError(t, open(s))
	assert.True(t, r.isStill(t, s))
	require.NoError(t, open(r.state(t, 1)))

	h.Compact(1, 1, 3)
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
	}
	r.refresh()
	require.ErrorIs(t, open(s), replica.ErrReplaced)
	assert.False(t, r.isStill(t, s))
	require.Equal(t, h.File(3), r.bytes(t, 3))
}

// TestOtherPageSize: a file of another page size than the state's isn't taken for one of it.
func TestOtherPageSize(t *testing.T) {
	h := newHistory(t, 1, 4096)
	for range 3 {
		h.Commit(30, 2)
	}
	other := newHistory(t, 1, 1024)
	for range 3 {
		other.Commit(30, 2)
	}
	second := replica.Name{MinTXID: 2, MaxTXID: 2}
	h.Put(second, other.Files[second])
	r := newRig(t, h.store, 8<<20)
	_, err := r.state(t, 3).Open(t.Context())
	require.ErrorIs(t, err, ErrDamaged)
	require.Equal(t, h.File(1), r.bytes(t, 1))
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

// Whatever the bytes are, a header is one of the file's name, or damaged.
func FuzzHeader(f *testing.F) {
	n := replica.Name{MinTXID: 2, MaxTXID: 3}
	f.Add(storetest.LTX(f, 2, 3)[:ltx.HeaderSize])
	f.Add(storetest.LTX(f, 1, 3)[:ltx.HeaderSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b, n)
		if err == nil && (!ltx.IsValidPageSize(h.pageSize) || binary.BigEndian.Uint64(b[24:]) != 3) {
			t.Fatalf("a header of %+v", h)
		}
	})
}

// TestInstants: the states by time, with few requests, and with all where times don't
// ascend.
func TestInstants(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 200 {
		h.Commit(4, 1)
	}
	h.Snapshot(1)
	h.Snapshot(150)
	r := newRig(t, h.store, 8<<20)
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{-1, -1}, {0, 0}, {1499 * time.Millisecond, 0}, {1500 * time.Millisecond, 1}, {100 * time.Second, 66}, {time.Hour, 199}} {
		h.store.ResetCalls()
		i, err := r.At(t.Context(), tl, storetest.HistoryBegan.Add(c.after))
		require.NoError(t, err)
		assert.Equal(t, c.want, i, "%v", c.after)
		assert.LessOrEqual(t, h.store.Calls(mock.OpOpen), 9+maxChecked, "requests of a search among 200")
	}
	all, err := r.Instants(t.Context(), tl)
	require.NoError(t, err)
	require.Len(t, all, 200)
	for i, a := range all {
		require.Equal(t, Instant{h.States[i].Time, i}, a)
	}
}

// TestInstantsUnordered: where the clock was set back, an instant is the last state
// before which none is later, as Litestream has it, and a warning says so.
func TestInstantsUnordered(t *testing.T) {
	for back := ltx.TXID(1); back < 9; back++ {
		h := newHistory(t, 1, 512)
		for range 9 {
			h.Commit(4, 1)
		}
		for txid := back + 1; txid <= h.Last(); txid++ {
			at := &h.States[txid-1].Time
			*at = at.Add(-7 * time.Second)
			h.Add(replica.Name{MinTXID: txid, MaxTXID: txid}, h.Encode(txid, txid, *at, func(uint32) bool { return true }))
		}
		for i := range h.States {
			r := newRig(t, h.store, 8<<20)
			tl, err := r.Timeline(t.Context())
			require.NoError(t, err)
			at, want := h.States[i].Time, -1
			for j, s := range h.States {
				if s.Time.After(at) {
					break
				}
				want = j
			}
			got, err := r.At(t.Context(), tl, at)
			require.NoError(t, err)
			assert.Equal(t, want, got, "set back after state %d, at the time of state %d", back, i+1)
			_, err = r.Instants(t.Context(), tl)
			require.NoError(t, err)
			got, err = r.At(t.Context(), tl, at)
			require.NoError(t, err)
			assert.Equal(t, want, got, "set back after state %d, at the time of state %d, with all known", back, i+1)
			assert.Contains(t, r.log.String(), "level=WARN msg=\"the times of transactions don't ascend")
		}
	}
}

// TestInstantsOfSnapshots: that a snapshot was taken after later transactions is no clock
// that was set back.
func TestInstantsOfSnapshots(t *testing.T) {
	h := newHistory(t, 1, 512)
	for range 9 {
		h.Commit(4, 1)
	}
	h.Add(replica.Name{Level: 9, MinTXID: 1, MaxTXID: 6}, h.Encode(1, 6, h.At(8).Time, func(uint32) bool { return true }))
	for txid := ltx.TXID(1); txid <= 6; txid++ {
		h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
	}
	r := newRig(t, h.store, 8<<20)
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	for i, want := range map[ltx.TXID]int{6: -1, 7: -1, 8: 2, 9: 3} {
		got, err := r.At(t.Context(), tl, h.At(i).Time)
		require.NoError(t, err)
		assert.Equal(t, want, got, "at the time of state %d", i)
	}
	_, err = r.Instants(t.Context(), tl)
	require.NoError(t, err)
	assert.NotContains(t, r.log.String(), "WARN")
}

func TestParseTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2026-01-02T03:04:05.000Z":       at,
		"2026-01-02T03:04:05Z":           at,
		"2026-01-02T05:04:05+02:00":      at,
		"2026-01-02t03:04:05z":           at,
		"2026-01-02 03:04:05":            at,
		"2026-01-02T03:04:05.123456789Z": at.Add(123456789),
		"2026-01-02T03:04Z":              at.Add(-5 * time.Second),
		"2026-01-02T03:04":               at.Add(-5 * time.Second),
		"2026-01-02":                     time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
	} {
		got, ok := ParseTime(s)
		require.True(t, ok, s)
		assert.True(t, want.Equal(got), "%s is %v", s, got)
	}
	for _, s := range []string{"", "now", "2026", "2026-13-01", "2026-01-02T25:00:00Z", "latest", "2026-01-02-journal"} {
		_, ok := ParseTime(s)
		assert.False(t, ok, s)
	}
}

// TestNoWAL: without Exact, page 1 says that there is no WAL, and nothing else differs.
func TestNoWAL(t *testing.T) {
	h := newHistory(t, 1, 1024)
	h.Commit(20, 0)
	r := newRig(t, h.store, 4<<20)
	r.opts.Exact = false
	want := h.File(1)
	require.Equal(t, []byte{2, 2}, want[18:20])
	want[18], want[19] = 1, 1
	require.Equal(t, want, r.bytes(t, 1))
	rd, err := r.state(t, 1).Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	one := make([]byte, 1)
	for off := range int64(30) {
		_, err := rd.ReadAt(t.Context(), one, off)
		require.NoError(t, err)
		require.Equal(t, want[off], one[0], "byte %d", off)
	}
}
