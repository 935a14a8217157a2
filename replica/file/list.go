package file

import (
	"context"
	"fmt"
	"iter"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// LTXFiles lists a level. It reads the names in the level's directory when the loop
// begins, 16 bytes a file, and looks at a file shortly before the loop reaches it. The
// directory stays open until the loop ends.
//
// ModTime is the file's mtime. With ExactTimes, it is the timestamp in the LTX
// header where there is one, at the cost of opening each file that isn't Known.
func (s *Store) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		if err := s.list(ctx, level, opts, yield); err != nil {
			yield(replica.File{}, fmt.Errorf("list level %d: %w", level, err))
		}
	}
}

// list returns nil if yield ends it.
func (s *Store) list(ctx context.Context, level int, opts replica.ListOptions, yield func(replica.File, error) bool) error {
	if err := replica.CheckLevel(level); err != nil {
		return err
	}
	path, err := s.levelDir(ctx, level)
	if err != nil {
		return err
	}
	dir, err := openDir(path)
	if isMissing(err) {
		return s.checkAvailable() // to say that a replica is empty which is gone would be dangerous
	} else if err != nil {
		return err
	}
	defer dir.Close()
	names, err := readNames(ctx, dir, level, opts)
	if err != nil {
		return err
	}
	of, err := stat(dir)
	if err != nil {
		return err
	}
	gone := !names.left()
	for done := 0; names.left(); {
		// At first one, so that a loop that ends early has looked at few.
		batch := names.take(min(done/8+1, maxBatch))
		done += len(batch)
		looks, err := s.lookAtAll(ctx, dir, of, level, batch, opts)
		if err != nil {
			return err
		}
		for i := range looks {
			l := &looks[i]
			if l.err == nil && opts.ExactTimes && !opts.NamesOnly && !opts.SetKnownTime(&l.file) {
				// It may be another file than a moment ago: size, time and version must
				// be of the same one.
				l.file, l.err = s.exact(ctx, l.file.Name)
			}
			if isMissing(l.err) {
				gone = true
				continue
			}
			if l.err == nil {
				l.err = ctx.Err()
			}
			if l.err != nil {
				return l.err
			}
			if !yield(l.file, nil) {
				return nil
			}
		}
	}
	if gone {
		// With the root, as on a disk that is unmounted, everything below it
		// vanishes, even while it is listed, and a short listing would look
		// like a deletion.
		return s.checkAvailable()
	}
	return nil
}

// readNames returns the names in a directory that matter.
func readNames(ctx context.Context, dir *os.File, level int, opts replica.ListOptions) (*names, error) {
	n := &names{}
	for e, err := range entries(ctx, dir) {
		if err != nil {
			return nil, err
		}
		name, ok := replica.ParseName(level, e.name)
		if !ok || name.MinTXID > name.MaxTXID || name.MinTXID < opts.From {
			continue
		}
		if opts.NamesOnly {
			if regular, err := e.isRegular(dir); err != nil {
				return nil, err
			} else if !regular {
				continue
			}
		}
		n.add(txids{name.MinTXID, name.MaxTXID})
	}
	n.sort()
	return n, nil
}

const (
	// maxBatch is how many files are looked at before the loop gets them.
	maxBatch = 4096

	// lookers is how many files are looked at at once: on a disk of its own, more are
	// of little use, and over a network each waits.
	lookers = 4

	// minShared is how many are worth that.
	minShared = 256
)

// look is what looking at a file has shown: the file as a listing has it, or why it isn't there.
type look struct {
	file replica.File
	err  error
}

// lookAtAll looks at files.
func (s *Store) lookAtAll(ctx context.Context, dir *os.File, of attributes, level int, batch []txids, opts replica.ListOptions) ([]look, error) {
	looks := make([]look, len(batch))
	some := func(from, to int) error {
		for i, n := range batch[from:to] {
			if err := ctx.Err(); err != nil {
				return err
			}
			l := &looks[from+i]
			l.file.Name = replica.Name{Level: level, MinTXID: n.min, MaxTXID: n.max}
			if !opts.NamesOnly {
				l.file, l.err = lookAt(dir, of, l.file.Name)
			}
		}
		return nil
	}
	if len(batch) <= minShared {
		return looks, some(0, len(batch))
	}
	var g errgroup.Group
	for i := range lookers {
		g.Go(func() error { return some(i*len(batch)/lookers, (i+1)*len(batch)/lookers) })
	}
	return looks, g.Wait()
}

// lookAt returns a file in an open directory, or an error that wraps os.ErrNotExist.
func lookAt(dir *os.File, of attributes, name replica.Name) (replica.File, error) {
	base := name.Base()
	st, err := statIn(dir, of, base)
	if err == nil {
		err = st.checkRegular(base)
	}
	if err != nil {
		return replica.File{}, err
	}
	return st.file(name), nil
}
