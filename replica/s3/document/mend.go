package document

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// mend puts question marks in the place of what XML 1.0 can't hold: control characters,
// references to such, and what isn't UTF-8. Keys that have it are strangers': an LTX file's
// key has nothing of the kind.
func mend(page []byte) {
	for i := 0; i < len(page); {
		size, ok := 1, true
		switch c := page[i]; {
		case c == '&':
			size, ok = reference(page[i:])
		case c < utf8.RuneSelf:
			ok = inXML(rune(c))
		default:
			var r rune
			r, size = utf8.DecodeRune(page[i:])
			ok = inXML(r) && (r != utf8.RuneError || size > 1)
		}
		if !ok {
			copy(page[i:i+size], bytes.Repeat([]byte("?"), size))
		}
		i += size
	}
}

// reference is the length of what begins with an ampersand, as far as it must be
// looked at, and whether XML can hold it.
func reference(text []byte) (size int, ok bool) {
	const longest = len("&#x0010FFFF;")
	end := bytes.IndexByte(text[:min(len(text), longest)], ';')
	if end < 3 || text[1] != '#' {
		return 1, true
	}
	digits, base := text[2:end], 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(string(digits), base, 31)
	return end + 1, err == nil && inXML(rune(n))
}

// inXML reports whether XML 1.0 can hold a character.
func inXML(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r < 0xD800 || r >= 0xE000 && r < 0xFFFE || r > 0xFFFF && r <= utf8.MaxRune
}
