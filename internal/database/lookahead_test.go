package database

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/mock"
)

// TestScan: who reads an index of which the pages lie scattered waits an eighth of the times
// that he would, in no more requests, and has each block fetched once: in either direction,
// over many parents and several levels of them, in one file or more.
func TestScan(t *testing.T) {
	for _, tt := range []struct {
		pageSize              uint32
		leaves, fanout, files int
	}{{1024, 6000, 20, 1}, {4096, 2000, 300, 1}, {4096, 2000, 7, 9}, {32768, 300, 100, 2}} {
		d := newScattered(t, tt.pageSize, tt.leaves, tt.fanout, tt.files)
		for _, dir := range []int{1, -1} {
			without, with := d.bothWays(t, 256<<20, d.scan(dir))
			t.Logf("%+v: %+v, %+v", tt, without, with)
			assert.Equal(t, without.waited, without.requests)
			assert.Zero(t, without.guessed)
			assert.LessOrEqual(t, 8*with.waited, without.waited)
			assert.LessOrEqual(t, with.requests, without.requests)
			assert.Equal(t, without.bytes, with.bytes-(with.guessed-with.used), "no block twice")
		}
	}
}

// TestScanInSmallBudget: a scan has the right bytes and keeps to the budget, however small, and
// waits less if there is room for guesses.
func TestScanInSmallBudget(t *testing.T) {
	d := newScattered(t, 4096, 500, 60, 2)
	pages := d.scan(1)
	for _, tt := range []struct {
		budget int64
		less   int
	}{{64 << 10, 0}, {128 << 10, 0}, {1 << 20, 3}, {4 << 20, 5}} {
		without, with := d.bothWays(t, tt.budget, pages)
		t.Logf("%+v: %+v, %+v", tt, without, with)
		if tt.less == 0 {
			assert.Equal(t, without, with)
		} else {
			assert.LessOrEqual(t, tt.less*with.waited, without.waited)
		}
	}
}

// TestSlowScan: what is guessed waits for a reader who takes his time, also in a small budget.
func TestSlowScan(t *testing.T) {
	d := newScattered(t, 4096, 500, 60, 2)
	pages := d.scan(1)
	for _, budget := range []int64{1 << 20, 4 << 20, 8 << 20} {
		without, _ := d.bothWays(t, budget, pages)
		for _, pause := range []time.Duration{100 * time.Millisecond, time.Second} {
			d.during(t, budget, func(s *scanning) {
				for _, pgno := range pages {
					s.read(pgno)
					time.Sleep(pause)
				}
				c := s.cost()
				assert.Greater(t, c.used, c.bytes*9/10)
				assert.LessOrEqual(t, c.bytes, without.bytes+c.guessed-c.used, "no block more than without guesses")
			})
		}
	}
}

// TestLookups: who looks for one key, or for one after the other, has nothing fetched that he
// doesn't ask for, whether the index was scanned before or not.
func TestLookups(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	rng := rand.New(rand.NewPCG(3, 3))
	var all []uint32
	for range 200 {
		all = append(all, d.lookup(d.leaves[rng.IntN(len(d.leaves))])...)
	}
	for _, pages := range [][]uint32{all[:3], all} {
		without, with := d.bothWays(t, 256<<20, pages)
		assert.Equal(t, without, with)
	}
	pages := d.scan(1)[:200]
	d.during(t, 256<<20, func(s *scanning) {
		s.read(pages...)
		scanned := s.cost()
		require.Positive(t, scanned.guessed)
		s.read(all...)
		assert.Equal(t, scanned.guessed, s.cost().guessed)
	})
}

// scanAt is where among the pages that a scan reads it is one: after so many steps to one that
// doesn't lie behind the last.
func (d *scattered) scanAt(pages []uint32) int {
	steps, last := 0, uint32(0)
	for i, pgno := range pages {
		if d.children[pgno] != nil {
			continue
		}
		if last > 0 && pgno != last+1 {
			steps += stepInRow
		}
		if last = pgno; steps >= scanAfter {
			return i
		}
	}
	panic("it is none")
}

