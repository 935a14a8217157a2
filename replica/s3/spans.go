package s3

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// A level is listed in spans, many at a time, once there were leastPages of which each took slowPage. The
// time of faster ones is mostly spent in a store's processor, or in ours.
const (
	leastPages = 4
	slowPage   = 30 * time.Millisecond
)

const (
	maxSpans  = 16 // are asked for at a time
	spanPages = 4  // has a span, about

	// maxAhead bounds the pages that all listings of a pool together are ahead of their loops, but for one of
	// each: they wait in memory, at some 200 bytes a file.
	maxAhead = maxSpans * spanPages
)

// errNoSpans means that a level must be listed one page after the other.
var errNoSpans = errors.New("the store can't begin a listing anywhere")

// spans are the parts of a level, in order, that haven't been given yet.
//
// The TXIDs of a page tell how far the next spans may reach. One with more files than thought is cut.
// The page with which a span ends also has what comes after it: so it is seen how far there is
// nothing, and whether the next span begins where it should.
type spans struct {
	*listing // as it was before, with what all count together
	ctx      context.Context
	group    sync.WaitGroup

	// Of who gives the files.
	last replica.Name   // given
	owed []replica.Name // that come, by what spans before have shown

	mu     sync.Mutex
	landed *sync.Cond // when a page has
	all    []*span
	busy   int
}

// span is a part of a level. Its listing is used by one goroutine at a time: while it is busy, by that one.
type span struct {
	*listing
	step  ltx.TXID // so many have the files of spanPages, probably; 0 if that can't be told
	to    ltx.TXID // the next span begins here; 0 if there is none
	begun bool
	busy  bool
	done  bool
	err   error // why it can't be listed to its end
	ready [][]replica.File
	ahead int // places of maxAhead that its pages hold, until they are given
}

// splits reports whether what follows is worth to be listed in spans, and can be.
func (l *listing) splits() bool {
	return !l.whole && l.pages >= leastPages && l.fastest >= l.at.slowPage && l.step() > 0 && l.at.cfg.MetadataConcurrency > 1 &&
		!l.at.lacks(keyOrder) && !l.at.lacks(startAfter) && !l.at.lacks(listTimes)
}

// step is how many TXIDs have the files of spanPages if all are as the last page. It is one file less, so that
// the last page shows that it is the last.
func (l *listing) step() ltx.TXID {
	if l.names < 2 {
		return 0
	}
	step := float64(l.prev.MinTXID-l.first.MinTXID) / float64(l.names-1) * float64(spanPages*l.names-1)
	if step >= math.MaxInt64 {
		return 0
	}
	return ltx.TXID(step)
}

// listSpans lists what follows in spans. If the store turns out to be unfit for that, the level is listed
// from the beginning, but what was given isn't given again.
func (l *listing) listSpans(yield func(replica.File) bool) error {
	ctx, cancel := context.WithCancel(l.ctx)
	head := *l
	head.ctx, head.heads = ctx, max(l.heads/maxSpans, 1)
	s := &spans{listing: l, ctx: ctx, last: l.prev, all: []*span{{listing: &head, step: l.step(), begun: true}}}
	s.landed = sync.NewCond(&s.mu)
	s.mu.Lock()
	s.cut(0, l.prev.MinTXID+1)
	s.fill()
	s.mu.Unlock()
	err := func() error {
		defer s.drop(0)
		defer s.group.Wait()
		defer cancel()
		return s.give(yield)
	}()
	switch {
	case err == nil:
		l.at.refused[startAfter].Store(false)
	case errors.Is(err, errNoSpans):
		if refusesHeaders(err) {
			l.at.refusesSpans(err)
		}
		l.whole, l.given = true, &s.last
		l.begin()
		return l.list(yield)
	}
	return err
}

// refusesSpans notes that the store has refused to begin a listing somewhere. A bare 400 may have another reason: it must
// come with two listings in a row.
func (b *bucket) refusesSpans(refusal error) {
	if !refusesForm(refusal) || b.refused[startAfter].Swap(true) {
		b.learn(startAfter, refusal)
	}
}

// newSpan is a span that begins with a TXID.
func (s *spans) newSpan(from ltx.TXID) *span {
	sp := &span{listing: &listing{
		at: s.at, ctx: s.ctx, level: s.level, stray: s.stray, prefix: s.prefix, heads: max(s.heads/maxSpans, 1), follows: true, going: true,
	}}
	sp.beginAt(from)
	return sp
}

// beginAt has a span that hasn't begun begin with a TXID.
func (sp *span) beginAt(from ltx.TXID) {
	sp.from, sp.after = from, sp.prefix+from.String()
	sp.reached = sp.after
}

// fill asks for pages, those of the first spans first, and for one of the very first in any case, so that it goes
// on. No more are asked for at a time than half of those so far, so that a short level costs little in vain.
// s.mu is held, as in cut, land, skip and drop.
func (s *spans) fill() {
	most := min(maxSpans, s.at.cfg.MetadataConcurrency, max(2, s.pages/2))
	for i := 0; i < len(s.all) && s.busy < most && s.ctx.Err() == nil; i++ {
		sp := s.all[i]
		if sp.busy || sp.done {
			continue
		}
		if i > 0 || len(sp.ready) > 0 {
			if !s.at.pages.TryAcquire(1) {
				continue
			}
			sp.ahead++
		}
		if !sp.begun {
			s.cut(i, sp.from)
		}
		sp.begun, sp.busy = true, true
		s.busy++
		s.group.Go(func() {
			files, err := sp.recovered()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.land(sp, files, err)
			s.fill()
			s.landed.Signal()
		})
	}
}

