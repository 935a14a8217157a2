package litestreamyml

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Litestream's other types, for which there is no client.
var otherTypes = []string{"gs", "abs", "sftp", "nats", "webdav", "oss"}

var (
	urlRegex   = regexp.MustCompile(`^(\w+)://`)
	errFileURL = errors.New("it can't be understood: write file:///PATH")
)

// replicaEntry is a database's replica as the file has it.
type replicaEntry struct {
	node
	key string // "replica" or "replicas"
}

func readReplicas(m node) (all []replicaEntry) {
	if _, v, ok := m.get("replica"); ok {
		all = append(all, replicaEntry{v, "replica"})
	}
	for _, item := range m.list("replicas") {
		all = append(all, replicaEntry{item, "replicas"})
	}
	for _, r := range all {
		if r.Kind != yaml.MappingNode {
			fail(r.at(), r.key, "it must have keys: write url: and the replica's URL below it")
		}
	}
	return all
}

// Replica returns the replica of a database. The path may be relative, begin
// with ~, or lead over links; the database itself need not exist. Its errors
// are of type *Error; one of a type that there is no client for wraps
// ErrUnsupported.
func (c *Config) Replica(dbPath string) (_ Replica, err error) {
	defer catch(c.file, &err)
	db, rel := c.find(dbPath)
	r := db.replica()
	c.refuse(r)
	found := Replica{Source: fmt.Sprintf("%s:%d", c.file, db.line)}
	switch name, key := r.kind(); {
	case name == "file":
		found.Path = r.filePath(filepath.FromSlash(rel))
	case name == "s3":
		found.S3 = c.s3Config(r, rel)
		found.Literal = c.literalKey(dbPath, r, found.S3)
	case slices.Contains(otherTypes, name):
		fail(r.line(key), key, "a replica of type %s is %w", name, ErrUnsupported)
	default:
		fail(r.line(key), key, "there is no type of replica of this name: write file or s3")
	}
	return found, nil
}

// replica is the one replica that Litestream v0.5 allows.
func (db *database) replica() replicaEntry {
	switch n := len(db.replicas); {
	case n == 0:
		fail(db.line, "replica", "the database has none")
	case n > 1 && db.replicas[0].key == "replica":
		fail(db.replicas[1].at(), "replicas", "the database has a replica as well: leave one")
	case n > 1:
		fail(db.replicas[1].at(), "replicas", "the database has several, of which Litestream v0.5 wants one")
	}
	return db.replicas[0]
}

// refuse is what Litestream refuses in a replica of any type.
func (c *Config) refuse(r replicaEntry) {
	if urlRegex.MatchString(r.text("path")) {
		fail(r.line("path"), "path", "it must not be a URL: write it as url")
	}
	for _, m := range []node{r.node, c.top} {
		k, age, ok := m.get("age")
		if ok && len(age.list("identities"))+len(age.list("recipients")) > 0 {
			fail(k.at(), "age", "Litestream v0.5 doesn't encrypt so, and refuses the setting")
		}
	}
}

// kind is the scheme of the replica's URL, else its type, else a file; and the key
// that says so.
func (r replicaEntry) kind() (name, key string) {
	raw := r.text("url")
	if raw == "" {
		return cmp.Or(r.text("type"), "file"), "type"
	}
	m := urlRegex.FindStringSubmatch(raw)
	if m == nil {
		fail(r.line("url"), "url", "it is no URL: write s3://BUCKET/PATH or file:///PATH, or use path for a directory")
	}
	if name = strings.ToLower(m[1]); name == "webdavs" {
		name = "webdav"
	}
	return name, "url"
}

// filePath is the directory of a file replica, for a database that is below
// the entry's directory.
func (r replicaEntry) filePath(rel string) string {
	raw, dir, key := r.text("url"), r.text("path"), "path"
	var err error
	switch {
	case raw != "" && dir != "":
		fail(r.line("url"), "url", "the replica has a path as well: leave one")
	case raw != "":
		key = "url"
		dir, err = fileURLPath(raw, rel)
		must(r.line(key), key, err)
	case rel != ".":
		dir = filepath.Join(dir, rel)
	}
	if dir == "" {
		fail(r.at(), r.key, "it has neither path nor url")
	}
	dir, err = expandPath(dir)
	must(r.line(key), "path", err)
	return dir
}

// fileURLPath is where Litestream looks for a file URL of its configuration:
// what is escaped stays so, a host is a directory, and a query is nothing.
func fileURLPath(raw, rel string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", errFileURL
	}
	if rel != "." {
		u.Path = "/" + strings.TrimPrefix(path.Join(u.Path, filepath.ToSlash(rel)), "/")
		u.RawPath = ""
	}
	u.Scheme, u.RawQuery, u.ForceQuery = "", "", false
	if u.User != nil || u.Host == "" && u.Path == "" {
		return "", errFileURL
	}
	return path.Clean(u.String()), nil
}
