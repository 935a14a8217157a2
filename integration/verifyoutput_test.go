package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	labels "github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// replicaOf replicates a database that a script of sqlite3 makes and a function changes, if
// there is one.
func replicaOf(t *testing.T, script string, change func(data []byte)) (root string) {
	t.Helper()
	root, db := t.TempDir(), filepath.Join(t.TempDir(), "some.db")
	ltxfstest.MustRun(t, "sqlite3", db, script)
	data, err := os.ReadFile(db)
	require.NoError(t, err)
	if change != nil {
		change(data)
	}
	require.NoError(t, os.WriteFile(db, data, 0o600))
	ltxfstest.NewReplicator(root, db, storetest.DefaultTime).Sync(t)
	return root
}

// indexed makes a database whose index has a name that clears a terminal.
const indexed = "CREATE TABLE t(x); CREATE INDEX \"\x1b[2J\" ON t(x); INSERT INTO t VALUES ('first'), ('second'), ('third');"

// A database that SQLite finds fault with is a finding, but what SQLite can't check is none:
// it stays open. A restore says so of the file that it leaves.
func TestVerifyDatabases(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what, script string
		change       func(data []byte)
		quick, full  int
		says         string
	}{
		{"sound", indexed, nil, ltxfstest.ExitOK, ltxfstest.ExitOK, ""},
		{"an index that lacks a row", indexed, func(data []byte) {
			at := bytes.LastIndex(data, []byte("second")) // in the index, whose page is the last
			require.Greater(t, at, bytes.Index(data, []byte("second")))
			copy(data[at:], "secund")
		}, ltxfstest.ExitOK, ltxfstest.ExitDamaged, "row 2 missing from index \x1b[2J"},
		{"no database", indexed, func(data []byte) { copy(data, "no SQLite") }, ltxfstest.ExitDamaged, ltxfstest.ExitDamaged, "not a database"},
		{"a collation of an application", indexed + `PRAGMA writable_schema=ON;
			UPDATE sqlite_schema SET sql = 'CREATE TABLE t(x COLLATE theirs)' WHERE name = 't'`, nil,
			ltxfstest.ExitUndetermined, ltxfstest.ExitUndetermined, "no such collation sequence: theirs"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			root := replicaOf(t, c.script, c.change)
			for check, code := range map[string]int{"quick": c.quick, "full": c.full} {
				v := verify(t, code, "--check="+check, root)
				out := filepath.Join(t.TempDir(), "out.db")
				r := ltxfstest.Ltxfs(t, "restore", "--check="+check, root, "-o", out)
				require.FileExists(t, out)
				switch code {
				case ltxfstest.ExitOK:
					require.Empty(t, v.findings)
					require.Contains(t, r.Stdout, check+" check finds it sound")
				case ltxfstest.ExitDamaged:
					require.Len(t, v.findings, 1)
					require.Equal(t, "database", v.findings[0].Code)
					require.Contains(t, v.findings[0].Detail, c.says)
					require.True(t, has(v.findings[0].Doubtful, 1))
					require.Nil(t, v.Proven)
				case ltxfstest.ExitUndetermined:
					require.Empty(t, v.findings)
					require.Contains(t, v.Open, c.says)
				}
				if code == ltxfstest.ExitUndetermined {
					code = 1
				}
				require.Equal(t, code, r.Code, r)
				if code != 0 {
					require.Contains(t, r.Stderr, strings.ReplaceAll(c.says, "\x1b", `\x1b`))
					require.NotContains(t, r.Stdout, "sound")
				}
				v2 := ltxfstest.Ltxfs(t, "verify", "--check="+check, root)
				require.NotContains(t, v2.String()+r.String(), "\x1b")
			}
		})
	}
}

// metric is the value of a metric in a file, which has it once with these labels.
func metric(t *testing.T, path, name string, with ...string) float64 {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	parser := expfmt.NewTextParser(labels.LegacyValidation)
	families, err := parser.TextToMetricFamilies(f)
	require.NoError(t, err)
	require.Contains(t, families, "ltxfs_verify_"+name)
	for _, m := range families["ltxfs_verify_"+name].Metric {
		var got []string
		for _, l := range m.Label {
			got = append(got, l.GetName(), l.GetValue())
		}
		if fmt.Sprint(got) == fmt.Sprint(with) {
			return m.Gauge.GetValue()
		}
	}
	require.Fail(t, "no such metric", "%s %v", name, with)
	return 0
}

