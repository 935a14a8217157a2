//go:build !race

package cache

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the budget gives to others is given back to the system first: its pages
// read as zeros.
func TestEvictedMemoryGoesBackToTheSystem(t *testing.T) {
	b, budget := newBlocks(t, 4, 4*pageSize)
	src := newSource(1, int64(16*pageSize))
	slice, err := b.Read(context.Background(), src.key, src.size, 0, int(src.size), src.Fetch)
	require.NoError(t, err)
	whole := b.arena.mem(0, int(src.size))
	require.Equal(t, src.at(1), whole[1])
	slice.Release()

	require.NoError(t, budget.Acquire(context.Background(), int64(8*pageSize)))
	for i, c := range whole {
		if want := src.at(int64(i)); i >= 8*pageSize && c != want || i < 8*pageSize && c != 0 {
			require.Fail(t, "wrong byte", "at %d: %d", i, c)
		}
	}
	budget.Release(int64(8 * pageSize))
	b.Forget(src.key)
	require.Equal(t, make([]byte, len(whole)), whole)
}

func TestMemoryThatIsNoMultipleOfPages(t *testing.T) {
	p, err := mapMemory(3*pageSize + 10)
	require.NoError(t, err)
	for i := range p {
		p[i] = 1
	}
	dropMemory(p, 5, 2*pageSize+5)
	require.Equal(t, byte(1), p[pageSize-1])
	require.Equal(t, make([]byte, pageSize), p[pageSize:2*pageSize])
	require.Equal(t, byte(1), p[2*pageSize])
	dropMemory(p, 5, 10)
	require.Equal(t, byte(1), p[7])
	unmapMemory(p)
}

// Without address space to map, the heap has to do.
func TestHeapInsteadOfMapping(t *testing.T) {
	a := newArena(1, 0) // which mmap refuses
	require.NotNil(t, a.bytes)
	require.Empty(t, a.bytes)
	a.retire()
}

// More than the address space there is makes a smaller cache, and the budget
// then promises no more than that.
func TestBudgetLargerThanAddressSpace(t *testing.T) {
	budget := &Budget{size: 1 << 48, reclaimers: map[int]func(int64) int64{}}
	b := NewBlocks(budget, BlocksOptions{BlockSize: 1 << 40})
	require.Less(t, b.arena.slots(), 1<<8)
	require.Len(t, b.arena.bytes, b.arena.slots()<<40)
	require.Equal(t, int64(len(b.arena.bytes)), budget.Size())
	b.Close()
}
