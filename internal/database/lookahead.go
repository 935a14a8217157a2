package database

import (
	"context"
	"slices"
	"sync"

	"github.com/ltxfs/ltxfs/cache/blocks"
)

const (
	// maxScans is how many scans of one reader are told apart.
	maxScans = 4

	// scanAfter is how much steps from one page of a B-tree to the next must count to be a scan.
	// Who looks for one key makes one at the most, and of keys at random two in a row are rare.
	scanAfter, stepInRow, stepLater = 4, 2, 1

	// firstGuesses and mostGuesses are how many pages are guessed of a scan.
	firstGuesses, mostGuesses = 8, 256

	// manyGuesses is from how many on what comes after them is fetched along where it is near: of a
	// large part of an index, most of a file is needed soon.
	manyGuesses = 64

	// mayPass is what part of the guesses a scan may pass over at once: pages that the kernel has.
	mayPass = 8

	// scanOver is after how many steps of others a scan keeps its place no longer.
	scanOver = 256

	// largestStep is the most that is read for one page's sake, in bytes. More is a copy, or what
	// the kernel reads ahead, which are streams.
	largestStep = 64 << 10
)

// lookAhead has pages fetched that a reader will read next if it goes on to take those of a
// B-tree in order, wherever they lie.
type lookAhead struct {
	most int // guesses of a scan

	mu    sync.Mutex
	scans [maxScans]scan
	steps int64  // of all
	end   uint32 // the page behind those that were read last
}

// scan is the pages of one level of a B-tree that are read in order.
type scan struct {
	at     uint32   // the last page; 0 if there is none
	read   int64    // in which of all steps
	dir    int      // 1 or -1; 0 before the first step
	steps  int      // what they count
	most   int      // how many are guessed; 0 before it is a scan
	queue  []uint32 // what is guessed and wasn't read yet
	held   int      // guesses that were right, since most is what it is
	missed int      // others
}

// looks fetches ahead, now that n bytes of the database have been read from off on.
func (r *Reader) looks(ctx context.Context, f *files, off, n int64) {
	size := int64(r.state.stamp.pageSize)
	first, end := uint32(off/size)+1, uint32((off+n-1)/size)+2
	l := &r.ahead
	l.mu.Lock()
	defer l.mu.Unlock()
	follows := first == l.end
	if l.end = end; l.most == 0 || n > max(largestStep, size) {
		return
	}
	cache := r.state.d.opts.Blocks
	s := l.step(r.state.tree, first, end, follows)
	if s == nil || s.most == 0 || len(s.queue) > s.most/2 {
		return
	}
	most := cache.Guesses(r.state.d.opts.Store, s.most-len(s.queue))
	if most == 0 {
		return
	}
	// It looks further than it guesses, so that the interior pages it needs come before it does.
	from := s.at
	if len(s.queue) > 0 {
		from = s.queue[len(s.queue)-1]
	}
	next, unknown := r.state.tree.following(from, s.dir, most+s.most)
	for height := 0; height < maxHeight && len(unknown) > 0 && r.learn(f, unknown); height++ {
		next, unknown = r.state.tree.following(from, s.dir, most+s.most)
	}
	next, later := next[:min(most, len(next))], next[min(most, len(next)):]
	if s.most < manyGuesses {
		later = nil
	}
	// What is in the queue is guessed again, so that it stays.
	guessed := cache.Guess(ctx, r.ranges(f, slices.Concat(s.queue, next, unknown)), r.ranges(f, later)) - len(s.queue)
	s.queue = append(s.queue, next[:min(max(guessed, 0), len(next))]...)
}

// ranges are where pages are, up to one that can't be read: who does is told.
func (r *Reader) ranges(f *files, pages []uint32) (all []blocks.Range) {
	for _, pgno := range pages {
		e, err := f.find(pgno, 1)
		if err != nil || e[0].Pgno == 0 || f.at(e[0].file).damaged {
			break
		}
		all = append(all, blocks.Range{Handle: f.handle(e[0].file), Off: e[0].Offset, N: e[0].Size})
	}
	return all
}

// learn looks at those of some interior pages that are cached, and reports whether it knows
// more now.
func (r *Reader) learn(f *files, pages []uint32) (more bool) {
	whole := make([]byte, r.state.stamp.pageSize)
	for _, pgno := range pages {
		e, err := f.find(pgno, 1)
		if err != nil || e[0].Pgno == 0 {
			continue
		}
		slice := f.handle(e[0].file).Cached(e[0].Offset, e[0].Size)
		if slice == nil {
			continue
		}
		err = r.state.unpackSome(slice.Slices(), e[0].Offset, []page{{e[0], whole, 0}})
		slice.Release()
		more = more || err == nil && r.state.tree.knows(pgno)
	}
	return more
}

// step notes that pages up to end were read, for the sake of one of them, and returns the scan
// that goes on with it. Whether they follow what was read before tells a stream from a scan.
func (l *lookAhead) step(t *tree, first, end uint32, follows bool) *scan {
	t.mu.Lock()
	defer t.mu.Unlock()
	stray := uint32(0)
	for pgno := first; pgno < end; pgno++ {
		if t.pages[pgno] != nil || t.parents[pgno] == 0 {
			continue
		}
		if stray == 0 {
			stray = pgno
			l.steps++
		}
		for i := range l.scans {
			if s := &l.scans[i]; s.at != 0 && l.takes(s, t, pgno, follows) {
				s.read = l.steps
				return s
			}
		}
	}
	if stray != 0 {
		*l.least(t, t.parents[stray]) = scan{at: stray, read: l.steps}
	}
	return nil
}

// least is what makes room for a child of a page, as where a scan may begin: another child of
// it where one may, or else what was read longest ago, scans last unless they seem to be over.
func (l *lookAhead) least(t *tree, parent uint32) *scan {
	rank := func(s *scan) int64 {
		switch {
		case s.most > 0 && l.steps-s.read < scanOver:
			return l.steps + s.read
		case t.parents[s.at] == parent:
			return -1
		}
		return s.read
	}
	least := &l.scans[0]
	for i := range l.scans {
		if s := &l.scans[i]; rank(s) < rank(least) {
			least = s
		}
	}
	return least
}

// takes reports whether a scan goes on with a page.
func (l *lookAhead) takes(s *scan, t *tree, pgno uint32, follows bool) bool {
	if pgno == s.at {
		return true
	}
	if len(s.queue) > 0 {
		i := slices.Index(s.queue[:min(1+s.most/mayPass, len(s.queue))], pgno)
		if i < 0 {
			return false
		}
		s.at, s.queue = pgno, s.queue[i+1:]
		s.held++
		if s.miss(i); s.most > 0 && s.held >= s.most/4 {
			s.most, s.held, s.missed = min(2*s.most, l.most), 0, 0
		}
		return true
	}
	for _, dir := range []int{1, -1} {
		if next, _ := t.next(s.at, dir); next != pgno || s.dir == -dir {
			continue
		}
		switch {
		case follows:
		case s.read == l.steps-1:
			s.dir, s.steps = dir, s.steps+stepInRow
		default:
			s.dir, s.steps = dir, s.steps+stepLater
		}
		if s.at = pgno; s.steps >= scanAfter && s.most == 0 {
			s.most = min(firstGuesses, l.most)
		}
		return true
	}
	return false
}

// miss notes that guesses were wrong. When more are than were right, it is no scan any more.
func (s *scan) miss(n int) {
	if s.missed += n; s.missed > s.held {
		*s = scan{at: s.at}
	}
}
