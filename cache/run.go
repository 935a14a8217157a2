package cache

import (
	"context"
	"fmt"
)

// run is one fetch: adjacent blocks of a file that lie side by side in memory.
type run struct {
	key    FileKey
	off    int64
	blocks []*block
	mem    []byte // nil until there is memory
	cancel func(cause error)

	done chan struct{} // closed when it lands; err is set before
	err  error

	// A run lands when its waiters hear of its result, and has returned when
	// nothing writes to mem any more. After a timeout the one can be long
	// before the other.
	landed, returned bool
}

// startRuns begins to fetch the missing blocks from number first on, for which
// memory is reserved, in one run if that many adjacent slots can be had. It fills
// in blocks, pinned.
func (b *Blocks) startRuns(ctx context.Context, blocks []*block, key FileKey, size, first int64, fetch FetchFunc) {
	for len(blocks) > 0 {
		slot, n := b.arena.place(len(blocks))
		r := &run{key: key, off: first * b.blockSize, blocks: make([]*block, n), done: make(chan struct{})}
		for i := range r.blocks {
			r.blocks[i] = b.newBlock(r, first+int64(i))
			b.occupy(r.blocks[i], slot+i, size)
		}
		r.mem = b.arena.mem(slot, int(min(int64(n)*b.blockSize, size-r.off)))
		copy(blocks, r.blocks)
		b.start(ctx, r, size, fetch)
		blocks, first = blocks[n:], first+int64(n)
	}
	// Slots that were emptied to make room, and not taken, aren't paid for
	// any more.
	b.arena.dropFreed()
}

// await begins to fetch one block, for which there is no memory yet.
func (b *Blocks) await(ctx context.Context, key FileKey, size, n int64, fetch FetchFunc) *block {
	r := &run{key: key, off: n * b.blockSize, done: make(chan struct{})}
	blk := b.newBlock(r, n)
	r.blocks = []*block{blk}
	b.start(ctx, r, size, fetch)
	return blk
}

// newBlock makes a block that a Read can find and that its caller pins.
func (b *Blocks) newBlock(r *run, n int64) *block {
	blk := &block{run: r, n: n, slot: -1, pins: 1, found: true}
	file := b.files[r.key]
	if file == nil {
		file = map[int64]*block{}
		b.files[r.key] = file
	}
	file[n] = blk
	b.stats.Misses++
	return blk
}

// occupy gives a block its memory.
func (b *Blocks) occupy(blk *block, slot int, size int64) {
	b.arena.take(slot, blk)
	blk.slot = slot
	blk.size = int(min(b.blockSize, size-blk.n*b.blockSize))
	blk.state = blockFetching
}

// start runs the fetch of r.
func (b *Blocks) start(ctx context.Context, r *run, size int64, fetch FetchFunc) {
	b.flying.Add(1)
	if r.mem == nil {
		b.flying.Add(1)
	}
	r.cancel = detach(context.Background(), ctx, b.timeout,
		func(ctx context.Context) (struct{}, error) {
			defer b.finished(r)
			if r.mem == nil {
				if err := b.admit(ctx, r, size); err != nil {
					return struct{}{}, fmt.Errorf("wait for memory: %w", err)
				}
			}
			return struct{}{}, fetch(ctx, r.mem, r.off)
		},
		func(_ struct{}, err error) { b.land(r, err) })
}

// admit waits for the memory of a run that has none.
func (b *Blocks) admit(ctx context.Context, r *run, size int64) error {
	defer b.flying.Done()
	if err := b.budget.Acquire(ctx, b.blockSize); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		b.budget.Release(b.blockSize)
		return context.Cause(ctx)
	}
	// There is a slot: slots taken and budget used by blocks are the same.
	slot, _ := b.arena.place(1)
	b.occupy(r.blocks[0], slot, size)
	r.mem = b.arena.mem(slot, r.blocks[0].size)
	return nil
}

// finished notes that nothing writes to the run's memory any more.
func (b *Blocks) finished(r *run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.returned = true
	if r.landed {
		// It came too late, and every waiter has been told so.
		b.freeAll(r.blocks)
	}
}

// land caches what a run has fetched, or not, and wakes those who wait.
func (b *Blocks) land(r *run, err error) {
	defer b.flying.Done()
	b.mu.Lock()
	r.landed, r.err = true, err
	if err != nil {
		r.err = fmt.Errorf("fetch level %d %s at %d: %w", r.key.Level, fileName(r.key), r.off, err)
	}
	for _, blk := range r.blocks {
		switch {
		case err != nil:
			b.lose(blk)
			blk.state = blockFailed
		case blk.found:
			blk.state = blockReady
			b.recent.Add(blk, struct{}{})
			if blk.pins == 0 {
				b.idle++
			}
		default: // forgotten on the way
			blk.state = blockReady
			if blk.pins == 0 {
				b.free(blk)
			}
		}
	}
	if err == nil {
		b.stats.FetchedBytes += int64(len(r.mem))
	} else if r.returned {
		b.freeAll(r.blocks)
	}
	close(r.done)
	b.mu.Unlock()
	b.budget.reclaim()
}
