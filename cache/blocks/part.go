package blocks

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sync/semaphore"
)

// leastPart is the size of a part of a small budget, in bytes.
const leastPart = 2 << 20

// Part is the part of a budget that its users may hold for longer than a reader can wait:
// a quarter, or 2 MiB, but no more than half. Beyond that they wait for each other, first
// come, first served. Beside it and a Share, a quarter of a budget of 4 MiB or more is
// left for content.
type Part struct {
	budget *Budget
	size   int64
	free   *semaphore.Weighted
}

// NewPart returns a part of a budget, of which there is one at most.
func NewPart(b *Budget) *Part {
	size := min(max(b.size/4, leastPart), b.size/2)
	return &Part{budget: b, size: size, free: semaphore.NewWeighted(size)}
}

// Size is the whole part.
func (p *Part) Size() int64 { return p.size }

// Acquire takes n bytes of the part, as Budget.Acquire does of the whole.
func (p *Part) Acquire(ctx context.Context, n int64) error {
	if n > p.size {
		return fmt.Errorf("acquire %d bytes of a part of %d of the memory budget: %w", n, p.size, os.ErrInvalid)
	}
	if p.free.Acquire(ctx, n) != nil {
		return context.Cause(ctx)
	}
	if err := p.budget.Acquire(ctx, n); err != nil {
		p.free.Release(n)
		return err
	}
	return nil
}

// Release gives back n bytes.
func (p *Part) Release(n int64) {
	p.budget.Release(n)
	p.free.Release(n)
}
