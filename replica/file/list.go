package file

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"sync/atomic"

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
	out := &lookout{dir: dir, of: of, level: level, opts: opts, names: names}
	defer out.close()
	for looks := out.next(ctx); len(looks) > 0; looks = out.next(ctx) {
		for _, l := range looks {
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
	defer n.sorting.Wait()
	for e, err := range entries(ctx, dir) {
		if err != nil {
			return nil, err
		}
		name, ok := replica.ParseName(level, e.name)
		if ok = ok && name.MinTXID <= name.MaxTXID; !ok && opts.Stray != nil {
			opts.Stray(string(e.name))
		}
		if !ok || name.MinTXID < opts.From {
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
	maxBatch = 1024

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

// lookout looks at the files of a listing, batch by batch.
type lookout struct {
	dir     *os.File
	of      attributes
	level   int
	opts    replica.ListOptions
	names   *names // left to be looked at
	begun   int    // how many aren't
	workers sync.WaitGroup
	closed  atomic.Bool

	batch []txids
	ahead []look // of batch, while the workers run
	spare []look // as large, or not yet there
}

// next returns what the next files have shown, and nothing at the end. It is valid until
// the next call. Large batches are looked at while the loop is busy with the one before.
func (l *lookout) next(ctx context.Context) []look {
	if len(l.ahead) == 0 {
		l.begin(ctx)
	}
	l.workers.Wait()
	looks := l.ahead
	l.ahead, l.spare = l.spare[:0], looks
	if len(looks) >= minShared {
		l.begin(ctx)
	}
	return looks
}

// begin begins to look at a batch.
func (l *lookout) begin(ctx context.Context) {
	// At first one, so that a loop that ends early has looked at few.
	l.batch = l.names.take(l.batch, min(l.begun/8+1, maxBatch))
	n := len(l.batch)
	l.begun += n
	l.ahead = slices.Grow(l.ahead, n)[:n]
	if n < minShared || l.opts.NamesOnly {
		l.look(ctx, 0, n)
		return
	}
	for i := range lookers {
		l.workers.Go(func() { l.look(ctx, i*n/lookers, (i+1)*n/lookers) })
	}
}

// look looks at the files [from, to) of the batch.
func (l *lookout) look(ctx context.Context, from, to int) {
	for i, n := range l.batch[from:to] {
		if l.closed.Load() {
			return
		}
		name := replica.Name{Level: l.level, MinTXID: n.min, MaxTXID: n.max}
		shown := look{file: replica.File{Name: name}, err: ctx.Err()}
		if shown.err == nil && !l.opts.NamesOnly {
			shown.file, shown.err = lookAt(l.dir, l.of, name)
			if errors.Is(shown.err, errOdd) && l.opts.Stray != nil {
				l.opts.Stray(name.Base())
			}
		}
		l.ahead[from+i] = shown
	}
}

// close ends what looks ahead.
func (l *lookout) close() {
	l.closed.Store(true)
	l.workers.Wait()
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
