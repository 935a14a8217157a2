package litestreamcompat

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/benbjohnson/litestream"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// source is a database that Litestream's library replicates with a client of
// ltxfs, step by step, so that the test knows every state.
type source struct {
	t      testing.TB
	ctx    context.Context
	path   string
	sql    *sql.DB
	random *rand.ChaCha8
	db     *litestream.DB
	store  *litestream.Store
	states []state
}

// state is what a transaction left.
type state struct {
	txid ltx.TXID
	rows int
	sum  int64
}

var compactionLevels = litestream.CompactionLevels{
	{Level: 0},
	{Level: 1, Interval: time.Millisecond},
	{Level: 2, Interval: time.Millisecond},
}

func newSource(t testing.TB, path string) *source {
	s := &source{t: t, ctx: testContext(t), path: path, random: rand.NewChaCha8([32]byte{1})}
	dsn := "file:" + path + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=wal_autocheckpoint(0)"
	var err error
	s.sql, err = sql.Open("sqlite", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.sql.Close() })
	s.exec("CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, amount INTEGER, note BLOB)")
	return s
}

func (s *source) exec(query string, args ...any) {
	s.t.Helper()
	_, err := s.sql.ExecContext(s.ctx, query, args...)
	require.NoError(s.t, err)
}

// start has Litestream replicate with a client.
func (s *source) start(c litestream.ReplicaClient) {
	s.t.Helper()
	s.db = litestream.NewDB(s.path)
	s.db.MonitorInterval, s.db.CheckpointInterval = 0, 0
	s.db.MinCheckpointPageN = 10 // of many
	s.db.Replica = litestream.NewReplicaWithClient(s.db, c)
	s.db.Replica.MonitorEnabled = false
	s.store = litestream.NewStore([]*litestream.DB{s.db}, compactionLevels)
	s.store.CompactionMonitorEnabled = false
	s.store.L0RetentionCheckInterval = 0
	s.store.SnapshotInterval = time.Millisecond
	s.store.SetVerifyCompaction(true)
	s.db.SetLogger(newLogger(s.t))
	c.SetLogger(newLogger(s.t))
	require.NoError(s.t, s.store.Open(s.ctx))
}

func (s *source) stop() {
	s.t.Helper()
	require.NoError(s.t, s.store.Close(s.ctx))
}

// add commits rows with notes of so many random bytes, and replicates them.
func (s *source) add(rows, size int) {
	s.t.Helper()
	tx, err := s.sql.BeginTx(s.ctx, nil)
	require.NoError(s.t, err)
	defer func() { _ = tx.Rollback() }()
	for range rows {
		note := make([]byte, size)
		_, _ = s.random.Read(note)
		_, err := tx.ExecContext(s.ctx, "INSERT INTO entry (amount, note) VALUES (?, ?)", s.random.Uint64()%1000, note)
		require.NoError(s.t, err)
	}
	require.NoError(s.t, tx.Commit())
	s.sync()
}

// sync replicates what was committed, and records the state.
func (s *source) sync() {
	s.t.Helper()
	require.NoError(s.t, s.db.Sync(s.ctx))
	require.NoError(s.t, s.db.Replica.Sync(s.ctx))
	pos, err := s.db.Pos()
	require.NoError(s.t, err)
	require.Equal(s.t, pos.TXID, s.db.Replica.Pos().TXID)
	now := readState(s.t, s.sql)
	now.txid = pos.TXID
	s.states = append(s.states, now)
}

// compact has the store compact into a level, once the clock lets it.
func (s *source) compact(level int) {
	s.t.Helper()
	lvl := s.store.SnapshotLevel()
	if level < litestream.SnapshotLevel {
		lvl = compactionLevels[level]
	}
	ltxfstest.Eventually(s.t, timeout, fmt.Sprintf("compaction into level %d", level), func() bool {
		_, err := s.store.CompactDB(s.ctx, s.db, lvl)
		if errors.Is(err, litestream.ErrCompactionTooEarly) {
			return false
		}
		require.NoError(s.t, err)
		return true
	})
}

// file is the database after everything has moved from its log into it.
func (s *source) file() []byte {
	s.t.Helper()
	s.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	wal, err := os.ReadFile(s.path + "-wal")
	require.NoError(s.t, err)
	require.Empty(s.t, wal)
	data, err := os.ReadFile(s.path)
	require.NoError(s.t, err)
	return data
}

func readState(t testing.TB, db *sql.DB) (s state) {
	t.Helper()
	err := db.QueryRowContext(t.Context(), "SELECT count(*), coalesce(sum(amount), 0) FROM entry").Scan(&s.rows, &s.sum)
	require.NoError(t, err)
	return s
}

