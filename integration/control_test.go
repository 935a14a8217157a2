package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// requireLtxfs runs a command that must succeed, and returns what it prints.
func requireLtxfs(t *testing.T, args ...string) string {
	t.Helper()
	r := ltxfstest.Ltxfs(t, args...)
	require.Equal(t, ltxfstest.ExitOK, r.Code, r)
	return r.Stdout
}

// What is logged can be changed while a mount runs.
func TestLogCommand(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--rw")
	p := m.Process(t)
	access := func() (lines []string) {
		for _, line := range ltxfstest.Lines(m.Log()) {
			if _, line, ok := strings.Cut(line, "msg=access "); ok {
				lines = append(lines, line)
			}
		}
		return lines
	}
	byTXID, _ := ltxfstest.OrdersStates(t)
	state := "db/at/" + byTXID[0].TXID + ".db"
	require.Empty(t, access())
	require.Empty(t, requireLtxfs(t, "log", "--access=on", m.Dir))
	data, err := p.ReadFile(state)
	require.NoError(t, err)
	_, err = p.ReadDir("ltx/0001")
	require.NoError(t, err)
	require.NoError(t, p.WriteFile("ltx/0000/notes", []byte("staged")))
	got, err := p.ReadFile("ltx/0000/notes")
	require.NoError(t, err)
	require.Equal(t, "staged", string(got))
	require.NoError(t, p.Unlink("ltx/0000/notes"))
	require.Empty(t, requireLtxfs(t, "log", "--access=off", "--level=debug", m.Dir))
	text := strings.Join(access(), "\n")
	require.Contains(t, text, "op=LOOKUP file=/"+state+" took=")
	require.Regexp(t, `op=READ file=/`+state+` took=\S+ offset=0 size=\d+ bytes=\d+ blocks=\d+ fetched=[1-9]`, text)
	require.Regexp(t, `(?m)op=READ file=/ltx/0000/notes took=\S+ offset=0 size=\d+ bytes=6$`, text, "not of the replica")
	require.Contains(t, text, "op=READDIRPLUS file=/ltx/0001 took=")
	require.NotEmpty(t, data)
	before := len(access())
	_, err = p.ReadDir("ltx/0002")
	require.NoError(t, err)
	require.Len(t, access(), before)

	for args, says := range map[string]string{
		"": "nothing to change: give --level or --access", "--level=loud": `unknown log level "loud"`, "--access=yes": `unknown word "yes"`,
	} {
		r := ltxfstest.Ltxfs(t, append([]string{"log", m.Dir}, strings.Fields(args)...)...)
		require.NotEqual(t, ltxfstest.ExitOK, r.Code)
		require.Contains(t, r.Stderr, says)
	}
}

// The log of requests names files by where they are, and what has no name any more as deleted.
func TestLogOfNames(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, t.TempDir(), "--rw")
	p := m.Process(t)
	requireLtxfs(t, "log", "--access=on", m.Dir)
	f, err := p.Create("ltx/0000/a.tmp")
	require.NoError(t, err)
	require.NoError(t, p.Rename("ltx/0000/a.tmp", "ltx/0001/b.tmp", 0))
	require.NoError(t, f.Write([]byte("one")))
	require.NoError(t, p.Unlink("ltx/0001/b.tmp"))
	require.NoError(t, f.WriteAt([]byte("two"), 3))
	requireLtxfs(t, "log", "--access=off", m.Dir)
	require.Contains(t, m.Log(), `op=RENAME file="/ltx/0000/a.tmp to /ltx/0001/b.tmp" took=`)
	require.Contains(t, m.Log(), "op=WRITE file=/ltx/0001/b.tmp took=")
	require.Regexp(t, `op=WRITE file="/\(deleted \d+\)" took=\S+ offset=3 size=3 bytes=3`, m.Log())
}

