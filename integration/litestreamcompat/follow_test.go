package litestreamcompat

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/benbjohnson/litestream"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// A database that Litestream keeps restoring follows what is written.
func TestFollow(t *testing.T) {
	files, targets := ordersFiles(t), ordersTargets(t)
	forEachKind(t, func(t *testing.T, _ kind, s *store) {
		const first = 10
		for _, f := range files {
			if f.level == 0 && f.max <= first || f.level == litestream.SnapshotLevel && f.max == 1 {
				s.put(t, f)
			}
		}
		ctx, cancel := context.WithCancel(testContext(t))
		defer cancel()
		opt := litestream.NewRestoreOptions()
		opt.OutputPath = filepath.Join(t.TempDir(), "followed.db")
		opt.Follow, opt.FollowInterval = true, 10*time.Millisecond
		done := make(chan error, 1)
		go func() { done <- litestream.NewReplicaWithClient(nil, s.client(t)).Restore(ctx, opt) }()

		reached := func(txid ltx.TXID) {
			ltxfstest.Eventually(t, timeout, "TXID "+txid.String(), func() bool {
				got, err := litestream.ReadTXIDFile(opt.OutputPath)
				return err == nil && got == txid
			})
		}
		reached(first)
		writer := s.client(t)
		for _, f := range files {
			if f.level == 0 && f.min > first {
				write(t, writer, f)
			}
		}
		reached(0x18)
		cancel()
		require.NoError(t, <-done)

		got, err := os.ReadFile(opt.OutputPath)
		require.NoError(t, err)
		want, err := restore(t, s.client(t), targets[len(targets)-1].options())
		require.NoError(t, err)
		// In page 1, following turns WAL mode off, and makes readers drop
		// their caches by a random schema cookie.
		copy(got[18:20], want[18:20])
		copy(got[24:28], want[24:28])
		require.Equal(t, want, got)
	})
}
