package litestreamyml

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// database is an entry of dbs: one database, or those in a directory.
type database struct {
	line      int
	path      string // absolute; "" for a directory
	dir       string // absolute
	pattern   string // of the names in dir
	recursive bool
	replicas  []replicaEntry
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
func readDatabases(top node) (dbs []*database) {
	lines := map[string]int{}
	for _, item := range top.list("dbs") {
		if item.Kind != yaml.MappingNode {
			fail(item.at(), "dbs", "each entry must have keys, such as path and replica")
		}
		db := readDatabase(item)
		if before := lines[db.path]; before > 0 && db.path != "" {
			fail(db.line, "path", "the database is in line %d already: leave one", before)
		}
		lines[db.path] = db.line
		dbs = append(dbs, db)
	}
	return dbs
}

func readDatabase(m node) *database {
	path, dir := m.text("path"), m.text("dir")
	switch {
	case path != "" && dir != "":
		fail(m.line("dir"), "dir", "the entry has a path as well: leave one")
	case path == "" && dir == "":
		fail(m.at(), "dbs", "the entry has neither path nor dir")
	}
	db := &database{line: m.line("path")}
	var err error
	if path != "" {
		db.path, err = expandPath(path)
		must(db.line, "path", err)
		if db.path == "/" {
			fail(db.line, "path", "it is a directory, not a database")
		}
	} else {
		db.line = m.line("dir")
		db.dir, err = expandPath(dir)
		must(db.line, "dir", err)
		if db.pattern = m.text("pattern"); db.pattern == "" {
			fail(db.line, "dir", "a pattern must be given as well, such as pattern: \"*.db\"")
		}
		if _, err := filepath.Match(db.pattern, ""); err != nil {
			fail(m.line("pattern"), "pattern", "%w: close [ with ], and write \\[ for the character itself", err)
		}
		db.recursive = m.boolean("recursive") == "true"
	}
	db.replicas = readReplicas(m)
	return db
}

// find returns the entry of a database, and the database's path below it.
func (c *Config) find(name string) (*database, string) {
	path, err := expandPath(name)
	must(0, "", err)
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
					fail(db.line, "", "%s is in this entry and in that of line %d: which replica is meant?", path, found.line)
				}
				found, rel = db, r
			}
			if found != nil {
				return found, rel
			}
		}
	}
	const most = 10
	all, more := c.Databases(), ""
	if len(all) == 0 {
		fail(0, "", "%s isn't in it, nor any other database", path)
	}
	if len(all) > most {
		more = fmt.Sprintf(" and %d more", len(all)-most)
		all = all[:most]
	}
	fail(0, "", "%s isn't in it; what is: %s%s", path, strings.Join(all, ", "), more)
	return nil, ""
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
