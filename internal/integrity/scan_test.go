package integrity

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"modernc.org/sqlite/vfs"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const pageSize = 4096

// scatter makes a database with an index of which the pages lie scattered, and stores it as one
// state. It returns its names.
func scatter(t *testing.T, store *mock.Store) (names []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "item.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	exec := func(query string, args ...any) {
		_, err := db.Exec(query, args...)
		require.NoError(t, err)
	}
	exec("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body BLOB)")
	exec("CREATE INDEX item_name ON item (name)")
	exec("BEGIN")
	rng := rand.New(rand.NewPCG(1, 1))
	body := make([]byte, pageSize/4)
	for i := range 12_000 {
		for j := range body {
			body[j] = byte(rng.Uint32())
		}
		names = append(names, fmt.Sprintf("%016x%s", rng.Uint64(), strings.Repeat("-", 100)))
		exec("INSERT INTO item VALUES (?, ?, ?)", i+1, names[i], body)
	}
	exec("COMMIT")
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	h := storetest.NewHistory(t, 1, pageSize)
	h.Put = func(n replica.Name, data []byte) { store.Put(n.Level, n.MinTXID, n.MaxTXID, data) }
	state := storetest.State{Pages: map[uint32][]byte{}, Time: storetest.HistoryBegan}
	for page := range slices.Chunk(file, pageSize) {
		state.Size++
		state.Pages[state.Size] = page
	}
	h.States = []storetest.State{state}
	h.Add(replica.Name{MinTXID: 1, MaxTXID: 1}, h.Encode(1, 1, state.Time, func(uint32) bool { return true }))
	return names
}

type uncounted struct{}

func (uncounted) Add(int64) {}

// query has SQLite run queries on the state, and returns what they give, how often the store was
// asked, and how many blocks were missing and guessed. Without room for maps, nothing is
// known of a B-tree.
func query(t *testing.T, store *mock.Store, maps int64, queries ...string) (rows []string, requests int, stats blocks.Stats) {
	t.Helper()
	budget := blocks.NewBudget(64 << 20)
	cache, calls, files := blocks.New(budget, blocks.Options{}), flight.NewGroup(), index.New(store, index.Options{Freshness: time.Hour})
	defer calls.Close(context.Canceled)
	defer cache.Close()
	defer files.Close()
	states := database.New(database.Options{
		ReplicaID: t.Name(), Store: store, Index: files, Blocks: cache, Budget: budget, Maps: database.NewMaps(maps, uncounted{}), Memory: uncounted{},
		Calls: calls, Exact: true, ReadTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	defer states.Close()
	var s *database.State
	require.NoError(t, states.Current(t.Context(), func(tl *database.Timeline) (err error) {
		s, err = states.State(t.Context(), tl, 0)
		return err
	}))
	reader, err := s.Open(t.Context())
	require.NoError(t, err)
	defer reader.Close()
	one := &stateFS{ctx: t.Context(), state: s, reader: reader, read: func(int64) {}}
	name, registered, err := vfs.New(one)
	require.NoError(t, err)
	defer registered.Close()
	db, err := sql.Open("sqlite", "file:"+stateName+"?mode=ro&immutable=1&vfs="+name)
	require.NoError(t, err)
	defer db.Close()
	store.ResetCalls()
	defer store.Inject(mock.Fault{Op: mock.OpOpen, Delay: 5 * time.Millisecond})()
	for _, q := range queries {
		found, err := db.QueryContext(t.Context(), q)
		require.NoError(t, err)
		for found.Next() {
			var row string
			require.NoError(t, found.Scan(&row))
			rows = append(rows, row)
		}
		require.NoError(t, found.Err())
		require.NoError(t, found.Close())
	}
	require.NoError(t, one.err)
	require.Eventually(t, func() bool { return store.OpenReaders() == 0 }, time.Minute, time.Millisecond)
	return rows, store.Calls(mock.OpOpen), cache.Stats()
}

// TestScans: what SQLite reads of an index whose pages lie scattered is fetched ahead of it, in
// either direction; who looks for keys here and there has nothing fetched but what it reads.
func TestScans(t *testing.T) {
	const room = 64 << 20
	store := mock.New()
	names := scatter(t, store)
	sorted := slices.Sorted(slices.Values(names))
	for _, order := range []string{"ASC", "DESC"} {
		q := "SELECT name FROM item INDEXED BY item_name ORDER BY name " + order
		without, asked, before := query(t, store, 0, q)
		with, askedAhead, after := query(t, store, room, q)
		t.Logf("%s: %d requests, %d blocks missing; ahead: %d, %d", order, asked, before.Misses, askedAhead, after.Misses)
		assert.True(t, slices.Equal(sorted, with))
		assert.True(t, slices.Equal(without, with))
		assert.Zero(t, before.GuessedBytes)
		assert.LessOrEqual(t, 8*after.Misses, before.Misses)
		assert.LessOrEqual(t, askedAhead, asked)
		assert.Equal(t, before.FetchedBytes, after.FetchedBytes-(after.GuessedBytes-after.GuessedUsed), "no block twice")
		slices.Reverse(sorted)
	}

	rng := rand.New(rand.NewPCG(2, 2))
	var lookups, want []string
	for range 300 {
		name := names[rng.IntN(len(names))]
		lookups, want = append(lookups, "SELECT name FROM item WHERE name = '"+name+"'"), append(want, name)
	}
	for _, queries := range [][]string{lookups[:1], lookups} {
		_, asked, before := query(t, store, 0, queries...)
		rows, askedAhead, after := query(t, store, room, queries...)
		require.Equal(t, want[:len(queries)], rows)
		assert.Equal(t, asked, askedAhead)
		assert.Equal(t, before, after)
		assert.Zero(t, after.GuessedBytes)
	}
}
