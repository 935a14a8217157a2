package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// noFetch is a fetch that costs nothing.
func noFetch(context.Context, []byte, int64) error { return nil }

// A read of what is cached. The slice is one allocation; more than two blocks
// are one more, and blocks apart in memory yet another.
func TestHitsAllocateLittle(t *testing.T) {
	b, _ := newBlocks(t, 64, DefaultBlockSize)
	src := newSource(1, 4<<20)
	for i := range 32 {
		n := int64(i * 5 % 32) // apart in memory
		src.read(t, b, n*DefaultBlockSize, 1)
	}
	for n, most := range map[int]float64{4 << 10: 1, DefaultBlockSize: 1, 1 << 20: 3} {
		allocs := testing.AllocsPerRun(100, func() {
			slice, err := b.Read(context.Background(), src.key, src.size, 4096, n, noFetch)
			require.NoError(t, err)
			slice.Release()
		})
		require.LessOrEqual(t, allocs, most, "%d bytes", n)
	}
}

func BenchmarkReadHit(b *testing.B) {
	for _, n := range []int{4 << 10, DefaultBlockSize, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			blocks := NewBlocks(NewBudget(64<<20), BlocksOptions{})
			defer blocks.Close()
			src := newSource(1, 32<<20)
			src.key.Version = "0000000000112233177b2b8e1f3f8e0001000000"
			warm(b, blocks, src)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			off := int64(0)
			for b.Loop() {
				slice, err := blocks.Read(context.Background(), src.key, src.size, off, n, noFetch)
				if err != nil {
					b.Fatal(err)
				}
				slice.Release()
				off = (off + int64(n)) % src.size
			}
		})
	}
}

func BenchmarkReadHitParallel(b *testing.B) {
	blocks := NewBlocks(NewBudget(64<<20), BlocksOptions{})
	defer blocks.Close()
	src := newSource(1, 32<<20)
	warm(b, blocks, src)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		off := int64(0)
		for pb.Next() {
			slice, err := blocks.Read(context.Background(), src.key, src.size, off, 4<<10, noFetch)
			if err != nil {
				b.Error(err)
				return
			}
			slice.Release()
			off = (off + 4<<10) % src.size
		}
	})
}

func warm(b *testing.B, blocks *Blocks, src *source) {
	for off := int64(0); off < src.size; off += 1 << 20 {
		slice, err := blocks.Read(context.Background(), src.key, src.size, off, 1<<20, noFetch)
		if err != nil {
			b.Fatal(err)
		}
		slice.Release()
	}
}

// BenchmarkReadMiss is what a miss costs beyond its fetch: reads in sequence of
// a file that is far larger than the cache, or here and there, so that free slots
// are here and there as well.
func BenchmarkReadMiss(b *testing.B) {
	for _, random := range []bool{false, true} {
		b.Run(fmt.Sprintf("1MiB/random=%v", random), func(b *testing.B) {
			blocks := NewBlocks(NewBudget(128<<20), BlocksOptions{})
			defer blocks.Close()
			src := newSource(1, 1<<40)
			b.ReportAllocs()
			b.SetBytes(1 << 20)
			off := int64(0)
			for b.Loop() {
				n := 1 << 20
				if random {
					off = rand.Int64N(1<<23) * DefaultBlockSize
					n = (1 + rand.IntN(8)) * DefaultBlockSize
				}
				slice, err := blocks.Read(context.Background(), src.key, src.size, off, n, noFetch)
				if err != nil {
					b.Fatal(err)
				}
				slice.Release()
				off += 1 << 20
			}
		})
	}
}

// manyStore lists many files without keeping what it made of them.
type manyStore struct {
	replica.Client
	files []replica.File
}

func (s *manyStore) LTXFiles(context.Context, int, ltx.TXID, bool) (ltx.FileIterator, error) {
	return &manyIterator{iterator: iterator{files: s.files, at: -1}}, nil
}

type manyIterator struct {
	iterator
	info ltx.FileInfo
}

func (it *manyIterator) Item() *ltx.FileInfo {
	f := it.files[it.at]
	it.info = ltx.FileInfo{MinTXID: f.MinTXID, MaxTXID: f.MaxTXID, Size: f.Size, CreatedAt: f.ModTime}
	return &it.info
}

func (it *manyIterator) Version() replica.Version { return it.files[it.at].Version }

func BenchmarkIndexBuild(b *testing.B) {
	for name, version := range map[string]func(*rand.Rand, replica.File) string{"file": fileVersion, "s3": etag} {
		b.Run(name, func(b *testing.B) {
			x := NewIndex(&manyStore{files: manyFiles(version)}, IndexOptions{Freshness: time.Hour})
			defer x.Close()
			b.ReportAllocs()
			for b.Loop() {
				x.Invalidate(1)
				if _, err := x.Level(context.Background(), 1); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/file")
		})
	}
}

func manyIndex(b *testing.B) *Index {
	x := NewIndex(&manyStore{files: manyFiles(fileVersion)}, IndexOptions{Freshness: time.Hour})
	b.Cleanup(x.Close)
	if _, err := x.Level(context.Background(), 1); err != nil {
		b.Fatal(err)
	}
	return x
}

func BenchmarkFind(b *testing.B) {
	x := manyIndex(b)
	b.ReportAllocs()
	for b.Loop() {
		n := ltx.TXID(1 + rand.IntN(many))
		if _, _, err := x.Find(context.Background(), 1, n, n); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFindMissing is the lookup of a name that isn't there, as rename and
// create make.
func BenchmarkFindMissing(b *testing.B) {
	x := manyIndex(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := x.Find(context.Background(), 1, many+1, many+1); err == nil {
			b.Fatal("found")
		}
	}
}

func BenchmarkLevel(b *testing.B) {
	x := manyIndex(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Level(context.Background(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutLevel is a listing after each own change.
func BenchmarkPutLevel(b *testing.B) {
	x := manyIndex(b)
	b.ReportAllocs()
	for n := ltx.TXID(many); b.Loop(); n++ {
		x.Put(replica.File{Level: 1, MinTXID: n, MaxTXID: n, Size: 1, Version: "00"})
		if _, err := x.Level(context.Background(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAt(b *testing.B) {
	s, err := manyIndex(b).Level(context.Background(), 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = s.At(i % many)
	}
}
