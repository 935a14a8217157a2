package transport

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// MinPatience is how long a store may always take.
	MinPatience = 200 * time.Millisecond

	// firstPatience is how long one may take that has not answered yet.
	firstPatience = time.Second

	// enoughGets is of how many it must be known for the slowest of them to be one of those that
	// are slower than 99 in a hundred.
	enoughGets = 100

	// slowest is how many times as long as others a body may take.
	slowest = 8

	// fastest is how long a KiB of a body may always take: 1 GB/s is no store's fault.
	fastest = time.Microsecond

	// recentGets is of how many GETs it is known how long they took.
	recentGets = 256

	// getsPerHedge is how many GETs there are for each that is made again.
	getsPerHedge = 20
)

// Pace is how long GETs took lately, and how many may be made again.
type Pace struct {
	mu      sync.Mutex
	began   [recentGets]time.Duration // after which answers began
	answers int                       // that there ever were
	most    time.Duration             // after which 99 in a hundred had begun

	took   time.Duration // by pieces of bodies, of which the earlier count less
	bytes  int64         // of them
	perKiB time.Duration // how long one may take

	credit int  // of GETs, for those that may be made again
	hedged bool // once at least, which may be in advance
}

func newPace() *Pace { return &Pace{most: firstPatience / 2, perKiB: time.Second} }

// Bounds are how long an answer may take to begin, and then for each KiB of its body.
func (p *Pace) Bounds() (patience, perKiB time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.patience(), p.perKiB
}

func (p *Pace) patience() time.Duration {
	if p.answers < enoughGets {
		return 2 * p.most // longer ones are to be expected
	}
	return max(p.most, MinPatience)
}

// Answered notes after which time an answer has begun.
func (p *Pace) Answered(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// One that could not be made again may have stalled, and must not have the next ones wait as
	// long. If all take so long, it is soon known.
	p.began[p.answers%recentGets] = min(max(took, MinPatience/2), 2*p.most)
	p.answers++
	n := min(p.answers, recentGets)
	var most [recentGets/100 + 1]time.Duration // longest first
	for _, took := range p.began[:n] {
		for i := range most {
			if took > most[i] {
				took, most[i] = most[i], took
			}
		}
	}
	p.most = most[n/100]
}

// Came notes how long a piece of a body was waited for, of n bytes, some KiB at least. One that
// stalled counts as an answer does that did.
func (p *Pace) Came(n int64, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took += min(took, 2*time.Duration(n)*p.perKiB>>10) - p.took/recentGets
	p.bytes += n - p.bytes/recentGets
	p.perKiB = max(slowest*p.took/time.Duration(p.bytes>>10), fastest)
}

// Begin counts a GET, and returns how long it may take to begin.
func (p *Pace) Begin() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.credit = min(p.credit+1, recentGets)
	return p.patience()
}

// MayHedge takes the right to make one GET again, unless one of the contexts has ended of those
// that want its answer.
func (p *Pace) MayHedge(wanted ...context.Context) bool {
	if slices.ContainsFunc(wanted, func(ctx context.Context) bool { return ctx.Err() != nil }) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hedged && p.credit < getsPerHedge {
		return false
	}
	p.hedged = true
	p.credit -= getsPerHedge
	return true
}
