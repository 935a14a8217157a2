package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// All that Litestream restores from the sample is there, with the same bytes, whichever
// server has it.
func TestStatesOnS3(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		putOrders(t, s, bucket, "db", replica.LitestreamS3, true)
		for _, exact := range []bool{false, true} {
			flags := []string{"--cache-size=8MiB"}
			if exact {
				flags = append(flags, "--db-bytes=exact")
			}
			m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Flags: flags, Env: s.Env()})
			ltxfstest.RequireStates(t, m, exact)
			if !exact {
				ltxfstest.OpenStates(t, nil, m.Path("db/latest.db"), m.Path("db/at/000000000000000f.db"))
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			require.NotRegexp(t, "level=(WARN|ERROR)", m.Log())
		}
	})
}

// levelsListed is one listing of each level.
var levelsListed = costs{s3test.ListObjects: 10}

// Names cost the listings of the levels; a size costs a small read, once; an instant
// few; and what many programs look for at every transaction, nothing.
func TestStatesBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		m := c.mount(t)
		c.requireCosts(t, "the names in db", costs{}, func() {
			ltxfstest.Shell(t, `ls -a "$1"/db; find "$1"/db -maxdepth 1; test -L "$1"/db/latest.db`, m.Dir)
		})
		for i, what := range []string{`ls -f "$1"/db/at`, `find "$1"/db/at`, `ls "$1"/db/at`, `readlink "$1"/db/latest.db`} {
			want := costs{}
			if i == 0 {
				want = levelsListed
			}
			c.requireCosts(t, what, want, func() { ltxfstest.Shell(t, what, m.Dir) })
		}
		requests := c.requireCosts(t, "a size", costs{s3test.GetObject: 1}, func() { ltxfstest.Shell(t, `stat -L "$1"/db/latest.db`, m.Dir) })
		require.Equal(t, int64(ltx.HeaderSize), requests[0].Down)
		c.requireCosts(t, "the other sizes", costs{s3test.GetObject: 23}, func() { ltxfstest.Shell(t, `du -a "$1"/db/at; ls -l "$1"/db/at; find "$1"/db/at -ls`, m.Dir) })
		c.requireCosts(t, "journals", costs{}, func() {
			ltxfstest.Shell(t, `for x in journal wal shm; do test ! -e "$1"/db/at/0000000000000003.db-$x; done`, m.Dir)
		})
		c.requireCosts(t, "instants, once the times of states are known but for the three snapshots'", costs{s3test.GetObject: 3 + 13}, func() {
			ltxfstest.Shell(t, `ls -l "$1"/db/time; readlink "$1"/db/time/2026-11-22T22:06:20Z.db`, m.Dir)
		})
		c.requireEndForFree(t, m)

		m = c.mount(t)
		c.requireCosts(t, "an instant", sum(levelsListed, costs{s3test.GetObject: 6 + 2}), func() {
			ltxfstest.Shell(t, `readlink "$1"/db/time/2026-11-22T22:06:20Z.db`, m.Dir)
		})
		c.requireEndForFree(t, m)
	})
}

