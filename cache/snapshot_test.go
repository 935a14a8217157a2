package cache

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"pgregory.net/rapid"
)

func TestVersionsPack(t *testing.T) {
	for _, c := range []struct {
		version string
		size    int
	}{
		{"", 0},
		{"0123456789abcdef0123456789abcdef01234567", 21},
		{strings.Repeat("0", 48), 25},
		{"00ff", 3},
		{"0", 2},
		{"123456789abcdef", 11},
		{`"d41d8cd98f00b204e9800998ecf8427e"`, 23},
		{`"d41d8cd98f00b204e9800998ecf8427e-12"`, 25},
		{"d41d8cd98f00b204e9800998ecf8427e-12", 23},
		{"D41D8CD98F00B204E9800998ECF8427E", 33},
		{"é\x00\xff", 5},
	} {
		p := appendVersion([]byte("before"), replica.Version(c.version))
		require.Len(t, p, len("before")+c.size, c.version)
		require.Equal(t, replica.Version(c.version), unpackVersion(p[len("before"):]))
	}
}

func TestVersionsPackProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := replica.Version(rapid.OneOf(
			rapid.String(),
			rapid.StringMatching(`[0-9a-f]{0,80}`),
			rapid.StringMatching(`"?[0-9a-f]{0,40}(-[0-9]{1,5})?"?`),
			rapid.StringOf(rapid.SampledFrom([]rune(fiveBits))),
		).Draw(t, "version"))
		require.Equal(t, v, unpackVersion(appendVersion(nil, v)))
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

func compareNames(a, b replica.File) int {
	return cmp.Or(cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.MaxTXID, b.MaxTXID))
}

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
		model := map[fileRange]replica.File{}
		b := newBuilder(nil)
		for range rapid.IntRange(0, 30).Draw(t, "files") {
			f := drawFile(t)
			model[nameOf(f)] = f
			require.NoError(t, b.add(f))
		}
		s := &Snapshot{level: 2, columns: b.finish()}
		want := []replica.File{}
		for _, f := range model {
			want = append(want, f)
		}
		slices.SortFunc(want, compareNames)
		require.Equal(t, want, filesOf(s))
		for min := range 14 {
			for max := 11; max < 17; max++ {
				name := replica.File{MinTXID: ltx.TXID(min), MaxTXID: ltx.TXID(max)}
				wantAt, wantOK := slices.BinarySearchFunc(want, name, compareNames)
				at, ok := s.Search(name.MinTXID, name.MaxTXID)
				require.Equal(t, wantAt, at)
				require.Equal(t, wantOK, ok)
			}
		}
	})
}

// Changes applied to a snapshot against a map.
func TestApplyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[fileRange]replica.File{}
		b := newBuilder(nil)
		for range rapid.IntRange(0, 20).Draw(t, "files") {
			f := drawFile(t)
			model[nameOf(f)] = f
			require.NoError(t, b.add(f))
		}
		base := &Snapshot{level: 2, seq: 7, columns: b.finish()}
		before := filesOf(base)
		var o overlay
		for range rapid.IntRange(0, 20).Draw(t, "changes") {
			f := drawFile(t)
			c := &change{file: f, removed: rapid.Bool().Draw(t, "removed")}
			if c.removed {
				delete(model, nameOf(f))
			} else {
				model[nameOf(f)] = f
			}
			o.put(c)
		}
		merged := o.apply(base)
		want := []replica.File{}
		for _, f := range model {
			want = append(want, f)
		}
		slices.SortFunc(want, compareNames)
		require.Equal(t, want, filesOf(merged))
		require.Equal(t, base.seq, merged.seq)
		require.Equal(t, before, filesOf(base))
		require.Equal(t, slices.Equal(before, want), base == merged, "a new snapshot only for a change")
		require.Same(t, merged, o.apply(merged))
	})
}

func TestTooManyVersions(t *testing.T) {
	b := newBuilder(nil)
	b.maxVersions = 10
	require.NoError(t, b.add(file(1, 1)))
	require.ErrorIs(t, b.add(file(2, 2)), errTooLarge)
}

const many = 200_000

// manyFiles is what a client with versions of that kind lists.
func manyFiles(version func(r *rand.Rand, f replica.File) string) []replica.File {
	r := rand.New(rand.NewPCG(1, 2))
	files := make([]replica.File, many)
	for i := range files {
		f := replica.File{Level: 1, MinTXID: ltx.TXID(i + 1), MaxTXID: ltx.TXID(i + 1), Size: r.Int64N(1 << 20),
			ModTime: time.Unix(1_760_000_000+int64(i), r.Int64N(1e9)/1e6*1e6)}
		f.Version = replica.Version(version(r, f))
		files[i] = f
	}
	return files
}

func fileVersion(r *rand.Rand, f replica.File) string {
	return fmt.Sprintf("%016x%016x%06x", 1_000_000+r.IntN(many), f.ModTime.UnixNano(), f.Size)
}

func etag(r *rand.Rand, _ replica.File) string {
	return fmt.Sprintf(`"%016x%016x-12"`, r.Uint64(), r.Uint64())
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestSnapshotIsSmall(t *testing.T) {
	for name, version := range map[string]func(*rand.Rand, replica.File) string{"file": fileVersion, "s3": etag} {
		t.Run(name, func(t *testing.T) {
			files := manyFiles(version)
			var prev *Snapshot
			for _, built := range []string{"from nothing", "after another"} {
				before := heap()
				b := newBuilder(prev)
				for _, f := range files {
					require.NoError(t, b.add(f))
				}
				s := &Snapshot{columns: b.finish()}
				b = nil
				grown := heap() - before
				perFile := float64(s.Bytes()) / float64(s.Len())
				t.Logf("%s: %.1f bytes a file, heap grown by %.1f", built, perFile, float64(grown)/many)
				require.Less(t, perFile, 64.0)
				require.InEpsilon(t, s.Bytes(), grown, 0.02)
				require.Equal(t, files[many/2].Version, s.At(many/2).Version)
				runtime.KeepAlive(prev)
				prev = s
			}
			runtime.KeepAlive(files)
		})
	}
}
