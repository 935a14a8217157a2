package index

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ltxfs/ltxfs/replica"
)

// The time of what this mount wrote stays for as long as the store shows that
// version, whatever time the store has for it.
func TestOwnTimesStay(t *testing.T) {
	for _, listed := range []bool{true, false} {
		t.Run(fmt.Sprintf("listed %v", listed), func(t *testing.T) {
			s := newUploadStore(fileOf(9, 9, 9))
			x, clock := newIndex(t, s, Options{})
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

// So it does after many more writes, with no listing in between.
func TestOwnTimesOfMany(t *testing.T) {
	s := newUploadStore()
	x, clock := newIndex(t, s, Options{})
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
	x.Remove(name(1, 1))
	s.delete(1, 1)
	for range 2 {
		clock.advance(freshness)
		require.Equal(t, numbered(n)[1:], listLevel(t, x))
	}
	require.Equal(t, n-1, x.levels[2].base.Len(), "it is all in the base by now")
}

// A listing that began before the file was written has its time from the write.
func TestOwnTimesAndAnEarlierListing(t *testing.T) {
	s := newUploadStore(fileOf(1, 1, 1))
	x, clock := newIndex(t, s, Options{})
	listLevel(t, x)
	own := fileOf(2, 2, 2)
	x.Put(own)
	s.write(own)
	for i := range 3 * minPrune { // which prunes, and takes the change into the base
		x.Put(fileOf(3, 3, i))
	}
	x.Remove(name(3, 3))
	for range 3 {
		clock.advance(freshness)
		require.Equal(t, own, listLevel(t, x)[1])
	}
}

// On disk the mtime is part of the version: another one shows.
func TestTimesOnDisk(t *testing.T) {
	s := newStore()
	x, clock := newIndex(t, s, Options{})
	own := fileOf(1, 1, 1)
	s.write(own)
	x.Put(own)
	listLevel(t, x)
	touched := own
	touched.ModTime = own.ModTime.Add(time.Hour)
	touched.Version = replica.Version{Size: own.Size, Inode: [16]byte{1, 2, 3}}
	s.write(touched)
	clock.advance(freshness)
	f, _ := find(t, x, 1, 1)
	require.Equal(t, touched, *f)
	require.Equal(t, []replica.File{touched}, listLevel(t, x))
}

// What is kept of a level that nobody lists is bounded.
func TestOwnTimesAreBounded(t *testing.T) {
	x, clock := newIndex(t, newUploadStore(), Options{})
	const n = maxKept * 5 / 4
	for i := range n {
		x.Put(fileOf(i+1, i+1, i+1))
		clock.advance(freshness / minPrune)
	}
	kept := x.levels[2].base
	require.LessOrEqual(t, kept.Len(), maxKept)
	require.GreaterOrEqual(t, kept.Len(), maxKept/2-minPrune)
	require.Less(t, float64(kept.bytesHeld())/float64(kept.Len()), 64.0)
	i, ok := kept.Search(name(n-4*minPrune, n-4*minPrune))
	require.True(t, ok, "a late one is missing")
	require.Equal(t, time.Unix(n-4*minPrune, 5).UTC(), kept.At(i).ModTime)
}

// Times of versions are found in any order, by a listing too.
func TestKnown(t *testing.T) {
	b := newBuilder(&Snapshot{}, nil)
	for _, f := range append(numbered(20), fileOf(30, 30, 30)) {
		require.NoError(t, b.add(f))
	}
	before := &Snapshot{level: 2, files: b.finish()}
	b = newBuilder(before, nil)
	b.unsorted = true
	for _, i := range []int{1, 2, 3, 10, 11, 5, 20, 21, 30, 1, 1, 19, 20} {
		listed := fileOf(i, i, i)
		listed.ModTime = uploadTime
		got, ok := before.known(listed)
		require.Equal(t, i != 21, ok, i)
		want := uploadTime
		if ok {
			want = fileOf(i, i, i).ModTime
			require.Equal(t, want, got)
		}
		require.NoError(t, b.add(listed))
		require.Equal(t, want, unpackTime(int64(b.open.mtime[b.open.len()-1])))
		other := fileOf(i, i, i+1)
		_, ok = before.known(other)
		require.False(t, ok, "another version of %d", i)
		_, ok = before.known(fileOf(i, i+1, i))
		require.False(t, ok, "another file than %d", i)
		require.NoError(t, b.add(other))
		require.Equal(t, other.ModTime, unpackTime(int64(b.open.mtime[b.open.len()-1])))
	}
}

// Whatever happens, a version that this mount wrote shows with its own time for as
// long as it is there, and one that it didn't write never does.
func TestTimesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newUploadStore()
		clock := newClock()
		x := New(s, Options{
			Freshness: freshness, Now: clock.Now,
			Settle: rapid.SampledFrom([]time.Duration{0, 2 * freshness}).Draw(t, "settle"),
		})
		defer x.Close()
		ours := map[replica.Version]bool{}       // written by this mount
		there := map[replica.Name]replica.File{} // in the store
		check := func(f replica.File) {
			switch {
			case !ours[f.Version]:
				require.Equal(t, uploadTime, f.ModTime, "%v", f)
			case there[f.Name].Version == f.Version:
				require.Equal(t, there[f.Name].ModTime, f.ModTime, "%v", f)
			}
		}
		for content := range rapid.IntRange(1, 60).Draw(t, "steps") {
			n := rapid.IntRange(1, 4).Draw(t, "name")
			name := name(n, n)
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
					x.Remove(name)
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
