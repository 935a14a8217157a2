package litestreamyml

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// lineMap has, for each line of the expanded text, its line in the file.
type lineMap []int

// at is the line in the file of a line of the text, both from 1.
func (m lineMap) at(line int) int { return m[max(1, min(line, len(m)))-1] }

// expandVariables replaces variables as Litestream does: everywhere, and those
// that aren't set by nothing. $PID is the process's own. Other than for Litestream,
// the name of one ends with its line. Lines that are literal stay as they are.
func expandVariables(text string, lookup func(string) (string, bool), literal func(line int) bool) (string, lineMap) {
	size := len(text)
	value := func(name string) string {
		value, _ := lookup(name)
		if name == "PID" {
			value = strconv.Itoa(os.Getpid())
		}
		if !isText(value) {
			fail(0, "", "the environment variable %s has a character that no text has", name)
		}
		if size += len(value); size > maxText {
			fail(0, "", "with its environment variables, it is larger than it should be")
		}
		return value
	}
	if !utf8.ValidString(text) {
		fail(0, "", "not a text in UTF-8")
	}
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff")
	var expanded strings.Builder
	var lines lineMap
	for i, line := range strings.SplitAfter(text, "\n") {
		if !isText(line) {
			fail(i+1, "", "a control character is in the text")
		}
		if !literal(i + 1) {
			line = strings.ReplaceAll(os.Expand(line, value), "\r\n", "\n")
		}
		expanded.WriteString(line)
		lines = append(lines, slices.Repeat([]int{i + 1}, max(1, strings.Count(line, "\n")))...)
	}
	return expanded.String(), lines
}

func isText(s string) bool {
	isControl := func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }
	return utf8.ValidString(s) && !strings.ContainsFunc(s, isControl)
}

var sqliteRegex = regexp.MustCompile(`^sqlite3?://`)

// expandPath makes a path absolute as Litestream does, with ~ for the user's
// home, and without the scheme of an SQLite URL.
func expandPath(s string) (string, error) {
	s = sqliteRegex.ReplaceAllString(s, "")
	if strings.Contains(s, "\x00") {
		return "", errors.New("no path has the character NUL")
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
	if err == nil && u.HomeDir == "" {
		err = errors.New("the user has none")
	}
	if err != nil {
		return "", fmt.Errorf("find the home directory for ~: %w", err)
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
