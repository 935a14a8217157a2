package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

// exactWindow is how many files a listing may be ahead of the oldest stat that is
// under way, for each stat that may be. It bounds what is in memory.
const exactWindow = 4

// addExact adds the files of a listing with their exact times. Those that aren't
// known are asked for one by one, many at a time, while the listing goes on. A
// file that vanished meanwhile is left out, and one that was replaced is what was
// found. Any other error ends the listing: another time in the place of the exact
// one would be a wrong one.
func (x *Index) addExact(ctx context.Context, level int, it ltx.FileIterator, build *builder, known *hints) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(x.opts.ExactConcurrency + 1)
	queue := make(chan *exactFile, exactWindow*x.opts.ExactConcurrency)
	g.Go(func() error {
		return recovered(func() error { return addInOrder(ctx, queue, build) })
	})
	err := recovered(func() error {
		defer close(queue)
		return eachFile(it, func(f replica.File) error {
			e := &exactFile{file: f}
			if t, ok := known.time(f); ok {
				e.file.ModTime = t
			} else {
				e.done = make(chan struct{})
				g.Go(func() error {
					return recovered(func() error { return e.find(ctx, x.statFile, level) })
				})
			}
			select {
			case queue <- e:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	if waitErr := g.Wait(); waitErr != nil {
		return waitErr // why the listing was stopped
	}
	return err
}

// exactFile is a file of a listing on its way into the snapshot.
type exactFile struct {
	done chan struct{} // closed once it was found; nil if it was known
	file replica.File
	gone bool
}

func (e *exactFile) find(ctx context.Context, stat statFunc, level int) error {
	f, err := stat(ctx, level, e.file.MinTXID, e.file.MaxTXID)
	switch {
	case errors.Is(err, os.ErrNotExist):
		e.gone = true
	case err != nil:
		return err
	default:
		e.file = f
	}
	close(e.done)
	return nil
}

// addInOrder adds files in the order of the listing, each once it was found.
func addInOrder(ctx context.Context, queue <-chan *exactFile, build *builder) error {
	for e := range queue {
		if e.done != nil {
			select {
			case <-e.done:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if e.gone {
			continue
		}
		if err := build.add(e.file); err != nil {
			return err
		}
	}
	return nil
}

// recovered makes a panic an error like any other: in a goroutine of our own it
// would end the process.
func recovered(fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return fn()
}