// TestScanEnds: who reads a few pages in order has no more fetched ahead than the first guesses,
// and who goes on elsewhere nothing more.
func TestScanEnds(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	pages := d.scan(1)
	n, leaves := d.scanAt(pages), d.leaves
	d.during(t, 256<<20, func(s *scanning) {
		s.read(pages[:n]...)
		require.Zero(t, s.cost().guessed)
		s.read(pages[n])
		first := s.cost()
		assert.Positive(t, first.guessed)
		assert.LessOrEqual(t, first.guessed, int64(firstGuesses+1)*128<<10)
		for i := 100; i < len(leaves); i += 100 {
			s.read(leaves[i])
		}
		assert.Equal(t, first.guessed, s.cost().guessed)
	})
}

// TestScansThatStop: what was guessed of scans that a reader doesn't go on with keeps no other from
// being guessed.
func TestScansThatStop(t *testing.T) {
	d := newScattered(t, 4096, 4000, 60, 1)
	d.during(t, 32<<20, func(s *scanning) {
		s.read(d.interior()...)
		for i := range 10 {
			s.reset()
			s.read(d.leaves[400*i : 400*i+50]...)
			assert.LessOrEqual(t, s.cost().waited, 6, "scan %d", i)
			time.Sleep(2 * time.Second)
		}
	})
}

// TestScansThatAreOver: they leave their places to others that begin.
func TestScansThatAreOver(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	d.during(t, 256<<20, func(s *scanning) {
		s.read(d.interior()...)
		guessed := int64(0)
		requireGuessed := func() {
			t.Helper()
			now := s.cost().guessed
			require.Greater(t, now, guessed)
			guessed = now
		}
		for i := range maxScans {
			s.read(d.leaves[120*i : 120*i+6]...)
			requireGuessed()
		}
		elsewhere := 0
		lookUp := func() {
			s.read(d.leaves[600+elsewhere*61%600])
			elsewhere++
		}
		for range scanOver {
			lookUp()
		}
		require.Equal(t, guessed, s.cost().guessed)
		for _, leaf := range d.leaves[1300:1310] {
			s.read(leaf)
			lookUp()
		}
		requireGuessed()
	})
}

// TestFewRequests: guesses take no more than half of the requests that may be under way, so that
// who looks for something else has it at once.
func TestFewRequests(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	for requests, most := range map[int]int{6: 3, 4: 2, 1: 0} {
		d.duringWith(t, limit.NewInFlight(requests), 256<<20, func(s *scanning) {
			pages := d.scan(1)
			n := d.scanAt(pages)
			s.read(pages[n], d.leaves[1400])
			s.read(pages[:n]...)
			remove := d.store.Inject(mock.Fault{Op: mock.OpOpen, Wait: make(chan struct{})})
			s.reset()
			s.read(pages[n])
			synctest.Wait()
			assert.Equal(t, most, d.store.Calls(mock.OpOpen))
			remove()
			s.read(d.leaves[700])
			assert.Equal(t, roundTrip, time.Since(s.began))
			assert.Equal(t, most+1, d.store.Calls(mock.OpOpen))
			s.rd.Close()
			time.Sleep(time.Second)
			s.open()
		})
	}
}

// TestFilesThatAreClosed: who reads other files by now has nothing guessed of those before.
func TestFilesThatAreClosed(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	pages := d.scan(1)
	n := d.scanAt(pages)
	for _, handles := range []bool{true, false} {
		d.during(t, 256<<20, func(s *scanning) {
			s.read(pages[n])
			s.read(pages[:n]...)
			f := s.rd.files
			if !handles {
				f = s.r.open(f.content)
			}
			f.close()
			s.reset()
			s.rd.looks(t.Context(), f, int64(pages[n]-1)*int64(d.PageSize), int64(d.PageSize))
			synctest.Wait()
			assert.Zero(t, d.store.Calls(mock.OpOpen))
			s.rd.looks(t.Context(), s.r.open(f.content), int64(pages[n]-1)*int64(d.PageSize), int64(d.PageSize))
			synctest.Wait()
			assert.Positive(t, d.store.Calls(mock.OpOpen))
		})
	}
}

