package blocks

import "sync"

const (
	// shareUnit is in what steps a share takes and gives back, in bytes.
	shareUnit = 1 << 20

	// collectorRoom is how much a share takes for each byte on Go's heap. With less beside
	// what lives, the collector would run more often than the work is worth.
	collectorRoom = 2

	// contentRoom is what a share leaves of a budget at least, in bytes.
	contentRoom = 16 << 20

	// unpaid is how much may be taken up beyond the share without a word, in bytes: so
	// much there is room for beside any budget.
	unpaid = 16 << 20
)

// Share is the part of a budget that is taken up by what can neither wait for room nor
// be evicted: for it, cached blocks make room. It takes twice as much, for the collector,
// but no more than half of the budget, and leaves 16 MiB, so that content can always be
// read. What is taken up beyond that comes on top of the budget. All its methods may be
// called at once from many goroutines.
type Share struct {
	budget *Budget
	most   int64
	tell   func(n int64)

	mu     sync.Mutex
	wanted int64
	told   int64
	taken  int64
	closed bool
}

// NewShare returns a share of a budget that nothing takes up yet. tell, which may be nil,
// is called with how much more memory is needed than beside a budget that nothing takes up:
// what the share has, and what is taken up beyond that and 16 MiB, to the MiB.
func NewShare(budget *Budget, tell func(n int64)) *Share {
	if tell == nil {
		tell = func(int64) {}
	}
	return &Share{budget: budget, tell: tell, most: max(min(budget.Size()/2, budget.Size()-contentRoom), 0)}
}

// Add tells that n more bytes are taken up, or -n fewer. It doesn't wait: while nothing
// can be evicted, the share has less than it should, until the next call.
func (s *Share) Add(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted += n
	s.settle()
	beyond := max(s.wanted-s.taken-unpaid, 0) / shareUnit * shareUnit
	if needed := s.taken + beyond; needed != s.told {
		s.told = needed
		s.tell(needed)
	}
}

// Close gives everything back for good.
func (s *Share) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.settle()
}

func (s *Share) settle() {
	want := min(collectorRoom*s.wanted, s.most) / shareUnit * shareUnit
	if s.closed {
		want = 0
	}
	switch more := want - s.taken; {
	case more < 0:
		s.budget.Release(-more)
	case more == 0 || !s.budget.takeNow(more):
		return
	}
	s.taken = want
}

// takeNow takes n bytes if it needn't wait, and has cached blocks evicted for it.
func (b *Budget) takeNow(n int64) bool {
	if b.tryAcquire(n) {
		return true
	}
	missing := n - (b.size - b.used.Load())
	if r := b.reclaimer.Load(); r == nil || missing <= 0 || (*r)(missing) == 0 {
		return false
	}
	return b.tryAcquire(n)
}
