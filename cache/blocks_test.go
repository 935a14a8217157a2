package cache

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
)

// source is a store of one file to fetch from. It counts.
type source struct {
	key  FileKey
	size int64

	// fetch is called before the bytes are filled in, if it isn't nil.
	fetch func(ctx context.Context, off int64, n int) error

	mu      sync.Mutex
	fetches []string // "off+n" of each, in order
}

func newSource(id int, size int64) *source {
	return &source{
		key:  FileKey{Level: 1, MinTXID: ltx.TXID(id), MaxTXID: ltx.TXID(id), Version: "v1"},
		size: size,
	}
}

// at is the file's byte at off.
func (s *source) at(off int64) byte {
	return byte(off) ^ byte(off>>8)*31 ^ byte(off>>16)*17 ^ byte(s.key.MinTXID)*101
}

func (s *source) Fetch(ctx context.Context, p []byte, off int64) error {
	s.mu.Lock()
	s.fetches = append(s.fetches, fmt.Sprintf("%d+%d", off, len(p)))
	s.mu.Unlock()
	if s.fetch != nil {
		if err := s.fetch(ctx, off, len(p)); err != nil {
			return err
		}
	}
	for i := range p {
		p[i] = s.at(off + int64(i))
	}
	return nil
}

// fetched returns the fetches since it was last called.
func (s *source) fetched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fetches
	s.fetches = nil
	return f
}

// check checks that a slice holds the file's bytes from off on.
func (s *source) check(t tester, slice *Slice, off int64) {
	t.Helper()
	i := off
	for _, part := range slice.Slices() {
		require.NotEmpty(t, part)
		require.Equal(t, len(part), cap(part))
		for _, c := range part {
			if c != s.at(i) {
				require.Fail(t, "wrong byte", "at %d: %d, not %d", i, c, s.at(i))
			}
			i++
		}
	}
	require.Equal(t, int64(slice.Len()), i-off)
}

// read reads, checks and releases.
func (s *source) read(t tester, b *Blocks, off int64, n int) int {
	t.Helper()
	slice, err := b.Read(context.Background(), s.key, s.size, off, n, s.Fetch)
	require.NoError(t, err)
	defer slice.Release()
	s.check(t, slice, off)
	return slice.Len()
}

// readLater reads in a goroutine.
func (s *source) readLater(ctx context.Context, b *Blocks, off int64, n int) <-chan result {
	c := make(chan result, 1)
	go func() {
		slice, err := b.Read(ctx, s.key, s.size, off, n, s.Fetch)
		c <- result{slice, err}
	}()
	synctest.Wait()
	return c
}

type result struct {
	slice *Slice
	err   error
}

// newBlocks returns a cache of that many blocks, and checks at the end that
// nothing is left of it.
func newBlocks(t *testing.T, blocks, blockSize int) (*Blocks, *Budget) {
	budget := NewBudget(int64(blocks * blockSize))
	b := NewBlocks(budget, BlocksOptions{BlockSize: blockSize})
	t.Cleanup(func() {
		b.Close()
		require.Zero(t, budget.Used())
		require.Nil(t, b.arena.bytes)
		require.Empty(t, b.files)
		require.Zero(t, b.recent.Len())
		require.Zero(t, b.idle)
	})
	return b, budget
}

func TestReadRanges(t *testing.T) {
	const bs, size = 16, 100
	for _, blocks := range []int{1, 2, 3, 7, 20} {
		b, _ := newBlocks(t, blocks, bs)
		src := newSource(1, size)
		for off := int64(0); off < size+3; off++ {
			for _, n := range []int{0, 1, 15, 16, 17, 33, 99, 100, 1000, 1 << 60} {
				want := int(max(0, min(int64(n), size-off)))
				got := src.read(t, b, off, n)
				if want == 0 || blocks*bs > size {
					require.Equal(t, want, got, "%d blocks: %d at %d", blocks, n, off)
				} else {
					require.Positive(t, got)
					require.LessOrEqual(t, got, want)
				}
			}
		}
	}
}