// stateOf is the state of a database file, which must be whole.
func stateOf(t testing.TB, data []byte) state {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	require.NoError(t, os.WriteFile(path, data, 0o644))
	db, err := sql.Open("sqlite", "file:"+path)
	require.NoError(t, err)
	defer db.Close()
	var result string
	require.NoError(t, db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&result))
	require.Equal(t, "ok", result)
	return readState(t, db)
}

// requireStates restores each state that is known, with Litestream's client and
// with that of ltxfs.
func (s *source) requireStates(st *store) {
	s.t.Helper()
	theirs := st.theirs(s.t)
	for _, want := range s.states {
		opt := litestream.NewRestoreOptions()
		opt.TXID = want.txid
		data, err := restore(s.t, theirs, opt)
		require.NoError(s.t, err, want.txid)
		got := stateOf(s.t, data)
		got.txid = want.txid
		require.Equal(s.t, want, got)
		ours, err := restore(s.t, st.client(s.t), opt)
		require.NoError(s.t, err, want.txid)
		require.Equal(s.t, data, ours)
	}
}

// requireLatest restores the latest state likewise, and compares it with the
// database.
func (s *source) requireLatest(st *store) {
	s.t.Helper()
	want := s.file()
	for _, c := range []litestream.ReplicaClient{st.theirs(s.t), st.client(s.t)} {
		got, err := restore(s.t, c, litestream.NewRestoreOptions())
		require.NoError(s.t, err)
		require.Equal(s.t, want, got)
	}
}

// Litestream replicates a database with each client of ltxfs, compacts, takes
// snapshots, enforces retention, starts again, and starts again without its own
// files. What it wrote with that, it restores with its own client.
func TestReplicate(t *testing.T) {
	forEachKind(t, func(t *testing.T, k kind, st *store) {
		s := newSource(t, filepath.Join(t.TempDir(), "source.db"))
		s.start(st.client(t))
		for i := range 6 {
			s.add(10*i+1, 100)
			if i%2 == 1 {
				s.compact(1)
			}
		}
		s.add(1, 12<<20) // more than one part of an upload
		s.compact(litestream.SnapshotLevel)
		s.compact(1)
		s.compact(2)
		s.exec("DELETE FROM entry WHERE id > 40")
		s.sync()
		s.exec("VACUUM")
		s.sync()
		s.add(3, 5000)
		s.compact(1)
		s.compact(2)
		s.compact(litestream.SnapshotLevel)
		s.add(2, 10)
		s.requireStates(st)
		require.Equal(t, contents(t, st.theirs(t)), contents(t, st.client(t)))

		before := len(list(t, st.client(t), false))
		s.store.SnapshotRetention, s.db.L0Retention = -time.Hour, time.Nanosecond
		require.NoError(t, s.store.EnforceSnapshotRetention(s.ctx, s.db))
		require.NoError(t, s.db.EnforceL0RetentionByTime(s.ctx))
		require.Less(t, len(list(t, st.client(t), false)), before)
		snapshots := listLevel(t, st.client(t), litestream.SnapshotLevel, 0, false)
		require.Len(t, snapshots, 1)

		s.add(5, 100)
		s.stop()
		s.requireLatest(st)

		for _, lost := range []bool{false, true} {
			if lost {
				require.NoError(t, os.RemoveAll(s.db.MetaPath()))
			}
			s.states = nil
			s.start(st.client(t))
			for range 3 {
				s.add(7, 200)
			}
			s.compact(1)
			s.requireStates(st)
			s.stop()
			s.requireLatest(st)
		}
		result, err := s.store.Validate(s.ctx)
		require.NoError(t, err)
		require.True(t, result.Valid, fmt.Sprint(result.Errors))
	})
}

// A database that isn't there is restored when Litestream starts, and goes on
// where it was.
func TestEnsureExists(t *testing.T) {
	files, targets := ordersFiles(t), ordersTargets(t)
	latest := targets[len(targets)-1]
	forEachKind(t, func(t *testing.T, _ kind, st *store) {
		st.fill(t, files)
		path := filepath.Join(t.TempDir(), "restored", "orders.db")
		db := litestream.NewDB(path)
		db.Replica = litestream.NewReplicaWithClient(db, st.client(t))
		require.NoError(t, db.EnsureExists(testContext(t)))
		want, err := restore(t, st.client(t), latest.options())
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, got)

		s := newSource(t, path)
		s.start(st.client(t))
		s.add(20, 100)
		require.Greater(t, s.states[0].txid, ltx.TXID(0x18))
		s.requireStates(st)
		s.stop()
		s.requireLatest(st)
	})
}
