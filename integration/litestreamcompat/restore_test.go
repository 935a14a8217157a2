package litestreamcompat

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/benbjohnson/litestream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
)

// restore has Litestream restore a database and returns the file.
func restore(t testing.TB, c litestream.ReplicaClient, opt litestream.RestoreOptions) ([]byte, error) {
	t.Helper()
	opt.OutputPath = filepath.Join(t.TempDir(), "restored.db")
	if err := litestream.NewReplicaWithClient(nil, c).Restore(testContext(t), opt); err != nil {
		assert.NoFileExists(t, opt.OutputPath)
		return nil, err
	}
	data, err := os.ReadFile(opt.OutputPath)
	require.NoError(t, err)
	return data, nil
}

// Litestream restores the same databases with the clients of ltxfs as with its
// own from its own directory, and they are the known ones. It plans to use the
// same files.
func TestRestore(t *testing.T) {
	files, targets := ordersFiles(t), ordersTargets(t)
	own := litestreamReplica(t, files)
	want := make([][]byte, len(targets))
	for i, s := range targets {
		var err error
		want[i], err = restore(t, own, s.options())
		require.NoError(t, err, s.name)
		require.Equal(t, s.sha256, ltxfstest.SHA256(want[i]), s.name)
	}
	forEachKind(t, func(t *testing.T, k kind, s *store) {
		s.fill(t, files)
		c := s.client(t)
		for i, target := range targets {
			if k.slow && i%7 != 0 && i != len(targets)-1 {
				continue
			}
			got, err := restore(t, c, target.options())
			require.NoError(t, err, target.name)
			require.Equal(t, target.sha256, ltxfstest.SHA256(got), target.name)
			require.Equal(t, want[i], got, target.name)
			require.Equal(t, plan(t, own, target), plan(t, c, target), target.name)
		}
	})
}

// plan is what Litestream would restore from. The times are those that it
// decides by, which with a TXID or none it doesn't.
func plan(t testing.TB, c litestream.ReplicaClient, s target) []ltx.FileInfo {
	t.Helper()
	infos, err := litestream.CalcRestorePlan(testContext(t), c, s.txid, s.timestamp, slog.Default())
	require.NoError(t, err)
	plan := make([]ltx.FileInfo, len(infos))
	for i, info := range infos {
		plan[i] = *info
		if s.timestamp.IsZero() {
			plan[i].CreatedAt = time.Time{}
		}
	}
	return plan
}

