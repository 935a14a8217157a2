package blocks

import "time"

// What follows moves memory between the budget and the blocks, with Cache.mu held but in
// reclaim.

// reserve acquires memory for up to n blocks, beside what it has got already, and
// returns for how many it has by then, without waiting. What the budget hasn't got,
// it takes from the least recently used blocks, unless others wait for memory: they
// come first. Nothing that was fetched ahead for a handle, and that may be read yet, makes way
// for more of that.
func (c *Cache) reserve(n, got int, spared *Handle) int {
	for ; got < n && !c.budget.contended(); got++ {
		if c.budget.tryAcquire(c.blockSize) {
			continue
		}
		blk := c.oldest()
		if blk == nil || blk.fetch.h == spared && blk.awaited(time.Now()) {
			break
		}
		// The slot's charge passes to the block that is to come.
		c.evict(blk)
		c.arena.vacate(blk.slot)
		blk.mem = nil
	}
	return got
}

// reclaim evicts blocks until it has released n bytes or none is left, and
// returns how many it has released.
func (c *Cache) reclaim(n int64) (freed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for freed < n {
		blk := c.oldest()
		if blk == nil {
			break
		}
		c.evict(blk)
		c.free(blk)
		freed += c.blockSize
	}
	return freed
}

// oldest returns the least recently used block that nobody pins, or nil.
func (c *Cache) oldest() *block {
	if c.idle == 0 {
		return nil
	}
	for {
		elem := c.recent.Front()
		if blk := elem.Value.(*block); blk.pins == 0 {
			return blk
		}
		// In use right now, so as recent as can be.
		c.recent.MoveToBack(elem)
	}
}

func (c *Cache) evict(blk *block) {
	c.lose(blk)
	c.stats.Evictions++
}

// lose makes a block one that no read can find any more.
func (c *Cache) lose(blk *block) {
	if !blk.found {
		return
	}
	blk.found = false
	c.settleGuess(blk)
	if blk.elem != nil {
		c.recent.Remove(blk.elem)
		blk.elem = nil
		if blk.pins == 0 {
			c.idle--
		}
	}
	file := c.files[blk.fetch.h.key]
	delete(file, blk.n)
	if len(file) == 0 {
		delete(c.files, blk.fetch.h.key)
	}
}

// free gives a block's memory back to the budget and to the system.
func (c *Cache) free(blk *block) {
	blk.mem = nil
	c.arena.drop(blk.slot)
	c.budget.Release(c.blockSize)
}

func (c *Cache) drop(k key) {
	c.abandon(k, nil)
	for _, blk := range c.files[k] {
		c.lose(blk)
		c.freeUnused(blk)
	}
}

// freeUnused frees a block that no read can find and nobody pins. While it is being
// fetched, or where that has failed, its fetch does so.
func (c *Cache) freeUnused(blk *block) {
	if blk.pins == 0 && blk.landed {
		c.free(blk)
	}
}

// hold pins a block that somebody asks for.
func (c *Cache) hold(blk *block) {
	c.pinOne(blk)
	c.settleGuess(blk)
	if blk.unread && blk.landed {
		c.noteUsed(blk)
	}
	blk.unread = false
}

// noteUsed counts a block that was fetched ahead, has come, and was asked for.
func (c *Cache) noteUsed(blk *block) {
	c.stats.AheadUsed += int64(len(blk.mem))
	if blk.fetch.guess {
		c.stats.GuessedUsed += int64(len(blk.mem))
	}
}

func (c *Cache) pinOne(blk *block) {
	if blk.elem != nil {
		c.recent.MoveToBack(blk.elem)
		if blk.pins == 0 {
			c.idle--
		}
	}
	blk.pins++
}

// unpin takes a pin off each of the blocks but the nil ones. Where memory may have become
// reclaimable by it, the caller has the budget reclaim it, without the lock.
func (c *Cache) unpin(blocks []*block) {
	for _, blk := range blocks {
		if blk == nil {
			continue
		}
		blk.pins--
		switch {
		case blk.elem == nil:
			c.freeUnused(blk)
		case blk.pins == 0:
			c.idle++
		}
	}
}
