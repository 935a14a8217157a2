package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// scattered is a database with an index of which the pages lie anywhere among others.
type scattered struct {
	history
	file     []byte // the last state
	children map[uint32][]uint32
	root     uint32
	leaves   []uint32 // in order
}

// newScattered makes one with an index of so many leaves, and as many children of an interior
// page. One in three pages is of the index. There are as many states as files, each of which
// has a third of the pages anew.
func newScattered(t testing.TB, pageSize uint32, leaves, fanout, files int) *scattered {
	t.Helper()
	d := &scattered{history: newHistory(t, 1, pageSize), children: map[uint32][]uint32{}}
	rng := rand.New(rand.NewPCG(1, 1))
	free := rng.Perm(3 * leaves)
	take := func() uint32 {
		pgno := uint32(free[0]) + 2
		free = free[1:]
		return pgno
	}
	level := make([]uint32, leaves)
	for i := range level {
		level[i] = take()
	}
	for d.leaves = level; len(level) > 1; {
		var above []uint32
		for some := range slices.Chunk(level, fanout) {
			pgno := take()
			above, d.children[pgno] = append(above, pgno), some
		}
		level = above
	}
	d.root = level[0]
	n := uint32(len(free)+leaves+len(d.children)) + 1
	d.file = make([]byte, n*pageSize)
	for i := range files {
		for pgno := uint32(1); pgno <= n; pgno++ {
			if i > 0 && rng.IntN(3) > 0 {
				continue
			}
			page := d.page(pgno)
			for j := range page {
				page[j] = byte(rng.Uint32())
			}
			page[0] = 0x0d
			if children := d.children[pgno]; len(children) > 1 {
				fillInterior(page, interiorIndex, pgno, children)
			}
		}
		d.commit(slices.Clone(d.file))
	}
	return d
}

// commit adds a state.
func (d *scattered) commit(file []byte) {
	txid := d.Last() + 1
	before, now := storetest.State{}, storetest.State{Pages: map[uint32][]byte{}, Time: storetest.HistoryBegan.Add(time.Duration(txid) * time.Second)}
	if txid > 1 {
		before = d.At(txid - 1)
	}
	for page := range slices.Chunk(file, int(d.PageSize)) {
		now.Size++
		now.Pages[now.Size] = page
	}
	d.States = append(d.States, now)
	d.Add(replica.Name{MinTXID: txid, MaxTXID: txid}, d.Encode(txid, txid, now.Time, func(pgno uint32) bool {
		return !bytes.Equal(before.Pages[pgno], now.Pages[pgno])
	}))
}

// page is a page of the last state.
func (d *scattered) page(pgno uint32) []byte { return d.file[(pgno-1)*d.PageSize:][:d.PageSize] }

// scan are the pages that SQLite reads for all of the index, in order, or backwards if dir
// is -1.
func (d *scattered) scan(dir int) (pages []uint32) {
	var walk func(pgno uint32)
	walk = func(pgno uint32) {
		pages = append(pages, pgno)
		children := slices.Clone(d.children[pgno])
		if dir < 0 {
			slices.Reverse(children)
		}
		for _, c := range children {
			walk(c)
		}
	}
	walk(d.root)
	return pages
}

// interior are its interior pages in the order in which a scan reads them.
func (d *scattered) interior() []uint32 {
	return slices.DeleteFunc(d.scan(1), func(pgno uint32) bool { return d.children[pgno] == nil })
}

// lookup are the pages that it reads for a key of a leaf.
func (d *scattered) lookup(leaf uint32) (pages []uint32) {
	for pgno := leaf; ; {
		pages = append([]uint32{pgno}, pages...)
		if pgno == d.root {
			return pages
		}
		for parent, children := range d.children {
			if slices.Contains(children, pgno) {
				pgno = parent
				break
			}
		}
	}
}