// What can't be restored is refused for the same reason.
func TestRestoreImpossible(t *testing.T) {
	files := ordersFiles(t)
	own := litestreamReplica(t, files)
	forEachKind(t, func(t *testing.T, _ kind, s *store) {
		_, err := restore(t, s.client(t), litestream.NewRestoreOptions())
		require.ErrorIs(t, err, litestream.ErrTxNotAvailable, "from an empty store")

		s.fill(t, files)
		for _, tt := range []target{
			{name: "a TXID after the last", txid: 0x19},
			{name: "a time before the first", timestamp: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		} {
			_, want := restore(t, own, tt.options())
			require.Error(t, want, tt.name)
			_, err := restore(t, s.client(t), tt.options())
			require.EqualError(t, err, want.Error(), tt.name)
		}
	})
}

// vanishing is a client in front of which another program deletes a file, at the
// moment when it is about to be read.
type vanishing struct {
	litestream.ReplicaClient
	info   ltx.FileInfo
	delete func()
	once   sync.Once
}

func (c *vanishing) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if level == c.info.Level && minTXID == c.info.MinTXID {
		c.once.Do(c.delete)
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// Where retention deletes a file between the plan and its reading, Litestream
// knows it by the client's error, and restores from other files.
func TestRestoreWhileFilesVanish(t *testing.T) {
	files, targets := ordersFiles(t), ordersTargets(t)
	latest := targets[len(targets)-1]
	forEachKind(t, func(t *testing.T, _ kind, s *store) {
		s.fill(t, files)
		c := s.client(t)
		var victim ltx.FileInfo
		for _, info := range plan(t, c, latest) {
			if info.Level == 1 || info.Level == 2 {
				victim = info // level 0 holds the same transactions
			}
		}
		require.NotZero(t, victim)
		v := &vanishing{ReplicaClient: c, info: victim}
		v.delete = func() {
			assert.NoError(t, s.client(t).DeleteLTXFiles(testContext(t), []*ltx.FileInfo{&victim}))
		}
		got, err := restore(t, v, latest.options())
		require.NoError(t, err)
		require.Equal(t, latest.sha256, ltxfstest.SHA256(got))
		require.NotContains(t, plan(t, c, latest), victim)

		_, err = c.OpenLTXFile(testContext(t), victim.Level, victim.MinTXID, victim.MaxTXID, 0, 0)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
}

// Litestream's readers of single files find the same through the clients of
// ltxfs: lists, headers, page indexes, pages.
func TestRead(t *testing.T) {
	files := ordersFiles(t)
	own := litestreamReplica(t, files)
	forEachKind(t, func(t *testing.T, k kind, s *store) {
		s.fill(t, files)
		c, ctx := s.client(t), testContext(t)
		require.Equal(t, list(t, own, true), list(t, c, true))
		for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
			for _, seek := range []ltx.TXID{0, 1, 5, 0xf, 0x18, 0x19} {
				requireSameFiles(t, listLevel(t, own, level, seek, false), listLevel(t, c, level, seek, false))
			}
		}
		for i, f := range files {
			if k.slow && i%5 != 0 {
				continue
			}
			info := &ltx.FileInfo{Level: f.level, MinTXID: f.min, MaxTXID: f.max, Size: int64(len(f.data))}
			wantHeader, err := litestream.FetchLTXHeader(ctx, own, info)
			require.NoError(t, err)
			header, err := litestream.FetchLTXHeader(ctx, c, info)
			require.NoError(t, err)
			require.Equal(t, wantHeader, header)

			wantIndex, err := litestream.FetchPageIndex(ctx, own, info)
			require.NoError(t, err)
			index, err := litestream.FetchPageIndex(ctx, c, info)
			require.NoError(t, err)
			require.Equal(t, wantIndex, index)
			require.NotEmpty(t, index)

			pages := 0
			for pgno, e := range index {
				if pages++; k.slow && pages > 2 {
					break
				}
				wantPage, wantData, err := litestream.FetchPage(ctx, own, e.Level, e.MinTXID, e.MaxTXID, e.Offset, e.Size)
				require.NoError(t, err)
				page, data, err := litestream.FetchPage(ctx, c, e.Level, e.MinTXID, e.MaxTXID, e.Offset, e.Size)
				require.NoError(t, err)
				require.Equal(t, pgno, page.Pgno)
				require.Equal(t, wantPage, page)
				require.Equal(t, wantData, data)
			}
		}
	})
}

// requireSameFiles compares lists whose times needn't be the same: a store may
// tell when a file was uploaded.
func requireSameFiles(t testing.TB, want, got []ltx.FileInfo) {
	t.Helper()
	untimed := func(infos []ltx.FileInfo) []ltx.FileInfo {
		list := make([]ltx.FileInfo, len(infos))
		for i, info := range infos {
			info.CreatedAt = time.Time{}
			list[i] = info
		}
		return list
	}
	require.Equal(t, untimed(want), untimed(got))
}

// Litestream's checks of a level find a gap where there is one.
func TestValidate(t *testing.T) {
	files := ordersFiles(t)
	forEachKind(t, func(t *testing.T, _ kind, s *store) {
		s.fill(t, files)
		c, ctx := s.client(t), testContext(t)
		r := litestream.NewReplicaWithClient(nil, c)
		for level := range litestream.SnapshotLevel {
			found, err := r.ValidateLevel(ctx, level)
			require.NoError(t, err)
			require.Empty(t, found)
		}
		require.NoError(t, c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: 1, MinTXID: 4, MaxTXID: 6}}))
		found, err := r.ValidateLevel(ctx, 1)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, "gap", found[0].Type)
		require.Equal(t, ltx.TXID(3), found[0].PrevFile.MaxTXID)
		require.Equal(t, ltx.TXID(7), found[0].CurrFile.MinTXID)
	})
}
