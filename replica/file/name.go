package file

import (
	"cmp"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// txids is a file's name, as small as it gets: a level may have a million.
type txids struct {
	min, max uint64
}

// name is the file's base name.
func (t txids) name() string {
	return replica.File{MinTXID: ltx.TXID(t.min), MaxTXID: ltx.TXID(t.max)}.Name()
}

func compareTXIDs(a, b txids) int {
	if c := cmp.Compare(a.min, b.min); c != 0 {
		return c
	}
	return cmp.Compare(a.max, b.max)
}

const (
	txidDigits = 16
	nameSuffix = ".ltx"
	nameLen    = txidDigits + 1 + txidDigits + len(nameSuffix)
)

// parseName parses what ltx.ParseFilename does, without its regular expression,
// which would be most of the cost of reading a large directory.
func parseName(name string) (txids, bool) {
	if len(name) != nameLen || name[txidDigits] != '-' || name[nameLen-len(nameSuffix):] != nameSuffix {
		return txids{}, false
	}
	minTXID, ok1 := parseHex(name[:txidDigits])
	maxTXID, ok2 := parseHex(name[txidDigits+1 : nameLen-len(nameSuffix)])
	return txids{minTXID, maxTXID}, ok1 && ok2
}

// parseHex parses lower-case hexadecimal digits, 16 at most.
func parseHex(s string) (v uint64, ok bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