// TestKernelHasPages: what the kernel has of a state isn't asked for again: not the interior
// pages by who opens it later, nor some of the others.
func TestKernelHasPages(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	interior := d.interior()
	var leaves []uint32
	for i, pgno := range d.leaves {
		if i%7 != 5 {
			leaves = append(leaves, pgno)
		}
	}
	d.during(t, 256<<20, func(s *scanning) {
		s.read(interior...)
		s.rd.Close()
		s.open()
		s.reset()
		s.read(leaves...)
		c := s.cost()
		t.Logf("%d pages: %+v", len(leaves), c)
		assert.LessOrEqual(t, 8*c.waited, len(interior)+c.requests)
	})
}

// TestStreamsAreNoScans: who copies the database, or reads pages that follow each other, has
// ahead what a stream has, and no guesses.
func TestStreamsAreNoScans(t *testing.T) {
	d := newScattered(t, 4096, 500, 60, 1)
	all := make([]uint32, len(d.file)/4096)
	for i := range all {
		all[i] = uint32(i) + 1
	}
	without, with := d.bothWays(t, 64<<20, all)
	assert.Equal(t, without, with)
	for _, n := range []int{16 << 10, 128 << 10} {
		copies := func(forget bool) (c cost) {
			d.during(t, 64<<20, func(s *scanning) {
				if forget {
					s.forgetful()
				}
				for off := 0; off < len(d.file); off += n {
					synctest.Wait()
					b := make([]byte, n)
					got, err := s.rd.ReadAt(context.Background(), b, int64(off))
					require.NoError(t, err)
					require.Equal(t, d.file[off:min(off+n, len(d.file))], b[:got])
				}
				c = s.cost()
			})
			return c
		}
		assert.Equal(t, copies(true), copies(false), "%d bytes at a time", n)
	}
}

// TestNoDatabase: of what is no database, or an encrypted one, nothing is remembered.
func TestNoDatabase(t *testing.T) {
	h := newHistory(t, 1, 4096)
	h.Commit(2000, 0)
	r := newRig(t, h.store, 64<<20)
	require.Equal(t, h.File(1), r.bytes(t, 1))
	assert.Zero(t, r.opts.Maps.trees.used)
	assert.Zero(t, r.opts.Maps.trees.recent.Len())
}

// TestDamagedInterior: an interior page that is damaged is given as it is, and nothing is
// guessed by it.
func TestDamagedInterior(t *testing.T) {
	d := newScattered(t, 4096, 200, 60, 1)
	pages := d.scan(1)
	for _, pgno := range pages {
		if d.children[pgno] != nil {
			d.page(pgno)[4]++ // a cell more
		}
	}
	d.commit(slices.Clone(d.file))
	d.during(t, 64<<20, func(s *scanning) {
		s.read(pages...)
		assert.Zero(t, s.cost().guessed)
		assert.Zero(t, s.r.opts.Maps.trees.used)
	})
}

// begin reads up to where a scan has its first guesses fetched, and returns what is left of
// its pages. The store is asked for nothing else once fault is there.
func (s *scanning) begin(pages []uint32, fault mock.Fault) (rest []uint32, remove func()) {
	n := s.d.scanAt(pages)
	s.read(pages[n])
	s.read(pages[:n]...)
	require.Zero(s.t, s.cost().guessed)
	remove = s.d.store.Inject(fault)
	s.reset()
	s.read(pages[n])
	synctest.Wait()
	require.GreaterOrEqual(s.t, s.d.store.Calls(mock.OpOpen), firstGuesses/2)
	return pages[n+1:], remove
}

// TestGuessesThatFail: a guess that fails fails no read, and no more are made for a while.
func TestGuessesThatFail(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	pages := d.scan(1)
	d.during(t, 256<<20, func(s *scanning) {
		rest, remove := s.begin(pages, mock.Fault{Op: mock.OpOpen, Err: errors.New("broken")})
		require.Zero(t, s.cost().guessed)
		remove()
		s.reset()
		s.read(rest[:20]...)
		c := s.cost()
		assert.Zero(t, c.guessed)
		assert.Positive(t, c.waited)
		assert.Equal(t, c.waited, c.requests)
		time.Sleep(time.Second)
		s.read(rest[20:100]...)
		assert.Positive(t, s.cost().guessed)
	})
}

