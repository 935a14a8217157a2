package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"

	"github.com/ltxfs/ltxfs/replica"
)

// LTXFiles lists a level. It reads the names in the level's directory when the loop
// begins, 24 bytes a file, and looks at a file when the loop reaches it. The
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
	gone := len(names) == 0
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, err := s.look(ctx, dir, of, name, opts)
		if isMissing(err) {
			gone = true
			continue
		}
		if err != nil {
			return err
		}
		if !yield(f, nil) {
			return nil
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

// readNames returns the names in a directory that matter, sorted.
func readNames(ctx context.Context, dir *os.File, level int, opts replica.ListOptions) (names []replica.Name, err error) {
	add := func(base string) bool {
		if name, ok := replica.ParseName(level, base); ok && name.Check() == nil && name.MinTXID >= opts.From {
			names = append(names, name)
		}
		return true
	}
	if opts.NamesOnly {
		err = eachEntry(ctx, dir, (*os.File).ReadDir, func(e fs.DirEntry) bool {
			return !e.Type().IsRegular() || add(e.Name())
		})
	} else {
		err = eachEntry(ctx, dir, (*os.File).Readdirnames, add)
	}
	slices.SortFunc(names, replica.Name.Compare)
	return slices.Compact(names), err
}

// look returns a file as a listing has it, or an error that wraps os.ErrNotExist.
func (s *Store) look(ctx context.Context, dir *os.File, of attributes, name replica.Name, opts replica.ListOptions) (replica.File, error) {
	if opts.NamesOnly {
		return replica.File{Name: name}, nil
	}
	st, err := statIn(dir, of, name.Base())
	if err == nil {
		err = st.checkRegular(name.Base())
	}
	if err != nil {
		return replica.File{}, err
	}
	f := st.file(name)
	if !opts.ExactTimes {
		return f, nil
	}
	if opts.SetKnownTime(&f) {
		return f, nil
	}
	// It may be another file than a moment ago: size, time and version must be
	// of the same one.
	return s.exact(ctx, name)
}

// entriesPerRead is how many entries are read from a directory at once.
const entriesPerRead = 1024

// eachEntry calls f with each entry of a directory, as read reads them, in no order,
// until it returns false. An entry may come twice if the directory changes meanwhile.
func eachEntry[E any](ctx context.Context, dir *os.File, read func(*os.File, int) ([]E, error), f func(E) bool) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := read(dir, entriesPerRead)
		for _, e := range entries {
			if !f(e) {
				return nil
			}
		}
		// A directory that was removed after it was opened reads as missing.
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
