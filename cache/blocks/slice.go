package blocks

// Slice is a read's result. It pins the blocks it refers to until Release.
type Slice struct {
	cache  *Cache // nil if there is nothing to release
	blocks []*block
	parts  [][]byte
	n      int

	// Room for the blocks and parts of most reads, so that they cost one
	// allocation.
	few  [2]*block
	part [2][]byte
}

// Slices returns the bytes, in order, without copying. They must not be written to,
// nor read after Release.
func (s *Slice) Slices() [][]byte { return s.parts }

// Len is the number of bytes.
func (s *Slice) Len() int { return s.n }

// CopyTo copies the bytes to p, as many as it can hold, and returns how many.
func (s *Slice) CopyTo(p []byte) int {
	n := 0
	for _, part := range s.parts {
		n += copy(p[n:], part)
	}
	return n
}

// Release lets go of the blocks. The slice is empty afterwards. It may be called
// more than once.
func (s *Slice) Release() {
	blocks := s.blocks
	s.blocks, s.parts, s.n = nil, nil, 0
	if len(blocks) == 0 {
		return
	}
	s.cache.mu.Lock()
	s.cache.unpin(blocks)
	s.cache.mu.Unlock()
	s.cache.budget.reclaim()
}

// ready tells whether all blocks have their bytes. Cache.mu is held.
func (s *Slice) ready() bool {
	for _, blk := range s.blocks {
		if !blk.fetch.landed {
			return false
		}
	}
	return true
}

// cut sets the parts to the bytes [off, end) of the file, as far as the blocks
// go.
func (s *Slice) cut(off, end int64) {
	s.n = 0
	if s.parts = s.part[:0]; len(s.blocks) > len(s.part) {
		s.parts = make([][]byte, 0, len(s.blocks))
	}
	for _, blk := range s.blocks {
		start := blk.n * s.cache.blockSize
		from, to := max(off-start, 0), min(end-start, int64(len(blk.mem)))
		s.parts = append(s.parts, blk.mem[from:to:to])
		s.n += int(to - from)
	}
}
