// Package replica defines what ltxfs needs of a store that holds a Litestream
// replica: the Store interface and its contract, the layouts in which stores
// keep the files, and the errors that every store returns alike.
//
// Each store has a package below this one, with a Store and, around it, a
// ReplicaClient with the six methods of Litestream's guide. Stores around a store
// embed Wrapper. Package storetest holds the suite that all of them pass.
package replica

import (
	"cmp"
	"fmt"
	"os"
	"time"

	"github.com/superfly/ltx"
)

// Levels of a replica. Files enter at level 0 and are compacted upwards;
// SnapshotLevel holds whole databases.
const (
	MinLevel      = 0
	MaxLevel      = 9
	SnapshotLevel = 9
)

// Name names a file of a replica. It doesn't identify the content: a range can be
// written again with other content. See Version.
type Name struct {
	Level            int
	MinTXID, MaxTXID ltx.TXID
}

// Compare orders names by level, min TXID and max TXID.
func (n Name) Compare(other Name) int {
	switch { // as listings compare a million
	case n.Level != other.Level:
		return cmp.Compare(n.Level, other.Level)
	case n.MinTXID != other.MinTXID:
		return cmp.Compare(n.MinTXID, other.MinTXID)
	default:
		return cmp.Compare(n.MaxTXID, other.MaxTXID)
	}
}

// String is the level and the base name, as errors have them.
func (n Name) String() string { return fmt.Sprintf("level %d %s", n.Level, n.Base()) }

// Check returns an error that wraps os.ErrInvalid unless a replica can have a file
// of that name.
func (n Name) Check() error {
	if err := CheckLevel(n.Level); err != nil {
		return err
	}
	if n.MinTXID > n.MaxTXID {
		return fmt.Errorf("min TXID %s is after max TXID %s: %w", n.MinTXID, n.MaxTXID, os.ErrInvalid)
	}
	return nil
}

const (
	txidDigits = 16
	nameSuffix = ".ltx"
	nameLen    = txidDigits + 1 + txidDigits + len(nameSuffix)
)

// Base is the file's base name, as ltx.FormatFilename makes it, at a fraction of
// the cost.
func (n Name) Base() string {
	const digits = "0123456789abcdef"
	base := []byte("0000000000000000-0000000000000000" + nameSuffix)
	for i := range txidDigits {
		shift := 60 - 4*i
		base[i] = digits[n.MinTXID>>shift&0xf]
		base[txidDigits+1+i] = digits[n.MaxTXID>>shift&0xf]
	}
	return string(base)
}

// ParseName returns the name that a base name has at a level. ok is false if it is
// no LTX name. It parses what ltx.ParseFilename does, without the regular
// expression, which would be most of the cost of reading a large directory.
func ParseName[S string | []byte](level int, base S) (n Name, ok bool) {
	if len(base) != nameLen || base[txidDigits] != '-' || string(base[nameLen-len(nameSuffix):]) != nameSuffix {
		return Name{}, false
	}
	minTXID, minOK := parseHex(base[:txidDigits])
	maxTXID, maxOK := parseHex(base[txidDigits+1 : nameLen-len(nameSuffix)])
	return Name{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, minOK && maxOK
}

func parseHex[S string | []byte](s S) (v ltx.TXID, ok bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			v = v<<4 | ltx.TXID(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | ltx.TXID(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// Version tells one content of a file from another under the same name. It is
// compared with ==. Another version needn't be another content. The zero Version
// is none, which only listings of names give.
type Version struct {
	// ETag is the store's, with its quotes: "" on disk, and where the store has
	// none that tells contents apart.
	ETag string

	// Modified is the last-modified time in Unix seconds, as listings show it. On
	// disk it is 0: Inode has the time, and finer.
	Modified int64

	// Size is the content's, in bytes.
	Size int64

	// Inode is a hash of what identifies the content of an inode on disk.
	Inode [16]byte
}

// IsZero reports whether v is no version.
func (v Version) IsZero() bool { return v == Version{} }

// File is one version of a name, as a listing, a stat or a write found it.
type File struct {
	Name
	Size    int64 // in bytes
	ModTime time.Time
	Version Version
}

// Info is the file as Litestream's interfaces have it.
func (f File) Info() *ltx.FileInfo {
	return &ltx.FileInfo{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID, Size: f.Size, CreatedAt: f.ModTime}
}
