package index

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// stat is one StatLTXFile, which many callers may wait for.
type stat struct {
	answer
	done   chan struct{} // closed when it lands; the rest is set before
	landed bool
	err    error // never os.ErrNotExist, which is an answer
}

// Find returns the file of that name, or an error that wraps os.ErrNotExist, and
// how long either answer may be given again. If nothing recent is known, it asks the
// store for this file, once for all who ask meanwhile.
func (x *Index) Find(ctx context.Context, name replica.Name) (f replica.File, validFor time.Duration, err error) {
	return x.find(ctx, name, false)
}

// FindNow is Find past what the index remembers of other writers' work: the store
// is asked after the call. If its answer is news, Find and Level ask again, too.
func (x *Index) FindNow(ctx context.Context, name replica.Name) (replica.File, error) {
	f, _, err := x.find(ctx, name, true)
	return f, err
}

func (x *Index) find(ctx context.Context, name replica.Name, now bool) (replica.File, time.Duration, error) {
	if err := replica.CheckLevel(name.Level); err != nil {
		return replica.File{}, 0, err
	}
	if err := ctx.Err(); err != nil {
		return replica.File{}, 0, err
	}
	if name.MinTXID > name.MaxTXID {
		// A name that no file can have.
		return x.result(answer{file: replica.File{Name: name}, began: x.opts.Now()})
	}
	a, st, err := x.answerOrStat(ctx, name, now)
	if err != nil {
		return replica.File{}, 0, err
	}
	if st != nil {
		select {
		case <-st.done:
		case <-ctx.Done():
			return replica.File{}, 0, replica.NewFileError("stat", name, context.Cause(ctx))
		}
		if st.err != nil {
			return replica.File{}, 0, st.err
		}
		a = x.afterStat(name, st, now)
	}
	return x.result(a)
}

// answerOrStat returns the answer if it is known, and else a stat to wait for. With
// now, nothing is known.
func (x *Index) answerOrStat(ctx context.Context, name replica.Name, now bool) (answer, *stat, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return answer{}, nil, errClosed
	}
	if now {
		return answer{}, x.stat(ctx, name), nil
	}
	if a, ok := x.answer(name, nil); ok {
		return a, nil, nil
	}
	if st, ok := x.stats.Get(name); ok && x.recent(&x.levels[name.Level], st.began, st.seq) {
		return answer{}, st, nil
	}
	return answer{}, x.stat(ctx, name), nil
}

// afterStat answers from a stat. One that was asked for now may be news: then the
// level of which the listing says otherwise is invalid. And a listing that asks only for
// what is new would never hear of it: the next one is of all.
func (x *Index) afterStat(name replica.Name, st *stat, now bool) answer {
	x.mu.Lock()
	defer x.mu.Unlock()
	a, _ := x.answer(name, st)
	if !now && x.opts.RefreshAll == 0 {
		return a
	}
	lv := &x.levels[name.Level]
	switch listed := lv.said(name); {
	case listed.seq == 0 || !a.contradicts(listed):
	case now:
		lv.invalid = x.event()
	case name.Compare(lv.whole.file.Name) < 0:
		lv.whole.seq = 0
	}
	return a
}

// stat begins a stat. Index.mu is held.
func (x *Index) stat(ctx context.Context, name replica.Name) *stat {
	st := &stat{answer: answer{began: x.opts.Now(), seq: x.launch()}, done: make(chan struct{})}
	before, _ := x.stats.Peek(name)
	x.stats.Add(name, st)
	opts := replica.StatOptions{ExactTime: x.opts.ExactTimes, Known: x.levels[name.Level].version(name)}
	flight.Go(ctx, x.requests, x.opts.StatTimeout, flight.Work[replica.File]{
		Run: func(ctx context.Context) (replica.File, error) { return x.store.StatLTXFile(ctx, name, opts) },
		Land: func(f replica.File, err error) {
			took := x.landStat(name, st, before, f, err)
			// Not under the lock: a log may be slow.
			x.opts.Logger.Debug("stat", "ltx_level", name.Level, "min", name.MinTXID, "max", name.MaxTXID,
				"took", took, "error", err)
		},
	})
	return st
}

// landStat sets the result of a stat and wakes those who wait. An error takes nothing
// from the stat before. It returns how long it took.
func (x *Index) landStat(name replica.Name, st, before *stat, f replica.File, err error) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(st.done)
	delete(x.flights, st.seq)
	st.landed, st.exists, st.file = true, err == nil, replica.File{Name: name}
	switch {
	case err == nil:
		st.file = packable(f)
		if t, ok := x.levels[name.Level].known(f); ok {
			st.file.ModTime = t
		}
	case !errors.Is(err, os.ErrNotExist):
		var named *replica.FileError
		if !errors.As(err, &named) {
			err = replica.NewFileError("stat", name, err)
		}
		st.err = err
		if last, _ := x.stats.Peek(name); last == st {
			x.stats.Remove(name) // so that the next one asks again
			if before != nil && before.landed && before.err == nil {
				x.stats.Add(name, before)
			}
		}
	}
	return x.opts.Now().Sub(st.began)
}
