//go:build !race

package blocks

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the budget gives to others is given back to the system first: its pages
// read as zeros.
func TestEvictedMemoryGoesBackToTheSystem(t *testing.T) {
	c, budget := newCache(t, 4, 4*pageSize)
	src := newSource(1, int64(16*pageSize))
	slice := src.slice(t, c, 0, int(src.file.Size))
	whole := c.arena.mem(0, int(src.file.Size))
	require.Equal(t, src.at(1), whole[1])
	slice.Release()

	require.NoError(t, budget.Acquire(context.Background(), int64(8*pageSize)))
	for i, b := range whole {
		if want := src.at(int64(i)); i >= 8*pageSize && b != want || i < 8*pageSize && b != 0 {
			require.Fail(t, "wrong byte", "at %d: %d", i, b)
		}
	}
	budget.Release(int64(8 * pageSize))
	c.Drop("replica", src.file)
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
	budget := NewBudget(maxBudget)
	budget.resize(1 << 48)
	c := New(budget, Options{BlockSize: 1 << 40})
	require.Less(t, c.arena.slots, 1<<8)
	require.Len(t, c.arena.bytes, c.arena.slots<<40)
	require.Equal(t, int64(len(c.arena.bytes)), budget.Size())
	c.Close()
}
