package blocks

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Beside a part and a share that hold all they may, a quarter is left.
func TestPartOfBudgets(t *testing.T) {
	const mib = 1 << 20
	for size, most := range map[int64]int64{4: 2, 8: 2, 16: 4, 20: 5, 32: 8, 128: 32, 1 << 20: 1 << 18} {
		budget := NewBudget(size * mib)
		p := NewPart(budget)
		require.Equal(t, most*mib, p.Size())
		NewShare(budget, nil).Add(1 << 50)
		require.NoError(t, p.Acquire(t.Context(), p.Size()))
		require.LessOrEqual(t, budget.Used(), budget.Size()/4*3, size)
	}
	require.ErrorIs(t, NewPart(NewBudget(mib)).Acquire(t.Context(), mib), os.ErrInvalid)
}

// However many uploads last, reads go on beside them, with what they leave.
func TestReadsBesideUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		c, budget := newCache(t, 32, 128<<10)
		p := NewPart(budget)
		src := newSource(1, 12*mib)
		src.read(t, c, 0, 4*mib) // the cache is full
		uploads := make(chan error, 60)
		for range cap(uploads) {
			go func() { uploads <- p.Acquire(t.Context(), mib) }()
		}
		synctest.Wait()
		require.Len(t, uploads, 2)
		var readers []<-chan result
		for off := int64(0); off < src.file.Size; off += mib {
			readers = append(readers, src.readLater(t.Context(), c, off, mib))
		}
		began := time.Now()
		for i, reader := range readers {
			r := <-reader
			require.NoError(t, r.err)
			src.check(t, r.slice, int64(i)*mib)
			r.slice.Release()
		}
		require.Zero(t, time.Since(began))
		require.Len(t, uploads, 2)
		require.EqualValues(t, 4*mib, budget.Used())

		// Who leaves takes no room along, and the others get theirs in turn.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Acquire(ctx, mib), context.DeadlineExceeded)
		for range cap(uploads) {
			require.NoError(t, <-uploads)
			p.Release(mib)
		}
		held := acquired(t.Context(), budget, budget.Size())
		require.NoError(t, arrived(t, held))
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Acquire(ctx, p.Size()), context.DeadlineExceeded)
		budget.Release(budget.Size())
		require.NoError(t, p.Acquire(t.Context(), p.Size()))
		p.Release(p.Size())
	})
}
