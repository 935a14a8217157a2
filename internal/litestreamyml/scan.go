package litestreamyml

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Base is the deepest directory that the file's databases share. It follows from the file
// alone: a database that comes to a directory changes no other's path below it. It is ""
// without any databases.
func (c *Config) Base() string {
	var base []string
	for i, db := range c.dbs {
		dir := db.dir
		if db.path != "" {
			dir = filepath.Dir(db.path)
		}
		parts := strings.Split(strings.TrimSuffix(dir, "/"), "/")
		if i == 0 {
			base = parts
		}
		same := 0
		for same < min(len(base), len(parts)) && base[same] == parts[same] {
			same++
		}
		base = base[:same]
	}
	if len(c.dbs) == 0 {
		return ""
	}
	return "/" + strings.TrimPrefix(strings.Join(base, "/"), "/")
}

// sqliteHeader is what a database of SQLite begins with.
const sqliteHeader = "SQLite format 3\x00"

// Scanner finds the databases of a file again and again. Its methods may be called by one
// goroutine at a time.
type Scanner struct {
	config *Config
	known  map[string]bool // files that were found to be databases
}

// Scanner returns one.
func (c *Config) Scanner() *Scanner { return &Scanner{config: c} }

// Scan returns the absolute paths of all databases, sorted: those that the file names, be they
// there or not, and those that Litestream would find in its directories if it started now.
// What it can't read it passes over, and returns as an error beside the rest. It doesn't look
// into the directory except, which is absolute and without links.
func (s *Scanner) Scan(ctx context.Context, except string) ([]string, error) {
	var paths []string
	var failed []error
	known := map[string]bool{}
	for _, db := range s.config.dbs {
		if db.path != "" {
			paths = append(paths, db.path)
			continue
		}
		if leadsInto(db.dir, except) {
			continue
		}
		failed = append(failed, filepath.WalkDir(db.dir, func(path string, e fs.DirEntry, err error) error {
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err != nil && (path == db.dir || !errors.Is(err, fs.ErrNotExist)):
				failed = append(failed, err)
				return nil
			case err != nil: // gone meanwhile
				return nil
			case e.IsDir() && (!db.recursive && path != db.dir || leadsInto(path, except)):
				return filepath.SkipDir
			case e.IsDir(), e.Type()&fs.ModeSymlink != 0 && leadsInto(path, except):
				return nil
			}
			if match, _ := filepath.Match(db.pattern, e.Name()); match && (s.known[path] && e.Type().IsRegular() || IsSQLite(path)) {
				known[path] = true
				paths = append(paths, path)
			}
			return nil
		}))
	}
	s.known = known
	slices.Sort(paths)
	return slices.Compact(paths), errors.Join(failed...)
}

// maxLinks is how many links leadsInto follows.
const maxLinks = 40

// leadsInto reports whether an absolute path is a directory or below it, by way of links. It
// doesn't look into the directory.
func leadsInto(path, dir string) bool {
	at, rest := "/", strings.Split(path, "/")
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		if next == dir {
			return true
		}
		target, err := os.Readlink(next)
		switch {
		case err != nil: // it is none
			at = next
			continue
		case filepath.IsAbs(target):
			at = "/"
		}
		if links++; links > maxLinks {
			return false
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return false
}

// IsSQLite reports whether a regular file can be read and begins as a database of SQLite does.
func IsSQLite(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // a pipe would be waited for
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	header := make([]byte, len(sqliteHeader))
	_, err = io.ReadFull(f, header)
	return err == nil && string(header) == sqliteHeader
}
