package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// replicateFor is how long the database is written to.
const replicateFor = 60 * time.Second

// litestreamConfig compacts every second or two, takes a snapshot every five, and
// deletes what ten seconds of snapshots don't need.
const litestreamConfig = `
levels:
  - interval: 1s
  - interval: 2s
snapshot:
  interval: 5s
  retention: 10s
l0-retention: 5s
l0-retention-check-interval: 1s
verify-compaction: true
logging:
  type: json
dbs:
  - path: %s
    monitor-interval: 100ms
    replica:
      url: file://%s
      sync-interval: 200ms
`

// Litestream replicates a minute of steady writing into a mount, with all that
// it does to the files, and doesn't notice.
func TestReplicate(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m := ltxfstest.Mount(t, root, "--rw")
	source := newSource(t)
	replicate := startLitestream(t, source.path, m.Dir)
	written := source.writeFor(replicateFor)
	source.close()
	require.Greater(t, written, 300, "transactions in a minute")
	replicate.stop(t)

	require.Empty(t, replicate.warnings(t), "warnings and errors of Litestream")
	require.Greater(t, replicate.deleted(t), 100, "files that retention deleted")
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.NotRegexp(t, "level=(WARN|ERROR)", m.Log(), "warnings and errors of the mount")
	requireReplicaOf(t, root, source.path)
	requireDeleted(t, root)
}

// The mount is killed while Litestream works, and mounted again. Litestream tries
// again what had failed, and nothing is lost.
func TestReplicateThroughKill(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	staging := t.TempDir()
	m := ltxfstest.Mount(t, root, "--rw", "--staging-dir", staging)
	source := newSource(t)
	replicate := startLitestream(t, source.path, m.Dir)

	before := source.writeFor(replicateFor / 2)
	m.Kill(t)
	during := source.writeFor(2 * time.Second)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "Litestream notices that the mount is dead", func() bool {
		return len(replicate.warnings(t)) > 0
	})
	// Between the end of the dead mount and the new one the mount point is a
	// plain directory, into which Litestream must not write.
	replicate.signal(t, syscall.SIGSTOP)
	m = ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Dir: m.Dir, Flags: []string{"--rw", "--staging-dir", staging}})
	replicate.signal(t, syscall.SIGCONT)
	after := source.writeFor(replicateFor / 2)
	source.close()
	require.Greater(t, before, 150, "transactions before the kill")
	require.Positive(t, during, "transactions while the mount was dead")
	require.Greater(t, after, 150, "transactions after the kill")
	replicate.stop(t)

	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	requireReplicaOf(t, root, source.path)
	requireDeleted(t, root)
}

// requireReplicaOf checks that the replica restores to the source database, and
// holds nothing but valid LTX files with names that Litestream gives.
func requireReplicaOf(t *testing.T, root, source string) {
	t.Helper()
	pattern := regexp.MustCompile(`^ltx/[0129]/[0-9a-f]{16}-[0-9a-f]{16}\.ltx$`)
	levels := map[string]int{}
	verify := []string{"verify"}
	for name := range ltxfstest.Tree(t, root) {
		require.Regexp(t, pattern, name)
		levels[strings.Split(name, "/")[1]]++
		verify = append(verify, filepath.Join(root, name))
	}
	for _, level := range []string{"0", "1", "2", "9"} {
		require.Positive(t, levels[level], "files in level %s", level)
	}
	require.Equal(t, "ok\n", ltxfstest.MustRun(t, ltxfstest.Tool(t, "ltx"), verify...))

	restored := filepath.Join(t.TempDir(), "restored.db")
	ltxfstest.MustRun(t, ltxfstest.Tool(t, "litestream"), "restore", "-o", restored, "file://"+root)
	require.Equal(t, "ok\n", ltxfstest.MustRun(t, "sqlite3", restored, "PRAGMA integrity_check"))
	want := ltxfstest.MustRun(t, "sqlite3", source, ".dump")
	got := ltxfstest.MustRun(t, "sqlite3", restored, ".dump")
	require.Equal(t, ltxfstest.SHA256([]byte(want)), ltxfstest.SHA256([]byte(got)), "the restored database is the source")
}

// requireDeleted checks that retention has deleted at levels 0 and 9: neither
// holds the replica's first file any more.
func requireDeleted(t *testing.T, root string) {
	t.Helper()
	tree := ltxfstest.Tree(t, root)
	require.NotContains(t, tree, "ltx/0/"+name1)
	require.NotContains(t, tree, "ltx/9/"+name1)
}

// source is a database that sqlite3 writes to.
type source struct {
	t     *testing.T
	path  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   bytes.Buffer
	rows  int
}

