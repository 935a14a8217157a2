package index

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ltxfs/ltxfs/replica"
)

// A packed version is a byte that says how each part is packed, in one to three bits a part, and
// then the parts that take up room: Size, Modified, Inode, ETag.
const (
	sizeShift, modifiedShift, inodeShift, etagShift = 0, 2, 4, 5

	partNone = 0 // the zero value, which takes up none

	numberSame  = 1 // as the file's Size, or the second of its ModTime
	numberOther = 2 // a varint, of the difference to that

	inodeBytes = 1

	etagHash  = 1 // 32 lower-case hexadecimal digits in quotes: 16 bytes
	etagParts = 2 // the same with "-" and the number of parts: 16 bytes and a varint
	etagText  = 3 // the string
	etagLong  = 4 // 64 such digits in quotes: 32 bytes
)

// appendVersion appends the version of a file with that size and mtime, packed.
func appendVersion(p []byte, v replica.Version, size, mtime int64) []byte {
	at := len(p)
	p = append(p, 0)
	p, sizeKind := appendNumber(p, v.Size, size)
	p, modifiedKind := appendNumber(p, v.Modified, seconds(mtime))
	inodeKind := partNone
	if v.Inode != [16]byte{} {
		p, inodeKind = append(p, v.Inode[:]...), inodeBytes
	}
	p, etagKind := appendETag(p, v.ETag)
	p[at] = byte(sizeKind<<sizeShift | modifiedKind<<modifiedShift | inodeKind<<inodeShift | etagKind<<etagShift)
	return p
}

// unpackVersion is the inverse of appendVersion.
func unpackVersion(p []byte, size, mtime int64) (v replica.Version) {
	kinds := p[0]
	p = p[1:]
	p, v.Size = cutNumber(p, kinds>>sizeShift&3, size)
	p, v.Modified = cutNumber(p, kinds>>modifiedShift&3, seconds(mtime))
	if kinds>>inodeShift&1 == inodeBytes {
		p = p[copy(v.Inode[:], p):]
	}
	switch kinds >> etagShift {
	case etagHash, etagLong:
		v.ETag = `"` + hex.EncodeToString(p) + `"`
	case etagParts:
		n, _ := binary.Uvarint(p[16:])
		v.ETag = `"` + hex.EncodeToString(p[:16]) + "-" + strconv.FormatUint(n, 10) + `"`
	case etagText:
		v.ETag = string(p)
	}
	return v
}

func appendNumber(p []byte, n, near int64) ([]byte, int) {
	switch n {
	case 0:
		return p, partNone
	case near:
		return p, numberSame
	}
	return binary.AppendVarint(p, n-near), numberOther
}

func cutNumber(p []byte, kind byte, near int64) ([]byte, int64) {
	switch kind {
	case partNone:
		return p, 0
	case numberSame:
		return p, near
	}
	n, length := binary.Varint(p)
	return p[length:], near + n
}

func appendETag(p []byte, etag string) ([]byte, int) {
	if etag == "" {
		return p, partNone
	}
	hash, parts, ok := cutETag(etag)
	if !ok {
		return append(p, etag...), etagText
	}
	p, err := hex.AppendDecode(p, []byte(hash))
	if err != nil {
		panic(err) // all are digits
	}
	switch {
	case len(hash) > 32:
		return p, etagLong
	case parts == 0:
		return p, etagHash
	}
	return binary.AppendUvarint(p, parts), etagParts
}

// cutETag takes apart an ETag that is a hash and maybe a number of parts.
func cutETag(etag string) (hash string, parts uint64, ok bool) {
	inner, ok := strings.CutPrefix(etag, `"`)
	inner, quoted := strings.CutSuffix(inner, `"`)
	if !ok || !quoted || len(inner) < 32 {
		return "", 0, false
	}
	hash, rest := inner[:32], inner[32:]
	if len(inner) == 64 {
		hash, rest = inner, ""
	}
	if rest != "" {
		// Only as it is written when it is unpacked.
		parts, _ = strconv.ParseUint(rest[1:], 10, 32)
		ok = parts > 0 && rest == "-"+strconv.FormatUint(parts, 10)
	}
	return hash, parts, ok && strings.Trim(hash, "0123456789abcdef") == ""
}

// noTime stands for the zero time.
const noTime = math.MinInt64

// packTime is t in Unix nanoseconds, cut to those that an int64 can hold: from
// 1677 to 2262.
func packTime(t time.Time) int64 {
	switch {
	case t.IsZero():
		return noTime
	case t.Before(time.Unix(0, noTime+1)):
		return noTime + 1
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func unpackTime(ns int64) time.Time {
	if ns == noTime {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// seconds is a packed time in Unix seconds.
func seconds(ns int64) int64 { return unpackTime(ns).Unix() }

// packable is f with the time that a snapshot would make of it, so that it doesn't
// matter which of the two answers.
func packable(f replica.File) replica.File {
	f.ModTime = unpackTime(packTime(f.ModTime))
	return f
}
