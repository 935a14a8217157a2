package logging

import (
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// IsTerminal reports whether a stream is a terminal.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// Shown is a text as it may go to a terminal: quoted if a program could have put into it
// what moves the cursor, or worse.
func Shown(text string) string {
	if IsPrintable(text) {
		return text
	}
	return strconv.Quote(text)
}

// IsPrintable reports whether a text is UTF-8 of characters that can be seen.
func IsPrintable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}
