package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"pgregory.net/rapid"

	"github.com/ltxfs/ltxfs/replica"
)

func TestVersionsPack(t *testing.T) {
	const size = 1000
	mtime := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	inode := [16]byte{1, 15: 2}
	hash := strings.Repeat("d41d8cd9", 4)
	for _, c := range []struct {
		version replica.Version
		size    int
	}{
		{replica.Version{}, 1},
		{replica.Version{Inode: inode, Size: size}, 17},
		{replica.Version{Inode: inode, Size: size + 1}, 18},
		{replica.Version{Size: math.MinInt64, Modified: math.MaxInt64}, 21},
		{replica.Version{ETag: `"` + hash + `"`, Size: size, Modified: mtime.Unix()}, 17},
		{replica.Version{ETag: `"` + hash + `-12"`, Size: size, Modified: mtime.Unix()}, 18},
		{replica.Version{ETag: `"` + hash + `-10000"`, Size: size, Modified: mtime.Unix()}, 19},
		{replica.Version{ETag: `"` + hash + `-10000"`, Size: size, Modified: mtime.Unix() + 50}, 20},
		{replica.Version{ETag: `"` + hash + `-10000"`, Size: size, Modified: mtime.Unix() - 20*365*86400}, 24},
		{replica.Version{ETag: `"` + hash + hash + `"`}, 1 + 32},
		{replica.Version{ETag: `"` + hash + hash + `"`, Inode: inode, Size: size, Modified: mtime.Unix()}, 17 + 32},
		{replica.Version{ETag: `"` + hash + strings.ToUpper(hash) + `"`}, 1 + 66},
		{replica.Version{ETag: `"` + hash + hash + `-1"`}, 1 + 68},
		{replica.Version{ETag: `"` + hash + `-` + strings.Repeat("1", 31) + `"`}, 1 + 66},
		{replica.Version{ETag: `"` + hash + `-012"`}, 1 + 38},
		{replica.Version{ETag: `"` + hash + `-0"`}, 1 + 36},
		{replica.Version{ETag: `"` + hash + `-"`}, 1 + 35},
		{replica.Version{ETag: `"` + hash + `12"`}, 1 + 36},
		{replica.Version{ETag: `"` + hash + `-4294967296"`}, 1 + 45},
		{replica.Version{ETag: `"` + strings.ToUpper(hash) + `"`}, 1 + 34},
		{replica.Version{ETag: hash}, 1 + 32},
		{replica.Version{ETag: `W/"` + hash + `"`}, 1 + 36},
		{replica.Version{ETag: `"00ff"`}, 1 + 6},
		{replica.Version{ETag: "é\x00\xff", Inode: inode}, 17 + 4},
	} {
		p := appendVersion([]byte("before"), c.version, size, packTime(mtime))
		require.Len(t, p, len("before")+c.size, c.version)
		require.Equal(t, c.version, unpackVersion(p[len("before"):], size, packTime(mtime)))
	}
}

func drawVersion(t *rapid.T, size int64, mtime time.Time) replica.Version {
	v := replica.Version{
		ETag: rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`"?[0-9a-f]{30,33}(-[0-9]{0,12})?"?`),
			rapid.StringMatching(`"[0-9a-f]{32}(-[1-9][0-9]{0,4})?"`),
			rapid.StringMatching(`"[0-9a-f]{64}"`),
		).Draw(t, "etag"),
		Size:     rapid.OneOf(rapid.Just(size), rapid.Int64()).Draw(t, "size of the version"),
		Modified: rapid.OneOf(rapid.Just(mtime.Unix()), rapid.Int64()).Draw(t, "modified"),
	}
	copy(v.Inode[:], rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "inode"))
	return v
}

func TestVersionsPackProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64().Draw(t, "size")
		mtime := packTime(time.Unix(rapid.Int64().Draw(t, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(t, "nanoseconds")))
		v := drawVersion(t, size, unpackTime(mtime))
		p := appendVersion(nil, v, size, mtime)
		require.Equal(t, v, unpackVersion(p, size, mtime))
		other := drawVersion(t, size, unpackTime(mtime))
		require.Equal(t, v == other, bytes.Equal(p, appendVersion(nil, other, size, mtime)))
	})
}

