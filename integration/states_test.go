package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

// All that Litestream restores from the sample is there, with the same bytes.
func TestStates(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	ltxfstest.RequireStates(t, ltxfstest.Mount(t, root), false)
	m := ltxfstest.Mount(t, root, "--db-bytes=exact", "--cache-size=4MiB")
	ltxfstest.RequireStates(t, m, true)
	require.Equal(t, "ok\n", ltxfstest.MustRun(t, "sqlite3", "file:"+m.Path("db/latest.db")+"?immutable=1", "PRAGMA integrity_check"))
}

// SQLite opens states as they are, on every kind of mount, as every user, and can write
// to none.
func TestStatesInSQLite(t *testing.T) {
	t.Parallel()
	byTXID, byTime := ltxfstest.OrdersStates(t)
	for _, flags := range [][]string{{"--allow-other"}, {"--allow-other", "--rw"}} {
		m := ltxfstest.Mount(t, ltxfstest.Orders(t), flags...)
		paths := []string{m.Path("db/latest.db"), m.Path("db/time", byTime[9].Time+".db")}
		for _, s := range byTXID {
			paths = append(paths, m.Path("db/at", s.TXID+".db"))
		}
		ltxfstest.OpenStates(t, nil, paths...)
		ltxfstest.OpenStates(t, ltxfstest.User(t), paths...)
		p := m.Process(t)
		_, err := p.Open("db/latest.db", unix.O_RDWR, 0)
		require.Equal(t, syscall.EROFS, err)
		require.Equal(t, syscall.EROFS, p.Unlink("db/latest.db"))
		require.Equal(t, syscall.EROFS, p.WriteFile("db/at/new.db", nil))
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		require.NotRegexp(t, "level=(WARN|ERROR)", m.Log())
	}
}

// An instant can be written in many ways, and is the last state until then.
func TestStatesByTime(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t))
	link := func(name string) string {
		target, err := os.Readlink(m.Path("db/time", name+".db"))
		require.NoError(t, err, name)
		return filepath.Base(target)
	}
	const third = "0000000000000003.db" // at 22:06:05.593
	for _, at := range []string{
		"2026-11-22T22:06:05.593Z", "2026-11-22T22:06:05.593000000Z", "2026-11-22T22:06:06Z", "2026-11-22T22:06:06", "2026-11-22 22:06:06",
		"2026-11-22T23:06:06+01:00", "2026-11-22T22:06:06.592Z", "2026-11-22t22:06:06z",
	} {
		require.Equal(t, third, link(at), at)
	}
	require.Equal(t, "0000000000000002.db", link("2026-11-22T22:06:05.592999Z"))
	require.Equal(t, "0000000000000018.db", link("2026-11-23"))
	for _, at := range []string{"2026-11-22", "2026-11-22T22:06:02.597Z", "yesterday", "2026-11-31"} {
		_, err := os.Lstat(m.Path("db/time", at+".db"))
		require.ErrorIs(t, err, os.ErrNotExist, at)
	}
}

// Tools that copy files copy states, whatever they make of the holes that a file may have.
func TestStatesCopied(t *testing.T) {
	t.Parallel()
	m := ltxfstest.Mount(t, ltxfstest.Orders(t), "--db-bytes=exact")
	byTXID, _ := ltxfstest.OrdersStates(t)
	for name, script := range map[string]string{
		"cp":       `cp "$1"/*.db "$2"`,
		"cp -a":    `cp -a "$1"/. "$2"`,
		"cp holes": `cp --sparse=always "$1"/*.db "$2"`,
		"tar -S":   `tar -C "$1" -S -cf - . | tar -C "$2" -xf -`,
		"rsync -S": `rsync -a -S "$1"/ "$2"`,
		"dd":       `for f in "$1"/*; do dd if="$f" of="$2/$(basename "$f")" bs=3000 status=none; done`,
		"direct":   `for f in "$1"/*; do dd if="$f" of="$2/$(basename "$f")" bs=4096 iflag=direct status=none; done`,
	} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			ltxfstest.Shell(t, script, m.Path("db/at"), to)
			for _, s := range byTXID {
				data, err := os.ReadFile(filepath.Join(to, s.TXID+".db"))
				require.NoError(t, err)
				require.Equal(t, s.SHA256, ltxfstest.SHA256(data), s.TXID)
			}
		})
	}
	require.Positive(t, ltxfstest.Atoi(t, strings.TrimSpace(ltxfstest.Shell(t, `stat -L -c %b "$1"`, m.Path("db/latest.db")))))
}
