package litestreamcompat

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/benbjohnson/litestream"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// family are replicas of one history, each with other files missing.
var family = []struct {
	name  string
	gone  func(rng *rand.Rand, n replica.Name, last ltx.TXID) bool
	fails bool // some states can't be restored
}{
	{"whole", func(*rand.Rand, replica.Name, ltx.TXID) bool { return false }, false},
	{"level 0 pruned", func(_ *rand.Rand, n replica.Name, last ltx.TXID) bool { return n.Level == 0 && n.MaxTXID+5 < last }, true},
	{"no snapshot", func(_ *rand.Rand, n replica.Name, _ ltx.TXID) bool { return n.Level == 9 }, false},
	{"snapshots and level 1", func(_ *rand.Rand, n replica.Name, _ ltx.TXID) bool { return n.Level != 9 && n.Level != 1 }, true},
	{"holes in level 0", func(_ *rand.Rand, n replica.Name, _ ltx.TXID) bool { return n.Level == 0 && n.MinTXID%7 == 3 }, true},
	{"holes in levels 0 and 1", func(_ *rand.Rand, n replica.Name, _ ltx.TXID) bool {
		return n.Level <= 1 && n.MinTXID <= 12 && n.MaxTXID >= 11
	}, true},
	{"no beginning", func(_ *rand.Rand, n replica.Name, _ ltx.TXID) bool { return n.Level != 9 && n.MinTXID < 10 }, true},
	{"a third missing", func(rng *rand.Rand, _ replica.Name, _ ltx.TXID) bool { return rng.IntN(3) == 0 }, true},
	{"most missing", func(rng *rand.Rand, _ replica.Name, _ ltx.TXID) bool { return rng.IntN(5) > 0 }, true},
}

// The states are those that Litestream restores by their TXID, with the same bytes, and
// the instants those that it restores a millisecond later.
func TestStates(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		for _, member := range family {
			t.Run(member.name, func(t *testing.T) {
				m := mock.New()
				h := storetest.NewHistory(t, seed, 512<<(seed%4))
				h.Checksums = seed%2 == 1
				h.Random(40, 30)
				rng := rand.New(rand.NewPCG(seed, 3))
				for _, n := range slices.SortedFunc(maps.Keys(h.Files), replica.Name.Compare) {
					if data := h.Files[n]; !member.gone(rng, n, h.Last()) {
						m.Put(n.Level, n.MinTXID, n.MaxTXID, data)
					}
				}
				requireStates(t, m, h, member.fails)
			})
		}
	}
}

func requireStates(t *testing.T, m *mock.Store, h *storetest.History, fails bool) {
	t.Helper()
	theirs := mock.NewReplicaClient(m)
	d, states := openStates(t, m)
	failed := 0
	for txid := ltx.TXID(1); txid <= h.Last()+1; txid++ {
		opt := litestream.NewRestoreOptions()
		opt.TXID = txid
		want, err := restore(t, theirs, opt)
		i, ok := states.Search(txid)
		require.Equal(t, err == nil, ok, "state %s: %v", txid, err)
		if !ok {
			failed++
			continue
		}
		require.Equal(t, want, read(t, d, states, i), "state %s", txid)
	}
	if fails {
		require.Greater(t, failed, 1)
	}

	// First with a search for each, then with all times known.
	for _, all := range []bool{false, true} {
		var listed []time.Time
		if all {
			instants, err := d.Instants(t.Context(), states)
			require.NoError(t, err)
			for _, at := range instants {
				listed = append(listed, at.Time)
			}
		}
		var changes []time.Time
		last := ltx.TXID(0)
		// Times are multiples of half a second.
		for at := storetest.HistoryBegan.Add(-time.Second); at.Before(storetest.HistoryBegan.Add(70 * time.Second)); at = at.Add(500 * time.Millisecond) {
			want := ltx.TXID(0)
			plan, err := litestream.CalcRestorePlan(t.Context(), theirs, 0, at.Add(time.Millisecond), slog.New(slog.DiscardHandler))
			if err == nil && plan[0].MinTXID == 1 {
				want = plan[len(plan)-1].MaxTXID
			}
			i, err := d.At(t.Context(), states, at)
			require.NoError(t, err)
			got := ltx.TXID(0)
			if i >= 0 {
				got = states.TXID(i)
			}
			require.Equal(t, want, got, "at %v", at)
			if want != last {
				changes, last = append(changes, at), want
				opt := litestream.NewRestoreOptions()
				opt.Timestamp = at.Add(time.Millisecond)
				bytes, err := restore(t, theirs, opt)
				require.NoError(t, err)
				require.Equal(t, bytes, read(t, d, states, i), "at %v", at)
			}
		}
		if all {
			require.Equal(t, changes, listed)
		}
	}
}

func openStates(t *testing.T, store replica.Store) (*database.Database, *database.Timeline) {
	t.Helper()
	budget, calls := blocks.NewBudget(8<<20), flight.NewGroup()
	x, cache := index.New(store, index.Options{Freshness: time.Hour}), blocks.New(budget, blocks.Options{})
	share := blocks.NewShare(budget, nil)
	d := database.New(database.Options{
		ReplicaID: t.Name(), Store: store, Index: x, Blocks: cache, Budget: budget, Maps: database.NewMaps(budget.Size(), share),
		Memory: share, Calls: calls, Exact: true, ReadTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		d.Close()
		x.Close()
		calls.Close(context.Canceled)
		share.Close()
		cache.Close()
	})
	states, err := d.Timeline(t.Context())
	require.NoError(t, err)
	return d, states
}

func read(t *testing.T, d *database.Database, states *database.Timeline, i int) []byte {
	t.Helper()
	s, err := d.State(t.Context(), states, i)
	require.NoError(t, err)
	r, err := s.Open(t.Context())
	require.NoError(t, err)
	defer r.Close()
	b := make([]byte, s.Size())
	_, err = r.ReadAt(t.Context(), b, 0)
	require.NoError(t, err)
	return b
}
