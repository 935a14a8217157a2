package cache

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
)

// statKey is a file's name.
type statKey struct {
	level int
	name  fileRange
}

// stat is one StatLTXFile, which many callers may wait for.
type stat struct {
	began time.Time
	seq   uint64

	done chan struct{} // closed when it lands; the result is set before
	file replica.File
	err  error
}

// Find returns the file of that name, or an error that wraps os.ErrNotExist, and
// how long either answer may be given again. An own change answers first, then a
// fresh listing; without them, the store is asked for this file if the client can
// find one with the time it is to have, and for the level if not.
func (x *Index) Find(ctx context.Context, level int, min, max ltx.TXID) (f replica.File, validFor time.Duration, err error) {
	if err := replica.CheckLevel(level); err != nil {
		return replica.File{}, 0, err
	}
	if err := ctx.Err(); err != nil {
		return replica.File{}, 0, err
	}
	key := statKey{level, fileRange{min, max}}
	if min > max {
		// A name that no file can have.
		return replica.File{}, x.opts.Freshness, key.notExist()
	}
	known, st, err := x.findOrStat(ctx, key)
	switch {
	case err != nil:
		return replica.File{}, 0, err
	case known != nil:
		return known.file, known.validFor, known.err
	case st != nil:
		select {
		case <-st.done:
			return x.afterStat(key, st)
		case <-ctx.Done():
			return replica.File{}, 0, ctx.Err()
		}
	}
	s, err := x.Level(ctx, level)
	if err != nil {
		return replica.File{}, 0, err
	}
	a := key.in(s, x.left(s.began))
	return a.file, a.validFor, a.err
}

// FindNow is Find past what the index remembers of other writers' work: the store
// is asked after the call. If its answer is news, Find and Level ask again, too.
func (x *Index) FindNow(ctx context.Context, level int, min, max ltx.TXID) (replica.File, error) {
	key := statKey{level, fileRange{min, max}}
	if x.statFile == nil || replica.CheckFile(level, min, max) != nil {
		x.Invalidate(level)
		f, _, err := x.Find(ctx, level, min, max)
		return f, err
	}
	if err := ctx.Err(); err != nil {
		return replica.File{}, err
	}
	st, err := x.statNow(ctx, key)
	if err != nil {
		return replica.File{}, err
	}
	select {
	case <-st.done:
	case <-ctx.Done():
		return replica.File{}, ctx.Err()
	}
	f, _, err := x.afterStat(key, st)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		x.compare(key, f, err == nil)
	}
	return f, err
}

// statNow begins a stat, whatever is known.
func (x *Index) statNow(ctx context.Context, key statKey) (*stat, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, errClosed
	}
	return x.stat(ctx, key, x.opts.Now()), nil
}

// compare invalidates a level of which the listing says otherwise of a file than
// the store does now.
func (x *Index) compare(key statKey, f replica.File, exists bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	lv := &x.levels[key.level]
	s := lv.merge()
	if s == nil {
		return
	}
	i, ok := s.Search(key.name.min, key.name.max)
	if ok != exists || ok && s.At(i).Version != f.Version {
		lv.invalid = x.event()
	}
}

// answer is a result of Find.
type answer struct {
	file     replica.File
	validFor time.Duration
	err      error
}

// findOrStat returns the answer if it is known, else a stat to wait for, or
// neither if the level must be listed.
func (x *Index) findOrStat(ctx context.Context, key statKey) (*answer, *stat, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil, nil, errClosed
	}
	now := x.opts.Now()
	lv := &x.levels[key.level]
	c := lv.own.changes[key.name]
	switch fresh := x.fresh(lv, now); {
	case c != nil && x.recent(lv, now, c.at, c.seq):
		return key.of(c, x.left(c.at)), nil, nil
	case fresh && c != nil:
		// The listing came after the change, and contradicts it too early.
		return key.of(c, x.left(lv.base.began)), nil, nil
	case fresh:
		return key.in(lv.base, x.left(lv.base.began)), nil, nil
	case x.statFile == nil:
		return nil, nil, nil
	}
	st := x.stats[key]
	if st == nil {
		st, _ = x.found.Get(key)
	}
	if st == nil || !x.recent(lv, now, st.began, st.seq) {
		st = x.stat(ctx, key, now)
	}
	return nil, st, nil
}

// maxFound is how many results of stats are kept for the freshness interval. A
// program that copies a file asks for its name several times in a row.
const maxFound = 1024

// stat begins a stat. Index.mu is held.
func (x *Index) stat(ctx context.Context, key statKey, now time.Time) *stat {
	st := &stat{began: now, seq: x.launch(), done: make(chan struct{})}
	x.stats[key] = st
	detach(x.root, ctx, x.opts.StatTimeout,
		func(ctx context.Context) (replica.File, error) {
			return x.statFile(ctx, key.level, key.name.min, key.name.max)
		},
		func(f replica.File, err error) {
			took := x.landStat(key, st, f, err)
			// Not under the lock: a log may be slow.
			x.opts.Logger.Debug("stat", "ltx_level", key.level, "min", key.name.min, "max", key.name.max,
				"took", took, "error", err)
		})
	return st
}

// landStat sets the result of a stat and wakes those who wait. It returns how
// long it took.
func (x *Index) landStat(key statKey, st *stat, f replica.File, err error) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(st.done)
	x.land(st.seq)
	if x.stats[key] == st {
		delete(x.stats, key)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			x.found.Add(key, st)
		}
	}
	f.ModTime = unpackTime(packTime(f.ModTime))
	if t, ok := x.levels[key.level].knownTime(key.name, f.Version); ok && err == nil {
		f.ModTime = t
	}
	st.file, st.err = f, replica.NewFileError("stat", key.level, key.name.min, key.name.max, unwrapFileError(err))
	return x.opts.Now().Sub(st.began)
}

// unwrapFileError takes off what says the operation and the file, to be said
// once.
func unwrapFileError(err error) error {
	if e, ok := err.(*replica.FileError); ok && e.Op == "stat" {
		return e.Err
	}
	return err
}

// afterStat answers from a stat and what this mount did since it began.
func (x *Index) afterStat(key statKey, st *stat) (replica.File, time.Duration, error) {
	gone := errors.Is(st.err, os.ErrNotExist)
	if st.err != nil && !gone {
		return replica.File{}, 0, st.err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.levels[key.level].own.changes[key.name]
	if c != nil && c.outlives(st.began, st.seq, x.opts.Settle, st.file, !gone) {
		began := st.began
		if c.seq > st.seq {
			began = c.at
		}
		a := key.of(c, x.left(began))
		return a.file, a.validFor, a.err
	}
	return st.file, x.left(st.began), st.err
}

// left is how much of the freshness interval is left of an answer.
func (x *Index) left(began time.Time) time.Duration {
	return max(x.opts.Freshness-x.opts.Now().Sub(began), 0)
}

// of is the answer that a change of the name gives.
func (key statKey) of(c *change, validFor time.Duration) *answer {
	if c.removed {
		return &answer{validFor: validFor, err: key.notExist()}
	}
	return &answer{file: c.file, validFor: validFor}
}

// in is the answer that a snapshot gives.
func (key statKey) in(s *Snapshot, validFor time.Duration) *answer {
	i, ok := s.Search(key.name.min, key.name.max)
	if !ok {
		return &answer{validFor: validFor, err: key.notExist()}
	}
	return &answer{file: s.At(i), validFor: validFor}
}

func (key statKey) notExist() error {
	return replica.NewFileError("stat", key.level, key.name.min, key.name.max, os.ErrNotExist)
}
