package file

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/superfly/ltx"
	"pgregory.net/rapid"
)

// sameAsLTX fails the test unless a name is to parseName what it is to
// ltx.ParseFilename.
func sameAsLTX(tb interface{ Fatalf(string, ...any) }, name string) {
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	id, ok := parseName(name)
	if ok != (err == nil) {
		tb.Fatalf("%q: parseName says %t, ltx says %v", name, ok, err)
	}
	if ok && (id.min != uint64(minTXID) || id.max != uint64(maxTXID) || id.name() != name) {
		tb.Fatalf("%q: parseName says %x, ltx says %s and %s", name, id, minTXID, maxTXID)
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

func TestTempName(t *testing.T) {
	name := ltx.FormatFilename(1, 0xabc)
	seen := make(map[string]bool)
	for range 1000 {
		temp := tempName(name)
		assert.True(t, isTempName(temp), temp)
		assert.True(t, strings.HasPrefix(temp, "."+name+"."), temp)
		assert.False(t, seen[temp])
		seen[temp] = true
		_, ok := parseName(temp)
		assert.False(t, ok)
	}
	// Anyone else's, however alike.
	good := "." + name + ".0123456789abcdef.tmp"
	assert.True(t, isTempName(good))
	for i := range len(good) {
		assert.False(t, isTempName(good[:i]+"X"+good[i+1:]), "changed at %d", i)
	}
	for _, other := range []string{"", name, name + ".tmp", "." + name + ".tmp", good + "x", "x" + good, "." + name + ".0123456789abcde.tmp"} {
		assert.False(t, isTempName(other), other)
	}
}

func TestCompareTXIDs(t *testing.T) {
	assert.Negative(t, compareTXIDs(txids{1, 9}, txids{2, 3}))
	assert.Negative(t, compareTXIDs(txids{1, 2}, txids{1, 3}))
	assert.Zero(t, compareTXIDs(txids{1, 2}, txids{1, 2}))
	assert.Positive(t, compareTXIDs(txids{1 << 63, 1 << 63}, txids{1, 1}))
}
