package database

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"sync"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// State is the database as it was after a transaction. What it is never changes, though
// the files may that it is read from.
type State struct {
	TXID ltx.TXID

	d     *Database
	stamp header
	tree  *tree

	turn chan struct{} // is held by who changes content, or makes one
	mu   sync.Mutex
	time time.Time
	now  *content // held while readers have the state open; otherwise it may have been let go
	open int
	lost error // why what isn't cached can't be read any more
}

// State returns the i-th state. It reads the header of the file that ends there, once.
func (d *Database) State(ctx context.Context, t *Timeline, i int) (*State, error) {
	d.readAhead(ctx, t, i)
	stamp, err := d.stampOf(ctx, t, i)
	if err == nil && stamp.commit == 0 {
		err = damaged(t.End(i), errors.New("it says that the database has no pages"))
	}
	if err != nil {
		return nil, err
	}
	return &State{TXID: t.TXID(i), time: d.timeOf(t, i, stamp), d: d, stamp: stamp, tree: d.opts.Maps.trees.newTree(d), turn: make(chan struct{}, 1)}, nil
}

// Forget gives back what is kept of the state's pages for as long as programs may have them
// of it. No reader is open.
func (s *State) Forget() { s.tree.forget() }

// Size is the size of the database file in bytes.
func (s *State) Size() int64 { return int64(s.stamp.pageSize) * int64(s.stamp.commit) }

// Time is when the transaction was, by the clock of who wrote it.
func (s *State) Time() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.time
}

// Is reports whether s is the same state as one found in a timeline later on. It isn't if a
// transaction was written again: that shows in the size, in the time, or in a file that s was
// read from. Once nobody has it open, nothing compares what it is read from next with what
// was read of it, so that it is the same only where the plan is.
func (s *State) Is(later *State, t *Timeline) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := s.lost == nil
	switch {
	case s.now == nil:
		is = is && s.stamp.matches(later.stamp)
	case s.open == 0:
		is = is && s.now.id == idOf(t.needed(s.TXID))
	default:
		is = is && (s.stamp.matches(later.stamp) || t.hasEnd(s.now)) && !t.changedAny(s.now, func(member) bool { return true })
	}
	if is {
		s.time = later.time
	}
	return is
}

// planID tells a plan from others, by its files and their versions.
type planID uint64

var planSeed = maphash.MakeSeed()

func idOf(plan []replica.File) planID {
	var h maphash.Hash
	h.SetSeed(planSeed)
	for _, f := range plan {
		maphash.WriteComparable(&h, versionOf(f))
	}
	return planID(h.Sum64())
}

// version is the one that a timeline has of a file now.
func (t *Timeline) version(n replica.Name) (v replica.Version, ok bool) {
	l := t.levels[n.Level]
	i, ok := l.Search(n)
	if ok {
		v = l.At(i).Version
	}
	return v, ok
}

// hasEnd reports whether the file that ends the plan of a content is still there.
func (t *Timeline) hasEnd(c *content) bool {
	last := c.at(c.len() - 1)
	v, ok := t.version(last.Name)
	return ok && v == last.Version
}

// changed reports whether a file is another version now.
func (t *Timeline) changed(f replica.File) bool {
	v, ok := t.version(f.Name)
	return ok && v != f.Version
}

// changedAny reports whether a file of a content is another version now, of those that count.
func (t *Timeline) changedAny(c *content, counts func(member) bool) bool {
	for _, f := range c.files() {
		if t.changed(f.File) && counts(f) {
			return true
		}
	}
	return false
}

// rewrote reports whether a file of before is still there and holds something else. Another
// version of the same bytes isn't that, as where Litestream sets a file's time once it is
// there; such a one must be read in after.
func (t *Timeline) rewrote(before, after *content) bool {
	is := after.identities()
	return t.changedAny(before, func(f member) bool { return f.identity() != is[f.Name] })
}

// Open returns a reader of the state. It reads the page indexes of the state's files,
// unless somebody has.
func (s *State) Open(ctx context.Context) (*Reader, error) {
	if err := s.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer func() { <-s.turn }()
	s.mu.Lock()
	before, lost := s.now, s.lost
	s.mu.Unlock()
	if lost != nil {
		return nil, lost
	}
	c := s.d.hold(before)
	if c == nil {
		var err error
		if c, err = s.build(ctx, before); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now = c; s.open > 0 {
		s.d.release(c) // the first reader's is enough
	}
	s.open++
	return &Reader{state: s, ahead: lookAhead{most: min(mostGuesses, s.d.opts.Blocks.MostGuesses())}}, nil
}

func (s *State) takeTurn(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return s.failed(context.Cause(ctx))
	}
}

