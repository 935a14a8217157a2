package litestreamcompat

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/benbjohnson/litestream"
	lsfile "github.com/benbjohnson/litestream/file"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// Litestream's compactor makes the same files of the same level 0, step by step,
// with the clients of ltxfs as with its own.
func TestCompact(t *testing.T) {
	files := ordersFiles(t)
	// Each step is as many transactions, then a compaction into a level.
	steps := []struct {
		upTo  ltx.TXID
		level int
	}{{1, 1}, {4, 1}, {5, 1}, {5, 2}, {0xe, 1}, {0xf, 1}, {0x18, 1}, {0x18, 2}, {0x18, 3}}
	forEachKind(t, func(t *testing.T, _ kind, s *store) {
		own, c, ctx := litestreamReplica(t, nil), s.client(t), testContext(t)
		theirs, ours := newCompactor(t, own), newCompactor(t, c)
		written := ltx.TXID(0)
		for _, step := range steps {
			for _, f := range files {
				if f.level == 0 && f.min > written && f.max <= step.upTo {
					require.Equal(t, write(t, own, f), write(t, c, f))
				}
			}
			written = step.upTo
			want, err := theirs.Compact(ctx, step.level)
			require.NoError(t, err)
			got, err := ours.Compact(ctx, step.level)
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.NoError(t, ours.VerifyLevelConsistency(ctx, step.level))
		}
		_, err := ours.Compact(ctx, 2)
		require.ErrorIs(t, err, litestream.ErrNoCompaction)
		require.Equal(t, contents(t, own), contents(t, c))
		require.Equal(t, contents(t, own), contents(t, s.theirs(t)))
		require.Equal(t, list(t, own, true), list(t, c, true))

		max, err := ours.MaxLTXFileInfo(ctx, 2)
		require.NoError(t, err)
		require.Equal(t, ltx.TXID(0x18), max.MaxTXID)
	})
}

// newCompactor returns a compactor whose warnings fail the test.
func newCompactor(t testing.TB, c litestream.ReplicaClient) *litestream.Compactor {
	compactor := litestream.NewCompactor(c, newLogger(t))
	compactor.VerifyCompaction = true
	return compactor
}

// Litestream's retention deletes the same files, and the latest state survives.
func TestRetention(t *testing.T) {
	files, targets := ordersFiles(t), ordersTargets(t)
	latest := targets[len(targets)-1]
	var snapshots []time.Time
	for _, f := range files {
		if f.level == litestream.SnapshotLevel {
			snapshots = append(snapshots, ltxfstest.HeaderTime(t, f.data))
		}
	}
	require.Len(t, snapshots, 3)
	after := func(at time.Time) time.Duration { return time.Since(at.Add(time.Millisecond)) }

	forEachKind(t, func(t *testing.T, k kind, s *store) {
		own := litestreamReplica(t, files)
		s.fill(t, files)
		keepL0, keepSnapshots := after(snapshots[1]), after(snapshots[0])
		if k.uploadTimes {
			// By what the store lists, all files are of now.
			touch(t, own)
			keepL0, keepSnapshots = time.Nanosecond, -time.Hour
		}
		theirs, ours, ctx := newCompactor(t, own), newCompactor(t, s.client(t)), testContext(t)
		left := len(files)
		for _, enforce := range []func(*litestream.Compactor) (ltx.TXID, error){
			func(c *litestream.Compactor) (ltx.TXID, error) { return 0, c.EnforceL0Retention(ctx, keepL0) },
			func(c *litestream.Compactor) (ltx.TXID, error) { return 0, c.EnforceRetentionByTXID(ctx, 1, 8) },
			func(c *litestream.Compactor) (ltx.TXID, error) { return 0, c.EnforceRetentionByTXID(ctx, 2, 8) },
			func(c *litestream.Compactor) (ltx.TXID, error) { return c.EnforceSnapshotRetention(ctx, keepSnapshots) },
		} {
			want, err := enforce(theirs)
			require.NoError(t, err)
			got, err := enforce(ours)
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.Equal(t, contents(t, own), contents(t, s.client(t)))
			now := len(list(t, own, false))
			require.Less(t, now, left, "the step deleted nothing")
			left = now
		}
		require.Equal(t, contents(t, own), contents(t, s.theirs(t)))
		data, err := restore(t, s.client(t), latest.options())
		require.NoError(t, err)
		require.Equal(t, latest.sha256, ltxfstest.SHA256(data))
	})
}

// touch gives the files of Litestream's client the times at which a store got
// them.
func touch(t testing.TB, c *lsfile.ReplicaClient) {
	t.Helper()
	now := time.Now()
	for _, info := range list(t, c, false) {
		require.NoError(t, os.Chtimes(c.LTXFilePath(info.Level, info.MinTXID, info.MaxTXID), now, now))
	}
}

// write writes a file with a client, in parts as Litestream's pipes have them.
func write(t testing.TB, c litestream.ReplicaClient, f ltxFile) *ltx.FileInfo {
	t.Helper()
	r, w := io.Pipe()
	go func() {
		for data := f.data; len(data) > 0; {
			n := min(len(data), 1000)
			if _, err := w.Write(data[:n]); err != nil {
				return
			}
			data = data[n:]
		}
		_ = w.CloseWithError(nil)
	}()
	info, err := c.WriteLTXFile(testContext(t), f.level, f.min, f.max, r)
	require.NoError(t, errors.Join(err, r.Close()))
	return info
}
