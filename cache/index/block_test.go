package index

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestColumnProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := rapid.Uint64().Draw(t, "least")
		most := rapid.Uint64Range(least, math.MaxUint64).Draw(t, "most")
		values := rapid.SliceOfN(rapid.Uint64Range(least, most), 1, 20).Draw(t, "values")
		c := column{}
		c.least, c.width = measure(values)
		c.bytes = c.append(nil, values)
		require.Equal(t, slices.Min(values), c.least)
		require.Len(t, c.bytes, len(values)*c.width+wordSize)
		for i, v := range values {
			require.Equal(t, v, c.at(i))
		}
	})
}

// Changes to a level of several blocks: what is before the first change is shared.
func TestApplyToBlocks(t *testing.T) {
	const n = 3*blockFiles + 7
	r := rand.New(rand.NewPCG(3, 4))
	for _, at := range []int{1, blockFiles, blockFiles + 1, 2*blockFiles + 5, n, n + 1} {
		b := newBuilder(&Snapshot{}, nil)
		want := numbered(n)
		for _, f := range want {
			require.NoError(t, b.add(f))
		}
		base := &Snapshot{level: 2, files: b.finish()}
		require.Len(t, base.blocks, 4)
		var o ownChanges
		for _, i := range append(r.Perm(n - min(at, n) + 1)[:min(3, n-min(at, n)+1)], 0) {
			f := fileOf(at+i, at+i, 999_999)
			where, there := slices.BinarySearchFunc(want, f, compareNames)
			c := &change{file: f, exists: !there || i%2 == 0}
			switch {
			case !there:
				want = slices.Insert(want, where, f)
			case c.exists:
				want[where] = f
			default:
				want = slices.Delete(want, where, where+1)
			}
			o.put(c)
		}
		merged := o.apply(base, nil)
		require.Equal(t, want, filesOf(merged))
		for i := range (at - 1) / blockFiles {
			require.Same(t, base.blocks[i], merged.blocks[i])
		}
		for i, f := range want {
			where, ok := merged.Search(f.Name)
			require.True(t, ok)
			require.Equal(t, i, where)
		}
	}
}

// A listing out of order, with names twice, over several blocks.
func TestSortBlocks(t *testing.T) {
	want := numbered(2*blockFiles + 9)
	b := newBuilder(&Snapshot{}, nil)
	for range 2 {
		for _, i := range rand.New(rand.NewPCG(5, 6)).Perm(len(want)) {
			f := want[i]
			if b.Len() < len(want) {
				f.Size, f.Version.Size = 1, 1
			}
			require.NoError(t, b.add(f))
		}
	}
	require.Equal(t, want, filesOf(&Snapshot{level: 2, files: b.finish()}))
}

type memory struct{ atomic.Int64 }

func (m *memory) Add(n int64) { m.Int64.Add(n) }

// Who keeps account of memory knows of all that the blocks hold, and of no more once
// they are garbage.
func TestMemoryIsAccounted(t *testing.T) {
	m := &memory{}
	s := newStore(numbered(blockFiles + 1)...)
	clock := newClock()
	x := New(s, Options{Freshness: freshness, Now: clock.Now, Memory: m})
	defer x.Close()
	held := func() (n int64) {
		for _, b := range x.levels[2].base.blocks {
			n += int64(b.held)
		}
		return n
	}
	requireHeld := func() {
		t.Helper()
		require.Eventually(t, func() bool {
			runtime.GC()
			return m.Load() == held()
		}, 10*time.Second, time.Millisecond, "%d accounted, %d held", m.Load(), held())
	}
	require.Len(t, listLevel(t, x), blockFiles+1)
	require.Greater(t, held(), int64(blockFiles*17))
	requireHeld()
	for i := range 5 {
		x.Put(fileOf(5000+i, 5000+i, 1))
		listLevel(t, x)
		clock.advance(freshness)
		listLevel(t, x)
	}
	requireHeld()
	x.levels[2].base = &Snapshot{level: 2}
	require.Zero(t, held())
	requireHeld()
}
