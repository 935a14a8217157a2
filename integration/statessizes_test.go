package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// Every page size that SQLite has, in a database that grows, shrinks by a VACUUM or by
// itself, and grows again.
func TestStatePageSizes(t *testing.T) {
	t.Parallel()
	steps := []string{
		`INSERT INTO item SELECT value, hex(randomblob(value % 900)) FROM generate_series(1, 900)`,
		`UPDATE item SET body = 'short' WHERE id % 7 = 0`,
		`DELETE FROM item WHERE id > 100`,
		`VACUUM`,
		`INSERT INTO item SELECT value, hex(randomblob(300)) FROM generate_series(1000, 1300)`,
		`DROP TABLE item; CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)`,
	}
	for pageSize := 512; pageSize <= 65536; pageSize *= 2 {
		for _, vacuum := range []string{"NONE", "FULL"} {
			t.Run(fmt.Sprintf("%d %s", pageSize, vacuum), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				root, db := filepath.Join(dir, "replica"), filepath.Join(dir, "source.db")
				ltxfstest.MustRun(t, "sqlite3", db, fmt.Sprintf(
					"PRAGMA page_size = %d; PRAGMA auto_vacuum = %s; PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)", pageSize, vacuum))
				r := ltxfstest.NewReplicator(root, db, storetest.DefaultTime)
				var want [][]byte
				sync := func() {
					r.Sync(t)
					data, err := os.ReadFile(db)
					require.NoError(t, err)
					want = append(want, data)
				}
				sync()
				for _, step := range steps {
					ltxfstest.MustRun(t, "sqlite3", db, step+"; PRAGMA wal_checkpoint(TRUNCATE)")
					sync()
				}
				exact, open := ltxfstest.Mount(t, root, "--db-bytes=exact"), ltxfstest.Mount(t, root)
				p := exact.Process(t)
				shrunk := false
				for i, data := range want {
					path := fmt.Sprintf("db/at/%016x.db", i+1)
					got, err := p.ReadFile(path)
					require.NoError(t, err)
					require.Equal(t, ltxfstest.SHA256(data), ltxfstest.SHA256(got), path)
					require.Equal(t, "ok\n", ltxfstest.MustRun(t, "sqlite3", open.Path(path), "PRAGMA integrity_check"))
					shrunk = shrunk || i > 0 && len(data) < len(want[i-1])
				}
				require.True(t, shrunk, "it never shrank")
			})
		}
	}
}
