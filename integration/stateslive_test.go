package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// Each transaction of the writer counts, and writes the count's hash and a row; the
// last 300 rows stay. It prints the count and when it was committed.
const liveWriter = `
import hashlib, os, random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('PRAGMA journal_mode = WAL')
db.execute('CREATE TABLE counter (n INTEGER, hash TEXT)')
db.execute('CREATE TABLE entry (n INTEGER PRIMARY KEY, body BLOB, hash TEXT)')
db.execute('INSERT INTO counter VALUES (0, "")')
end, n = time.time() + float(sys.argv[2]), 0
while time.time() < end:
    n += 1
    db.execute('BEGIN IMMEDIATE')
    db.execute('UPDATE counter SET n = ?, hash = ?', (n, hashlib.sha256(str(n).encode()).hexdigest()))
    body = os.urandom(random.randrange(80000))
    db.execute('INSERT INTO entry VALUES (?, ?, ?)', (n, body, hashlib.sha256(body).hexdigest()))
    db.execute('DELETE FROM entry WHERE n <= ?', (n - 300,))
    db.execute('COMMIT')
    print(n, time.time(), flush=True)
    time.sleep(0.1)
`

// The readers check what each transaction keeps to. One opens the database again and
// again, the other keeps it open.
const liveReader = `
import hashlib, os, sqlite3, sys, time
def read(db):
    n, hash = db.execute('SELECT n, hash FROM counter').fetchone()
    assert n == 0 or hash == hashlib.sha256(str(n).encode()).hexdigest(), (n, hash)
    rows = db.execute('SELECT n, body, hash FROM entry ORDER BY n').fetchall()
    assert all(hashlib.sha256(r[1]).hexdigest() == r[2] for r in rows), n
    assert [r[0] for r in rows] == list(range(max(n - 299, 1), n + 1)), n
    return n
path, end, keep = sys.argv[1], time.time() + float(sys.argv[2]), sys.argv[3] == 'keep'
if keep:
    path = os.path.realpath(path)
    pages = os.open(path, os.O_RDONLY)
db = None
while time.time() < end:
    began = time.time()
    try:
        db = db or sqlite3.connect(path)
        n = read(db)
    except sqlite3.OperationalError as e:
        if not keep:
            raise
        print('lost', began, e, flush=True)
        break
    print(n, began, flush=True)
    if keep:
        time.sleep(0.2)
        db.execute('PRAGMA shrink_memory')
        os.posix_fadvise(pages, 0, 0, os.POSIX_FADV_DONTNEED) # the kernel's
    else:
        db.close()
        db = None
`

