package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"pgregory.net/rapid"
)

// onlyUploads is an uploadStore that can't stat.
func onlyUploads(s uploadStore) replica.Client { return s.store }

// The time of what this mount wrote stays for as long as the store shows that
// version, whatever time the store has for it.
func TestOwnTimesStay(t *testing.T) {
	for _, stats := range []bool{true, false} {
		for _, listed := range []bool{true, false} {
			t.Run(fmt.Sprintf("stats %v, listed %v", stats, listed), func(t *testing.T) {
				s := newUploadStore(fileOf(9, 9, 9))
				client := onlyUploads(s)
				if stats {
					client = s
				}
				x, clock := newIndex(t, client, IndexOptions{})
				if listed {
					listLevel(t, x)
				}
				own := fileOf(1, 1, 1)
				s.write(own)
				x.Put(own)
				for range 5 {
					f, _ := find(t, x, 1, 1)
					require.Equal(t, own, *f)
					if listed {
						require.Equal(t, own, listLevel(t, x)[0])
						x.Invalidate(2)
					}
					clock.advance(freshness)
				}
				files := listLevel(t, x)
				require.Equal(t, own, files[0])
				require.Equal(t, uploadTime, files[1].ModTime, "another writer's")

				// Another version is another writer's.
				clock.advance(freshness)
				s.write(fileOf(1, 1, 2))
				f, _ := find(t, x, 1, 1)
				require.Equal(t, uploadTime, f.ModTime)
				require.Equal(t, uploadTime, listLevel(t, x)[0].ModTime)
				// And once the store had that one, the first has no time of its own.
				clock.advance(freshness)
				s.write(own)
				require.Equal(t, uploadTime, listLevel(t, x)[0].ModTime)
			})
		}
	}
}

// So it does after many more writes, with no listing in between.
func TestOwnTimesOfMany(t *testing.T) {
	s := newUploadStore()
	x, clock := newIndex(t, s, IndexOptions{})
	const n = 5 * minPrune
	for i := range n {
		own := fileOf(i+1, i+1, i+1)
		s.write(own)
		x.Put(own)
		clock.advance(freshness / 10)
	}
	require.Less(t, len(x.levels[2].own.changes), n, "nothing was pruned")
	for i := 0; i < n; i += 97 {
		f, _ := find(t, x, i+1, i+1)
		require.Equal(t, fileOf(i+1, i+1, i+1), *f)
	}
	x.Remove(2, 1, 1)
	s.delete(1, 1)
	for range 2 {
		clock.advance(freshness)
		require.Equal(t, numbered(n)[1:], listLevel(t, x))
	}
	require.Nil(t, x.levels[2].times.own, "it is all in the base by now")
}

// A listing that began before the file was written has its time from the write.
func TestOwnTimesAndAnEarlierListing(t *testing.T) {
	s := newUploadStore(fileOf(1, 1, 1))
	x, clock := newIndex(t, s, IndexOptions{})
	listLevel(t, x)
	own := fileOf(2, 2, 2)
	x.Put(own)
	s.write(own)
	for i := range 3 * minPrune { // which prunes, and takes the change into the base
		x.Put(fileOf(3, 3, i))
	}
	x.Remove(2, 3, 3)
	for range 3 {
		clock.advance(freshness)
		require.Equal(t, own, listLevel(t, x)[1])
	}
}

// On disk the mtime is part of the version: another one shows.
func TestTimesOnDisk(t *testing.T) {
	s := newStore()
	x, clock := newIndex(t, statStore{s}, IndexOptions{})
	own := fileOf(1, 1, 1)
	s.write(own)
	x.Put(own)
	listLevel(t, x)
	touched := own
	touched.ModTime, touched.Version = own.ModTime.Add(time.Hour), "0123"
	s.write(touched)
	clock.advance(freshness)
	f, _ := find(t, x, 1, 1)
	require.Equal(t, touched, *f)
	require.Equal(t, []replica.File{touched}, listLevel(t, x))
}

// Without versions there is nothing to tell by.
func TestTimesWithoutVersions(t *testing.T) {
	s := newUploadStore()
	s.versions = false
	x, clock := newIndex(t, onlyUploads(s), IndexOptions{})
	own := fileOf(1, 1, 1)
	own.Version = ""
	s.write(own)
	x.Put(own)
	require.Equal(t, uploadTime, listLevel(t, x)[0].ModTime)
	clock.advance(freshness)
	require.Equal(t, uploadTime, listLevel(t, x)[0].ModTime)
}