func TestTimesPack(t *testing.T) {
	for _, c := range []struct{ in, out time.Time }{
		{time.Time{}, time.Time{}},
		{time.Unix(0, 0), time.Unix(0, 0)},
		{time.Unix(-5, 7), time.Unix(-5, 7)},
		{time.UnixMilli(1 << 50), time.Unix(0, 1<<63-1)},
		{time.UnixMilli(-1 << 50), time.Unix(0, -1<<63+1)},
		{time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.Local), time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.Local)},
	} {
		out := unpackTime(packTime(c.in))
		require.True(t, c.out.Equal(out), "%v: %v", c.in, out)
		require.Equal(t, time.UTC, out.Location())
	}
}

func drawFile(t *rapid.T) replica.File {
	return fileOf(rapid.IntRange(1, 12).Draw(t, "min"), rapid.IntRange(12, 15).Draw(t, "max"),
		rapid.IntRange(0, 3).Draw(t, "content"))
}

func compareNames(a, b replica.File) int { return a.Compare(b.Name) }

func filesOf(s *Snapshot) []replica.File {
	files := []replica.File{}
	for i := range s.Len() {
		files = append(files, s.At(i))
	}
	return files
}

// Whatever a client lists, in whatever order, a snapshot has it sorted, each name
// once, and finds it.
func TestSnapshotProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[replica.Name]replica.File{}
		b := newBuilder(&Snapshot{}, nil)
		for range rapid.IntRange(0, 30).Draw(t, "files") {
			f := drawFile(t)
			model[f.Name] = f
			require.NoError(t, b.add(f))
		}
		s := &Snapshot{level: 2, files: b.finish()}
		want := []replica.File{}
		for _, f := range model {
			want = append(want, f)
		}
		slices.SortFunc(want, compareNames)
		require.Equal(t, want, filesOf(s))
		for min := range 14 {
			for max := 11; max < 17; max++ {
				wantAt, wantOK := slices.BinarySearchFunc(want, replica.File{Name: name(min, max)}, compareNames)
				at, ok := s.Search(name(min, max))
				require.Equal(t, wantAt, at)
				require.Equal(t, wantOK, ok)
			}
		}
	})
}

// Changes applied to a snapshot against a map.
func TestApplyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[replica.Name]replica.File{}
		b := newBuilder(&Snapshot{}, nil)
		for range rapid.IntRange(0, 20).Draw(t, "files") {
			f := drawFile(t)
			model[f.Name] = f
			require.NoError(t, b.add(f))
		}
		base := &Snapshot{level: 2, seq: 7, files: b.finish()}
		before := filesOf(base)
		var o ownChanges
		for range rapid.IntRange(0, 20).Draw(t, "changes") {
			f := drawFile(t)
			c := &change{file: f, exists: rapid.Bool().Draw(t, "exists")}
			if c.exists {
				model[f.Name] = f
			} else {
				c.file = replica.File{Name: f.Name}
				delete(model, f.Name)
			}
			o.put(c)
		}
		merged := o.apply(base, nil)
		want := []replica.File{}
		for _, f := range model {
			want = append(want, f)
		}
		slices.SortFunc(want, compareNames)
		require.Equal(t, want, filesOf(merged))
		require.Equal(t, base.seq, merged.seq)
		require.Equal(t, before, filesOf(base))
		require.Equal(t, slices.Equal(before, want), base == merged, "a new snapshot only for a change")
		require.Same(t, merged, o.apply(merged, nil))
	})
}

func TestTooManyVersions(t *testing.T) {
	b := newBuilder(&Snapshot{}, nil)
	b.maxVersions = 10
	require.NoError(t, b.add(file(1, 1)))
	require.ErrorIs(t, b.add(file(2, 2)), errTooLarge)
}

const many = 100_000

