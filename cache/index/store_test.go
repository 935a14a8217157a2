package index

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// tester is a testing.T or a rapid.T.
type tester interface {
	require.TestingT
	Helper()
}

// uploadTime is what a store like S3 lists as the time of every file.
var uploadTime = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// store is a replica.Store of one level that counts, and fails or waits on demand.
type store struct {
	replica.Store

	mu     sync.Mutex
	files  map[replica.Name]replica.File
	frozen map[replica.Name]replica.File // what requests see, unless nil
	lists  int
	from   []int // where each of them began
	stats  int
	asked  []int // the min TXIDs of the files whose exact times were asked for

	// uploads makes it one that has the times of uploads, unless it is asked for
	// the exact ones.
	uploads bool

	// Called, if they aren't nil, once a request has seen what it will answer,
	// and before it answers.
	onList func(ctx context.Context) error
	onStat func(ctx context.Context) error

	// onFile is called, if it isn't nil, before the i-th file of a listing.
	onFile func(ctx context.Context, i int) error

	// onExact is called, if it isn't nil, before the exact time of a file is
	// looked for.
	onExact func(ctx context.Context, min int) error

	mangle func([]replica.File) []replica.File // what is listed
	endErr error                               // at the end of a listing

	unordered bool // as in Properties
}

func (s *store) Properties() replica.Properties { return replica.Properties{Unordered: s.unordered} }

func newStore(files ...replica.File) *store {
	s := &store{files: map[replica.Name]replica.File{}}
	for _, f := range files {
		s.write(f)
	}
	return s
}

func newUploadStore(files ...replica.File) *store {
	s := newStore(files...)
	s.uploads = true
	return s
}

func name(min, max int) replica.Name {
	return replica.Name{Level: 2, MinTXID: ltx.TXID(min), MaxTXID: ltx.TXID(max)}
}

func file(min, max int) replica.File { return fileOf(min, max, 1) }

// fileOf is one of many contents of a file.
func fileOf(min, max, content int) replica.File {
	return replica.File{
		Name: name(min, max), Size: int64(1000 + content), ModTime: time.Unix(int64(content), 5).UTC(),
		Version: replica.Version{ETag: fmt.Sprintf(`"%032x-3"`, content), Modified: int64(content + 7), Size: int64(1000 + content)},
	}
}

func numbered(n int) (files []replica.File) {
	for i := range n {
		files = append(files, fileOf(i+1, i+1, i+1))
	}
	return files
}

func (s *store) write(f replica.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[f.Name] = f
}

func (s *store) delete(min, max int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name(min, max))
}

// freeze makes requests see the store as it is now, until thaw.
func (s *store) freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = maps.Clone(s.files)
}

func (s *store) thaw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frozen = nil
}

// seen is what requests see. s.mu is held.
func (s *store) seen() map[replica.Name]replica.File {
	if s.frozen != nil {
		return s.frozen
	}
	return s.files
}

// counts returns the listings and stats since it was last called.
func (s *store) counts() (lists, stats int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lists, stats = s.lists, s.stats
	s.lists, s.stats = 0, 0
	return lists, stats
}

func requireCounts(t tester, s *store, lists, stats int) {
	t.Helper()
	l, st := s.counts()
	require.Equal(t, [2]int{lists, stats}, [2]int{l, st}, "listings and stats")
}

// requireAsked fails the test unless those files were asked for since the last
// call.
func (s *store) requireAsked(t tester, want ...int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.ElementsMatch(t, want, s.asked)
	s.asked = nil
}

func (s *store) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		if err := s.list(ctx, level, opts, yield); err != nil {
			yield(replica.File{}, err)
		}
	}
}

func (s *store) list(ctx context.Context, level int, opts replica.ListOptions, yield func(replica.File, error) bool) error {
	if level != 2 || opts.NamesOnly || opts.Known == nil {
		return fmt.Errorf("LTXFiles(%d, %+v): %w", level, opts, os.ErrInvalid)
	}
	s.mu.Lock()
	s.lists++
	s.from = append(s.from, int(opts.From))
	files := slices.SortedFunc(maps.Values(s.seen()), func(a, b replica.File) int { return a.Compare(b.Name) })
	files = slices.DeleteFunc(files, func(f replica.File) bool { return f.MinTXID < opts.From })
	onList := s.onList
	s.mu.Unlock()
	if s.mangle != nil {
		files = s.mangle(files)
	}
	if onList != nil {
		if err := onList(ctx); err != nil {
			return err
		}
	}
	for i, f := range files {
		if s.onFile != nil {
			if err := s.onFile(ctx, i); err != nil {
				return err
			}
		}
		f, ok, err := s.listed(ctx, f, opts)
		if err != nil {
			return err
		}
		if ok && !yield(f, nil) {
			return nil
		}
	}
	return s.endErr
}

// listed is a file as a listing has it.
func (s *store) listed(ctx context.Context, f replica.File, opts replica.ListOptions) (replica.File, bool, error) {
	if !s.uploads {
		return f, true, nil
	}
	f.ModTime = uploadTime
	if !opts.ExactTimes {
		return f, true, nil
	}
	if t, ok := opts.Known(f); ok {
		f.ModTime = t
		return f, true, nil
	}
	return s.exact(ctx, f.Name)
}

// exact is a file as it is now, with its exact time.
func (s *store) exact(ctx context.Context, name replica.Name) (replica.File, bool, error) {
	s.mu.Lock()
	s.asked = append(s.asked, int(name.MinTXID))
	s.mu.Unlock()
	if s.onExact != nil {
		if err := s.onExact(ctx, int(name.MinTXID)); err != nil {
			return replica.File{}, false, replica.NewFileError("stat", name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.seen()[name]
	return f, ok, nil
}

func (s *store) StatLTXFile(ctx context.Context, name replica.Name, opts replica.StatOptions) (replica.File, error) {
	s.mu.Lock()
	s.stats++
	f, ok := s.seen()[name]
	onStat := s.onStat
	s.mu.Unlock()
	if onStat != nil {
		if err := onStat(ctx); err != nil {
			return replica.File{}, err
		}
	}
	if s.uploads && opts.ExactTime {
		var err error
		if f, ok, err = s.exact(ctx, name); err != nil {
			return replica.File{}, err
		}
	} else if s.uploads {
		f.ModTime = uploadTime
	}
	if !ok {
		return replica.File{}, replica.NewFileError("stat", name, os.ErrNotExist)
	}
	return f, nil
}
