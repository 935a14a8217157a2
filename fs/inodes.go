package fs

import (
	"slices"
	"sync"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"

	"github.com/ltxfs/ltxfs/cache/index"
)

// An inode that the kernel knows costs half a kilobyte here and one there, and
// the kernel forgets only when its own memory is short. After ls -l of a large
// level that would be more than the cache. So beyond a number that follows from the
// budget, the ones known longest go until half of them are left.
const (
	minInodes   = 8 << 10
	maxInodes   = 32 << 10
	inodeSize   = 512
	inodeShare  = 8 // what they may take of the budget is this part of it
	pruneAtOnce = 1024
)

// inodeLimiter makes the kernel forget published files, states, and links to these. It
// tells the kernel so from a goroutine of its own: within a request, that could
// deadlock.
type inodeLimiter struct {
	memory index.Memory // is told what the inodes take up here
	most   int

	mu      sync.Mutex
	queue   []inodeRef // the longest known first
	pruning bool
	closed  bool
	running sync.WaitGroup
}

func newInodeLimiter(memory index.Memory, budget int64) *inodeLimiter {
	return &inodeLimiter{memory: memory, most: int(min(max(budget/inodeShare/inodeSize, minInodes), maxInodes))}
}

// inodeRef names an inode without keeping it.
type inodeRef struct {
	dir  *gofs.Inode
	name string
}

// add notes that the kernel gets to know an inode that it doesn't know yet.
func (l *inodeLimiter) add(r inodeRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, r)
	l.account(1)
	if len(l.queue) > l.most && !l.pruning && !l.closed {
		l.pruning = true
		l.running.Go(func() {
			for batch := l.take(); len(batch) > 0; batch = l.take() {
				for some := range slices.Chunk(batch, pruneAtOnce) {
					prune(some)
				}
			}
		})
	}
}

// account tells that the queue has become longer by n. The first minInodes are no matter
// of the budget.
func (l *inodeLimiter) account(n int) {
	now := len(l.queue)
	l.memory.Add(int64(max(now-minInodes, 0)-max(now-n-minInodes, 0)) * inodeSize)
}

// known is how many inodes the kernel may know.
func (l *inodeLimiter) known() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// close ends the goroutine.
func (l *inodeLimiter) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.running.Wait()
}

// take returns the inodes to go next, none once few enough are left: then pruning ends.
func (l *inodeLimiter) take() []inodeRef {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.queue) - l.most/2
	if n <= 0 || l.closed {
		l.pruning = false
		return nil
	}
	batch := append([]inodeRef(nil), l.queue[:n]...)
	// Moved rather than resliced, so that the array doesn't grow for ever.
	l.queue = append(l.queue[:0], l.queue[n:]...)
	l.account(-n)
	return batch
}

// prune asks the kernel to forget inodes. One that is in use stays.
func prune(batch []inodeRef) {
	inodes := make([]*gofs.Inode, 0, len(batch))
	known := batch[:0]
	for _, r := range batch {
		if inode := r.dir.GetChild(r.name); inode != nil {
			inodes = append(inodes, inode)
			known = append(known, r)
		}
	}
	if len(inodes) == 0 || known[0].dir.NotifyPrune(inodes) != syscall.ENOSYS {
		return
	}
	// Before Linux 6.18 they go one by one, by way of their names.
	for _, r := range known {
		r.dir.NotifyEntry(r.name)
	}
}
