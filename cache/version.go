package cache

import (
	"encoding/hex"
	"strings"

	"github.com/ltxfs/ltxfs/replica"
)

// Versions are strings of few kinds: what a file client makes of inode, size and
// mtime, and ETags. A packed version is nothing at all for "", and otherwise a
// tag and then
const (
	versionRaw  = iota // the string
	versionHex         // an even number of lower-case hexadecimal digits, two a byte
	versionFive        // characters of fiveBits, five bits each
)

// fiveBits are the characters that versions are made of. The 32nd code fills up
// the last byte.
const fiveBits = `0123456789abcdef-".:_/+=,;@~ Wx`

const fiveFill = len(fiveBits)

// appendVersion appends v, packed.
func appendVersion(p []byte, v replica.Version) []byte {
	s := string(v)
	switch {
	case s == "":
		return p
	case len(s)%2 == 0 && strings.Trim(s, fiveBits[:16]) == "":
		p = append(p, versionHex)
		p, err := hex.AppendDecode(p, []byte(s))
		if err != nil {
			panic(err) // all are digits
		}
		return p
	case strings.Trim(s, fiveBits) == "":
		return appendFive(append(p, versionFive), s)
	default:
		return append(append(p, versionRaw), s...)
	}
}

func appendFive(p []byte, s string) []byte {
	buf, n := 0, 0
	for i := range len(s) {
		buf = buf<<5 | strings.IndexByte(fiveBits, s[i])
		for n += 5; n >= 8; n -= 8 {
			p = append(p, byte(buf>>(n-8)))
		}
	}
	for ; n > 0; n -= 8 {
		buf = buf<<5 | fiveFill
		buf = buf<<5 | fiveFill
		p = append(p, byte(buf>>(n+10-8)))
	}
	return p
}

// unpackVersion is the inverse of appendVersion.
func unpackVersion(p []byte) replica.Version {
	if len(p) == 0 {
		return ""
	}
	tag, p := p[0], p[1:]
	switch tag {
	case versionHex:
		return replica.Version(hex.EncodeToString(p))
	case versionFive:
		return replica.Version(unpackFive(p))
	default:
		return replica.Version(p)
	}
}

func unpackFive(p []byte) []byte {
	s := make([]byte, 0, len(p)*8/5)
	buf, n := 0, 0
	for _, c := range p {
		buf = buf<<8 | int(c)
		for n += 8; n >= 5; n -= 5 {
			code := buf >> (n - 5) & 31
			if code == fiveFill {
				return s
			}
			s = append(s, fiveBits[code])
		}
	}
	return s
}
