package cache

// This file moves memory between the budget and the blocks. Its methods want
// Blocks.mu held, except for reclaim.

// reserve acquires memory for up to n blocks and returns for how many it did,
// without waiting. What the budget hasn't got, it takes from the least recently
// used blocks, unless others wait for memory: they come first.
func (b *Blocks) reserve(n int) int {
	if b.budget.contended() {
		return 0
	}
	got := b.budget.acquireUpTo(n, b.blockSize)
	for ; got < n; got++ {
		blk := b.oldest()
		if blk == nil {
			break
		}
		// The slot's charge passes to the block that is to come.
		b.evict(blk)
		b.arena.vacate(blk.slot)
		blk.slot = -1
	}
	return got
}

// reclaim evicts blocks until it has released n bytes or none is left, and
// returns how many it has released.
func (b *Blocks) reclaim(n int64) (freed int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for freed < n {
		blk := b.oldest()
		if blk == nil {
			break
		}
		b.evict(blk)
		b.free(blk)
		freed += b.blockSize
	}
	return freed
}

// oldest returns the least recently used block that nobody pins, or nil.
func (b *Blocks) oldest() *block {
	if b.idle == 0 {
		return nil
	}
	for {
		blk, _, ok := b.recent.GetOldest()
		if !ok || blk.pins == 0 {
			return blk
		}
		// In use right now, so as recent as can be.
		b.recent.Get(blk)
	}
}

func (b *Blocks) evict(blk *block) {
	b.lose(blk)
	b.stats.Evictions++
}

// lose makes a block one that no Read can find any more.
func (b *Blocks) lose(blk *block) {
	if !blk.found {
		return
	}
	if blk.state == blockReady {
		b.recent.Remove(blk)
		if blk.pins == 0 {
			b.idle--
		}
	}
	blk.found = false
	file := b.files[blk.run.key]
	delete(file, blk.n)
	if len(file) == 0 {
		delete(b.files, blk.run.key)
	}
}

// free gives a block's memory back to the budget and to the system.
func (b *Blocks) free(blk *block) {
	if blk.slot < 0 {
		return
	}
	b.arena.vacate(blk.slot)
	b.arena.dropFreed()
	blk.slot = -1
	b.budget.Release(b.blockSize)
}

func (b *Blocks) freeAll(blocks []*block) {
	for _, blk := range blocks {
		b.free(blk)
	}
}

// hold pins a block.
func (b *Blocks) hold(blk *block) {
	if blk.movable() {
		b.idle--
	}
	blk.pins++
	if blk.state == blockReady {
		b.recent.Get(blk)
	}
}

// unpin takes a pin off each of the blocks but the nil ones. If memory has become
// reclaimable by it, the caller has the budget reclaim it, without the lock.
func (b *Blocks) unpin(blocks []*block) {
	for _, blk := range blocks {
		if blk == nil {
			continue
		}
		if blk.pins--; blk.pins > 0 {
			continue
		}
		switch blk.state {
		case blockWaiting:
			// Nobody wants it any more, and others may want the memory.
			b.lose(blk)
			blk.run.cancel(errAbandoned)
		case blockReady:
			if blk.found {
				b.idle++
			} else {
				b.free(blk)
			}
		case blockFetching, blockFailed:
			// Its run decides.
		}
	}
}