// recovered is next, of which a panic is an error.
func (sp *span) recovered() (files []replica.File, err error) {
	defer flight.Recover(&err)
	return sp.next()
}

// release gives back a place of a page that waits no more.
func (s *spans) release(sp *span) {
	if sp.ahead > 0 {
		sp.ahead--
		s.at.pages.Release(1)
	}
}

// drop forgets the i-th span, and those after it.
func (s *spans) drop(i int) {
	for _, sp := range s.all[i:] {
		s.at.pages.Release(int64(sp.ahead))
		sp.ahead = 0
	}
	s.all = s.all[:i]
}

// cut makes two of the i-th span, where it reaches further than it should from a TXID on.
func (s *spans) cut(i int, from ltx.TXID) {
	sp := s.all[i]
	to := from + sp.step
	if sp.step == 0 || to < from || sp.prefix+to.String() <= sp.reached || sp.to > 0 && (sp.to <= to || sp.to-to <= sp.step) {
		return
	}
	rest := s.newSpan(to)
	rest.step, rest.to, rest.until = sp.step, sp.to, sp.until
	sp.to, sp.until = to, to.String()
	s.all = slices.Insert(s.all, i+1, rest)
}

// land takes what came of asking for a page of a span.
func (s *spans) land(sp *span, files []replica.File, err error) {
	s.busy--
	s.pages++
	i := slices.Index(s.all, sp)
	if i < 0 {
		return // it comes after one that failed
	}
	if len(files) == 0 {
		s.release(sp)
	} else {
		sp.ready = append(sp.ready, files)
	}
	sp.busy, sp.err = false, err
	if step := sp.listing.step(); step > 0 {
		sp.step = step
	}
	switch {
	case err != nil:
		sp.done = true
		s.drop(i + 1)
	case sp.last || sp.over:
		sp.done = true
		s.skip(i)
	default:
		s.cut(i, max(sp.from, sp.prev.MinTXID+1))
	}
}

// skip passes over what comes after the i-th span and has no files, as its last page shows.
func (s *spans) skip(i int) {
	sp := s.all[i]
	for j := len(s.all) - 1; j > i; j-- {
		switch next := s.all[j]; {
		case next.begun:
		case sp.last && sp.beyond == nil, sp.beyond != nil && next.to > 0 && next.to <= sp.beyond.MinTXID:
			s.tellStrays(sp, next, next.until)
			s.all = slices.Delete(s.all, j, j+1)
		case sp.beyond == nil:
			next.step = 0 // there are other things, without end
		default:
			from := max(next.from, sp.beyond.MinTXID)
			s.tellStrays(sp, next, from.String())
			next.beginAt(from)
			next.step = sp.step
		}
	}
}

// tellStrays tells of strays that a span has seen in the next one, up to where that isn't asked for.
func (s *spans) tellStrays(sp, next *span, until string) {
	for _, base := range sp.strays {
		if base > next.from.String() && (until == "" || base <= until) {
			s.stray(base)
		}
	}
}

// give calls yield for all files, until it returns false.
func (s *spans) give(yield func(replica.File) bool) error {
	for {
		files, err := s.take()
		if err != nil {
			return err
		}
		if files == nil {
			return s.settle(nil)
		}
		if s.count += len(files); s.count > maxListed {
			return tooMany(s.level)
		}
		for _, f := range files {
			if err := s.listing.ctx.Err(); err != nil {
				return err
			}
			if err := s.settle(&f.Name); err != nil {
				return err
			}
			s.last = f.Name
			if !yield(f) {
				return nil
			}
		}
	}
}

// take waits for the next page, of which there is none at the end.
func (s *spans) take() ([]replica.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.all) > 0 {
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
		switch sp := s.all[0]; {
		case s.at.lacks(keyOrder), s.at.lacks(startAfter):
			return nil, errNoSpans
		case len(sp.ready) > 0:
			files := sp.ready[0]
			sp.ready = sp.ready[1:]
			s.release(sp)
			s.fill()
			return files, nil
		case sp.err != nil:
			return nil, sp.err
		case sp.done:
			if sp.beyond != nil {
				s.owed = append(s.owed, *sp.beyond)
			}
			s.all = s.all[1:]
			s.fill()
		default:
			s.landed.Wait()
		}
	}
	return nil, nil
}

// settle settles what is owed up to the file that comes next, or all at the end.
func (s *spans) settle(next *replica.Name) error {
	for len(s.owed) > 0 && (next == nil || next.Compare(s.owed[0]) >= 0) {
		if owed := s.owed[0]; next == nil || *next != owed {
			if err := s.find(owed); err != nil {
				return err
			}
		}
		s.owed = s.owed[1:]
	}
	return nil
}

// find makes sure that a file that the end of a span has shown, and the next span hasn't, is new, or gone.
func (s *spans) find(name replica.Name) error {
	files, err := s.newSpan(name.MinTXID).next()
	if err != nil || slices.ContainsFunc(files, func(f replica.File) bool { return f.Name == name }) {
		return err
	}
	o, err := s.at.listOne(s.ctx, s.prefix+name.Base())
	if err != nil || o == nil {
		return err
	}
	s.at.learn(startAfter, fmt.Errorf("it passes over %s", name.Base()))
	return errNoSpans
}