// build makes the content of the state, held once, of the files that there are now. They
// must be those of before, unless that is nil: programs may still have pages of these.
func (s *State) build(ctx context.Context, before *content) (c *content, err error) {
	err = s.d.Current(ctx, func(t *Timeline) error {
		if before == nil {
			if err := s.isIn(ctx, t, nil); err != nil {
				return err
			}
		} else if before.id != idOf(t.needed(s.TXID)) {
			return s.failed(fmt.Errorf("%w: its files have changed since it was open", errLost))
		}
		c, err = s.buildFrom(ctx, t)
		return err
	})
	return c, err
}

// buildFrom makes the content of the state from the files of a timeline. The last of
// them must be of its size, which another one has told.
func (s *State) buildFrom(ctx context.Context, t *Timeline) (*content, error) {
	plan := t.needed(s.TXID)
	last := plan[len(plan)-1]
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		h, err := s.d.header(gctx, last)
		if err == nil && (h.pageSize != s.stamp.pageSize || h.commit != s.stamp.commit) {
			err = damaged(last, fmt.Errorf("it has %d pages of %d bytes, another file that ends there %d of %d", h.commit, h.pageSize, s.stamp.commit, s.stamp.pageSize))
		}
		return err
	})
	var c *content
	g.Go(func() (err error) {
		c, err = s.d.build(gctx, plan, s.stamp.pageSize)
		return err
	})
	if err := g.Wait(); err != nil {
		if c != nil {
			s.d.release(c)
		}
		return nil, err
	}
	return c, nil
}

// isIn returns an error unless a timeline has the state, which was read from before, if that
// isn't nil.
func (s *State) isIn(ctx context.Context, t *Timeline, before *content) error {
	i, ok := t.Search(s.TXID)
	if !ok {
		return s.failed(fmt.Errorf("%w: the replica has no files for it", errLost))
	}
	if before != nil && t.hasEnd(before) {
		return nil
	}
	stamp, err := s.d.stampOf(ctx, t, i)
	if err != nil {
		return err
	}
	if !s.stamp.matches(stamp) {
		return s.failed(fmt.Errorf("%w: the transaction was written again", errLost))
	}
	return nil
}

// closed lets go of the content after the last reader.
func (s *State) closed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open--; s.open == 0 {
		s.d.keep(s.now)
	}
}

// content is what the state is read from now, held.
func (s *State) content() (*content, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d.hold(s.now), s.lost
}

// replace has the state read from other files once some of before are gone, if they can
// be shown to be of the same state as far as that is possible: the size and the time
// are the same, the files that are still there are, and so is each page that is still
// cached of those that aren't.
func (s *State) replace(ctx context.Context, before *content, gone error) error {
	if err := s.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { <-s.turn }()
	s.mu.Lock()
	now, lost := s.now, s.lost
	s.mu.Unlock()
	if lost != nil || now != before {
		return lost
	}
	after, err := s.successor(ctx, before)
	if err != nil && !errors.Is(err, errLost) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.d.opts.Logger.Info("a state can't be read any more, but for what is cached of it", "txid", s.TXID.String(), "error", err)
		s.lost = err
		return err
	}
	s.d.opts.Logger.Info("a file of a state is gone: it is read from others", "txid", s.TXID.String(), "error", gone)
	s.d.release(before)
	s.now = after
	return nil
}

func (s *State) successor(ctx context.Context, before *content) (after *content, err error) {
	err = s.d.current(ctx, s.d.listAnew, func(t *Timeline) error {
		if err := s.isIn(ctx, t, before); err != nil {
			return err
		}
		if after, err = s.buildFrom(ctx, t); err != nil {
			return err
		}
		if t.rewrote(before, after) {
			err = s.failed(fmt.Errorf("%w: a file of it was written again", errLost))
		} else {
			err = s.compare(ctx, before, after)
		}
		if err != nil {
			s.d.release(after)
		}
		return err
	})
	return after, err
}

// errLost means that a state can't be read any more, whatever is listed.
var errLost = lost{}

type lost struct{}

func (lost) Error() string { return "it can't be read any more" }
func (lost) Unwrap() error { return replica.ErrReplaced }

// IsGone reports whether an error says that a file isn't there any more as it was listed.
func IsGone(err error) bool {
	return (errors.Is(err, replica.ErrReplaced) || errors.Is(err, os.ErrNotExist)) && !errors.Is(err, errLost)
}

// failed names the state in an error.
func (s *State) failed(err error) error { return fmt.Errorf("state %s: %w", s.TXID, err) }
