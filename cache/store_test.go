package cache

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
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

// store is a replica.Client of one level that counts, and fails or waits on
// demand. It has none of the client's optional interfaces.
type store struct {
	replica.Client

	mu     sync.Mutex
	files  map[fileRange]replica.File
	frozen map[fileRange]replica.File // what requests see, unless nil
	lists  int
	stats  int

	// Called, if they aren't nil, once a request has seen what it will answer,
	// and before it answers.
	onList func(ctx context.Context) error
	onStat func(ctx context.Context) error

	versions bool // the iterator is a replica.VersionIterator
	mangle   func([]replica.File) []replica.File
	endErr   error // of the iterator
	closeErr error
}

func newStore(files ...replica.File) *store {
	s := &store{files: map[fileRange]replica.File{}, versions: true}
	for _, f := range files {
		s.write(f)
	}
	return s
}

func file(min, max int) replica.File { return fileOf(min, max, 1) }

// fileOf is one of many contents of a file.
func fileOf(min, max, content int) replica.File {
	return replica.File{
		Level: 2, MinTXID: ltx.TXID(min), MaxTXID: ltx.TXID(max), Size: int64(1000 + content),
		ModTime: time.Unix(int64(content), 5).UTC(), Version: replica.Version(fmt.Sprintf("%08x", content)),
	}
}

func nameOf(f replica.File) fileRange { return fileRange{f.MinTXID, f.MaxTXID} }

func (s *store) write(f replica.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[nameOf(f)] = f
}

func (s *store) delete(min, max int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, fileRange{ltx.TXID(min), ltx.TXID(max)})
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
func (s *store) seen() map[fileRange]replica.File {
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

func (s *store) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if level != 2 || seek != 0 || useMetadata {
		return nil, fmt.Errorf("LTXFiles(%d, %d, %v): %w", level, seek, useMetadata, os.ErrInvalid)
	}
	s.mu.Lock()
	s.lists++
	files := slices.SortedFunc(maps.Values(s.seen()), func(a, b replica.File) int {
		return cmp.Or(cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.MaxTXID, b.MaxTXID))
	})
	onList := s.onList
	s.mu.Unlock()
	if s.mangle != nil {
		files = s.mangle(files)
	}
	if onList != nil {
		if err := onList(ctx); err != nil {
			return nil, err
		}
	}
	it := &iterator{files: files, at: -1, err: s.endErr, closeErr: s.closeErr}
	if s.versions {
		return versionIterator{it}, nil
	}
	return it, nil
}

type iterator struct {
	files         []replica.File
	at            int
	err, closeErr error
}

func (it *iterator) Next() bool          { it.at++; return it.at < len(it.files) }
func (it *iterator) Err() error          { return it.err }
func (it *iterator) Close() error        { return it.closeErr }
func (it *iterator) Item() *ltx.FileInfo { return it.files[it.at].Info() }

type versionIterator struct{ *iterator }

func (it versionIterator) Version() replica.Version { return it.files[it.at].Version }

// statStore is a store that is a replica.Stater.
type statStore struct{ *store }

func (s statStore) StatLTXFile(ctx context.Context, level int, min, max ltx.TXID) (replica.File, error) {
	s.mu.Lock()
	s.stats++
	f, ok := s.seen()[fileRange{min, max}]
	onStat := s.onStat
	s.mu.Unlock()
	if onStat != nil {
		if err := onStat(ctx); err != nil {
			return replica.File{}, err
		}
	}
	if !ok {
		return replica.File{}, replica.NewFileError("stat", level, min, max, os.ErrNotExist)
	}
	return f, nil
}
