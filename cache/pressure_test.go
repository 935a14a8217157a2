package cache

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestALargeReadInASmallBudget(t *testing.T) {
	const bs = 128 << 10
	b, _ := newBlocks(t, 2, bs)
	src := newSource(1, 3<<20)
	for off := int64(0); off < src.size; {
		n := src.read(t, b, off, 1<<20)
		require.Equal(t, 2*bs, n)
		off += int64(n)
	}
}

func TestABudgetSmallerThanABlock(t *testing.T) {
	budget := NewBudget(1000)
	b := NewBlocks(budget, BlocksOptions{})
	src := newSource(1, 5000)
	require.Equal(t, 100, src.read(t, b, 0, 100))
	require.Equal(t, 1000, src.read(t, b, 1000, 4000))
	b.Close()
	require.Zero(t, budget.Used())
}

// Two reads that want more than there is: neither holds a part while it waits for
// the rest.
func TestLargeReadsDontDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 4, 16)
		one, two := newSource(1, 1000), newSource(2, 1000)
		gate := make(chan struct{})
		one.fetch = func(context.Context, int64, int) error { <-gate; return nil }
		require.NoError(t, budget.Acquire(t.Context(), 16)) // an upload's
		first := one.readLater(t.Context(), b, 0, 1000)
		second := two.readLater(t.Context(), b, 0, 1000)
		require.Equal(t, int64(64), budget.Used())
		close(gate)
		r := arrived(t, first)
		require.NoError(t, r.err)
		require.Equal(t, 48, r.slice.Len())
		pending(t, second)
		r.slice.Release()
		r = arrived(t, second)
		require.NoError(t, r.err)
		two.check(t, r.slice, 0)
		r.slice.Release()
		budget.Release(16)
	})
}

// The blocks that a read finds aren't evicted for those it lacks, unless there
// is no other way.
func TestAReadDoesntEvictItself(t *testing.T) {
	b, _ := newBlocks(t, 4, 16)
	src := newSource(1, 64)
	src.read(t, b, 16, 48)
	src.read(t, b, 0, 64)
	require.Equal(t, []string{"16+48", "0+16"}, src.fetched())
	require.Zero(t, b.Stats().Evictions)

	small, budget := newBlocks(t, 3, 16)
	require.NoError(t, budget.Acquire(context.Background(), 16))
	src.read(t, small, 16, 32)
	require.Equal(t, 16, src.read(t, small, 0, 48))
	require.Equal(t, []string{"16+32", "0+16"}, src.fetched())
	require.Equal(t, int64(1), small.Stats().Evictions)
	budget.Release(16)
}

func TestReadersShareTheWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 1, 16)
		src := newSource(1, 64)
		held, err := b.Read(t.Context(), src.key, src.size, 0, 16, src.Fetch)
		require.NoError(t, err)
		src.fetched()

		ctx, cancel := context.WithCancel(t.Context())
		one := src.readLater(ctx, b, 32, 16)
		two := src.readLater(t.Context(), b, 32, 32)
		cancel()
		require.ErrorIs(t, arrived(t, one).err, context.Canceled)
		// A read that has block 0 doesn't wait for more.
		both := src.readLater(t.Context(), b, 0, 64)
		r := arrived(t, both)
		require.NoError(t, r.err)
		require.Equal(t, 16, r.slice.Len())
		r.slice.Release()

		pending(t, two)
		held.Release()
		r = arrived(t, two)
		require.NoError(t, r.err)
		require.Equal(t, 16, r.slice.Len())
		src.check(t, r.slice, 32)
		r.slice.Release()
		require.Equal(t, []string{"32+16"}, src.fetched())
		require.Equal(t, int64(16), budget.Used())
	})
}

func TestAReadThatStopsBeforeAWaitingBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 3, 16)
		src := newSource(1, 64)
		require.NoError(t, budget.Acquire(t.Context(), 32))
		held, err := b.Read(t.Context(), src.key, src.size, 0, 16, src.Fetch)
		require.NoError(t, err)
		waiting := src.readLater(t.Context(), b, 16, 16)
		r := arrived(t, src.readLater(t.Context(), b, 0, 64))
		require.NoError(t, r.err)
		require.Equal(t, 16, r.slice.Len())
		r.slice.Release()
		held.Release()
		budget.Release(32)
		arrived(t, waiting).slice.Release()
	})
}

func TestNobodyLeftToWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 1, 16)
		src := newSource(1, 64)
		held, err := b.Read(t.Context(), src.key, src.size, 0, 16, src.Fetch)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		c := src.readLater(ctx, b, 32, 16)
		require.True(t, budget.contended())
		cancel()
		require.ErrorIs(t, arrived(t, c).err, context.Canceled)
		require.False(t, budget.contended())
		held.Release()
		src.fetched()
		src.read(t, b, 32, 16)
		require.Equal(t, []string{"32+16"}, src.fetched())
	})
}

func TestTheWaitForMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 1, 16)
		require.NoError(t, budget.Acquire(t.Context(), 16))
		src := newSource(1, 64)
		begin := time.Now()
		_, err := b.Read(t.Context(), src.key, src.size, 0, 16, src.Fetch)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, DefaultFetchTimeout, time.Since(begin))
		require.Empty(t, src.fetched())
		budget.Release(16)
	})
}

// An upload that waits for memory isn't starved by reads that come after it.
func TestReadsQueueBehindUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, budget := newBlocks(t, 4, 16)
		src := newSource(1, 640)
		held, err := b.Read(t.Context(), src.key, src.size, 0, 16, src.Fetch)
		require.NoError(t, err)
		upload := acquired(t.Context(), budget, 64)
		read := src.readLater(t.Context(), b, 16, 16)
		pending(t, upload)
		pending(t, read)
		held.Release()
		require.NoError(t, arrived(t, upload))
		pending(t, read)
		budget.Release(64)
		r := arrived(t, read)
		require.NoError(t, r.err)
		r.slice.Release()
	})
}

// Free slots here and there are made adjacent, so that a run stays one fetch.
func TestRunsInAFragmentedArena(t *testing.T) {
	b, budget := newBlocks(t, 64, 16)
	src := newSource(1, 1<<20)
	for i := range 64 {
		src.read(t, b, int64(i)*16, 16)
	}
	for i := 0; i < 64; i += 2 {
		src.read(t, b, int64(i)*16, 16) // the odd ones are evicted first
	}
	pin, err := b.Read(context.Background(), src.key, src.size, 30*16, 16, src.Fetch)
	require.NoError(t, err)
	src.fetched()
	require.Equal(t, 16*16, src.read(t, b, 10000*16, 16*16))
	require.Equal(t, []string{"160000+256"}, src.fetched())
	require.Equal(t, int64(64*16), budget.Used())
	for i := 0; i < 64; i += 2 {
		src.read(t, b, int64(i)*16, 16)
	}
	src.read(t, b, 10000*16, 16*16)
	require.Empty(t, src.fetched())
	src.check(t, pin, 30*16)
	pin.Release()
}

// Where pinned blocks are in the way, a run is fetched in parts.
func TestRunsBetweenPinnedBlocks(t *testing.T) {
	b, _ := newBlocks(t, 16, 16)
	src := newSource(1, 1<<20)
	var pins []*Slice
	for i := range 16 {
		slice, err := b.Read(context.Background(), src.key, src.size, int64(i)*16, 16, src.Fetch)
		require.NoError(t, err)
		if i%4 == 0 {
			pins = append(pins, slice)
		} else {
			slice.Release()
		}
	}
	src.fetched()
	require.Equal(t, 12*16, src.read(t, b, 160000, 1<<20))
	require.Len(t, src.fetched(), 4)
	for _, slice := range pins {
		slice.Release()
	}
}

func TestSearchOfALargeArenaIsBounded(t *testing.T) {
	a := newArena(1, 2*maxScan)
	for i := range a.owners {
		a.take(i, &block{state: blockReady, found: true, slot: i, size: 1})
	}
	a.vacate(100)
	a.vacate(2*maxScan - 1)
	a.dropFreed()
	first, n := a.place(2)
	require.Equal(t, 2, n)
	require.Less(t, first, maxScan)
	require.Nil(t, a.owners[first])
	require.Nil(t, a.owners[first+1])
}

