package blocks

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShare(t *testing.T) {
	const mib = 1 << 20
	budget := NewBudget(64 * mib)
	cached := int64(0)
	budget.setReclaimer(func(n int64) int64 {
		n = min(n, cached)
		cached -= n
		budget.Release(n)
		return n
	})
	told := int64(-1)
	s := NewShare(budget, func(n int64) { told = n })
	s.Add(mib/2 - 1)
	require.Zero(t, budget.Used(), "too little to count")
	s.Add(2) // which the collector doubles
	require.EqualValues(t, mib, budget.Used())

	// Cached blocks make room, and what is in use doesn't.
	cached = 3 * mib
	require.NoError(t, budget.Acquire(t.Context(), 63*mib))
	s.Add(mib)
	require.EqualValues(t, mib, cached)
	require.EqualValues(t, 64*mib, budget.Used())
	s.Add(5 * mib / 2)
	require.Zero(t, cached)
	require.EqualValues(t, 63*mib, budget.Used(), "without room for all, it has what it had")
	require.EqualValues(t, 3*mib, told)
	budget.Release(60 * mib)
	s.Add(1)
	require.EqualValues(t, 8*mib, budget.Used())

	// No more than half, and nothing in the end.
	s.Add(100 * mib)
	require.EqualValues(t, 32*mib, budget.Used())
	require.EqualValues(t, (104-16)*mib, told)
	s.Add(-100 * mib)
	require.EqualValues(t, 8*mib, budget.Used())
	s.Close()
	require.Zero(t, budget.Used())
	s.Add(mib)
	require.Zero(t, budget.Used())
}

// A share never takes what content needs.
func TestShareOfSmallBudgets(t *testing.T) {
	for size, most := range map[int64]int64{4 << 20: 0, 16 << 20: 0, 20 << 20: 4 << 20, 32 << 20: 16 << 20, 1 << 30: 1 << 29} {
		budget := NewBudget(size)
		NewShare(budget, nil).Add(1 << 40)
		require.Equal(t, most, budget.Used(), size)
	}
}
