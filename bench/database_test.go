package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// The database: a table with an index on a text column, as a snapshot and small files
// after it.
const (
	databaseReplica = "database"
	scanReplica     = "database-scan"
	databaseName    = "source.db"
	databaseFiles   = 15
	lookedFor       = 123 // the number of the row that is looked for
)

func databaseGroup(w *world) *group {
	rows := pick(w, 900_000, 30_000)
	g := &group{
		name: "database", title: fmt.Sprintf("A database of %d rows", rows), replica: databaseReplica, places: stores(w),
		contestants: func(*world, place) []*contestant { return []*contestant{ltxfs, straight, vfs, localDatabase} },
		prepare:     func(w *world) error { return w.makeDatabase(rows) },
	}
	query := func(name string, fresh, start bool, sql string) row {
		return row{name: name, fresh: fresh, start: start, job: job{Kind: "state", Query: sql}, metrics: []*metric{seconds}}
	}
	g.rows = []row{
		query("an indexed lookup, from the start", true, true, "SELECT id FROM item WHERE name = (SELECT "+ltxfstest.ItemName(lookedFor)+")"),
		query("20,000 rows, cold", true, false, "SELECT sum(length(body)) > 0 FROM (SELECT body FROM item LIMIT 20000)"),
		query("full scan, cold", true, false, "SELECT sum(length(body)) > 0 FROM item"),
		query("full scan, again", false, false, "SELECT sum(length(body)) > 0 FROM item"),
		{name: "cp to /dev/null", fresh: true, job: job{Kind: "state", To: os.DevNull}, metrics: []*metric{seconds}},
		{name: "cp to a file", fresh: true, job: job{Kind: "state"}, metrics: []*metric{seconds}},
	}
	return g
}

// scanGroup scans an index whose pages lie scattered, since the rows came in no order of it.
func scanGroup(w *world) *group {
	rows := pick(w, 200_000, 20_000)
	g := &group{
		name: "database-scan", title: fmt.Sprintf("An index of %d rows, whose pages lie scattered", rows), replica: scanReplica, places: []place{w.far},
		contestants: func(*world, place) []*contestant { return []*contestant{ltxfs, previous, localDatabase} },
		prepare: func(w *world) error {
			return w.makeReplica(scanReplica, rows, func(db string) { ltxfstest.ScatterDatabase(w.b, db, 1, rows) })
		},
	}
	for _, direction := range []string{"ASC", "DESC"} {
		sql := "SELECT sum(length(name)) > 0 FROM (SELECT name FROM item INDEXED BY item_name ORDER BY name " + direction + " LIMIT 1000000)"
		g.rows = append(g.rows, row{name: "covering scan, " + direction, fresh: true, job: job{Kind: "state", Query: sql}, metrics: []*metric{seconds, requests}})
	}
	return g
}

// makeDatabase makes the database, and its replica in the store.
func (w *world) makeDatabase(rows int) error {
	return w.makeReplica(databaseReplica, rows, func(db string) { ltxfstest.FillDatabase(w.b, db, rows) })
}

// makeReplica makes a database of that many rows, and a replica of it in the store.
func (w *world) makeReplica(name string, rows int, fill func(db string)) error {
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	db := filepath.Join(dir, databaseName)
	if _, err := os.Stat(db); err == nil {
		return nil // another group has made it
	}
	fill(db)
	r := ltxfstest.NewReplicator(dir, db, storetest.DefaultTime)
	for i := range databaseFiles {
		level := 0
		if i == 0 {
			level = replica.SnapshotLevel
		} else {
			ltxfstest.ChangeDatabase(w.b, db, i*rows/20, i*rows/30)
		}
		path := r.Sync(w.b)
		if err := w.put(replicaAt{name: name}.key(level, filepath.Base(path)), path); err != nil {
			return err
		}
	}
	return nil
}

// Those who read the database without a mount.
var (
	// localDatabase is the database itself.
	localDatabase = &contestant{name: "file", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		return &session{target: func(j job, _ int, _ string) job {
			j.Path = filepath.Join(w.dir, r.name, databaseName)
			return j
		}}, nil
	}}

	// vfs is Litestream's own extension of SQLite.
	vfs = &contestant{
		name: "VFS", kind: limit,
		program: func() (string, error) { return find("litestream-vfs.so") },
		open: func(w *world, r replicaAt) (*session, error) {
			extension, err := find("litestream-vfs.so")
			return &session{target: func(j job, _ int, _ string) job {
				j.Extension = strings.TrimSuffix(extension, ".so")
				j.Env = append(w.server.Env(), "LITESTREAM_REPLICA_URL="+s3test.URL(r.endpoint, w.bucket, r.name), "LITESTREAM_LOG_FILE="+os.DevNull)
				return j
			}}, err
		},
	}
)

// state queries a database file, or copies it. Litestream restores it before, to memory.
func (j job) state() (o outcome, err error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "state-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir)
	run := func(name string, args ...string) (string, error) {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), j.Env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, &stderr)
		}
		return strings.TrimSpace(string(out)), err
	}
	restored := strings.Contains(j.Path, "://")
	if restored {
		program, err := find("litestream")
		if err != nil {
			return o, err
		}
		memory, err := os.MkdirTemp("/dev/shm", "restored-")
		if err != nil {
			return o, err
		}
		defer os.RemoveAll(memory)
		to := filepath.Join(memory, "restored.db")
		if _, err := run(program, "restore", "-o", to, j.Path); err != nil {
			return o, err
		}
		j.Path = to
	}
	switch {
	case j.Query != "":
		args := []string{j.Path, j.Query}
		if j.Extension != "" {
			args = []string{":memory:", ".load " + j.Extension, ".open file:replica.db?vfs=litestream", j.Query}
		}
		var out string
		out, err = run("sqlite3", args...)
		if err == nil && out != "1" && out != fmt.Sprint(lookedFor) {
			err = fmt.Errorf("%q is no answer", out)
		}
	case !restored:
		to := j.To
		if to == "" {
			to = filepath.Join(dir, "copy.db")
		}
		_, err = run("cp", j.Path, to)
	}
	return outcome{Seconds: time.Since(began).Seconds()}, err
}