func TestReadRefusesBadRanges(t *testing.T) {
	b, _ := newBlocks(t, 4, 16)
	src := newSource(1, 100)
	for _, r := range [][3]int64{{-1, 0, 1}, {100, -1, 1}, {100, 0, -1}} {
		_, err := b.Read(context.Background(), src.key, r[0], r[1], int(r[2]), src.Fetch)
		require.ErrorIs(t, err, os.ErrInvalid)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := b.Read(ctx, src.key, src.size, 0, 10, src.Fetch)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, src.fetched())
}

func TestReadOneVersionOfTwoSizes(t *testing.T) {
	b, _ := newBlocks(t, 4, 16)
	src := newSource(1, 20)
	require.Equal(t, 20, src.read(t, b, 0, 20))
	_, err := b.Read(context.Background(), src.key, 40, 25, 4, src.Fetch)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestReadFetchesRuns(t *testing.T) {
	b, budget := newBlocks(t, 20, 16)
	src := newSource(1, 150)
	src.read(t, b, 40, 1)
	require.Equal(t, []string{"32+16"}, src.fetched())
	src.read(t, b, 90, 10)
	require.Equal(t, []string{"80+32"}, src.fetched())
	slice, err := b.Read(context.Background(), src.key, src.size, 0, 150, src.Fetch)
	require.NoError(t, err)
	src.check(t, slice, 0)
	require.ElementsMatch(t, []string{"0+32", "48+32", "112+38"}, src.fetched())
	require.Equal(t, int64(160), budget.Used())

	require.Equal(t, 150, src.read(t, b, 0, 150))
	require.Empty(t, src.fetched())
	slice.Release()
	require.Equal(t, BlockStats{Hits: 13, Misses: 10, FetchedBytes: 150, CachedBytes: 160}, b.Stats())
}

func TestSliceJoinsNeighbours(t *testing.T) {
	b, _ := newBlocks(t, 20, 16)
	src := newSource(1, 150)
	slice, err := b.Read(context.Background(), src.key, src.size, 5, 140, src.Fetch)
	require.NoError(t, err)
	require.Len(t, slice.Slices(), 1)
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

func TestVersionsDontMix(t *testing.T) {
	b, _ := newBlocks(t, 20, 16)
	old, other := newSource(1, 50), newSource(1, 50)
	other.key.Version = "v2"
	old.read(t, b, 0, 50)
	other.read(t, b, 0, 50)
	require.Equal(t, []string{"0+50"}, other.fetched())
	b.Forget(old.key)
	other.read(t, b, 0, 50)
	require.Empty(t, other.fetched())
	old.fetched()
	old.read(t, b, 0, 50)
	require.Equal(t, []string{"0+50"}, old.fetched())
}

func TestEvictsTheLeastRecentlyUsed(t *testing.T) {
	b, budget := newBlocks(t, 4, 16)
	src := newSource(1, 1000)
	for i := range 4 {
		src.read(t, b, int64(i)*16, 16)
	}
	src.read(t, b, 0, 16)
	slice, err := b.Read(context.Background(), src.key, src.size, 16, 16, src.Fetch)
	require.NoError(t, err)
	src.fetched()
	src.read(t, b, 160, 32) // evicts blocks 2 and 3: 1 is pinned, 0 was used later
	require.Equal(t, int64(2), b.Stats().Evictions)
	src.fetched()
	src.read(t, b, 0, 32)
	require.Empty(t, src.fetched())
	src.read(t, b, 160, 32)
	require.Empty(t, src.fetched())
	src.check(t, slice, 16)
	slice.Release()
	require.Equal(t, int64(64), budget.Used())
}

func TestAcquireEvicts(t *testing.T) {
	b, budget := newBlocks(t, 4, 16)
	src := newSource(1, 64)
	src.read(t, b, 0, 64)
	require.NoError(t, budget.Acquire(context.Background(), 20))
	require.Equal(t, int64(52), budget.Used())
	require.Equal(t, int64(32), b.Stats().CachedBytes)
	require.Equal(t, 12, src.read(t, b, 20, 12))
	require.Equal(t, 16, src.read(t, b, 32, 16))
	budget.Release(20)
}