// kinds are the files of a level, by what kind of store has them.
var kinds = map[string]func(*rand.Rand, *replica.File){
	"disk": func(r *rand.Rand, f *replica.File) {
		f.Version = replica.Version{Size: f.Size}
		binary.BigEndian.PutUint64(f.Version.Inode[:], r.Uint64())
		binary.BigEndian.PutUint64(f.Version.Inode[8:], r.Uint64())
	},
	"s3": func(r *rand.Rand, f *replica.File) {
		f.ModTime = f.ModTime.Truncate(time.Second)
		f.Version = multipart(r, f)
	},
	// As much as there can be: the bucket was copied years later.
	"s3, exact": func(r *rand.Rand, f *replica.File) {
		f.Version = multipart(r, f)
		f.Version.Modified += 300_000_000 + r.Int64N(1e6)
	},
	longETags: func(r *rand.Rand, f *replica.File) {
		f.Version = multipart(r, f)
		f.Version.ETag = fmt.Sprintf(`"%016x%016x%016x%016x"`, r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
		f.Version.Modified += 300_000_000 + r.Int64N(1e6)
	},
}

const longETags = "s3, exact, 64 digits"

func multipart(r *rand.Rand, f *replica.File) replica.Version {
	etag := fmt.Sprintf(`"%016x%016x-%d"`, r.Uint64(), r.Uint64(), 1+r.IntN(10_000))
	return replica.Version{ETag: etag, Modified: f.ModTime.Unix(), Size: f.Size}
}

func manyFiles(kind func(*rand.Rand, *replica.File)) []replica.File {
	r := rand.New(rand.NewPCG(1, 2))
	files := make([]replica.File, many)
	for i := range files {
		files[i] = oneOfMany(r, kind, i)
	}
	return files
}

func oneOfMany(r *rand.Rand, kind func(*rand.Rand, *replica.File), i int) replica.File {
	n := ltx.TXID(i + 1)
	f := replica.File{Name: replica.Name{Level: 1, MinTXID: n, MaxTXID: n}, Size: 100 + r.Int64N(1<<20),
		ModTime: time.Unix(1_760_000_000+int64(i), r.Int64N(1e9)/1e6*1e6).UTC()}
	kind(r, &f)
	return f
}

func heap() int64 { return int64(memStats().HeapAlloc) }

func memStats() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// A million files take up some bytes each, all of which are accounted for, in a few pieces for each block: the
// collector sees to no file.
func TestAMillionFiles(t *testing.T) {
	const n = 1_000_000
	m := &memory{}
	r := rand.New(rand.NewPCG(1, 2))
	before := memStats()
	b := newBuilder(&Snapshot{}, m)
	for i := range n {
		if err := b.add(oneOfMany(r, kinds["s3, exact"], i)); err != nil {
			require.NoError(t, err)
		}
	}
	s := &Snapshot{level: 1, files: b.finish()}
	b = nil
	after := memStats()
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	require.LessOrEqual(t, grown, int64(64*n))
	require.InEpsilon(t, grown, m.Load(), 0.02)
	require.LessOrEqual(t, after.HeapObjects-before.HeapObjects, uint64(8*len(s.blocks)))
	require.Equal(t, n, s.Len())
}

func TestSnapshotIsSmall(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			files := manyFiles(kind)
			prev := &Snapshot{}
			for _, built := range []string{"from nothing", "after another"} {
				before := heap()
				b := newBuilder(prev, nil)
				for _, f := range files {
					if err := b.add(f); err != nil {
						require.NoError(t, err)
					}
				}
				s := &Snapshot{level: 1, files: b.finish()}
				b = nil
				grown := heap() - before
				perFile := float64(s.bytesHeld()) / float64(s.Len())
				t.Logf("%s: %.1f bytes a file, heap grown by %.1f", built, perFile, float64(grown)/many)
				most := 41.0
				if name == longETags {
					most = 57
				}
				require.LessOrEqual(t, perFile, most)
				require.InEpsilon(t, s.bytesHeld(), grown, 0.02)
				for i := 0; i < many; i += 97 {
					require.Equal(t, files[i], s.At(i))
				}
				runtime.KeepAlive(prev)
				prev = s
			}
			runtime.KeepAlive(files)
		})
	}
}

// bytesHeld is the memory that the snapshot holds.
func (s *Snapshot) bytesHeld() int64 {
	held := int64(unsafe.Sizeof(*s)) + int64(cap(s.blocks))*int64(unsafe.Sizeof(s.blocks[0]))
	for _, b := range s.blocks {
		held += int64(b.held)
	}
	return held
}
