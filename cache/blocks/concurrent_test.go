package blocks

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
)

// requireConsistent checks what always holds, once nothing is under way but fetches.
func requireConsistent(t tester, c *Cache) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	cached, idle := 0, 0
	for k, file := range c.files {
		require.NotEmpty(t, file)
		for n, blk := range file {
			require.Equal(t, n, blk.n)
			require.Equal(t, k, blk.fetch.h.key)
			require.True(t, blk.found)
			if blk.elem != nil {
				cached++
				if blk.pins == 0 {
					idle++
				}
			}
		}
	}
	require.Equal(t, cached, c.recent.Len(), "blocks that are cached and can be found")
	require.Equal(t, idle, c.idle)
	require.LessOrEqual(t, int64(c.arena.used())*c.blockSize, c.budget.Used())
}

// faulty is a store with faults of all kinds, at random.
type faulty struct {
	*source
	mu  sync.Mutex
	rng *rand.Rand
}

func (s *faulty) draw(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.IntN(n)
}

func (s *faulty) OpenLTXFile(ctx context.Context, f replica.File, off, n int64) (io.ReadCloser, error) {
	switch s.draw(15) {
	case 0:
		return nil, errors.New("broken")
	case 1:
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case 2:
		return nil, replica.ErrReplaced
	}
	b, err := s.source.OpenLTXFile(ctx, f, off, n)
	return &faultyBody{b, s, ctx}, err
}

type faultyBody struct {
	io.ReadCloser
	store *faulty
	ctx   context.Context
}

func (b *faultyBody) Read(p []byte) (int, error) {
	switch b.store.draw(40) {
	case 0:
		return 0, errors.New("broken off")
	case 1: // it goes on after its deadline
		<-b.ctx.Done()
		time.Sleep(time.Duration(b.store.draw(300)) * time.Millisecond)
	case 2:
		return 0, replica.ErrReplaced
	}
	time.Sleep(time.Duration(b.store.draw(9)) * time.Millisecond)
	return b.ReadCloser.Read(p)
}

// Streams, seeks, uploads and evictions at once, over a faulty store: right bytes, or an
// error within the deadline that says what it is.
func TestStreamsOverFaults(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			const bs = 64
			rng := rand.New(rand.NewPCG(seed, 1))
			budget := NewBudget(int64(4+rng.IntN(60)) * bs)
			c := New(budget, Options{BlockSize: bs, FetchTimeout: time.Second})
			c.window = int64(1+rng.IntN(12)) * bs
			var readers sync.WaitGroup
			for i := range 2 {
				s := &faulty{source: newSource(i+1, int64(9000*(i+1))), rng: rand.New(rand.NewPCG(seed, uint64(2+i)))}
				shared := c.Open("replica", s, s.file)
				for j := range 3 {
					r := &faultyReader{c: c, s: s, h: shared, own: j == 2, rng: rand.New(rand.NewPCG(seed, uint64(10*i+j)))}
					if r.own {
						r.h = c.Open("replica", s, s.file)
					}
					readers.Go(func() {
						for range 150 {
							r.step(t)
						}
					})
				}
			}
			readers.Wait()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			requireConsistent(t, c)
			time.Sleep(2 * keepFor)
			synctest.Wait()
			require.Zero(t, budget.Used())
			requireConsistent(t, c)
			c.Close()
		})
	}
}

type faultyReader struct {
	c   *Cache
	s   *faulty
	h   *Handle
	own bool // nobody else has the handle
	rng *rand.Rand
	off int64
}

func (r *faultyReader) step(t *testing.T) {
	size := r.s.file.Size
	switch r.rng.IntN(14) {
	case 0:
		r.off = r.rng.Int64N(size)
	case 1:
		r.off = max(r.off-int64(r.rng.IntN(600)), 0)
	case 2:
		r.off += int64(r.rng.IntN(600))
	case 3:
		r.c.reclaim(int64(r.rng.IntN(5)) * r.c.blockSize)
	case 4:
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		n := r.rng.Int64N(r.c.budget.Size()) + 1
		if r.c.budget.Acquire(ctx, n) == nil { // as an upload does
			time.Sleep(time.Duration(r.rng.IntN(50)) * time.Millisecond)
			r.c.budget.Release(n)
		}
	case 5:
		if r.own {
			r.h.Close()
			r.h = r.c.Open("replica", r.s, r.s.file)
		}
	}
	if r.off >= size {
		r.off = 0
	}
	n := min(int64(1+r.rng.IntN(12*int(r.c.blockSize))), size-r.off)
	began := time.Now()
	slice, err := r.h.Read(t.Context(), make([]byte, n), r.off)
	require.LessOrEqual(t, time.Since(began), time.Second+time.Millisecond)
	if err != nil {
		require.NotContains(t, err.Error(), lostAhead{}.Error())
		return
	}
	defer slice.Release()
	require.Equal(t, int(n), slice.Len())
	time.Sleep(time.Duration(max(r.rng.IntN(800)-600, 0)) * time.Millisecond)
	r.s.check(t, slice, r.off)
	r.off += n
}