// Random reads, some of them held, against the plainest model there is.
func TestBlocksProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bs = 16
		slots := rapid.IntRange(1, 12).Draw(t, "slots")
		budget := NewBudget(int64(slots*bs) + rapid.Int64Range(0, bs-1).Draw(t, "rest"))
		b := NewBlocks(budget, BlocksOptions{BlockSize: bs})
		files := []*source{newSource(1, 200), newSource(2, 7), newSource(3, 64)}
		type holding struct {
			src   *source
			off   int64
			slice *Slice
		}
		type blockID struct{ file, n int64 }
		var held []holding
		upload := int64(0)
		pinned := func() map[blockID]bool {
			ids := map[blockID]bool{}
			for _, h := range held {
				for n := h.off / bs; h.slice.Len() > 0 && n*bs < h.off+int64(h.slice.Len()); n++ {
					ids[blockID{int64(h.src.key.MinTXID), n}] = true
				}
			}
			return ids
		}
		check := func() {
			for _, h := range held {
				h.src.check(t, h.slice, h.off)
			}
			stats := b.Stats()
			used := budget.Used() - upload
			require.LessOrEqual(t, used+upload, budget.Size())
			require.Equal(t, int64(b.arena.used)*bs, used)
			require.LessOrEqual(t, stats.CachedBytes, used)
			require.LessOrEqual(t, int64(len(pinned()))*bs, used)
		}
		release := func() {
			i := rapid.IntRange(0, len(held)-1).Draw(t, "release")
			held[i].slice.Release()
			held = append(held[:i], held[i+1:]...)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				b.Forget(files[rapid.IntRange(0, 2).Draw(t, "file")].key)
			case 1, 2:
				if len(held) > 0 {
					release()
				}
			case 3:
				budget.Release(upload)
				upload = 0
				// Forgotten blocks that are still pinned count, too.
				most := budget.Size() - int64(b.arena.used-b.idle)*bs
				n := rapid.Int64Range(0, most).Draw(t, "upload")
				require.NoError(t, budget.Acquire(context.Background(), n))
				upload = n
			default:
				// There must be room for one block, or it would wait.
				for upload+int64(b.arena.used-b.idle+1)*bs > budget.Size() {
					if len(held) == 0 {
						budget.Release(upload)
						upload = 0
						continue
					}
					release()
				}
				src := files[rapid.IntRange(0, 2).Draw(t, "file")]
				off := rapid.Int64Range(0, src.size).Draw(t, "off")
				n := rapid.IntRange(0, 300).Draw(t, "n")
				slice, err := b.Read(context.Background(), src.key, src.size, off, n, src.Fetch)
				require.NoError(t, err)
				src.check(t, slice, off)
				if want := min(int64(n), src.size-off); want > 0 {
					require.Positive(t, slice.Len())
					require.LessOrEqual(t, int64(slice.Len()), want)
				}
				held = append(held, holding{src, off, slice})
			}
			check()
		}
		budget.Release(upload)
		b.Close()
		for _, h := range held {
			h.src.check(t, h.slice, h.off)
			h.slice.Release()
		}
		require.Zero(t, budget.Used())
	})
}

// Everything at once, for the race detector and for deadlocks.
func TestBlocksHammer(t *testing.T) {
	const bs = 64
	budget := NewBudget(12 * bs)
	b := NewBlocks(budget, BlocksOptions{BlockSize: bs})
	var files []*source
	for i := range 4 {
		files = append(files, newSource(i+1, 1500+int64(i)))
	}
	rounds := 4000
	if testing.Short() {
		rounds = 500
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for range rounds {
				src := files[r.IntN(len(files))]
				switch r.IntN(20) {
				case 0:
					b.Forget(src.key)
				case 1:
					n := r.Int64N(budget.Size()) + 1
					require.NoError(t, budget.Acquire(context.Background(), n))
					budget.Release(n)
				case 2:
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(20))*time.Microsecond)
					slice, err := b.Read(ctx, src.key, src.size, r.Int64N(src.size), 1+r.IntN(1500), src.Fetch)
					cancel()
					if err == nil {
						slice.Release()
					}
				default:
					src.read(t, b, r.Int64N(src.size), 1+r.IntN(1500))
				}
			}
		})
	}
	wg.Wait()
	b.Close()
	require.Zero(t, budget.Used())
	require.Zero(t, b.arena.used)
}
