package s3

import (
	"sync"
	"time"
)

const (
	// minPatience is how long a store may always take.
	minPatience = 200 * time.Millisecond

	// firstPatience is how long one may take that has not answered yet.
	firstPatience = time.Second

	// enoughGets is of how many it must be known for the slowest of them to be one of those that
	// are slower than 99 in a hundred.
	enoughGets = 100

	// slowest is how many times as long as others a body may take.
	slowest = 8

	// fastest is how long a KiB of a body may always take: 1 GB/s is no store's fault.
	fastest = time.Microsecond

	// piece is how much of a body tells the pace of others, in bytes: less may have come with
	// its header.
	piece = 64 << 10

	// recentGets is of how many GETs it is known how long they took.
	recentGets = 256

	// getsPerHedge is how many GETs there are for each that is made again.
	getsPerHedge = 20
)

// pace is how long GETs took lately, and how many may be made again.
type pace struct {
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

func newPace() *pace { return &pace{most: firstPatience / 2, perKiB: time.Second} }

// bounds are how long an answer may take to begin, and then for each KiB of its body.
func (p *pace) bounds() (patience, perKiB time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.patience(), p.perKiB
}

func (p *pace) patience() time.Duration {
	if p.answers < enoughGets {
		return 2 * p.most // longer ones are to be expected
	}
	return max(p.most, minPatience)
}

// answered notes after which time an answer has begun.
func (p *pace) answered(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// One that could not be made again may have stalled, and must not have the next ones wait as
	// long. If all take so long, it is soon known.
	p.began[p.answers%recentGets] = min(max(took, minPatience/2), 2*p.most)
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

// came notes how long a piece of a body was waited for. One that stalled counts as an answer
// does that did.
func (p *pace) came(n int64, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.took += min(took, 2*time.Duration(n)*p.perKiB>>10) - p.took/recentGets
	p.bytes += n - p.bytes/recentGets
	p.perKiB = max(slowest*p.took/time.Duration(p.bytes>>10), fastest)
}

// begin counts a GET, and returns how long it may take to begin.
func (p *pace) begin() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.credit = min(p.credit+1, recentGets)
	return p.patience()
}

// mayHedge takes the right to make one GET again.
func (p *pace) mayHedge() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hedged && p.credit < getsPerHedge {
		return false
	}
	p.hedged = true
	p.credit -= getsPerHedge
	return true
}
