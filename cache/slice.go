package cache

import (
	"context"
	"errors"

	"github.com/superfly/ltx"
)

var errAbandoned = errors.New("nobody waits for it")

// Slice is a read's result. It pins the blocks it refers to until Release.
type Slice struct {
	owner  *Blocks
	blocks []*block
	parts  [][]byte
	n      int

	// Room for the blocks and parts of most reads, so that they cost one
	// allocation.
	few  [2]*block
	part [2][]byte
}

// Slices returns the bytes, in order, without copying. Blocks that lie side by
// side in memory, as those that were fetched together do, come as one. The bytes
// must not be written to, nor read after Release.
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
	if s.owner == nil {
		return
	}
	s.owner.mu.Lock()
	blocks := s.blocks
	s.blocks, s.parts, s.n = nil, nil, 0
	s.owner.unpin(blocks)
	s.owner.mu.Unlock()
	s.owner.budget.reclaim()
}

// wait waits until all blocks have landed, or ctx is done.
func (s *Slice) wait(ctx context.Context) error {
	for _, blk := range s.blocks {
		select {
		case <-blk.run.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if blk.run.err != nil {
			return blk.run.err
		}
	}
	return nil
}

// cut sets the parts to the bytes [off, end) of the file, as far as the blocks
// go.
func (s *Slice) cut(off, end int64) {
	a := s.owner.arena
	blockSize := s.owner.blockSize
	s.parts = s.part[:0]
	from, to := 0, 0 // in the arena, of the part in the making
	for i, blk := range s.blocks {
		start := blk.n * blockSize
		skip := max(off-start, 0)
		stop := min(end-start, int64(blk.size))
		if skip >= stop {
			break
		}
		base := int64(blk.slot) * blockSize
		if to != int(base+skip) && from < to {
			s.grow(len(s.blocks) - i)
			s.parts = append(s.parts, a.span(from, to))
			from = to
		}
		if from == to {
			from = int(base + skip)
		}
		to = int(base + stop)
		s.n += int(stop - skip)
	}
	if from < to {
		s.grow(0)
		s.parts = append(s.parts, a.span(from, to))
	}
}

// grow makes room for one part now and n later.
func (s *Slice) grow(n int) {
	if len(s.parts) == cap(s.parts) {
		s.parts = append(make([][]byte, 0, len(s.parts)+n+1), s.parts...)
	}
}

func fileName(key FileKey) string { return ltx.FormatFilename(key.MinTXID, key.MaxTXID) }
