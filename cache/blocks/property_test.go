package blocks

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Random reads, some of them held, against the plainest model there is.
func TestBlocksProperty(t *testing.T) {
	// As a plain TB: rapid asks a T for its deadline, which a bubble hasn't.
	synctest.Test(t, func(t *testing.T) { rapid.Check(struct{ testing.TB }{t}, blocksProperty) })
}

func blocksProperty(t *rapid.T) {
	const bs = 16
	slots := rapid.IntRange(1, 12).Draw(t, "slots")
	budget := NewBudget(int64(slots*bs) + rapid.Int64Range(0, bs-1).Draw(t, "rest"))
	c := New(budget, Options{BlockSize: bs})
	files := []*source{newSource(1, 200), newSource(2, 7), newSource(3, 64)}
	type holding struct {
		src   *source
		off   int64
		slice *Slice
	}
	type blockID struct{ file, n int64 }
	var held []holding
	upload := int64(0)
	pinned := func() map[blockID]bool {
		ids := map[blockID]bool{}
		for _, h := range held {
			for n := h.off / bs; len(h.slice.blocks) > 0 && n*bs < h.off+int64(h.slice.Len()); n++ {
				ids[blockID{int64(h.src.file.MinTXID), n}] = true
			}
		}
		return ids
	}
	check := func() {
		synctest.Wait() // for what is fetched ahead
		for _, h := range held {
			h.src.check(t, h.slice, h.off)
		}
		stats := c.Stats()
		used := budget.Used() - upload
		require.LessOrEqual(t, used+upload, budget.Size())
		require.Equal(t, int64(c.arena.used())*bs, used)
		require.LessOrEqual(t, stats.CachedBytes, used)
		require.LessOrEqual(t, int64(len(pinned()))*bs, used)
	}
	release := func() {
		i := rapid.IntRange(0, len(held)-1).Draw(t, "release")
		held[i].slice.Release()
		held = append(held[:i], held[i+1:]...)
	}
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		switch rapid.IntRange(0, 9).Draw(t, "op") {
		case 0:
			c.Drop("replica", files[rapid.IntRange(0, 2).Draw(t, "file")].file)
		case 1, 2:
			if len(held) > 0 {
				release()
			}
		case 3:
			budget.Release(upload)
			upload = 0
			// Forgotten blocks that are still pinned count, too.
			most := budget.Size() - int64(c.arena.used()-c.idle)*bs
			n := rapid.Int64Range(0, most).Draw(t, "upload")
			require.NoError(t, budget.Acquire(context.Background(), n))
			upload = n
		default:
			// There must be room for one block, or it would wait.
			for upload+int64(c.arena.used()-c.idle+1)*bs > budget.Size() {
				if len(held) == 0 {
					budget.Release(upload)
					upload = 0
					continue
				}
				release()
			}
			src := files[rapid.IntRange(0, 2).Draw(t, "file")]
			off := rapid.Int64Range(0, src.file.Size).Draw(t, "off")
			n := rapid.IntRange(0, 300).Draw(t, "n")
			want := min(int64(n), src.file.Size-off)
			if want == 0 || rapid.Bool().Draw(t, "whole") {
				slice := src.slice(t, c, off, n)
				require.Equal(t, want, int64(slice.Len()))
				held = append(held, holding{src, off, slice})
				break
			}
			slice, err := src.part(context.Background(), c, off, n)
			require.NoError(t, err)
			src.check(t, slice, off)
			require.Positive(t, slice.Len())
			require.LessOrEqual(t, int64(slice.Len()), want)
			held = append(held, holding{src, off, slice})
		}
		check()
	}
	budget.Release(upload)
	c.Close()
	for _, h := range held {
		h.src.check(t, h.slice, h.off)
		h.slice.Release()
	}
	requireUnused(t, budget)
}

// Everything at once, for the race detector and for deadlocks.
func TestBlocksHammer(t *testing.T) {
	const bs = 64
	budget := NewBudget(12 * bs)
	c := New(budget, Options{BlockSize: bs})
	var files []*source
	for i := range 4 {
		files = append(files, newSource(i+1, 1500+int64(i)))
	}
	rounds := 1000
	if testing.Short() {
		rounds = 200
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 1))
			for range rounds {
				src := files[r.IntN(len(files))]
				switch r.IntN(20) {
				case 0:
					c.Drop("replica", src.file)
				case 1:
					n := r.Int64N(budget.Size()) + 1
					require.NoError(t, budget.Acquire(context.Background(), n))
					budget.Release(n)
				case 2:
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(20))*time.Microsecond)
					slice, err := src.handle(c).Read(ctx, make([]byte, 1+r.IntN(1500)), r.Int64N(src.file.Size))
					cancel()
					if err == nil {
						slice.Release()
					}
				default:
					src.read(t, c, r.Int64N(src.file.Size), 1+r.IntN(1500))
				}
			}
		})
	}
	wg.Wait()
	c.Close()
	requireUnused(t, budget)
	require.Zero(t, c.arena.used())
}