// TestCloseWhileGuessing: a reader that is closed leaves nothing of guesses that are on their
// way.
func TestCloseWhileGuessing(t *testing.T) {
	d := newScattered(t, 4096, 1500, 60, 1)
	pages := d.scan(1)
	for _, op := range []mock.Op{mock.OpOpen, mock.OpRead} {
		d.during(t, 256<<20, func(s *scanning) {
			_, remove := s.begin(pages, mock.Fault{Op: op, Wait: make(chan struct{})})
			used := s.r.budget.Used()
			s.rd.Close()
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Zero(t, d.store.OpenReaders())
			assert.Equal(t, used-int64(d.store.Calls(mock.OpOpen))*128<<10, s.r.budget.Used())
			remove()
			s.open()
		})
	}
}

// TestScansAtOnce: many read at once, by one reader and by several, in all directions, while
// memory is short, requests fail and files are compacted; what they get is right.
func TestScansAtOnce(t *testing.T) {
	d := newScattered(t, 4096, 600, 20, 3)
	forth, back := d.scan(1), d.scan(-1)
	here := slices.Clone(forth)
	rand.New(rand.NewPCG(5, 5)).Shuffle(len(here), func(i, j int) { here[i], here[j] = here[j], here[i] })
	r := newRig(t, d.store, 2<<20)
	s := r.state(t, d.Last())
	broken := errors.New("broken")
	for i := range 20 {
		d.store.Inject(mock.Fault{Op: mock.OpOpen, Err: broken, Skip: 10 + 25*i, Times: 2})
	}
	var g errgroup.Group
	for range 2 {
		rd, err := s.Open(t.Context())
		for err != nil {
			require.ErrorIs(t, err, broken)
			rd, err = s.Open(t.Context())
		}
		defer rd.Close()
		for _, pages := range [][]uint32{forth, back, here} {
			g.Go(func() error {
				b := make([]byte, d.PageSize)
				for _, pgno := range pages {
					off := int64(pgno-1) * int64(d.PageSize)
					_, err := rd.ReadAt(t.Context(), b, off)
					for errors.Is(err, broken) {
						_, err = rd.ReadAt(t.Context(), b, off)
					}
					if err != nil || !bytes.Equal(d.page(pgno), b) {
						return fmt.Errorf("page %d: %w", pgno, cmp.Or(err, errors.New("other bytes")))
					}
				}
				return nil
			})
		}
	}
	d.Compact(1, 1, 2)
	d.Remove(replica.Name{MinTXID: 2, MaxTXID: 2})
	require.NoError(t, g.Wait())
	assert.Positive(t, r.opts.Blocks.Stats().GuessedUsed)
}

// TestTreesAreBounded: the interior pages that are remembered keep to their share of the
// memory, and all of it is given back: of a state that is forgotten, and with the last.
func TestTreesAreBounded(t *testing.T) {
	d := newScattered(t, 1024, 6000, 20, 2)
	pages := d.scan(1)
	d.during(t, 2<<20, func(s *scanning) {
		trees := &s.r.opts.Maps.trees
		require.Equal(t, int64(2<<20/16), trees.most)
		before := s.r.memory.n.Load()
		for range 2 {
			for _, pgno := range pages {
				s.read(pgno)
				require.LessOrEqual(t, trees.used, trees.most)
				require.Equal(t, trees.used, s.r.memory.n.Load()-before)
				requireTrees(t, trees, s.s.tree)
			}
		}
		require.Greater(t, trees.used, trees.most/2)
		other := s.r.state(s.t, 1)
		require.NotSame(t, other.tree, s.s.tree)
		other.Forget()
		require.Positive(t, trees.used)
		s.s.Forget()
		require.Zero(t, trees.used)
		require.Zero(t, trees.recent.Len())
		require.Empty(t, s.s.tree.parents)
	})
}

// requireTrees checks what is remembered.
func requireTrees(t *testing.T, trees *trees, tree *tree) {
	t.Helper()
	sum, children := int64(0), 0
	for e := trees.recent.Front(); e != nil; e = e.Next() {
		n := e.Value.(*interior)
		require.Same(t, n, tree.pages[n.pgno])
		sum, children = sum+n.size(), children+len(n.children)
	}
	require.Equal(t, sum, trees.used)
	require.Len(t, tree.pages, trees.recent.Len())
	require.Len(t, tree.parents, children)
}
