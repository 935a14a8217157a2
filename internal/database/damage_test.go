package database

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

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

	forged := storetest.Take(t, good)
	forged.Frames = slices.Delete(forged.Frames, 19, 20)
	h.Add(snapshot, forged.Bytes())
	require.ErrorIs(t, read(20), ErrIncomplete)
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

// TestDamageStaysKept: what is kept of a file is forgotten when something of it can't be right, but
// no more once the replica is known to have it damaged.
func TestDamageStaysKept(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(200, 0)
	first := replica.Name{MinTXID: 1, MaxTXID: 1}
	good := h.Files[first]
	require.Greater(t, len(good), wholeSize)
	off, n, err := ltxfile.IndexAt(good, int64(len(good)))
	require.NoError(t, err)
	for name, at := range map[string]int64{"a header": 0, "a frame": ltx.HeaderSize + 3, "an index": off + n - 1} {
		h.Add(first, flippedAt(good, int(at)))
		r := newRig(t, h.store, 4<<20)
		forgotten := 0
		r.opts.Forget = func(f replica.File) {
			require.Equal(t, first, f.Name)
			forgotten++
		}
		read := func() error {
			tl, err := r.Timeline(t.Context())
			require.NoError(t, err)
			s, err := r.State(t.Context(), tl, 0)
			if err != nil {
				return err
			}
			rd, err := s.Open(t.Context())
			if err != nil {
				return err
			}
			defer rd.Close()
			_, err = rd.ReadAt(t.Context(), make([]byte, 4096), 0)
			return err
		}
		for range 3 {
			require.ErrorIs(t, read(), ErrDamaged, name)
		}
		require.Equal(t, 1, forgotten, name)
		h.Add(first, good)
		r.refresh()
		require.NoError(t, read(), name)
	}
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
