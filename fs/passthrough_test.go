package fs

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	disk "github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// TestPassthrough: the log says how the kernel reads a replica on disk, and however it
// does, it reads the version that the name means. Of a store whose wrapper doesn't let
// it through, it says nothing.
func TestPassthrough(t *testing.T) {
	for _, tt := range []struct {
		name string
		wrap func(replica.Store) replica.Store
		asks bool
	}{
		{"on disk", func(s replica.Store) replica.Store { return s }, true},
		{"wrapped", func(s replica.Store) replica.Store { return replica.Wrapper{Store: s} }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			level := filepath.Join(dir, "ltx", "0")
			require.NoError(t, os.MkdirAll(level, 0o755))
			put := func(data []byte) {
				tmp := filepath.Join(dir, "new")
				require.NoError(t, os.WriteFile(tmp, data, 0o644))
				require.NoError(t, os.Rename(tmp, filepath.Join(level, fileName(1, 1))))
			}
			old, changed := storetest.LTX(t, 1, 1, storetest.Seed(1)), storetest.LTX(t, 1, 1, storetest.Seed(2))
			put(old)

			var log syncBuffer
			mountpoint := t.TempDir()
			m, err := Mount(mountpoint, Options{
				Tree: Tree{ID: "file://" + dir, Store: tt.wrap(disk.New(dir, replica.LitestreamFile)), Freshness: time.Minute},
				UID:  uint32(os.Getuid()), GID: uint32(os.Getgid()), FileMode: 0o644, DirMode: 0o755,
				CacheSize: 8 << 20, Source: dir, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			})
			require.NoError(t, err)
			t.Cleanup(func() {
				assert.NoError(t, m.Detach())
				<-m.Done()
				m.Close()
			})
			if tt.asks {
				assert.Contains(t, log.String(), "passthrough is ")
			} else {
				assert.NotContains(t, log.String(), "passthrough")
			}
			path := filepath.Join(mountpoint, "ltx", "0000", fileName(1, 1))
			require.Equal(t, string(old), shell(t, "cat", path))
			put(changed)
			require.Equal(t, string(changed), shell(t, "cat", path), "the kernel still had the name")
		})
	}
}
