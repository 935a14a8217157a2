package restore

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// rig is the states of a database of some chunks.
type rig struct {
	*storetest.History
	store  *mock.Store
	states *database.Database
}

const pageSize = 65536

// newRig has two states. Each is of three chunks and a bit.
func newRig(t *testing.T) *rig {
	r := &rig{storetest.NewHistory(t, 1, pageSize), mock.New(), nil}
	r.Put = func(n replica.Name, data []byte) { r.store.Put(n.Level, n.MinTXID, n.MaxTXID, data) }
	const pages = 3*chunkSize/pageSize + 1
	r.Commit(pages, 0)
	r.Commit(pages, 10)
	budget := blocks.NewBudget(32 << 20)
	cache, calls := blocks.New(budget, blocks.Options{}), flight.NewGroup()
	i := index.New(r.store, index.Options{Freshness: time.Hour})
	share := blocks.NewShare(budget, nil)
	r.states = database.New(database.Options{
		ReplicaID: t.Name(), Store: r.store, Index: i, Blocks: cache, Budget: budget, Maps: database.NewMaps(budget.Size(), share),
		Memory: share, Calls: calls, Exact: true, ReadTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		r.states.Close()
		i.Close()
		calls.Close(context.Canceled)
		cache.Close()
	})
	return r
}

func (r *rig) state(t *testing.T, txid ltx.TXID) (s *database.State) {
	t.Helper()
	require.NoError(t, r.states.Current(t.Context(), func(tl *database.Timeline) (err error) {
		i, ok := tl.Search(txid)
		require.True(t, ok)
		s, err = r.states.State(t.Context(), tl, i)
		return err
	}))
	return s
}

// requireOnly checks that a directory has nothing but a file of a state.
func (r *rig) requireOnly(t *testing.T, path string, txid ltx.TXID) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, r.File(txid), data)
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestRestore(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "db")
	var had, read atomic.Int64
	opts := Options{Path: path, Progress: func(n int64, was bool) {
		if was {
			had.Add(n)
		} else {
			read.Add(n)
		}
	}}
	require.NoError(t, Run(t.Context(), r.state(t, 2), opts))
	r.requireOnly(t, path, 2)
	assert.Zero(t, had.Load())
	assert.Equal(t, int64(len(r.File(2))), read.Load())

	// What is there stays, unless it is to be replaced.
	err := Run(t.Context(), r.state(t, 1), opts)
	require.Equal(t, exitcode.Usage, exitcode.Of(err), "%v", err)
	r.requireOnly(t, path, 2)
	opts.Force = true
	require.NoError(t, Run(t.Context(), r.state(t, 1), opts))
	r.requireOnly(t, path, 1)

	// SQLite would take another database's WAL for this one's.
	require.NoError(t, os.WriteFile(path+"-wal", nil, 0o600))
	err = Run(t.Context(), r.state(t, 2), opts)
	require.Equal(t, exitcode.Usage, exitcode.Of(err), "%v", err)
	require.ErrorContains(t, err, "db-wal")
}

// TestGoesOn: what was written before an end in the middle isn't read again, if it is what
// was written, and if it is of the same state.
func TestGoesOn(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, path string)
		txid   ltx.TXID
		had    int64 // chunks
	}{
		"as it was":        {change: func(*testing.T, string) {}, txid: 2, had: 2},
		"of another state": {change: func(*testing.T, string) {}, txid: 1},
		"a chunk that was torn": {func(t *testing.T, path string) {
			f, err := os.OpenFile(path+partSuffix, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = f.WriteAt(make([]byte, 5000), chunkSize+7000)
			require.NoError(t, errors.Join(err, f.Close()))
		}, 2, 1},
		"a note that was torn": {func(t *testing.T, path string) {
			st, err := os.Stat(path + notesSuffix)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path+notesSuffix, st.Size()-1))
		}, 2, 1},
		"notes alone": {func(t *testing.T, path string) { require.NoError(t, os.Remove(path+partSuffix)) }, 2, 0},
		"no notes":    {func(t *testing.T, path string) { require.NoError(t, os.Remove(path+notesSuffix)) }, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			path := filepath.Join(t.TempDir(), "db")
			s := r.state(t, 2)
			rd, err := s.Open(t.Context())
			require.NoError(t, err)
			p, err := openPart(path, identity("", s, rd), s.Size())
			rd.Close()
			require.NoError(t, err)
			for i := range int64(2) {
				require.NoError(t, p.write(i, r.File(2)[i*chunkSize:][:chunkSize]))
			}
			p.close()
			require.NoFileExists(t, path)
			tt.change(t, path)
			var had atomic.Int64
			require.NoError(t, Run(t.Context(), r.state(t, tt.txid), Options{Path: path, Progress: func(n int64, was bool) {
				if was {
					had.Add(n)
				}
			}}))
			require.Equal(t, tt.had*chunkSize, had.Load())
			r.requireOnly(t, path, tt.txid)
		})
	}
}

// TestFails: what a restore that failed has done stays, and there is no file of that name.
func TestFails(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "db")
	s := r.state(t, 2)
	rd, err := s.Open(t.Context())
	require.NoError(t, err)
	rd.Close()
	failure := errors.New("no")
	heal := r.store.Fail(mock.OpOpen, failure)
	err = Run(t.Context(), s, Options{Path: path})
	require.ErrorIs(t, err, failure)
	require.ErrorContains(t, err, path+partSuffix)
	require.NoFileExists(t, path)
	heal()

	// Two at once would write into each other's file.
	p, err := openPart(path, "x", s.Size())
	require.NoError(t, err)
	require.ErrorContains(t, Run(t.Context(), s, Options{Path: path}), "another ltxfs")
	p.close()
	require.NoError(t, Run(t.Context(), s, Options{Path: path}))
	r.requireOnly(t, path, 2)
}
