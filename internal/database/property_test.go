package database

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// TestProperty: while transactions come, files are compacted and deleted, and the cache
// is small, each reader of a state gets the bytes of that state, or is told that it is
// gone.
func TestProperty(t *testing.T) {
	reads, lost := 0, 0
	for seed := range uint64(25) {
		r, l := runProperty(t, seed)
		reads, lost = reads+r, lost+l
	}
	require.Greater(t, reads, 20*lost, "reads, and those that failed since files were gone")
	require.Positive(t, lost)
}

func runProperty(t *testing.T, seed uint64) (reads, lost int) {
	h := newHistory(t, seed, 512<<(seed%5))
	rng := rand.New(rand.NewPCG(seed, 4))
	size := 200_000 / h.PageSize
	grow := func() { h.Commit(max(size/2+rng.Uint32N(size), 2), rng.IntN(10)) }
	for range 5 {
		grow()
	}
	h.Snapshot(1)
	r := newRig(t, h.store, 1<<20)
	type open struct {
		txid ltx.TXID
		*Reader
	}
	var opens []open
	close := func(i int) {
		opens[i].Close()
		opens = slices.Delete(opens, i, i+1)
	}
	for range 400 {
		switch rng.IntN(12) {
		case 0:
			grow()
		case 1:
			from := 1 + ltx.TXID(rng.Uint64N(uint64(h.Last())))
			h.Compact(1+rng.IntN(3), from, min(from+ltx.TXID(rng.Uint64N(6)), h.Last()))
		case 2:
			if rng.IntN(4) == 0 {
				h.Snapshot(h.Last())
			}
		case 3:
			names := slices.SortedFunc(maps.Keys(h.Files), replica.Name.Compare)
			h.Remove(names[rng.IntN(len(names))])
		case 4:
			r.refresh()
			requirePlans(t, r)
		case 5, 6:
			if len(opens) > 5 {
				continue
			}
			var s *State
			require.NoError(t, r.Current(t.Context(), func(tl *Timeline) (err error) {
				if s = nil; tl.Len() > 0 {
					s, err = r.State(t.Context(), tl, rng.IntN(tl.Len()))
				}
				return err
			}))
			if s == nil {
				continue
			}
			switch rd, err := s.Open(t.Context()); {
			case err == nil:
				opens = append(opens, open{s.TXID, rd})
			default:
				require.ErrorIs(t, err, errLost, "seed %d", seed)
			}
		case 7:
			if len(opens) > 0 {
				close(rng.IntN(len(opens)))
			}
		default:
			if len(opens) == 0 {
				continue
			}
			o := opens[rng.IntN(len(opens))]
			want := h.File(o.txid)
			off := rng.IntN(len(want))
			b := make([]byte, 1+rng.IntN(50_000))
			n, err := o.ReadAt(t.Context(), b, int64(off))
			if errors.Is(err, replica.ErrReplaced) {
				lost++
				continue
			}
			require.NoError(t, err)
			require.Equal(t, want[off:min(off+len(b), len(want))], b[:n], "seed %d: state %s at %d", seed, o.txid, off)
			reads++
		}
	}
	for len(opens) > 0 {
		close(0)
	}
	return reads, lost
}

// requirePlans checks that all plans are those of one state after the other.
func requirePlans(t *testing.T, r *rig) {
	t.Helper()
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	i := 0
	var plan []replica.File
	for step := range tl.Plans() {
		require.Equal(t, tl.TXID(i), step.TXID)
		plan = append(plan[:step.Keep], step.File)
		require.Equal(t, tl.plan(step.TXID), plan)
		i++
	}
	require.Equal(t, tl.Len(), i)
}
