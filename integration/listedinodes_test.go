package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// The kernel asks for attributes with the first names that it reads, and then only for who uses them: who reads names
// alone leaves no inode for each, as ls -l does.
func TestListedInodes(t *testing.T) {
	t.Parallel()
	const files, first = 10_000, 1000
	root := t.TempDir()
	dir := filepath.Join(root, "ltx", "0")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for i := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, s3test.Dense(i).Base()), nil, 0o644))
	}
	m := ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Flags: []string{"--http=127.0.0.1:0"}})
	level := m.Path("ltx", "0000")
	known := func() float64 {
		metrics, _ := m.Metrics(t)
		return metrics.Sum("ltxfs_inodes")
	}
	for _, what := range []string{`ls -f "$1"`, `find "$1" -type f`, `ls "$1"`} {
		require.Equal(t, files, len(ltxfstest.Lines(ltxfstest.Shell(t, what+" | grep ltx$", level))))
		require.LessOrEqual(t, known(), float64(first), what)
	}
	ltxfstest.Shell(t, `ls -l "$1"`, level)
	require.GreaterOrEqual(t, known(), float64(files))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}