// Opening asks for the ends of the files that a state is restored from, at the same
// time, and for no page; a lookup by an index then for the pages on the way, and a copy
// for each byte of the files once.
func TestStateReadBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		db := c.putDatabase(t)
		m := c.mount(t)
		p := m.Process(t)
		down := func(requests []s3test.Request) (n int64) {
			for _, r := range requests {
				if r.Operation == s3test.GetObject {
					n += r.Down
				}
			}
			return n
		}
		// Of a large file the header isn't in the end.
		gets := 1 + db.files + 1 + int((db.index+1<<20-1)>>20)
		requests := c.requireCosts(t, "opening", sum(levelsListed, costs{s3test.GetObject: gets}), func() {
			f, err := p.Open("db/latest.db", unix.O_RDONLY, 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		})
		require.LessOrEqual(t, down(requests), int64(2*ltx.HeaderSize+db.files*64<<10)+db.index, describe(requests))

		query := "SELECT id FROM item WHERE name = '" + db.name + "'"
		look := func() {
			require.Equal(t, db.id+"\n", ltxfstest.MustRun(t, "sqlite3", m.Path("db/latest.db"), query))
		}
		c.proxy.Reset()
		look()
		requests = c.proxy.Requests()
		// The levels, the header, the ends, the rest of a longer index: four round trips.
		require.LessOrEqual(t, 4+len(requests), 9, describe(requests))
		require.LessOrEqual(t, down(requests), int64(2<<20), describe(requests))
		c.requireCosts(t, "the same again", costs{}, look)
		c.requireEndForFree(t, m)

		m = c.mount(t)
		ltxfstest.MustRun(t, "sqlite3", m.Path("db/latest.db"), "PRAGMA schema_version")
		c.proxy.Reset()
		ltxfstest.MustRun(t, "sqlite3", m.Path("db/latest.db"), "SELECT sum(length(body)) FROM (SELECT body FROM item LIMIT 20000)")
		requests = c.proxy.Requests()
		const ahead = 16 << 20
		require.LessOrEqual(t, down(requests), db.size/3+ahead, "a third of the rows")
		require.LessOrEqual(t, len(requests), int((db.size/3+ahead)>>20)+2*db.files, describe(requests))
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log()) // with what is still read ahead

		m = c.mount(t, "--db-bytes=exact")
		ltxfstest.MustRun(t, "stat", "-L", m.Path("db/latest.db"))
		c.proxy.Reset()
		ltxfstest.MustRun(t, "cmp", m.Path("db/latest.db"), db.path)
		requests = c.proxy.Requests()
		require.LessOrEqual(t, down(requests), db.size+int64(db.files)*192<<10, describe(requests))
		require.LessOrEqual(t, len(requests), int(db.size>>20)+4*db.files, describe(requests))
		c.requireEndForFree(t, m)
	})
}

// Who scans an index whose pages lie scattered asks for a quarter of its blocks at the most before they
// are there or on their way: the others are fetched ahead of him, each once. Who looks for keys here
// and there has nothing guessed.
func TestScanBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		far := s3test.Toxi(t, c.server.Endpoint)
		far.Latency(t, 20*time.Millisecond, 0)
		c.proxy = s3test.NewProxy(t, far.Endpoint)
		dir := t.TempDir()
		source := filepath.Join(dir, "source.db")
		r := ltxfstest.NewReplicator(dir, source, storetest.DefaultTime)
		const files, rows = 3, 12_000
		size := int64(0)
		for i := range files {
			ltxfstest.ScatterDatabase(t, source, 1+i*rows, (i+1)*rows)
			data, err := os.ReadFile(r.Sync(t))
			require.NoError(t, err)
			level := 0
			if i == 0 {
				level = replica.SnapshotLevel
			}
			c.put(t, level, ltx.TXID(i+1), ltx.TXID(i+1), data)
			size += int64(len(data))
		}
		const scan = "SELECT id, name FROM item INDEXED BY item_name ORDER BY name"
		for i, query := range []string{scan, scan + " DESC"} {
			m := c.mount(t, "--http=127.0.0.1:0")
			if i == 0 {
				for id := 1; id < files*rows; id += files * rows / 40 {
					got := ltxfstest.MustRun(t, "sqlite3", m.Path("db/latest.db"), fmt.Sprintf("SELECT count(*), min(id) FROM item WHERE name = %s", ltxfstest.ItemName(id)))
					require.Equal(t, fmt.Sprintf("1|%d\n", id), got)
				}
				before, _ := m.Metrics(t)
				require.Zero(t, before.Sum("ltxfs_cache_guessed_bytes_total"))
				require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
				m = c.mount(t, "--http=127.0.0.1:0")
			}
			ltxfstest.MustRun(t, "sqlite3", m.Path("db/latest.db"), "PRAGMA schema_version")
			before, _ := m.Metrics(t)
			c.proxy.Reset()
			want := ltxfstest.MustRun(t, "sqlite3", source, query)
			require.Equal(t, ltxfstest.SHA256([]byte(want)), ltxfstest.SHA256([]byte(ltxfstest.MustRun(t, "sqlite3", m.Path("db/latest.db"), query))))
			requests := c.proxy.Requests()
			_, down := c.proxy.Bytes()
			after, _ := m.Metrics(t)
			count := func(name string) float64 { return after.Sum(name) - before.Sum(name) }
			blocks, missed := count("ltxfs_cache_fetched_bytes_total")/maxBlock, count("ltxfs_cache_misses_total")
			guessed, used := count("ltxfs_cache_guessed_bytes_total"), count("ltxfs_cache_guessed_used_bytes_total")
			t.Logf("%d requests for %.0f blocks of %.0f, of which %.0f were missing when they were asked for, %.0f guessed, %.0f used", len(requests), blocks, float64(size)/maxBlock, missed, guessed/maxBlock, used/maxBlock)
			require.LessOrEqual(t, down, size+int64(files*maxBlock), "nothing twice")
			require.LessOrEqual(t, float64(len(requests)), blocks+1)
			require.LessOrEqual(t, 4*missed, blocks)
			require.LessOrEqual(t, used, guessed)
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}