// fillInterior makes a page with random bytes an interior one, with a free block.
func fillInterior(p []byte, kind byte, pgno uint32, children []uint32) {
	at := btreeAt(pgno)
	n := len(children) - 1
	content := len(p) - 8*n - 4
	p[at] = kind
	binary.BigEndian.PutUint16(p[at+1:], uint16(content))
	binary.BigEndian.PutUint16(p[at+3:], uint16(n))
	binary.BigEndian.PutUint16(p[at+5:], uint16(content))
	binary.BigEndian.PutUint32(p[at+8:], children[n])
	binary.BigEndian.PutUint32(p[content:], 4) // no more, of 4 bytes
	for i, c := range children[:n] {
		cell := len(p) - 8*(i+1)
		binary.BigEndian.PutUint16(p[at+12+2*i:], uint16(cell))
		binary.BigEndian.PutUint32(p[cell:], c)
	}
}

// cost is what reads have cost.
type cost struct {
	waited   int // times that a reader waited for the store
	requests int
	bytes    int64 // that the store has given
	guessed  int64 // of these, before anybody asked for them
	used     int64 // of those, that somebody has asked for
}

// roundTrip is what the store takes to answer.
const roundTrip = 20 * time.Millisecond

// scanning is a reader of the last state.
type scanning struct {
	t  *testing.T
	d  *scattered
	r  *rig
	s  *State
	rd *Reader

	began time.Time
}

// during calls a function with a reader, and checks that it leaves nothing behind. The time in
// it passes with the answers of the store alone.
func (d *scattered) during(t *testing.T, cacheSize int64, do func(s *scanning)) {
	t.Helper()
	d.duringWith(t, limit.NewInFlight(0), cacheSize, do)
}

// duringWith is during with a limit on what is asked of the store at a time.
func (d *scattered) duringWith(t *testing.T, inFlight *limit.InFlight, cacheSize int64, do func(s *scanning)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &scanning{t: t, d: d, r: newRig(t, inFlight.Around(d.store), cacheSize)}
		s.s = s.r.state(t, d.Last())
		s.open()
		defer d.store.Inject(mock.Fault{Op: mock.OpOpen, Delay: roundTrip})()
		s.reset()
		do(s)
		s.rd.Close()
		s.s.Forget()
		require.Zero(t, s.r.opts.Maps.trees.used)
	})
}

func (s *scanning) open() {
	var err error
	s.rd, err = s.s.Open(context.Background())
	require.NoError(s.t, err)
}

// forgetful has nothing fetched ahead.
func (s *scanning) forgetful() { s.r.opts.Maps.trees.most = 0 }

func (s *scanning) reset() {
	s.d.store.ResetCalls()
	s.began = time.Now()
}

// cost is what was read since reset.
func (s *scanning) cost() cost {
	waited := time.Since(s.began)
	require.Zero(s.t, waited%roundTrip)
	time.Sleep(roundTrip)
	synctest.Wait()
	stats := s.r.opts.Blocks.Stats()
	return cost{int(waited / roundTrip), s.d.store.Calls(mock.OpOpen), s.d.store.BytesRead(), stats.GuessedBytes, stats.GuessedUsed}
}

// read reads pages, each by itself, and compares them.
func (s *scanning) read(pages ...uint32) {
	s.t.Helper()
	b := make([]byte, s.d.PageSize)
	for _, pgno := range pages {
		synctest.Wait() // what comes at the same time comes in any order
		_, err := s.rd.ReadAt(context.Background(), b, int64(pgno-1)*int64(s.d.PageSize))
		require.NoError(s.t, err)
		require.True(s.t, bytes.Equal(s.d.page(pgno), b), "page %d", pgno)
		require.LessOrEqual(s.t, s.r.budget.Used(), s.r.budget.Size())
	}
}

// bothWays reads pages without looking ahead, and then with it.
func (d *scattered) bothWays(t *testing.T, cacheSize int64, pages []uint32) (without, with cost) {
	t.Helper()
	d.during(t, cacheSize, func(s *scanning) {
		s.forgetful()
		s.read(pages...)
		without = s.cost()
	})
	d.during(t, cacheSize, func(s *scanning) {
		s.read(pages...)
		with = s.cost()
	})
	return without, with
}
