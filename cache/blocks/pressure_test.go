package blocks

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALargeReadInASmallBudget(t *testing.T) {
	const bs = 128 << 10
	c, _ := newCache(t, 2, bs)
	src := newSource(1, 3<<20)
	for off := int64(0); off < src.file.Size; {
		n := src.readPart(t, c, off, 1<<20)
		require.Equal(t, 2*bs, n)
		off += int64(n)
	}
	require.Len(t, src.fetched(), 12)
	require.Equal(t, 3<<20, src.read(t, c, 0, 4<<20), "a short answer is the end of the file")
	require.Len(t, src.fetched(), 12)
}

func TestABudgetSmallerThanABlock(t *testing.T) {
	budget := NewBudget(1000)
	c := New(budget, Options{})
	src := newSource(1, 5000)
	require.Equal(t, 100, src.read(t, c, 0, 100))
	require.Equal(t, 1000, src.readPart(t, c, 1000, 4000))
	require.Equal(t, 4000, src.read(t, c, 1000, 4000))
	c.Close()
	require.Zero(t, budget.Used())
}

// Two reads that want more than there is: neither holds a part while it waits for
// the rest.
func TestLargeReadsDontDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 4, 16)
		one, two := newSource(1, 1000), newSource(2, 1000)
		gate := make(chan struct{})
		one.open = func(context.Context, int64, int64) error { <-gate; return nil }
		require.NoError(t, budget.Acquire(t.Context(), 16)) // an upload's
		first := one.partLater(t.Context(), c, 0, 1000)
		second := two.partLater(t.Context(), c, 0, 1000)
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

		var all []<-chan result
		for range 5 {
			all = append(all, one.readLater(t.Context(), c, 0, 1000), two.readLater(t.Context(), c, 0, 1000))
		}
		for i, read := range all {
			r := arrived(t, read)
			require.NoError(t, r.err)
			require.Equal(t, 1000, r.slice.Len())
			[]*source{one, two}[i%2].check(t, r.slice, 0)
		}
		budget.Release(16)
	})
}

// The blocks that a read finds aren't evicted for those it lacks, unless there
// is no other way.
func TestAReadDoesntEvictItself(t *testing.T) {
	c, _ := newCache(t, 4, 16)
	src := newSource(1, 64)
	src.read(t, c, 16, 48)
	src.read(t, c, 0, 64)
	require.Equal(t, []string{"16+48", "0+16"}, src.fetched())
	require.Zero(t, c.Stats().Evictions)

	small, budget := newCache(t, 3, 16)
	require.NoError(t, budget.Acquire(context.Background(), 16))
	src.read(t, small, 16, 32)
	require.Equal(t, 16, src.readPart(t, small, 0, 48))
	require.Equal(t, []string{"16+32", "0+16"}, src.fetched())
	require.Equal(t, int64(1), small.Stats().Evictions)
	budget.Release(16)
}

func TestReadersWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 1, 16)
		src := newSource(1, 64)
		held := src.slice(t, c, 0, 16)
		src.fetched()

		ctx, cancel := context.WithCancel(t.Context())
		one := src.partLater(ctx, c, 32, 16)
		two := src.partLater(t.Context(), c, 32, 32)
		cancel()
		require.ErrorIs(t, arrived(t, one).err, context.Canceled)
		// A read that has block 0 doesn't wait for more.
		both := src.partLater(t.Context(), c, 0, 64)
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

// Whoever gets memory for a block that another has begun to fetch gives it back.
func TestReadersWaitForMemoryForOneBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 2, 16)
		src := newSource(1, 64)
		require.NoError(t, budget.Acquire(t.Context(), 32)) // an upload's
		var readers []<-chan result
		for range 5 {
			readers = append(readers, src.readLater(t.Context(), c, 32, 16))
		}
		budget.Release(32)
		for _, reader := range readers {
			r := arrived(t, reader)
			require.NoError(t, r.err)
			src.check(t, r.slice, 32)
			defer r.slice.Release()
		}
		require.Equal(t, []string{"32+16"}, src.fetched())
		require.Equal(t, int64(16), budget.Used())
	})
}

func TestAReadThatStopsBeforeAWaitingBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 3, 16)
		src := newSource(1, 64)
		require.NoError(t, budget.Acquire(t.Context(), 32))
		held := src.slice(t, c, 0, 16)
		waiting := src.readLater(t.Context(), c, 16, 16)
		r := arrived(t, src.partLater(t.Context(), c, 0, 64))
		require.NoError(t, r.err)
		require.Equal(t, 16, r.slice.Len())
		r.slice.Release()
		whole := src.readLater(t.Context(), c, 0, 64)
		pending(t, whole)
		held.Release()
		arrived(t, waiting).slice.Release()
		r = arrived(t, whole)
		require.NoError(t, r.err)
		require.Equal(t, 64, r.slice.Len())
		src.check(t, r.slice, 0)
		budget.Release(32)
	})
}

func TestNobodyLeftToWaitForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 1, 16)
		src := newSource(1, 64)
		held := src.slice(t, c, 0, 16)
		ctx, cancel := context.WithCancel(t.Context())
		waiting := src.readLater(ctx, c, 32, 16)
		require.True(t, budget.contended())
		cancel()
		require.ErrorIs(t, arrived(t, waiting).err, context.Canceled)
		require.False(t, budget.contended())
		held.Release()
		src.fetched()
		src.read(t, c, 32, 16)
		require.Equal(t, []string{"32+16"}, src.fetched())
	})
}

func TestTheWaitForMemoryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 1, 16)
		require.NoError(t, budget.Acquire(t.Context(), 16))
		src := newSource(1, 64)
		begin := time.Now()
		_, err := src.handle(c).Read(t.Context(), make([]byte, 16), 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, defaultFetchTimeout, time.Since(begin))
		require.Empty(t, src.fetched())
		budget.Release(16)
	})
}

// An upload that waits for memory isn't starved by reads that come after it.
func TestReadsQueueBehindUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 4, 16)
		src := newSource(1, 640)
		held := src.slice(t, c, 0, 16)
		upload := acquired(t.Context(), budget, 64)
		read := src.readLater(t.Context(), c, 16, 16)
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

// Wherever in memory there is room, a run is one fetch.
func TestRunsInAFragmentedArena(t *testing.T) {
	c, budget := newCache(t, 64, 16)
	src := newSource(1, 1<<20)
	for i := range 64 {
		src.read(t, c, int64(i)*16, 16)
	}
	for i := 0; i < 64; i += 2 {
		src.read(t, c, int64(i)*16, 16) // the odd ones are evicted first
	}
	pin := src.slice(t, c, 30*16, 16)
	src.fetched()
	require.Equal(t, 16*16, src.read(t, c, 10000*16, 16*16))
	require.Equal(t, []string{"160000+256"}, src.fetched())
	require.Equal(t, int64(64*16), budget.Used())
	for i := 0; i < 64; i += 2 {
		src.read(t, c, int64(i)*16, 16)
	}
	src.read(t, c, 10000*16, 16*16)
	require.Empty(t, src.fetched())
	src.check(t, pin, 30*16)
	pin.Release()
}

// So it is where pinned blocks are in the way.
func TestRunsBetweenPinnedBlocks(t *testing.T) {
	c, _ := newCache(t, 16, 16)
	src := newSource(1, 1<<20)
	var pins []*Slice
	for i := range 16 {
		slice := src.slice(t, c, int64(i)*16, 16)
		if i%4 == 0 {
			pins = append(pins, slice)
		} else {
			slice.Release()
		}
	}
	src.fetched()
	require.Equal(t, 12*16, src.readPart(t, c, 160000, 1<<20))
	require.Equal(t, []string{"160000+192"}, src.fetched())
	for i, slice := range pins {
		src.check(t, slice, int64(i)*64)
		slice.Release()
	}
}
