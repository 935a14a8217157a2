package document

import (
	"bytes"
	"slices"
)

// takePlain takes the first entries out of a page, as far as they are written as S3 and
// most others do: one element after the other, with text and nothing else in each. The
// decoder, which takes ten times as long, reads the rest.
func takePlain(page []byte) (entries []Object, rest []byte) {
	from, ok := firstEntry(page)
	if !ok {
		return nil, page
	}
	at := from
	for {
		o, n := plainEntry(page[at:])
		if n == 0 {
			break
		}
		entries = append(entries, o)
		at += n
	}
	return entries, slices.Delete(page, from, at)
}

// firstEntry is where the entries begin, if all before them is plain.
func firstEntry(page []byte) (at int, ok bool) {
	at = space(page)
	if bytes.HasPrefix(page[at:], []byte("<?xml ")) {
		end := bytes.IndexByte(page[at:], '>')
		if end < 0 {
			return 0, false
		}
		at += end + 1
		at += space(page[at:])
	}
	end := bytes.IndexByte(page[at:], '>')
	if end < 0 || !bytes.HasPrefix(page[at:], []byte("<List")) || page[at+end-1] == '/' {
		return 0, false
	}
	for at += end + 1; ; {
		at += space(page[at:])
		if bytes.HasPrefix(page[at:], []byte("<Contents>")) {
			return at, true
		}
		_, _, n := plainElement(page[at:])
		if n == 0 {
			return 0, false
		}
		at += n
	}
}

// plainEntry parses an entry that page begins with, and returns its length, or 0.
func plainEntry(page []byte) (o Object, n int) {
	n = space(page)
	if !bytes.HasPrefix(page[n:], []byte("<Contents>")) {
		return o, 0
	}
	for n += len("<Contents>"); ; {
		n += space(page[n:])
		if bytes.HasPrefix(page[n:], []byte("</Contents>")) {
			return o, n + len("</Contents>")
		}
		name, text, size := plainElement(page[n:])
		if size == 0 {
			return o, 0
		}
		n += size
		switch string(name) {
		case "Key":
			o.Key = text
		case "ETag":
			o.ETag = &text
		case "Size":
			o.SizeText = text
		case "LastModified":
			o.TimeText = text
		}
	}
}

// plainElement parses an element that page begins with, and returns its length, or 0.
func plainElement(page []byte) (name []byte, text string, n int) {
	end := bytes.IndexByte(page, '>')
	if end < 2 || page[0] != '<' {
		return nil, "", 0
	}
	name = page[1:end]
	for _, c := range name {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return nil, "", 0
		}
	}
	from := end + 1
	size := bytes.IndexByte(page[from:], '<')
	if size < 0 {
		return nil, "", 0
	}
	closing := page[from+size+1:]
	if len(closing) < len(name)+2 || closing[0] != '/' || closing[len(name)+1] != '>' || !bytes.Equal(closing[1:len(name)+1], name) {
		return nil, "", 0
	}
	text, ok := plainText(page[from : from+size])
	if !ok {
		return nil, "", 0
	}
	return name, text, from + size + len(name) + len("</>")
}

// references are the characters that texts have references to.
var references = map[string]byte{"quot": '"', "#34": '"', "apos": '\'', "#39": '\'', "lt": '<', "gt": '>', "amp": '&'}

// plainText is what a text means, if it is easily told.
func plainText(p []byte) (text string, ok bool) {
	if bytes.IndexByte(p, '\r') >= 0 || bytes.Contains(p, []byte("]]>")) {
		return "", false
	}
	if bytes.IndexByte(p, '&') < 0 {
		return string(p), true
	}
	var b []byte
	for {
		before, rest, more := bytes.Cut(p, []byte("&"))
		b = append(b, before...)
		if !more {
			return string(b), true
		}
		reference, after, whole := bytes.Cut(rest, []byte(";"))
		c, known := references[string(reference)]
		if !whole || !known {
			return "", false
		}
		b, p = append(b, c), after
	}
}

// space is the length of the white space that page begins with.
func space(page []byte) int { return len(page) - len(bytes.TrimLeft(page, " \t\r\n")) }
