package litestreamyml

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// database is an entry of dbs: one database, or those in a directory.
type database struct {
	line      int
	path      string // absolute; "" for a directory
	dir       string // absolute
	pattern   string // of the names in dir
	recursive bool
	replicas  []*replicaEntry
}

func (db *database) String() string {
	switch {
	case db.path != "":
		return db.path
	case db.recursive:
		return filepath.Join(db.dir, "**", db.pattern)
	}
	return filepath.Join(db.dir, db.pattern)
}

// relative is the path of a database below the directory of an entry, in the
// form of URLs, if it is the entry's. It is "." for an entry of one database.
// Whether the file is there is not asked: its replica may be all that is left.
func (db *database) relative(path string, resolve func(string) string) (string, bool) {
	if db.path != "" {
		return ".", resolve(db.path) == path
	}
	rel, err := filepath.Rel(resolve(db.dir), path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." || !db.recursive && rel != filepath.Base(rel) {
		return "", false
	}
	match, err := filepath.Match(db.pattern, filepath.Base(path))
	return filepath.ToSlash(rel), match && err == nil
}

// readDatabases reads dbs, with Litestream's own checks.
func readDatabases(root *node) ([]*database, error) {
	items, err := root.sequence("dbs")
	if err != nil {
		return nil, err
	}
	var dbs []*database
	lines := map[string]int{}
	for _, item := range items {
		if item.kind != isMapping {
			return nil, wrong(item.line, "dbs", "each entry must have keys, such as path and replica")
		}
		db, err := readDatabase(item)
		if err != nil {
			return nil, err
		}
		if db.path != "" {
			if before := lines[db.path]; before > 0 {
				return nil, wrong(db.line, "path", "the database is in line %d already: leave one", before)
			}
			lines[db.path] = db.line
		}
		dbs = append(dbs, db)
	}
	return dbs, nil
}

func readDatabase(m *node) (*database, error) {
	path, line, err := m.scalar("path")
	if err != nil {
		return nil, err
	}
	dir, dirLine, err := m.scalar("dir")
	if err != nil {
		return nil, err
	}
	db := &database{line: line}
	switch {
	case path != "" && dir != "":
		return nil, wrong(dirLine, "dir", "the entry has a path as well: leave one")
	case path == "" && dir == "":
		return nil, wrong(m.line, "dbs", "the entry has neither path nor dir")
	case path != "":
		if db.path, err = expandPath(path); err != nil {
			return nil, wrong(line, "path", "%w", err)
		}
	default:
		db.line = dirLine
		if err := db.readDir(m, dir); err != nil {
			return nil, err
		}
	}
	db.replicas, err = readReplicas(m)
	return db, err
}

func (db *database) readDir(m *node, dir string) (err error) {
	if db.dir, err = expandPath(dir); err != nil {
		return wrong(db.line, "dir", "%w", err)
	}
	var line int
	if db.pattern, line, err = m.scalar("pattern"); err != nil {
		return err
	}
	if db.pattern == "" {
		return wrong(db.line, "dir", "a pattern must be given as well, such as pattern: \"*.db\"")
	}
	if _, err := filepath.Match(db.pattern, ""); err != nil {
		return wrong(line, "pattern", "%w: close [ with ], and write \\[ for the character itself", err)
	}
	db.recursive, err = m.boolean("recursive")
	return err
}

// find returns the entry of a database, and the database's path below it.
func (c *Config) find(name string) (*database, string, error) {
	path, err := expandPath(name)
	if err != nil {
		return nil, "", err
	}
	asWritten := func(s string) string { return s }
	for _, resolve := range []func(string) string{asWritten, resolveLinks} {
		for _, isDir := range []bool{false, true} {
			var found *database
			var rel string
			for _, db := range c.dbs {
				r, ok := db.relative(resolve(path), resolve)
				switch {
				case !ok || isDir != (db.dir != ""):
					continue
				case found != nil:
					return nil, "", wrong(db.line, "", "%s is in this entry and in that of line %d: which replica is meant?", path, found.line)
				}
				found, rel = db, r
			}
			if found != nil {
				return found, rel, nil
			}
		}
	}
	return nil, "", c.notListed(path)
}

func (c *Config) notListed(path string) error {
	const most = 10
	all := c.Databases()
	switch {
	case len(all) == 0:
		return fmt.Errorf("%s isn't in it, nor any other database", path)
	case len(all) > most:
		return fmt.Errorf("%s isn't in it; what is: %s and %d more", path, strings.Join(all[:most], ", "), len(all)-most)
	}
	return fmt.Errorf("%s isn't in it; what is: %s", path, strings.Join(all, ", "))
}

// Databases are the paths of the databases in the file, in its order, without
// looking at the disk: of a directory's, it is the pattern of their paths, with
// ** for any directories.
func (c *Config) Databases() []string {
	all := make([]string, 0, len(c.dbs))
	for _, db := range c.dbs {
		if name := db.String(); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
