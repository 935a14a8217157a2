package bench

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

const (
	readSize    = 1 << 30
	randomReads = 4096
)

// BenchmarkRead reads a large file, in sequence and at random, the first time
// and again. The aims are those with passthrough.
func BenchmarkRead(b *testing.B) {
	root, dir := replicaDir(b, "9")
	name := ltx.FormatFilename(1, 1)
	source := filepath.Join(dir, name)
	writeNoise(b, source, readSize)

	t := newTable("Reading a file of 1 GiB", "speed")
	for _, how := range mountings(b) {
		m := how.mount(b, root)
		for _, c := range []struct {
			name    string
			reading reading
			scale   scale
		}{
			{name: "sequential 1 MiB", reading: reading{block: 1 << 20, count: readSize >> 20}, scale: scale{work: readSize / 1e6, unit: "MB/s", aim: "≥ 0.9"}},
			{name: "sequential 128 KiB", reading: reading{block: 128 << 10, count: readSize >> 17}, scale: scale{work: readSize / 1e6, unit: "MB/s", aim: "≥ 0.9"}},
			{name: "random 4 KiB", reading: reading{block: 4 << 10, count: randomReads, random: true}, scale: scale{work: randomReads, unit: "reads/s", aim: "≥ 0.7"}},
		} {
			for _, warm := range []bool{false, true} {
				title, scale := how.name+", "+c.name, c.scale
				if warm {
					title, scale.aim = title+", again", "≥ 0.9"
				} else if how.name != "passthrough" {
					scale.aim = "-"
				}
				b.Run(benchName(title), func(b *testing.B) {
					direct := c.reading
					direct.path, direct.source, direct.warm = source, source, warm
					if warm && direct.random {
						direct.count, scale.work = direct.count*16, scale.work*16 // each takes no time
					}
					mounted := direct
					mounted.path = m.Path(ltxfstest.LevelPath(9, name))
					cmp := comparison{scale: scale}
					for b.Loop() {
						direct.seed++
						mounted.seed++
						cmp.add(
							func() float64 { return direct.seconds(b, how.cred) },
							func() float64 { return mounted.seconds(b, how.cred) })
					}
					cmp.report(b, t, title)
				})
			}
		}
	}
	t.print(b)
}

// writeNoise writes a file that neither a disk nor a file system can compress.
func writeNoise(b *testing.B, path string, size int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	rnd, buf := rand.NewChaCha8([32]byte{1}), make([]byte, 1<<20)
	for range size / len(buf) {
		_, _ = rnd.Read(buf) // never fails
		if _, err := f.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	// What isn't on disk yet can't be dropped from the cache.
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}
