package bench

import (
	"path/filepath"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// BenchmarkTools runs Litestream's own tools on a snapshot of 128 MiB, and on the
// 40 small files of the sample.
func BenchmarkTools(b *testing.B) {
	litestream, verify := ltxfstest.Tool(b, "litestream"), ltxfstest.Tool(b, "ltx")
	root, dir := replicaDir(b, "9")
	name := ltx.FormatFilename(1, 1)
	snapshot := storetest.LTX(b, 1, 1, storetest.PageSize(4096), storetest.Commit(32<<10), storetest.Noise(), storetest.Checksums())
	ltxfstest.Store(b, filepath.Join(dir, name), snapshot, storetest.DefaultTime)
	orders := ltxfstest.Orders(b)

	t := newTable("Litestream's tools", "time")
	for _, how := range mountings(b) {
		ltxfstest.Give(b, how.cred, orders)
		large, small := how.mount(b, root), how.mount(b, orders)
		for _, c := range []struct {
			name            string
			direct, mounted string
			run             func(b *testing.B, path string) float64
		}{
			{"ltx verify, 128 MiB", filepath.Join(dir, name), large.Path(ltxfstest.LevelPath(9, name)), func(b *testing.B, path string) float64 {
				return how.timed(b, verify, "verify", path)
			}},
			{"litestream restore, 128 MiB", root, large.Dir, func(b *testing.B, path string) float64 {
				out := filepath.Join(how.dir(b), "restored.db")
				return how.timed(b, litestream, "restore", "-o", out, "file://"+path)
			}},
			{"litestream restore, 40 files", orders, small.Dir, func(b *testing.B, path string) float64 {
				out := filepath.Join(how.dir(b), "restored.db")
				return how.timed(b, litestream, "restore", "-o", out, "file://"+path)
			}},
		} {
			title := how.name + ", " + c.name
			b.Run(benchName(title), func(b *testing.B) {
				cmp := comparison{scale: scale{aim: "-"}}
				for b.Loop() {
					cmp.add(
						func() float64 { return c.run(b, c.direct) },
						func() float64 { return c.run(b, c.mounted) })
				}
				cmp.report(b, t, title)
			})
		}
	}
	t.print(b)
}