func newSource(t *testing.T) *source {
	t.Helper()
	s := &source{t: t, path: filepath.Join(t.TempDir(), "source.db")}
	ltxfstest.MustRun(t, "sqlite3", s.path, `
		PRAGMA journal_mode = WAL;
		CREATE TABLE entry (id INTEGER PRIMARY KEY, at TEXT, body BLOB);
		CREATE INDEX entry_at ON entry (at);`)
	s.cmd = exec.Command("sqlite3", "-bail", "-cmd", ".timeout 10000", s.path)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	stdin, err := s.cmd.StdinPipe()
	require.NoError(t, err)
	s.stdin = stdin
	require.NoError(t, s.cmd.Start())
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	return s
}

// writeFor commits a small transaction ten times a second, and returns how many
// it has asked for. Rows come, change and go.
func (s *source) writeFor(d time.Duration) int {
	s.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		<-tick.C
		s.rows++
		_, err := fmt.Fprintf(s.stdin, `BEGIN IMMEDIATE;
			INSERT INTO entry (at, body) VALUES (%[2]q, randomblob(abs(random()) %% 6000));
			UPDATE entry SET body = randomblob(500) WHERE id = %[1]d / 2;
			DELETE FROM entry WHERE id = %[1]d / 3;
			COMMIT;
			`, s.rows, time.Now().Format(time.RFC3339Nano))
		require.NoError(s.t, err, &s.out)
	}
	return n
}

// close ends the writer, which must have committed everything.
func (s *source) close() {
	s.t.Helper()
	require.NoError(s.t, s.stdin.Close())
	require.NoError(s.t, s.cmd.Wait(), &s.out)
	require.Empty(s.t, s.out.String(), "messages of sqlite3")
	require.Equal(s.t, fmt.Sprintln(s.rows), ltxfstest.MustRun(s.t, "sqlite3", s.path, "SELECT max(id) FROM entry"))
}

// litestream is a `litestream replicate` at work.
type litestream struct {
	cmd  *exec.Cmd
	log  string // a file with JSON lines
	done chan error
}

func startLitestream(t *testing.T, db, replica string) *litestream {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "litestream.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, litestreamConfig, db, replica), 0o644))
	l := &litestream{log: filepath.Join(dir, "litestream.log"), done: make(chan error, 1)}
	log, err := os.Create(l.log)
	require.NoError(t, err)
	defer log.Close()
	l.cmd = exec.Command(ltxfstest.Tool(t, "litestream"), "replicate", "-config", config)
	l.cmd.Env = ltxfstest.Env()
	l.cmd.Stdout, l.cmd.Stderr = log, log
	require.NoError(t, l.cmd.Start())
	go func() { l.done <- l.cmd.Wait() }()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		if t.Failed() {
			log, _ := os.ReadFile(l.log)
			t.Logf("the end of Litestream's log:\n%s", log[max(0, len(log)-20_000):])
		}
	})
	return l
}

func (l *litestream) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, l.cmd.Process.Signal(sig))
}

// stop has Litestream upload what is left, and end.
func (l *litestream) stop(t *testing.T) {
	t.Helper()
	l.signal(t, syscall.SIGTERM)
	select {
	case err := <-l.done:
		require.NoError(t, err, "Litestream's end")
	case <-time.After(2 * ltxfstest.Timeout):
		t.Fatal("Litestream doesn't end after SIGTERM")
	}
}

// entry is a line of Litestream's log.
type entry struct {
	Msg          string `json:"msg"`
	DeletedCount int    `json:"deleted_count"`
	line         string
}

func (l *litestream) entries(t *testing.T) []entry {
	t.Helper()
	log, err := os.ReadFile(l.log)
	require.NoError(t, err)
	var entries []entry
	for line := range strings.Lines(string(log)) {
		if !strings.HasSuffix(line, "\n") {
			break // still being written
		}
		e := entry{line: line}
		require.NoError(t, json.Unmarshal([]byte(line), &e), "a line of Litestream's log: %s", line)
		entries = append(entries, e)
	}
	return entries
}

// warnings are the lines above level INFO. Litestream logs its own field "level"
// too, so that the JSON has the key twice: the first is the severity.
func (l *litestream) warnings(t *testing.T) []string {
	t.Helper()
	var warnings []string
	for _, e := range l.entries(t) {
		if strings.Contains(e.line, `"level":"WARN"`) || strings.Contains(e.line, `"level":"ERROR"`) {
			warnings = append(warnings, e.line)
		}
	}
	return warnings
}

// deleted is how many files retention says it has deleted.
func (l *litestream) deleted(t *testing.T) int {
	t.Helper()
	n := 0
	for _, e := range l.entries(t) {
		n += e.DeletedCount
	}
	return n
}
