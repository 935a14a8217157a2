package mock

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/ltxfs/ltxfs/replica"
)

// LTXFiles lists the files of a level as the store shows them when the loop
// begins. With ExactTimes, each file that isn't Known costs one OpHead. With
// NamesOnly, nothing else is told.
func (s *Store) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		if err := s.list(ctx, level, opts, yield); err != nil {
			yield(replica.File{}, fmt.Errorf("list level %d: %w", level, err))
		}
	}
}

func (s *Store) list(ctx context.Context, level int, opts replica.ListOptions, yield func(replica.File, error) bool) error {
	if err := replica.CheckLevel(level); err != nil {
		return err
	}
	if err := s.begin(ctx, OpList, nil); err != nil {
		return err
	}
	objects := s.startListing(level, opts)
	defer s.endListing()
	for _, name := range slices.SortedFunc(maps.Keys(objects), replica.Name.Compare) {
		if err := s.begin(ctx, OpNext, &name); err != nil {
			return err
		}
		s.mu.Lock()
		_, there := s.shown[name]
		f := s.file(name, objects[name])
		s.mu.Unlock()
		if !there {
			continue // it vanished
		}
		if opts.NamesOnly {
			f = replica.File{Name: name}
		} else if opts.ExactTimes {
			if err := s.exact(ctx, &f, objects[name], opts); err != nil {
				return err
			}
		}
		if !yield(f, nil) {
			return nil
		}
	}
	return ctx.Err()
}

// startListing returns what a listing finds.
func (s *Store) startListing(level int, opts replica.ListOptions) map[replica.Name]*object {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	s.openListings++
	objects := make(map[replica.Name]*object)
	for name, o := range s.shown {
		if name.Level == level && name.MinTXID >= opts.From {
			objects[name] = o
		}
	}
	return objects
}

func (s *Store) endListing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openListings--
}

// exact sets the exact time of f, which is the object o.
func (s *Store) exact(ctx context.Context, f *replica.File, o *object, opts replica.ListOptions) error {
	if opts.SetKnownTime(f) {
		return nil
	}
	f.ModTime = o.created
	return s.begin(ctx, OpHead, &f.Name)
}
