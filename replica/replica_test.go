package replica_test

import (
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/ltxfs/ltxfs/replica"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func name(level int, minTXID, maxTXID ltx.TXID) replica.Name {
	return replica.Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
}

func TestFile(t *testing.T) {
	f := replica.File{
		Name: name(2, 3, 0xab), Size: 7, ModTime: time.UnixMilli(5), Version: replica.Version{ETag: `"v"`},
	}
	assert.Equal(t, "0000000000000003-00000000000000ab.ltx", f.Base())
	assert.Equal(t, "level 2 0000000000000003-00000000000000ab.ltx", f.String())
	assert.Equal(t, &ltx.FileInfo{Level: 2, MinTXID: 3, MaxTXID: 0xab, Size: 7, CreatedAt: time.UnixMilli(5)}, f.Info())
}

// Every part of a version tells.
func TestVersion(t *testing.T) {
	versions := []replica.Version{
		{}, {ETag: `"a"`}, {Modified: 1}, {Size: 1}, {Inode: [16]byte{15: 1}},
		{ETag: `"a"`, Modified: 1, Size: 1, Inode: [16]byte{15: 1}},
	}
	for i, v := range versions {
		assert.Equal(t, i == 0, v.IsZero())
		for j, other := range versions {
			assert.Equal(t, i == j, v == other)
		}
	}
}

func TestNameCheck(t *testing.T) {
	for _, tt := range []struct {
		name  replica.Name
		valid bool
	}{
		{name(0, 0, 0), true},
		{name(9, 1, 1), true},
		{name(5, 1, math.MaxUint64), true},
		{name(0, math.MaxUint64, math.MaxUint64), true},
		{name(-1, 1, 1), false},
		{name(10, 1, 1), false},
		{name(math.MinInt, 1, 1), false},
		{name(0, 2, 1), false},
		{name(0, math.MaxUint64, 1), false},
	} {
		err := tt.name.Check()
		if tt.valid {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, os.ErrInvalid)
		}
	}
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		require.NoError(t, replica.CheckLevel(level))
	}
	require.ErrorIs(t, replica.CheckLevel(replica.MinLevel-1), os.ErrInvalid)
	require.ErrorIs(t, replica.CheckLevel(replica.MaxLevel+1), os.ErrInvalid)
}

func TestNameCompare(t *testing.T) {
	ordered := []replica.Name{
		name(-1, 9, 9), name(0, 1, 9), name(0, 2, 2), name(0, 2, 3), name(0, 1<<63, 1<<63), name(1, 0, 0),
	}
	for i, a := range ordered {
		for j, b := range ordered {
			switch got := a.Compare(b); {
			case i < j:
				assert.Negative(t, got, "%v and %v", a, b)
			case i > j:
				assert.Positive(t, got, "%v and %v", a, b)
			default:
				assert.Zero(t, got, "%v", a)
			}
		}
	}
}

// sameAsLTX fails the test unless a base name is to ParseName what it is to
// ltx.ParseFilename.
func sameAsLTX(tb interface{ Fatalf(string, ...any) }, base string) {
	minTXID, maxTXID, err := ltx.ParseFilename(base)
	n, ok := replica.ParseName(3, base)
	if ok != (err == nil) {
		tb.Fatalf("%q: ParseName says %t, ltx says %v", base, ok, err)
	}
	if ok && (n != name(3, minTXID, maxTXID) || n.Base() != base) {
		tb.Fatalf("%q: ParseName says %v, ltx says %s and %s", base, n, minTXID, maxTXID)
	}
}

var nameSeeds = []string{
	"", ".", "..", "0000000000000001-0000000000000001.ltx", "ffffffffffffffff-ffffffffffffffff.ltx",
	"0123456789abcdef-fedcba9876543210.ltx", "0123456789ABCDEF-fedcba9876543210.ltx",
	"0000000000000001-0000000000000001.ltx.tmp", "0000000000000001-0000000000000001.ltx\n",
	"0000000000000001-0000000000000001.LTX", "0000000000000001_0000000000000001.ltx",
	"00000000000000001-000000000000001.ltx", "000000000000001-00000000000000001.ltx",
	"+000000000000001-0000000000000001.ltx", "0x00000000000001-0000000000000001.ltx",
	" 000000000000001-0000000000000001.ltx", "000000000000000g-0000000000000001.ltx",
	"0000000000000001-0000000000000001xltx", "000000000000000é-000000000000001.ltx",
	".0000000000000001-0000000000000001.ltx.0123456789abcdef.tmp",
}

func TestParseName(t *testing.T) {
	for _, name := range nameSeeds {
		sameAsLTX(t, name)
	}
	// Names with a flaw in one place, and without.
	rapid.Check(t, func(rt *rapid.T) {
		name := []byte(ltx.FormatFilename(ltx.TXID(rapid.Uint64().Draw(rt, "min")), ltx.TXID(rapid.Uint64().Draw(rt, "max"))))
		switch rapid.IntRange(0, 3).Draw(rt, "flaw") {
		case 1:
			name[rapid.IntRange(0, len(name)-1).Draw(rt, "at")] = rapid.Byte().Draw(rt, "byte")
		case 2:
			at := rapid.IntRange(0, len(name)).Draw(rt, "at")
			name = append(name[:at:at], append([]byte{rapid.Byte().Draw(rt, "byte")}, name[at:]...)...)
		case 3:
			at := rapid.IntRange(0, len(name)-1).Draw(rt, "at")
			name = append(name[:at:at], name[at+1:]...)
		}
		sameAsLTX(rt, string(name))
	})
	rapid.Check(t, func(rt *rapid.T) { sameAsLTX(rt, rapid.String().Draw(rt, "name")) })
}

func FuzzParseName(f *testing.F) {
	for _, name := range nameSeeds {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { sameAsLTX(t, name) })
}
