package ltxfstest

import (
	"fmt"
	"testing"
	"time"
)

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
