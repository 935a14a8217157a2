package s3

import (
	"cmp"
	"context"
	"errors"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// exactWindow is how many files a listing may be ahead of the loop, for each HEAD
// that may be under way. It bounds what is in memory.
const exactWindow = 4

// exactFile is a file on its way from a listing to the loop.
type exactFile struct {
	replica.File
	err  error
	done chan struct{} // closed once the time is exact, or can't be
}

// listExact is list with exact times. HEADs run ahead of the loop, and the listing
// ahead of the HEADs. A file that has vanished is left out, and one that was replaced
// is what was found. Any other error ends the listing: another time in the place
// of the exact one would be a wrong one.
func (s *Store) listExact(ctx context.Context, level int, opts replica.ListOptions, yield func(replica.File) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heads := s.cfg.MetadataConcurrency
	var g errgroup.Group
	g.SetLimit(heads + 1) // and the listing
	queue := make(chan *exactFile, exactWindow*heads)
	g.Go(func() error {
		defer close(queue)
		return s.list(ctx, level, opts, func(f replica.File) bool {
			e := &exactFile{File: f, done: make(chan struct{})}
			if opts.SetKnownTime(&e.File) {
				close(e.done)
			} else {
				g.Go(func() error {
					defer close(e.done)
					e.File, e.err = s.StatLTXFile(ctx, f.Name, replica.StatOptions{ExactTime: true})
					return nil
				})
			}
			select {
			case queue <- e:
				return true
			case <-ctx.Done():
				return false
			}
		})
	})
	var stopped bool
	var err error
	for e := range queue { // to its end, so that nothing is under way afterwards
		<-e.done
		if stopped || err != nil || errors.Is(e.err, os.ErrNotExist) {
			continue
		}
		if err = e.err; err == nil {
			stopped = !yield(e.File)
		}
		if stopped || err != nil {
			cancel()
		}
	}
	listErr := g.Wait()
	if stopped || err != nil {
		return err
	}
	// The listing ends without an error where it waits for the loop.
	return cmp.Or(listErr, ctx.Err())
}