// database is a replica of a database of some size, and what is in it.
type database struct {
	files    int
	index    int64 // bytes of its page indexes beyond 64 KiB of each file
	size     int64 // of all files
	name, id string
	path     string
}

// putDatabase stores a snapshot and 14 small files.
func (c *counted) putDatabase(t *testing.T) *database {
	t.Helper()
	dir := t.TempDir()
	db := &database{path: filepath.Join(dir, "source.db"), id: "31234"}
	ltxfstest.FillDatabase(t, db.path, 60_000)
	db.name = strings.TrimSpace(ltxfstest.MustRun(t, "sqlite3", db.path, "SELECT name FROM item WHERE id = "+db.id))
	r := ltxfstest.NewReplicator(dir, db.path, storetest.DefaultTime)
	for i := range 15 {
		if i > 0 {
			ltxfstest.ChangeDatabase(t, db.path, 100*i, 200*i, 4000*i)
		}
		data, err := os.ReadFile(r.Sync(t))
		require.NoError(t, err)
		level := 0
		if i == 0 {
			level = replica.SnapshotLevel
		}
		c.put(t, level, ltx.TXID(i+1), ltx.TXID(i+1), data)
		_, n, err := ltxfile.IndexAt(data, int64(len(data)))
		require.NoError(t, err)
		db.files++
		db.size += int64(len(data))
		db.index += max(n+ltxfile.MinEnd-64<<10, 0)
	}
	return db
}

// What is compacted and deleted under a reader, or written again, is noticed as on disk.
func TestStatesChangeOnS3(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		h := storetest.NewHistory(t, 1, 4096)
		h.Put = func(n replica.Name, data []byte) { c.put(t, n.Level, n.MinTXID, n.MaxTXID, data) }
		h.Remove = func(n replica.Name) { c.server.Delete(t, c.bucket, c.key(n.Level, n.MinTXID, n.MaxTXID)) }
		for range 6 {
			h.Commit(300, 30)
		}
		m := c.mount(t, "--db-bytes=exact", "--cache-size=4MiB", "--freshness=0s")
		p := m.Process(t)
		const path = "db/at/0000000000000006.db"
		st, err := p.Stat(path)
		require.NoError(t, err)
		f, err := p.Open(path, unix.O_RDONLY, 0)
		require.NoError(t, err)
		want := h.File(6)
		got, err := f.ReadAt(4096, 4096)
		require.NoError(t, err)
		require.Equal(t, want[4096:2*4096], got)
		h.Compact(1, 1, 6)
		for txid := ltx.TXID(1); txid <= 6; txid++ {
			h.Remove(replica.Name{MinTXID: txid, MaxTXID: txid})
		}
		got, err = f.ReadAt(len(want), 0)
		require.NoError(t, err)
		require.Equal(t, ltxfstest.SHA256(want), ltxfstest.SHA256(got))
		again, err := p.Stat(path)
		require.NoError(t, err)
		require.Equal(t, st, again)

		other := storetest.NewHistory(t, 2, 4096)
		for range 6 {
			other.Commit(300, 30)
		}
		other.Compact(1, 1, 6)
		compacted := replica.Name{Level: 1, MinTXID: 1, MaxTXID: 6}
		c.put(t, 1, 1, 6, other.Files[compacted])
		data, err := p.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, ltxfstest.SHA256(other.File(6)), ltxfstest.SHA256(data))
		again, err = p.Stat(path)
		require.NoError(t, err)
		require.NotEqual(t, st.Ino, again.Ino)
		require.NoError(t, f.Close())
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}
