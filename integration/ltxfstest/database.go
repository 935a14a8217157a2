package ltxfstest

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Database is an SQLite database, in WAL mode, that sqlite3 writes to.
type Database struct {
	Path string

	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   bytes.Buffer
	rows  int
}

// NewDatabase makes a database in a directory of the test's own.
func NewDatabase(t testing.TB) *Database {
	t.Helper()
	d := &Database{t: t, Path: filepath.Join(t.TempDir(), "source.db")}
	MustRun(t, "sqlite3", d.Path, `
		PRAGMA journal_mode = WAL;
		CREATE TABLE entry (id INTEGER PRIMARY KEY, at TEXT, body BLOB);
		CREATE INDEX entry_at ON entry (at);`)
	d.cmd = exec.Command("sqlite3", "-bail", "-cmd", ".timeout 10000", d.Path)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	stdin, err := d.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.stdin = stdin
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	return d
}

// WriteFor commits a small transaction to each database four times a second, with which
// Litestream keeps up on a busy machine, and returns how many it has asked for in each.
func WriteFor(d time.Duration, dbs ...*Database) int {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		<-tick.C
		for _, db := range dbs {
			db.Write()
		}
	}
	return n
}

// Write has a small transaction committed, without waiting for it. Rows come,
// change and go.
func (d *Database) Write() {
	d.t.Helper()
	d.rows++
	_, err := fmt.Fprintf(d.stdin, `BEGIN IMMEDIATE;
		INSERT INTO entry (at, body) VALUES (%[2]q, randomblob(abs(random()) %% 6000));
		UPDATE entry SET body = randomblob(500) WHERE id = %[1]d / 2;
		DELETE FROM entry WHERE id = %[1]d / 3;
		COMMIT;
		`, d.rows, time.Now().Format(time.RFC3339Nano))
	if err != nil {
		d.t.Fatalf("write to the database: %v\n%s", err, &d.out)
	}
}

// Close ends the writer, which must have committed everything.
func (d *Database) Close() {
	d.t.Helper()
	if err := d.stdin.Close(); err != nil {
		d.t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil || d.out.Len() > 0 {
		d.t.Fatalf("sqlite3 ended with %v, and said: %s", err, &d.out)
	}
	last := strings.TrimSpace(MustRun(d.t, "sqlite3", d.Path, "SELECT max(id) FROM entry"))
	if last != fmt.Sprint(d.rows) {
		d.t.Fatalf("the last row is %s, not %d", last, d.rows)
	}
}

// DatabaseSHA256 is the digest of all that an SQLite database holds. The
// database must be free of damage.
func DatabaseSHA256(t testing.TB, path string) string {
	t.Helper()
	if out := MustRun(t, "sqlite3", path, "PRAGMA integrity_check"); out != "ok\n" {
		t.Fatalf("%s is damaged: %s", path, out)
	}
	return SHA256([]byte(MustRun(t, "sqlite3", path, ".dump")))
}

// FillDatabase makes a database of that many rows with an index on a text column, about
// 1.4 KB each, of which half can be compressed.
func FillDatabase(t testing.TB, path string, rows int) {
	t.Helper()
	r := Run(t, 10*time.Minute, "sqlite3", path, fmt.Sprintf(`
		PRAGMA journal_mode = WAL;
		CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body TEXT);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO item SELECT i, %s, printf('%%.*c', 620, 'x') || hex(randomblob(320)) FROM n;
		CREATE INDEX item_name ON item (name);
		PRAGMA wal_checkpoint(TRUNCATE);`, rows, itemName("i")))
	if r.Code != 0 {
		t.Fatal(r)
	}
}

// ItemName is the name of a row, as an SQL expression.
func ItemName(id int) string { return itemName(fmt.Sprint(id)) }

func itemName(id string) string { return "printf('item %08x', (" + id + " * 2654435761) % 4294967296)" }

// ChangeDatabase changes some rows of such a database.
func ChangeDatabase(t testing.TB, path string, ids ...int) {
	t.Helper()
	for _, id := range ids {
		MustRun(t, "sqlite3", path, fmt.Sprintf("UPDATE item SET body = hex(randomblob(600)) WHERE id = %d; PRAGMA wal_checkpoint(TRUNCATE)", id))
	}
}

// ScatterDatabase adds the rows up to last to such a database, or makes it. The pages of its
// index lie scattered among the others, since each row's name comes where there is room for it.
func ScatterDatabase(t testing.TB, path string, first, last int) {
	t.Helper()
	r := Run(t, 10*time.Minute, "sqlite3", path, fmt.Sprintf(`
		PRAGMA journal_mode = WAL;
		CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, name TEXT, body TEXT);
		CREATE INDEX IF NOT EXISTS item_name ON item (name);
		WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO item SELECT i, %s, printf('%%.*c', 620, 'x') || hex(randomblob(320)) FROM n;
		PRAGMA wal_checkpoint(TRUNCATE);`, first, last, itemName("i")))
	if r.Code != 0 {
		t.Fatal(r)
	}
}
