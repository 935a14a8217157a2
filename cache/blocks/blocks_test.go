package blocks

import (
	"context"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

func TestReadRanges(t *testing.T) {
	const bs, size = 16, 100
	for _, blocks := range []int{1, 2, 3, 7, 20} {
		c, _ := newCache(t, blocks, bs)
		src := newSource(1, size)
		h := src.handle(c)
		for off := int64(0); off < size+3; off++ {
			for _, n := range []int{0, 1, 15, 16, 17, 33, 99, 100, 1000} {
				want := int(max(0, min(int64(n), size-off)))
				require.Equal(t, want, src.read(t, c, off, n), "%d blocks: %d at %d", blocks, n, off)
				if want > 0 {
					got := src.readPart(t, c, off, n)
					require.Positive(t, got)
					require.LessOrEqual(t, got, want)
				}
				p := make([]byte, n)
				got, err := h.ReadAt(p, off)
				require.Equal(t, want, got)
				if want < n {
					require.Equal(t, io.EOF, err)
				} else {
					require.NoError(t, err)
				}
				for i, b := range p[:got] {
					require.Equal(t, src.at(off+int64(i)), b)
				}
			}
		}
	}
}

func TestReadRefusesBadRanges(t *testing.T) {
	c, _ := newCache(t, 4, 16)
	src := newSource(1, 100)
	h := src.handle(c)
	_, err := h.Read(context.Background(), make([]byte, 1), -1)
	require.ErrorIs(t, err, os.ErrInvalid)
	_, err = h.ReadAt(make([]byte, 1), -1)
	require.ErrorIs(t, err, os.ErrInvalid)
	none := src.file
	none.Version = replica.Version{}
	_, err = c.Open("replica", src, none).ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, os.ErrInvalid, "it could be any version")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = h.Read(ctx, make([]byte, 10), 0)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, src.fetched())
}

func TestReadOneVersionOfTwoSizes(t *testing.T) {
	c, _ := newCache(t, 4, 16)
	src := newSource(1, 20)
	require.Equal(t, 20, src.read(t, c, 0, 20))
	longer := src.file
	longer.Size = 40
	h := c.Open("replica", src, longer)
	_, err := h.Read(context.Background(), make([]byte, 4), 25)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = h.Read(context.Background(), make([]byte, 40), 0)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestReadFetchesRuns(t *testing.T) {
	c, budget := newCache(t, 20, 16)
	src := newSource(1, 150)
	src.read(t, c, 40, 1)
	require.Equal(t, []string{"32+16"}, src.fetched())
	src.read(t, c, 90, 10)
	require.Equal(t, []string{"80+32"}, src.fetched())
	slice := src.slice(t, c, 0, 150)
	require.ElementsMatch(t, []string{"0+32", "48+32", "112+38"}, src.fetched())
	require.Equal(t, int64(160), budget.Used())

	require.Equal(t, 150, src.read(t, c, 0, 150))
	require.Empty(t, src.fetched())
	slice.Release()
	require.Equal(t, Stats{Hits: 13, Misses: 10, FetchedBytes: 150, CachedBytes: 160}, c.Stats())
}

func TestSlices(t *testing.T) {
	c, _ := newCache(t, 20, 16)
	src := newSource(1, 150)
	slice := src.slice(t, c, 5, 140)
	require.Len(t, slice.Slices(), 10, "one for each block")
	require.Equal(t, []string{"0+150"}, src.fetched())
	p := make([]byte, 30)
	require.Equal(t, 30, slice.CopyTo(p))
	for i, c := range p {
		require.Equal(t, src.at(int64(5+i)), c)
	}
	slice.Release()
	slice.Release()
	require.Empty(t, slice.Slices())
	require.Zero(t, slice.Len())
	require.Zero(t, slice.CopyTo(p))
}

// A file is its replica, its name and its version.
func TestFilesDontMix(t *testing.T) {
	c, _ := newCache(t, 20, 16)
	old, other, elsewhere := newSource(1, 50), newSource(1, 50), newSource(1, 50)
	other.file.Version.ETag = `"v2"`
	old.read(t, c, 0, 50)
	other.read(t, c, 0, 50)
	require.Equal(t, []string{"0+50"}, other.fetched())
	_, err := c.Open("another", elsewhere, elsewhere.file).ReadAt(make([]byte, 50), 0)
	require.NoError(t, err)
	require.Equal(t, []string{"0+50"}, elsewhere.fetched())
	c.Drop("replica", old.file)
	other.read(t, c, 0, 50)
	require.Empty(t, other.fetched())
	old.fetched()
	old.read(t, c, 0, 50)
	require.Equal(t, []string{"0+50"}, old.fetched())
	_, err = c.Open("another", elsewhere, elsewhere.file).ReadAt(make([]byte, 50), 0)
	require.NoError(t, err)
	require.Empty(t, elsewhere.fetched())
}

func TestEvictsTheLeastRecentlyUsed(t *testing.T) {
	c, budget := newCache(t, 4, 16)
	src := newSource(1, 1000)
	for i := range 4 {
		src.read(t, c, int64(i)*16, 16)
	}
	src.read(t, c, 0, 16)
	slice := src.slice(t, c, 16, 16)
	src.fetched()
	src.read(t, c, 160, 32) // evicts blocks 2 and 3: 1 is pinned, 0 was used later
	require.Equal(t, int64(2), c.Stats().Evictions)
	src.fetched()
	src.read(t, c, 0, 32)
	require.Empty(t, src.fetched())
	src.read(t, c, 160, 32)
	require.Empty(t, src.fetched())
	src.check(t, slice, 16)
	slice.Release()
	require.Equal(t, int64(64), budget.Used())
}

func TestAcquireEvicts(t *testing.T) {
	c, budget := newCache(t, 4, 16)
	src := newSource(1, 64)
	src.read(t, c, 0, 64)
	require.NoError(t, budget.Acquire(context.Background(), 20))
	require.Equal(t, int64(52), budget.Used())
	require.Equal(t, int64(32), c.Stats().CachedBytes)
	require.Equal(t, 12, src.read(t, c, 20, 12))
	require.Equal(t, 16, src.read(t, c, 32, 16))
	budget.Release(20)
}

// Once nobody reads, the memory goes back.
func TestIdleCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, budget := newCache(t, 8, 16)
		src := newSource(1, 64)
		src.read(t, c, 0, 64)
		time.Sleep(keepFor / 2)
		held := src.slice(t, c, 0, 10)
		time.Sleep(keepFor - 1)
		require.Equal(t, int64(64), budget.Used())
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		require.Equal(t, int64(16), budget.Used(), "but for what somebody holds")
		src.check(t, held, 0)
		held.Release()
		src.read(t, c, 0, 64)
		time.Sleep(2 * keepFor)
		require.Zero(t, budget.Used())
	})
}