// What is kept of a level that nobody lists is bounded.
func TestOwnTimesAreBounded(t *testing.T) {
	x, clock := newIndex(t, newUploadStore(), IndexOptions{})
	for i := range 3 * maxKept {
		x.Put(fileOf(i+1, i+1, i+1))
		clock.advance(freshness / minPrune)
	}
	kept := x.levels[2].times.own
	require.LessOrEqual(t, kept.Len(), maxKept)
	require.GreaterOrEqual(t, kept.Len(), maxKept/2-minPrune)
	require.Less(t, float64(kept.Bytes())/float64(kept.Len()), 64.0)
	i, ok := kept.Search(ltx.TXID(2*maxKept+maxKept/2), ltx.TXID(2*maxKept+maxKept/2))
	require.True(t, ok, "a late one is missing")
	require.Equal(t, time.Unix(2*maxKept+maxKept/2, 5).UTC(), kept.At(i).ModTime)
}

// hints find what is there, in any order.
func TestHints(t *testing.T) {
	b, later := newBuilder(nil), newBuilder(nil)
	for _, f := range numbered(20) {
		require.NoError(t, b.add(f))
	}
	require.NoError(t, later.add(fileOf(30, 30, 30)))
	lv := &levelIndex{base: &Snapshot{columns: b.finish()}}
	lv.times.partial = &Snapshot{columns: later.finish()}
	h := lv.hints()
	for _, i := range []int{1, 2, 3, 10, 11, 5, 20, 21, 30, 1, 1, 19, 20} {
		got, ok := h.time(fileOf(i, i, i))
		require.Equal(t, i != 21, ok, i)
		if ok {
			require.Equal(t, fileOf(i, i, i).ModTime, got)
		}
		_, ok = h.time(fileOf(i, i, i+1))
		require.False(t, ok, "another version of %d", i)
		_, ok = h.time(fileOf(i, i+1, i))
		require.False(t, ok, "another file than %d", i)
	}
}

// Whatever happens, a version that this mount wrote shows with its own time for as
// long as it is there, and one that it didn't write never does.
func TestTimesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newUploadStore()
		client := onlyUploads(s)
		if rapid.Bool().Draw(t, "stater") {
			client = s
		}
		clock := newClock()
		x := NewIndex(client, IndexOptions{
			Freshness: freshness, Now: clock.Now,
			Settle: rapid.SampledFrom([]time.Duration{0, 2 * freshness}).Draw(t, "settle"),
		})
		defer x.Close()
		ours := map[replica.Version]bool{}    // written by this mount
		there := map[fileRange]replica.File{} // in the store
		check := func(f replica.File) {
			switch {
			case !ours[f.Version]:
				require.Equal(t, uploadTime, f.ModTime, "%v", f)
			case there[nameOf(f)].Version == f.Version:
				require.Equal(t, there[nameOf(f)].ModTime, f.ModTime, "%v", f)
			}
		}
		for content := range rapid.IntRange(1, 60).Draw(t, "steps") {
			n := rapid.IntRange(1, 4).Draw(t, "name")
			name := fileRange{ltx.TXID(n), ltx.TXID(n)}
			switch rapid.IntRange(0, 6).Draw(t, "op") {
			case 0, 1:
				f := fileOf(n, n, content+1)
				s.write(f)
				there[name] = f
				if ours[f.Version] = rapid.Bool().Draw(t, "own"); ours[f.Version] {
					x.Put(f)
				}
			case 2:
				s.delete(n, n)
				delete(there, name)
				if rapid.Bool().Draw(t, "own") {
					x.Remove(2, name.min, name.max)
				}
			case 3:
				clock.advance(rapid.SampledFrom([]time.Duration{freshness / 3, freshness}).Draw(t, "time"))
			case 4:
				x.Invalidate(2)
			case 5:
				if f, _ := find(t, x, n, n); f != nil {
					check(*f)
				}
			default:
				for _, f := range listLevel(t, x) {
					check(f)
				}
			}
		}
	})
}