// The metrics are those of the summary, whatever the result.
func TestVerifyMetrics(t *testing.T) {
	t.Parallel()
	sound, damaged := ltxfstest.Orders(t), ltxfstest.Orders(t)
	damageForGolden(t, damaged)
	path := filepath.Join(t.TempDir(), "ltxfs.prom")
	for root, code := range map[string]int{sound: ltxfstest.ExitOK, damaged: ltxfstest.ExitDamaged} {
		began := time.Now().Truncate(time.Second)
		r := ltxfstest.Ltxfs(t, "verify", "--json", "--metrics-file="+path, root)
		require.Equal(t, code, r.Code, r)
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), st.Mode(), "for the collector, which is another user")
		lines := ltxfstest.Lines(r.Stdout)
		var s struct {
			Damage, Warnings, Unread, States int
			Seconds                          float64
			Newest, Proven                   struct{ Time time.Time }
		}
		require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &s))
		for name, want := range map[string]float64{
			"exit_code": float64(code), "states": float64(s.States), "duration_seconds": s.Seconds,
			"newest_state_timestamp_seconds":        float64(s.Newest.Time.UnixMilli()) / 1000,
			"newest_proven_state_timestamp_seconds": float64(s.Proven.Time.UnixMilli()) / 1000,
		} {
			require.Equal(t, want, metric(t, path, name, "replica", root), name)
		}
		for severity, want := range map[string]int{"damage": s.Damage, "warning": s.Warnings, "open": s.Unread} {
			require.EqualValues(t, want, metric(t, path, "findings", "replica", root, "severity", severity), severity)
		}
		last := metric(t, path, "last_run_timestamp_seconds", "replica", root)
		require.GreaterOrEqual(t, last, float64(began.Unix()))
		require.LessOrEqual(t, last, float64(time.Now().Unix()))
	}
	require.NoError(t, os.RemoveAll(sound))
	require.Equal(t, ltxfstest.ExitNoReplica, ltxfstest.Ltxfs(t, "verify", "--metrics-file="+path, sound).Code)
	require.EqualValues(t, ltxfstest.ExitNoReplica, metric(t, path, "exit_code", "replica", sound))
	for _, bad := range []string{"", "/dev/null", filepath.Join(damaged, "m.prom"), filepath.Join(damaged, "none", "m.prom")} {
		require.Equal(t, ltxfstest.ExitUsage, ltxfstest.Ltxfs(t, "verify", "--metrics-file="+bad, damaged).Code, bad)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// A terminal shows how far it is, and then only the result; a file gets no such thing.
func TestVerifyProgress(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	large := storetest.LTX(t, 1, 1, storetest.Noise(), storetest.PageSize(65536), storetest.Commit(32)) // 2 MiB
	ltxfstest.Store(t, filepath.Join(root, ltxfstest.StorePath(9, name1)), large, storetest.DefaultTime)
	shown := onTerminal(t, "verify", "--limit-read=1MiB", root)
	drawn := strings.Split(shown, "\r\x1b[K")
	require.Greater(t, len(drawn), 2, shown)
	require.Regexp(t, `^verify `+root+`: \d+ %, [0-9.]+[kMi]*B of 2\.01MiB, [0-9.]+[kMi]*B/s, [01] of 1 files(, \d+s left)?$`, drawn[1])
	require.Equal(t, "", drawn[len(drawn)-1])
	require.Empty(t, ltxfstest.Ltxfs(t, "verify", "--limit-read=1MiB", root).Stderr)
}

// onTerminal runs ltxfs, which must end with 0, with a terminal as its standard error, and
// returns what it shows there.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	ptm, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer ptm.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(ptm.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(ptm.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	shown := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(ptm) // ends with EIO once nobody has the other side
		shown <- string(data)
	}()
	cmd := exec.Command(ltxfstest.Binary(), args...)
	cmd.Env, cmd.Stderr = ltxfstest.Env(), tty
	err = cmd.Run()
	tty.Close()
	require.NoError(t, err)
	return <-shown
}
