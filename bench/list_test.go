package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

const listFiles = 200_000

// BenchmarkList lists a large level: right after mounting, and again.
func BenchmarkList(b *testing.B) {
	root, dir := replicaDir(b, "0")
	for i := range listFiles {
		path := filepath.Join(dir, ltx.FormatFilename(ltx.TXID(i+1), ltx.TXID(i+1)))
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			b.Fatal(err)
		}
		// A size without data: they are only listed.
		if err := os.Truncate(path, int64(i%10_000)); err != nil {
			b.Fatal(err)
		}
	}
	how := mounting{} // who mounts makes no difference here
	t := newTable("Listing 200,000 files", "time")
	for _, command := range []struct{ name, script string }{
		{"ls -f", `ls -f "$1" >/dev/null`},
		{"find", `find "$1" -type f >/dev/null`},
		{"ls -l", `ls -l "$1" >/dev/null`},
	} {
		b.Run(benchName(command.name), func(b *testing.B) {
			list := func(dir string) float64 { return how.timed(b, "sh", "-euc", command.script, "sh", dir) }
			direct := func() float64 { return list(dir) }
			first := comparison{scale: scale{aim: "-"}}
			again := comparison{scale: scale{aim: "≤ 3"}}
			for b.Loop() {
				m := how.mount(b, root)
				mounted := func() float64 { return list(m.Path("ltx", "0000")) }
				first.add(direct, mounted)
				again.add(direct, mounted)
				if code := m.Terminate(b); code != ltxfstest.ExitOK {
					b.Fatalf("exit code %d: %s", code, m.Log())
				}
			}
			first.report(b, t, command.name+", first")
			again.report(b, t, command.name+", again")
		})
	}
	t.print(b)
}
