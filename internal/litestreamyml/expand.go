package litestreamyml

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// What marks, while variables are expanded, a line that a value adds to the
// text, and one that a name takes from it. YAML allows neither character.
const (
	lineAdded = '\x00'
	lineTaken = '\x01'
)

// lineMap has, for each line of the expanded text, its line in the file.
type lineMap []int

// at is the line in the file of a line of the text, both from 1.
func (m lineMap) at(line int) int { return m[max(0, min(line, len(m))-1)] }

// expandVariables replaces variables as Litestream does: everywhere, and those
// that aren't set by nothing. $PID is the process's own.
func expandVariables(text string, lookup func(string) (string, bool)) (string, lineMap, error) {
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff")
	if !utf8.ValidString(text) {
		return "", nil, errors.New("not a text in UTF-8")
	}
	if i := strings.IndexAny(text, string([]rune{lineAdded, lineTaken})); i >= 0 {
		return "", nil, wrong(1+strings.Count(text[:i], "\n"), "", "a control character is in the text")
	}
	size := len(text)
	var err error
	text = os.Expand(text, func(name string) string {
		value, _ := lookup(name)
		switch {
		case name == "PID":
			value = strconv.Itoa(os.Getpid())
		case strings.ContainsAny(value, string([]rune{lineAdded, lineTaken})) || !utf8.ValidString(value):
			err = fmt.Errorf("the environment variable %s has a character that no text has", name)
		}
		if size += len(value); size > maxText {
			err = errors.New("with its environment variables, it is larger than it should be")
		}
		if err != nil {
			return ""
		}
		value = strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", string(lineAdded))
		return value + strings.Repeat(string(lineTaken), strings.Count(name, "\n"))
	})
	if err != nil {
		return "", nil, err
	}
	return mapLines(text)
}

// mapLines takes the marks out of a text, and tells which line was which.
func mapLines(text string) (string, lineMap, error) {
	var b strings.Builder
	line := 1
	lines := lineMap{line}
	for _, r := range text {
		switch r {
		case lineTaken:
			line++
			continue
		case '\n':
			line++
			lines = append(lines, line)
		case lineAdded:
			r = '\n'
			lines = append(lines, line)
		}
		b.WriteRune(r)
	}
	return b.String(), lines, nil
}

// expandPath makes a path absolute as Litestream does, with ~ for the user's
// home, and without the scheme of an SQLite URL.
func expandPath(s string) (string, error) {
	for _, prefix := range []string{"sqlite3://", "sqlite://"} {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			s = rest
			break
		}
	}
	rest, ok := strings.CutPrefix(s, "~"+string(filepath.Separator))
	if s != "~" && !ok {
		abs, err := filepath.Abs(s)
		if err != nil {
			return "", fmt.Errorf("find the path of %s: %w", s, err)
		}
		return abs, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("find the home directory for ~: %w", err)
	}
	if u.HomeDir == "" {
		return "", errors.New("find the home directory for ~: the user has none")
	}
	if s == "~" {
		rest = ""
	}
	return filepath.Join(u.HomeDir, rest), nil
}

// resolveLinks follows the links in an absolute path as far as it exists.
func resolveLinks(path string) string {
	var missing []string
	for dir := path; ; dir = filepath.Dir(dir) {
		if resolved, err := filepath.EvalSymlinks(dir); err == nil {
			slices.Reverse(missing)
			return filepath.Join(append([]string{resolved}, missing...)...)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
		missing = append(missing, filepath.Base(dir))
	}
}
