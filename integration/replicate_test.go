package integration

import (
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

// Litestream replicates a minute of steady writing into a mount, with all that
// it does to the files, and doesn't notice.
func TestReplicate(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	m := ltxfstest.Mount(t, root, "--rw")
	source := ltxfstest.NewDatabase(t)
	replicate := ltxfstest.StartLitestream(t, ltxfstest.LitestreamConfig(source.Path, "file://"+m.Dir))
	written := ltxfstest.WriteFor(replicateFor, source)
	source.Close()
	require.Greater(t, written, 100, "transactions in a minute")
	replicate.Stop(t)

	require.Empty(t, replicate.Warnings(t), "warnings and errors of Litestream")
	require.Greater(t, replicate.Deleted(t), 30, "files that retention deleted")
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	require.NotRegexp(t, "level=(WARN|ERROR)", m.Log(), "warnings and errors of the mount")
	requireReplicaOf(t, root, source.Path)
	requireDeleted(t, root)
}

// The mount is killed while Litestream works, and mounted again. Litestream tries
// again what had failed, and nothing is lost.
func TestReplicateThroughKill(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	staging := t.TempDir()
	m := ltxfstest.Mount(t, root, "--rw", "--staging-dir", staging)
	source := ltxfstest.NewDatabase(t)
	replicate := ltxfstest.StartLitestream(t, ltxfstest.LitestreamConfig(source.Path, "file://"+m.Dir))

	before := ltxfstest.WriteFor(replicateFor/2, source)
	m.Kill(t)
	during := ltxfstest.WriteFor(2*time.Second, source)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "Litestream notices that the mount is dead", func() bool {
		return len(replicate.Warnings(t)) > 0
	})
	// Between the end of the dead mount and the new one the mount point is a
	// plain directory, into which Litestream must not write.
	replicate.Signal(t, syscall.SIGSTOP)
	m = ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Dir: m.Dir, Flags: []string{"--rw", "--staging-dir", staging}})
	replicate.Signal(t, syscall.SIGCONT)
	after := ltxfstest.WriteFor(replicateFor/2, source)
	source.Close()
	require.Greater(t, before, 50, "transactions before the kill")
	require.Positive(t, during, "transactions while the mount was dead")
	require.Greater(t, after, 50, "transactions after the kill")
	replicate.Stop(t)

	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	requireReplicaOf(t, root, source.Path)
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
	require.Equal(t, ltxfstest.DatabaseSHA256(t, source), ltxfstest.DatabaseSHA256(t, restored), "the restored database is the source")
}

// requireDeleted checks that retention has deleted at levels 0 and 9: neither
// holds the replica's first file any more.
func requireDeleted(t *testing.T, root string) {
	t.Helper()
	tree := ltxfstest.Tree(t, root)
	require.NotContains(t, tree, "ltx/0/"+name1)
	require.NotContains(t, tree, "ltx/9/"+name1)
}
