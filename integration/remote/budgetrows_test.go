package remote

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// The rows of the bench that read a file, each in a mount of its own. The same again asks
// for nothing.
func TestRowsBudget(t *testing.T) {
	const (
		piece = 1 << 20
		page  = 4 << 10
	)
	f := &rowFile{
		data: storetest.LTX(t, 1, 9, storetest.Commit(6400), storetest.Noise()),
		path: ltxfstest.LevelPath(9, ltx.FormatFilename(1, 9)),
	}
	var inOrder, atRandom []int64
	for off := 0; off < len(f.data); off += piece {
		inOrder = append(inOrder, int64(off))
	}
	// No two faults come near the same block, and none the first page, from which the
	// kernel reads on.
	for _, n := range rand.New(rand.NewPCG(4, 2)).Perm(64) {
		block := 3*n + 1
		atRandom = append(atRandom, int64(block*maxBlock+block%32*page))
	}
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.put(t, 9, 1, 9, f.data)
		for _, row := range []struct {
			name   string
			gets   int   // 0 is each byte of the file once, 256 KiB a GET or more
			blocks int   // a GET has at most, where their number is known
			beside costs // the GETs
			read   func(t *testing.T, m *ltxfstest.Mounted)
		}{
			{"one reader", 0, 0, lookUp, f.by(1, piece, inOrder, false)},
			{"four readers", 0, 0, lookUp, f.by(4, piece, inOrder, false)},
			{"one thread", 10, 1, lookUp, f.by(1, page, atRandom[:10], false)},
			{"32 threads", 64, 1, lookUp, f.by(32, page, atRandom, false)},
			{"one thread, mmap", 10, 3, lookUp, f.by(1, page, atRandom[:10], true)},
			{"32 threads, mmap", 64, 3, lookUp, f.by(32, page, atRandom, true)},
			// One listing a level.
			{"litestream restore", 0, 0, costs{s3test.ListObjects: 10}, func(t *testing.T, m *ltxfstest.Mounted) {
				out := filepath.Join(t.TempDir(), "restored.db")
				ltxfstest.MustRun(t, ltxfstest.Tool(t, "litestream"), "restore", "-o", out, "file://"+m.Dir)
			}},
		} {
			var m *ltxfstest.Mounted
			c.requireCosts(t, "from the start to the mount", listing, func() { m = c.mount(t) })
			c.proxy.Reset()
			row.read(t, m)
			requests, got := c.proxy.Requests(), costs(c.proxy.Counts())
			if row.gets == 0 {
				requireEachByteOnce(t, requests, int64(len(f.data)), row.name)
				require.LessOrEqual(t, got[s3test.GetObject], len(f.data)/(256<<10), "%s:\n%s", row.name, describe(requests))
				row.gets = got[s3test.GetObject]
			} else {
				for _, r := range requests {
					if r.Operation == s3test.GetObject {
						require.GreaterOrEqual(t, r.Down, int64(maxBlock), row.name)
						require.LessOrEqual(t, r.Down, int64(row.blocks*maxBlock), row.name)
					}
				}
			}
			require.Equal(t, sum(row.beside, costs{s3test.GetObject: row.gets}), got, "%s:\n%s", row.name, describe(requests))
			c.requireCosts(t, row.name+" again", costs{}, func() { row.read(t, m) })
			c.requireEndForFree(t, m)
		}
	})
}

// rowFile is a file in a mount.
type rowFile struct {
	data []byte
	path string
}

// by has threads read n bytes at each offset, each thread a part of them in order.
func (f *rowFile) by(threads, n int, offsets []int64, mapped bool) func(t *testing.T, m *ltxfstest.Mounted) {
	return func(t *testing.T, m *ltxfstest.Mounted) {
		t.Helper()
		var g errgroup.Group
		for part := range slices.Chunk(offsets, (len(offsets)+threads-1)/threads) {
			p := m.Process(t)
			defer p.Close()
			file, err := p.Open(f.path, unix.O_RDONLY, 0)
			require.NoError(t, err)
			read := file.ReadAt
			if mapped {
				read = func(n int, off int64) ([]byte, error) { return p.Mmap(f.path, n, off) }
			}
			g.Go(func() error {
				for _, off := range part {
					want := f.data[off:min(off+int64(n), int64(len(f.data)))]
					if got, err := read(len(want), off); err != nil || !bytes.Equal(want, got) {
						return fmt.Errorf("%d bytes of %d at %d, or other ones: %w", len(got), len(want), off, err)
					}
				}
				return nil
			})
		}
		require.NoError(t, g.Wait())
	}
}
