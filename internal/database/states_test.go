package database

import (
	"cmp"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
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
			require.Equal(t, txid, tl.End(i).MaxTXID)
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
