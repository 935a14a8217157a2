package litestreamyml

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/replica"
)

const (
	typeFile = replica.SchemeFile
	typeS3   = replica.SchemeS3
)

// Litestream's other types, for which there is no client.
var otherTypes = []string{"gs", "abs", "sftp", "nats", "webdav", "oss"}

var urlRegex = regexp.MustCompile(`^(\w+)://`)

// replicaEntry is a database's replica as the file has it.
type replicaEntry struct {
	*node
	key string // "replica" or "replicas"
}

func readReplicas(m *node) ([]*replicaEntry, error) {
	one, err := m.get("replica")
	if err != nil {
		return nil, err
	}
	list, err := m.sequence("replicas")
	if err != nil {
		return nil, err
	}
	var all []*replicaEntry
	if one != nil {
		all = append(all, &replicaEntry{one.value, "replica"})
	}
	for _, item := range list {
		all = append(all, &replicaEntry{item, "replicas"})
	}
	for _, r := range all {
		if r.kind != isMapping {
			return nil, wrong(r.line, r.key, "it must have keys: write url: and the replica's URL below it")
		}
	}
	return all, nil
}

// Replica returns the replica of a database. The path may be relative, begin
// with ~, or lead over links; the database itself need not exist. Its errors
// are of type *Error; one of a type that there is no client for wraps
// replica.ErrUnsupported.
func (c *Config) Replica(dbPath string) (Replica, error) {
	r, err := c.replica(dbPath)
	return r, in(c.file, err)
}

func (c *Config) replica(dbPath string) (Replica, error) {
	db, rel, err := c.find(dbPath)
	if err != nil {
		return Replica{}, err
	}
	entry, err := db.replica()
	if err != nil {
		return Replica{}, err
	}
	if err := entry.refuse(c.defaults); err != nil {
		return Replica{}, err
	}
	t, err := entry.typeOf()
	if err != nil {
		return Replica{}, err
	}
	found := Replica{Type: t.name, Source: fmt.Sprintf("%s:%d", c.file, db.line)}
	switch {
	case t.name == typeFile:
		found.Path, err = entry.filePath(filepath.FromSlash(rel))
	case t.name == typeS3:
		found.S3, err = c.s3Config(entry, rel)
	case slices.Contains(otherTypes, t.name):
		err = wrong(t.line, t.key, "a replica of type %s is %w", t.name, replica.ErrUnsupported)
	default:
		err = wrong(t.line, t.key, "there is no type of replica of this name: write file or s3")
	}
	if err != nil {
		return Replica{}, err
	}
	return found, nil
}

// replica is the one replica that Litestream v0.5 allows.
func (db *database) replica() (*replicaEntry, error) {
	switch n := len(db.replicas); {
	case n == 0:
		return nil, wrong(db.line, "replica", "the database has none")
	case n == 1:
		return db.replicas[0], nil
	case db.replicas[0].key == "replica":
		return nil, wrong(db.replicas[1].line, "replicas", "the database has a replica as well: leave one")
	default:
		return nil, wrong(db.replicas[1].line, "replicas", "the database has several, of which Litestream v0.5 wants one")
	}
}

// refuse is what Litestream refuses in a replica of any type.
func (r *replicaEntry) refuse(defaults *node) error {
	p, line, err := r.scalar("path")
	switch {
	case err != nil:
		return err
	case urlRegex.MatchString(p):
		return wrong(line, "path", "it must not be a URL: write it as url")
	}
	for _, m := range []*node{r.node, defaults} {
		age, err := m.get("age")
		if err != nil {
			return err
		}
		if age == nil || age.value.kind != isMapping {
			continue
		}
		for _, key := range []string{"identities", "recipients"} {
			list, err := age.value.get(key)
			if err != nil {
				return err
			}
			if list != nil && len(list.value.items) > 0 {
				return wrong(age.line, "age", "Litestream v0.5 doesn't encrypt so, and refuses the setting")
			}
		}
	}
	return nil
}

// typeName is a replica's type, and where it stands.
type typeName struct {
	name, key string
	line      int
}

// typeOf is the scheme of the replica's URL, else its type, else a file.
func (r *replicaEntry) typeOf() (typeName, error) {
	raw, line, err := r.scalar("url")
	if err != nil {
		return typeName{}, err
	}
	if raw != "" {
		m := urlRegex.FindStringSubmatch(raw)
		if m == nil {
			return typeName{}, wrong(line, "url", "it is no URL: write s3://BUCKET/PATH or file:///PATH, or use path for a directory")
		}
		name := strings.ToLower(m[1])
		if name == "webdavs" {
			name = "webdav"
		}
		return typeName{name, "url", line}, nil
	}
	name, line, err := r.scalar("type")
	if name == "" {
		name = typeFile
	}
	return typeName{name, "type", line}, err
}

// filePath is the directory of a file replica, for a database that is below
// the entry's directory.
func (r *replicaEntry) filePath(rel string) (string, error) {
	raw, urlLine, err := r.scalar("url")
	if err != nil {
		return "", err
	}
	dir, line, err := r.scalar("path")
	switch {
	case err != nil:
		return "", err
	case raw != "" && dir != "":
		return "", wrong(urlLine, "url", "the replica has a path as well: leave one")
	case raw != "":
		line = urlLine
		if dir, err = fileURLPath(raw, rel); err != nil {
			return "", wrong(line, "url", "%w", err)
		}
	case rel != ".":
		dir = filepath.Join(dir, rel)
	}
	if dir == "" {
		return "", wrong(r.line, r.key, "it has neither path nor url")
	}
	if dir, err = expandPath(dir); err != nil {
		return "", wrong(line, "path", "%w", err)
	}
	return dir, nil
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