// While Litestream replicates, compacts and deletes, whoever opens the latest state
// sees one that was committed, never an earlier one than before, and soon; and who
// keeps one open sees that one for as long as it can be read.
func TestStatesLive(t *testing.T) {
	t.Parallel()
	const seconds, freshness = 60, time.Second
	root := t.TempDir()
	db := filepath.Join(t.TempDir(), "source.db")
	start := func(script string, args ...string) (lines func() []string) {
		cmd := exec.Command("/usr/bin/python3", append([]string{"-c", script}, args...)...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Env = ltxfstest.Env()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		done := make(chan error, 1)
		require.NoError(t, cmd.Start())
		go func() { done <- cmd.Wait() }()
		return func() []string {
			t.Helper()
			select {
			case err := <-done:
				require.NoError(t, err, errs.String())
			case <-time.After(2 * seconds * time.Second):
				_ = cmd.Process.Kill()
				t.Fatalf("it still runs: %s", &errs)
			}
			return strings.Split(strings.TrimSpace(out.String()), "\n")
		}
	}
	written := start(liveWriter, db, strconv.Itoa(seconds+5))
	ltxfstest.Eventually(t, ltxfstest.Timeout, "there is a database", func() bool {
		info, err := os.Stat(db)
		return err == nil && info.Size() > 0
	})
	replicate := ltxfstest.StartLitestream(t, ltxfstest.LitestreamConfig(db, "file://"+root))
	m := ltxfstest.Mount(t, root, "--cache-size=4MiB")
	latest := m.Path("db/latest.db")
	ltxfstest.Eventually(t, ltxfstest.Timeout, "a state is larger than the cache", func() bool {
		r := ltxfstest.Run(t, ltxfstest.Timeout, "sqlite3", latest, "SELECT sum(length(body)) > 5000000 FROM entry")
		return r.Code == 0 && r.Stdout == "1\n"
	})
	kept := start(liveReader, latest, strconv.Itoa(seconds-10), "keep")
	read := start(liveReader, latest, strconv.Itoa(seconds-10), "again")

	committed := map[int]float64{}
	again, keep := read(), kept()
	for _, line := range written() {
		n, at := numbers(t, line)
		committed[n] = at
	}
	require.Greater(t, len(again), 20, "reads")
	last, behind := 0, 0.0
	for _, line := range again {
		n, began := numbers(t, line)
		require.GreaterOrEqual(t, n, last, "time goes back")
		last = n
		if next, ok := committed[n+1]; ok {
			behind = max(behind, began-next)
		}
	}
	require.Greater(t, last, 200, "the last count that was read")
	require.Less(t, behind, (freshness + 2*time.Second).Seconds(), "seconds that a state was behind")
	t.Logf("%d reads, at most %.2f s behind", len(again), behind)

	first, _ := numbers(t, keep[0])
	for _, line := range keep {
		if strings.HasPrefix(line, "lost") {
			require.Contains(t, line, "disk I/O error")
			continue
		}
		n, _ := numbers(t, line)
		require.Equal(t, first, n, "a state that is open doesn't change")
	}
	require.Regexp(t, "it is read from others|it can't be read any more", m.Log(), "files of it were deleted")
	replicate.Stop(t)
	require.NotRegexp(t, "level=ERROR", m.Log())
}

// numbers are those of a line: a count, and a time in seconds.
func numbers(t *testing.T, line string) (int, float64) {
	t.Helper()
	a, b, ok := strings.Cut(line, " ")
	require.True(t, ok, line)
	at, err := strconv.ParseFloat(b, 64)
	require.NoError(t, err, line)
	return ltxfstest.Atoi(t, a), at
}

// A database that is reset uses its TXIDs again. The state that is open is never a
// mixture, and the new one shows.
func TestStatesReset(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, "replica")
	var sources []string
	for i, rows := range []int{2000, 2000} {
		db := filepath.Join(dir, strconv.Itoa(i)+".db")
		ltxfstest.FillDatabase(t, db, rows)
		sources = append(sources, db)
	}
	first := ltxfstest.NewReplicator(root, sources[0], storetest.DefaultTime)
	first.Sync(t)
	ltxfstest.ChangeDatabase(t, sources[0], 7)
	first.Sync(t)
	m := ltxfstest.Mount(t, root, "--db-bytes=exact", "--cache-size=4MiB")
	p := m.Process(t)
	open, err := p.Open("db/latest.db", unix.O_RDONLY, 0)
	require.NoError(t, err)
	before, err := os.ReadFile(sources[0])
	require.NoError(t, err)
	got, err := open.ReadAt(4096, 0)
	require.NoError(t, err)
	require.Equal(t, before[:4096], got)
	st, err := p.Stat(m.Path("db/at/0000000000000002.db"))
	require.NoError(t, err)

	require.NoError(t, os.RemoveAll(root))
	second := ltxfstest.NewReplicator(root, sources[1], storetest.DefaultTime.Add(time.Hour))
	second.Sync(t)
	ltxfstest.ChangeDatabase(t, sources[1], 9)
	second.Sync(t)
	want := ltxfstest.SHA256(must(os.ReadFile(sources[1]))(t))
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the new state shows", func() bool {
		now, err := p.Stat(m.Path("db/at/0000000000000002.db"))
		return err == nil && now.Ino != st.Ino
	})
	data, err := p.ReadFile("db/latest.db")
	require.NoError(t, err)
	require.Equal(t, want, ltxfstest.SHA256(data))
	lost := 0
	for off := int64(0); off < int64(len(before)); off += 4096 {
		got, err := open.ReadAt(4096, off)
		if err == nil {
			require.True(t, bytes.Equal(before[off:off+4096], got), "page at %d", off)
			continue
		}
		require.Equal(t, syscall.ESTALE, err)
		lost++
	}
	require.Positive(t, lost)
	require.NoError(t, open.Close())
}

// A state that was closed, and whose TXID was written again, with the same size and time, is
// never a mixture with what the kernel has of it.
func TestStatesReopened(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	at := func(n replica.Name) string { return filepath.Join(root, ltxfstest.StorePath(n.Level, n.Base())) }
	put := func(n replica.Name, data []byte) {
		require.NoError(t, os.MkdirAll(filepath.Dir(at(n)), 0o755))
		require.NoError(t, os.WriteFile(at(n), data, 0o644))
	}
	before, after := storetest.NewHistory(t, 1, 4096), storetest.NewHistory(t, 2, 4096)
	before.Put = put
	for range 3 {
		before.Commit(400, 20)
		after.Commit(400, 20)
	}
	m := ltxfstest.Mount(t, root, "--db-bytes=exact")
	p := m.Process(t)
	const path, pages = "db/at/0000000000000003.db", 100 * 4096
	for _, path := range []string{path, "db/at/0000000000000001.db"} { // whose page map is kept then
		f, err := p.Open(path, unix.O_RDONLY, 0)
		require.NoError(t, err)
		_, err = f.ReadAt(pages, 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for n := range before.Files {
		require.NoError(t, os.Remove(at(n)))
	}
	after.Compact(1, 1, 3)
	compacted := replica.Name{Level: 1, MinTXID: 1, MaxTXID: 3}
	put(compacted, after.Files[compacted])
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the new state shows", func() bool {
		data, err := p.ReadFile(path)
		if err != nil || bytes.Equal(data, before.File(3)) {
			return false
		}
		require.True(t, bytes.Equal(data, after.File(3)), "a mixture")
		return true
	})
}

// must unpacks a result that has no error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}
