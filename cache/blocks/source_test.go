package blocks

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// source is a store of one file. It counts.
type source struct {
	replica.Store
	file replica.File

	requests int // Properties.Requests

	// open is called before the bytes are read, if it isn't nil.
	open func(ctx context.Context, off, n int64) error

	mu      sync.Mutex
	fetches []string // "off+n" of each, in order
}

func newSource(id int, size int64) *source {
	return &source{file: replica.File{
		Name:    replica.Name{Level: 1, MinTXID: ltx.TXID(id), MaxTXID: ltx.TXID(id)},
		Size:    size,
		Version: replica.Version{ETag: `"v1"`, Size: size},
	}}
}

func (s *source) Properties() replica.Properties { return replica.Properties{Requests: s.requests} }

// at is the file's byte at off.
func (s *source) at(off int64) byte {
	return byte(off) ^ byte(off>>8)*31 ^ byte(off>>16)*17 ^ byte(s.file.MinTXID)*101
}

func (s *source) OpenLTXFile(ctx context.Context, f replica.File, off, n int64) (io.ReadCloser, error) {
	s.mu.Lock()
	s.fetches = append(s.fetches, fmt.Sprintf("%d+%d", off, n))
	s.mu.Unlock()
	if f.Version != s.file.Version {
		return nil, replica.NewFileError("open", f.Name, replica.ErrReplaced)
	}
	if s.open != nil {
		if err := s.open(ctx, off, n); err != nil {
			return nil, err
		}
	}
	return &body{s: s, off: off, end: min(off+n, s.file.Size)}, nil
}

// body is a range of a source.
type body struct {
	s        *source
	off, end int64
	closeErr error
}

func (b *body) Read(p []byte) (int, error) {
	if b.off >= b.end {
		return 0, io.EOF
	}
	n := 0
	for ; n < len(p) && b.off < b.end; n++ {
		p[n] = b.s.at(b.off)
		b.off++
	}
	return n, nil
}

func (b *body) Close() error { return b.closeErr }

// fetched returns the fetches since it was last called.
func (s *source) fetched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.fetches
	s.fetches = nil
	return f
}

// check checks that a slice holds the file's bytes from off on.
func (s *source) check(t tester, slice *Slice, off int64) {
	t.Helper()
	i := off
	for _, part := range slice.Slices() {
		require.NotEmpty(t, part)
		require.Equal(t, len(part), cap(part))
		for _, c := range part {
			if c != s.at(i) {
				require.Fail(t, "wrong byte", "at %d: %d, not %d", i, c, s.at(i))
			}
			i++
		}
	}
	require.Equal(t, int64(slice.Len()), i-off)
}

func (s *source) handle(c *Cache) *Handle { return c.Open("replica", s, s.file) }

// slice reads n bytes and checks them. Its caller releases.
func (s *source) slice(t tester, c *Cache, off int64, n int) *Slice {
	t.Helper()
	slice, err := s.handle(c).Read(context.Background(), make([]byte, n), off)
	require.NoError(t, err)
	s.check(t, slice, off)
	return slice
}

// read reads, checks and releases.
func (s *source) read(t tester, c *Cache, off int64, n int) int {
	t.Helper()
	slice := s.slice(t, c, off, n)
	defer slice.Release()
	return slice.Len()
}

// part reads what of n bytes the budget can hold at once.
func (s *source) part(ctx context.Context, c *Cache, off int64, n int) (*Slice, error) {
	return s.handle(c).ReadSome(ctx, int64(n), off)
}

// readPart reads a part, checks and releases.
func (s *source) readPart(t tester, c *Cache, off int64, n int) int {
	t.Helper()
	slice, err := s.part(context.Background(), c, off, n)
	require.NoError(t, err)
	defer slice.Release()
	s.check(t, slice, off)
	return slice.Len()
}

type result struct {
	slice *Slice
	err   error
}

func later(read func() (*Slice, error)) <-chan result {
	c := make(chan result, 1)
	go func() {
		slice, err := read()
		c <- result{slice, err}
	}()
	synctest.Wait()
	return c
}

// readLater reads in a goroutine.
func (s *source) readLater(ctx context.Context, c *Cache, off int64, n int) <-chan result {
	return later(func() (*Slice, error) { return s.handle(c).Read(ctx, make([]byte, n), off) })
}

// partLater reads a part in a goroutine.
func (s *source) partLater(ctx context.Context, c *Cache, off int64, n int) <-chan result {
	return later(func() (*Slice, error) { return s.part(ctx, c, off, n) })
}

// requireUnused checks that a budget is free again. Of a fetch that has failed, the
// memory is given back once nothing writes to it.
func requireUnused(t tester, budget *Budget) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); budget.Used() > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	require.Zero(t, budget.Used())
}

// newCache returns a cache of that many blocks, and checks at the end that
// nothing is left of it.
func newCache(t *testing.T, blocks, blockSize int) (*Cache, *Budget) {
	budget := NewBudget(int64(blocks * blockSize))
	c := New(budget, Options{BlockSize: blockSize})
	c.window = 0 // nothing is fetched but what is read
	t.Cleanup(func() {
		c.Close()
		requireUnused(t, budget)
		require.Nil(t, c.arena.bytes)
		require.Empty(t, c.files)
		require.Zero(t, c.recent.Len())
		require.Zero(t, c.idle)
		require.Zero(t, c.ahead)
		require.Zero(t, c.guessing)
		require.Zero(t, c.guessed.Len())
	})
	return c, budget
}
