package ltxfstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// RequireStates checks that a mount of the sample replica, with --db-bytes=exact or
// without, shows exactly the states and instants that Litestream restores, with the
// same bytes, but for the two by which it can be opened.
func RequireStates(t testing.TB, m *Mounted, exact bool) {
	t.Helper()
	p := m.Process(t)
	byTXID, byTime := OrdersStates(t)
	var states, instants []string
	for _, s := range byTXID {
		states = append(states, s.TXID+".db")
		RequireState(t, p, "db/at/"+s.TXID+".db", s.SHA256, exact)
	}
	RequireNames(t, p, "db/at", states...)
	for _, s := range byTime {
		RequireState(t, p, "db/time/"+s.Time+".db", s.SHA256, exact)
	}
	latest := byTXID[len(byTXID)-1]
	RequireState(t, p, "db/latest.db", latest.SHA256, exact)
	RequireNames(t, p, "db", "at", "time", "latest.db")
	for _, f := range OrdersFiles(t) {
		if f.Level == 0 {
			instants = append(instants, f.ModTime.Format("2006-01-02T15:04:05.000Z")+".db")
		}
	}
	RequireNames(t, p, "db/time", instants...)
}

// RequireState checks the bytes of a state.
func RequireState(t testing.TB, p *Process, path, sha256 string, exact bool) {
	t.Helper()
	data, err := p.ReadFile(path)
	require.NoError(t, err, path)
	if !exact {
		require.Equal(t, "\x01\x01", string(data[18:20]), path)
		data[18], data[19] = 2, 2
	}
	require.Equal(t, sha256, SHA256(data), path)
}

// sqliteIn checks a database, in Python and the SQLite that comes with it. Its
// arguments are the file, and PRAGMAs.
const sqliteIn = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], uri=True)
for pragma in sys.argv[2:]:
    db.execute(pragma)
assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
for name, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
    print(name, db.execute('SELECT count(*) FROM "%s"' % name).fetchone()[0])
try:
    db.execute('CREATE TABLE new (x)')
    sys.exit('a table was made')
except sqlite3.OperationalError:
    pass
`

// goSQLite is the program that opens a database with modernc.org/sqlite.
var goSQLite = sync.OnceValues(func() (string, error) {
	program := filepath.Join(workDir, "gosqlite")
	build := exec.Command("go", "build", "-C", "integration/litestreamcompat", "-o", program, "./gosqlite")
	build.Dir = rootDir
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build gosqlite: %w\n%s", err, out)
	}
	return program, nil
})

// OpenStates opens states with the SQLite of the command line, Python's and Go's, each
// in several ways, as a user. All of them find the same, without fault.
func OpenStates(t testing.TB, cred *syscall.Credential, paths ...string) {
	t.Helper()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
		r := RunCmd(t, Timeout, cmd)
		require.Zero(t, r.Code, r)
		return r.Stdout
	}
	inGo, err := goSQLite()
	require.NoError(t, err)
	for _, path := range paths {
		require.Equal(t, "ok\n", run("sqlite3", path, "PRAGMA integrity_check"), path)
		require.Equal(t, "ok\n", run("sqlite3", "-readonly", path, "PRAGMA integrity_check"), path)
		require.Equal(t, "268435456\nok\n", run("sqlite3", path, "PRAGMA mmap_size=268435456; PRAGMA integrity_check"), path)
		tables := run("/usr/bin/python3", "-c", sqliteIn, path)
		require.NotEmpty(t, tables, path)
		require.Equal(t, tables, run("/usr/bin/python3", "-c", sqliteIn, path, "PRAGMA mmap_size=268435456"), path)
		require.Equal(t, tables, run("/usr/bin/python3", "-c", sqliteIn, "file:"+path+"?mode=ro"), path)
		require.Equal(t, tables, run(inGo, path), path)
		require.Equal(t, tables, run(inGo, "file:"+path+"?mode=ro", "PRAGMA mmap_size=268435456"), path)
	}
}

// RequireRestores checks that ltxfs restore makes of the sample replica what Litestream
// restores, by TXID and by time. env is added to the environment.
func RequireRestores(t testing.TB, env []string, source string) {
	t.Helper()
	dir := t.TempDir()
	byTXID, byTime := OrdersStates(t)
	restore := func(want string, flags ...string) {
		t.Helper()
		out := filepath.Join(dir, "restored.db")
		cmd := exec.Command(Binary(), append([]string{"restore", source, "-o", out}, flags...)...)
		cmd.Env = append(Env(), env...)
		r := RunCmd(t, Timeout, cmd)
		require.Zero(t, r.Code, r)
		require.Empty(t, r.Stderr)
		data, err := os.ReadFile(out)
		require.NoError(t, err)
		require.Equal(t, want, SHA256(data), r)
		require.NoError(t, os.Remove(out))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
	for _, s := range byTXID {
		restore(s.SHA256, "--txid="+s.TXID)
	}
	for _, s := range byTime {
		restore(s.SHA256, "--timestamp="+s.Time)
	}
	restore(byTXID[len(byTXID)-1].SHA256)
}
