package blocks

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// noStore is a store whose bodies cost nothing.
type noStore struct{ replica.Store }

func (noStore) OpenLTXFile(context.Context, replica.File, int64, int64) (io.ReadCloser, error) {
	return noBody{}, nil
}

type noBody struct{}

func (noBody) Read(p []byte) (int, error) { return len(p), nil }
func (noBody) Close() error               { return nil }

// A read of what is cached. The slice is one allocation; more than two blocks
// are two more.
func TestHitsAllocateLittle(t *testing.T) {
	c, _ := newCache(t, 64, defaultBlockSize)
	src := newSource(1, 4<<20)
	for i := range 32 {
		n := int64(i * 5 % 32) // apart in memory
		src.read(t, c, n*defaultBlockSize, 1)
	}
	h := src.handle(c)
	for n, most := range map[int]float64{4 << 10: 1, defaultBlockSize: 1, 1 << 20: 3} {
		dest := make([]byte, n)
		allocs := testing.AllocsPerRun(100, func() {
			slice, err := h.Read(context.Background(), dest, 4096)
			require.NoError(t, err)
			slice.Release()
		})
		require.LessOrEqual(t, allocs, most, "%d bytes", n)
	}
}

// benchHandle is a handle on a file in a cache of so many bytes.
func benchHandle(b *testing.B, budget, size int64) *Handle {
	c := New(NewBudget(budget), Options{})
	b.Cleanup(c.Close)
	f := newSource(1, size).file
	f.Version = replica.Version{Size: size, Inode: [16]byte{0x11, 0x22, 0x33, 0x17, 0x7b, 0x2b, 0x8e}}
	return c.Open("replica", noStore{}, f)
}

func mustRead(b *testing.B, h *Handle, dest []byte, off int64) {
	slice, err := h.Read(context.Background(), dest, off)
	if err != nil {
		b.Error(err)
		return
	}
	slice.Release()
}

func warm(b *testing.B, h *Handle) {
	dest := make([]byte, 1<<20)
	for off := int64(0); off < h.file.Size; off += 1 << 20 {
		mustRead(b, h, dest, off)
	}
}

func BenchmarkReadHit(b *testing.B) {
	for _, n := range []int{4 << 10, defaultBlockSize, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", n>>10), func(b *testing.B) {
			h := benchHandle(b, 64<<20, 32<<20)
			warm(b, h)
			dest := make([]byte, n)
			b.ReportAllocs()
			b.SetBytes(int64(n))
			off := int64(0)
			for b.Loop() {
				mustRead(b, h, dest, off)
				off = (off + int64(n)) % h.file.Size
			}
		})
	}
}

func BenchmarkReadHitParallel(b *testing.B) {
	h := benchHandle(b, 64<<20, 32<<20)
	warm(b, h)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		dest := make([]byte, 4<<10)
		off := int64(0)
		for pb.Next() {
			mustRead(b, h, dest, off)
			off = (off + 4<<10) % h.file.Size
		}
	})
}

// BenchmarkReadMiss is what a miss costs beyond its fetch: reads in sequence of
// a file that is far larger than the cache, or here and there.
func BenchmarkReadMiss(b *testing.B) {
	for _, random := range []bool{false, true} {
		b.Run(fmt.Sprintf("1MiB/random=%v", random), func(b *testing.B) {
			h := benchHandle(b, 128<<20, 1<<40)
			dest := make([]byte, 1<<20)
			b.ReportAllocs()
			b.SetBytes(1 << 20)
			off := int64(0)
			for b.Loop() {
				n := 1 << 20
				if random {
					off = rand.Int64N(1<<23) * defaultBlockSize
					n = (1 + rand.IntN(8)) * defaultBlockSize
				}
				mustRead(b, h, dest[:n], off)
				off += 1 << 20
			}
		})
	}
}