// The figures of a mount are shown once, or in a terminal until they are interrupted.
func TestStatsCommand(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	byTXID, _ := ltxfstest.OrdersStates(t)
	data, err := m.Process(t).ReadFile("db/at/" + byTXID[0].TXID + ".db")
	require.NoError(t, err)
	out := requireLtxfs(t, "stats", "--interval=100ms", m.Dir)
	require.Regexp(t, `(?m)^kernel: bytes read +`+fmt.Sprint(len(data)>>10, "KiB")+` +0B$`, out)
	require.Regexp(t, `(?m)^newest state +\d+h\d+m\d+s old$`, out)
	require.Regexp(t, `(?m)^memory: of the budget +\S+ of 128MiB$`, out)

	screens := filepath.Join(t.TempDir(), "screens")
	script := exec.Command("script", "--quiet", "--flush", "--return", "--command", "exec "+ltxfstest.Binary()+" stats --interval=100ms "+m.Dir, screens)
	script.Env = ltxfstest.Env()
	keys, err := script.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, script.Start())
	ltxfstest.Eventually(t, ltxfstest.Timeout, "three screens", func() bool {
		shown, _ := os.ReadFile(screens)
		return strings.Count(string(shown), "\x1b[H"+m.Dir) > 2
	})
	_, err = keys.Write([]byte{'C' - '@'}) // Ctrl-C
	require.NoError(t, err)
	require.NoError(t, script.Wait(), "it ends with 0")
	require.Equal(t, ltxfstest.ExitUsage, ltxfstest.Ltxfs(t, "stats", "--interval=1ms", m.Dir).Code)
}

// A bundle has what a report needs, also of a mount whose process was killed.
func TestBundleCommand(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--log-file="+log)
	requireLtxfs(t, "log", "--level=debug", "--access=on", m.Dir)
	file := filepath.Join(t.TempDir(), "bundle.tar.gz")
	require.Equal(t, file+"\n", requireLtxfs(t, "bundle", "--output="+file, m.Dir))
	parts := ltxfstest.Unpack(t, file)
	require.Contains(t, parts["version.txt"], "ltxfs ")
	require.Contains(t, parts["state.json"], `"alive": true`)
	require.Regexp(t, `(?m)^cache-size +128MiB +default`, parts["settings.txt"])
	require.Regexp(t, `\nwhat is logged now: level debug, access true\n$`, parts["settings.txt"])
	require.Equal(t, "ok\n", parts["health.txt"])
	require.Contains(t, parts["metrics.txt"], "ltxfs_fuse_request_seconds_count")
	require.Contains(t, parts["goroutines.txt"], "goroutine 1 [")
	require.NotEmpty(t, parts["heap.pprof"])
	require.Contains(t, parts["process.txt"], fmt.Sprintf("/proc/%d/task/%[1]d/wchan:\n", m.PID))
	require.Contains(t, parts["log.txt"], "msg=mounted")
	require.Len(t, parts, 9)
	again := ltxfstest.Ltxfs(t, "bundle", "--output="+file, m.Dir)
	require.Contains(t, again.Stderr, "name another file with --output")

	m.Kill(t)
	require.Equal(t, ltxfstest.ExitNotMounted, ltxfstest.Ltxfs(t, "stats", m.Dir).Code)
	file += "2"
	requireLtxfs(t, "bundle", "--output="+file, m.Dir)
	parts = ltxfstest.Unpack(t, file)
	require.Contains(t, parts["state.json"], `"alive": false`)
	require.Contains(t, parts["metrics.txt.missing"], "the ltxfs that served it has ended")
	require.Contains(t, parts["process.txt.missing"], "the process has ended")
	require.Contains(t, parts["log.txt"], "msg=mounted")
}

// Of many databases, those that were used are told of, and their names are all that is told apart.
func TestMetricsOfDatabases(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "litestream.yml")
	text := "dbs:\n"
	for _, name := range []string{"a", "b", "c"} {
		text += fmt.Sprintf("  - path: %s/%s.db\n    replica: {path: %s}\n", dir, name, ltxfstest.Orders(t))
	}
	text += fmt.Sprintf("  - path: %s/d.db\n    replica: {path: %s/none}\n", dir, dir)
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	m := ltxfstest.Mount(t, config, "--all", "--http=127.0.0.1:0")
	p := m.Process(t)
	now, _ := m.Metrics(t)
	require.Zero(t, now.Sum("ltxfs_replicas"))
	for _, name := range []string{"a", "c"} {
		_, err := p.ReadDir(name + ".db/ltx/0000")
		require.NoError(t, err)
	}
	_, err := p.ReadDir("d.db")
	require.ErrorIs(t, err, syscall.ENOENT)
	now, _ = m.Metrics(t)
	require.Equal(t, 1.0, now.Sum("ltxfs_replicas_unknown"))
	byTXID, _ := ltxfstest.OrdersStates(t)
	require.Equal(t, 2.0, now.Sum("ltxfs_replicas"))
	require.Equal(t, float64(2*len(byTXID)), now.Sum("ltxfs_states"))
	require.Equal(t, float64(len(byTXID)), now.Sum("ltxfs_states", "database=c.db"))
	require.Len(t, now["ltxfs_newest_state_timestamp_seconds"].GetMetric(), 2)
}
