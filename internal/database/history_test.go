package database

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// history is one whose files are in a mock.
type history struct {
	*storetest.History
	store *mock.Store
}

func newHistory(t testing.TB, seed uint64, pageSize uint32) history {
	return newHistoryIn(t, mock.New(), seed, pageSize)
}

func newHistoryIn(t testing.TB, store *mock.Store, seed uint64, pageSize uint32) history {
	h := history{storetest.NewHistory(t, seed, pageSize), store}
	h.Put = func(n replica.Name, data []byte) { store.Put(n.Level, n.MinTXID, n.MaxTXID, data) }
	h.Remove = func(n replica.Name) { store.Remove(n.Level, n.MinTXID, n.MaxTXID) }
	return h
}

// rig is a Database over the store of a history.
type rig struct {
	*Database
	index  *index.Index
	budget *blocks.Budget
	memory *counter
	log    *bytes.Buffer
}

type counter struct{ n atomic.Int64 }

func (c *counter) Add(n int64) { c.n.Add(n) }

func newRig(t testing.TB, store replica.Store, cacheSize int64) *rig {
	t.Helper()
	r := &rig{budget: blocks.NewBudget(cacheSize), memory: &counter{}, log: &bytes.Buffer{}}
	calls := flight.NewGroup()
	r.index = index.New(store, index.Options{Freshness: time.Hour})
	cache := blocks.New(r.budget, blocks.Options{})
	r.Database = New(Options{
		ReplicaID: t.Name(), Store: store, Index: r.index, Blocks: cache, Budget: r.budget,
		Maps: NewMaps(cacheSize, r.memory), Memory: r.memory, Calls: calls, Exact: true, ReadTimeout: time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.MultiWriter(r.log, t.Output()), nil)),
	})
	t.Cleanup(func() {
		r.Close()
		r.index.Close()
		calls.Close(context.Canceled)
		cache.Close()
		// What was under way gives its memory back once it has ended.
		require.Eventually(t, func() bool { return r.budget.Used() == 0 }, time.Minute, time.Millisecond, "bytes of the budget")
		require.Eventually(t, func() bool { return r.memory.n.Load() == 0 }, time.Minute, time.Millisecond, "bytes beside it")
	})
	return r
}

// refresh makes the next timeline one of the files that there are now.
func (r *rig) refresh() {
	for level := range replica.MaxLevel + 1 {
		r.index.Invalidate(level)
	}
}

// state finds a state.
func (r *rig) state(t testing.TB, txid ltx.TXID) (s *State) {
	t.Helper()
	require.NoError(t, r.Current(t.Context(), func(tl *Timeline) (err error) {
		i, ok := tl.Search(txid)
		require.True(t, ok, "state %s", txid)
		s, err = r.State(t.Context(), tl, i)
		return err
	}))
	return s
}

// isStill reports whether a state that was found before is the one that there is now.
func (r *rig) isStill(t testing.TB, s *State) (is bool) {
	t.Helper()
	later := r.state(t, s.TXID)
	tl, err := r.Timeline(t.Context())
	require.NoError(t, err)
	return s.Is(later, tl)
}

// bytes are those of a state.
func (r *rig) bytes(t testing.TB, txid ltx.TXID) []byte {
	t.Helper()
	s := r.state(t, txid)
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	defer rd.Close()
	b := make([]byte, s.Size()+1)
	n, err := rd.ReadAt(t.Context(), b, 0)
	require.NoError(t, err)
	require.Equal(t, s.Size(), int64(n))
	return b[:n]
}
