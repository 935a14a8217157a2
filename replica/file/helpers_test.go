package file

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noUnnamedFiles makes a store one on a file system without O_TMPFILE.
func noUnnamedFiles(s *Store) *Store {
	s.sys.openUnnamed = func(string) (*os.File, error) { return nil, unix.EOPNOTSUPP }
	return s
}

// both runs a test with unnamed and with temporary files.
func both(t *testing.T, run func(t *testing.T, s *Store)) {
	t.Helper()
	t.Run("unnamed", func(t *testing.T) { run(t, New(t.TempDir(), replica.LitestreamFile)) })
	t.Run("named", func(t *testing.T) { run(t, noUnnamedFiles(New(t.TempDir(), replica.LitestreamFile))) })
}

func write(t *testing.T, s *Store, level int, minTXID, maxTXID ltx.TXID, data []byte) replica.File {
	t.Helper()
	return storetest.Write(t, s, storetest.Name(level, minTXID, maxTXID), data)
}

// list returns what a listing gives, until its error.
func list(s *Store, level int, opts replica.ListOptions) (files []replica.File, err error) {
	for f, err := range s.LTXFiles(context.Background(), level, opts) {
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// pathOf is where a store keeps a file.
func pathOf(s *Store, level int, minTXID, maxTXID ltx.TXID) string {
	return filepath.Join(s.Path(), s.Layout().LevelDir(level), ltx.FormatFilename(minTXID, maxTXID))
}

// tree is every path below a directory, relative to it.
func tree(t *testing.T, root string) []string {
	t.Helper()
	paths := []string{}
	require.NoError(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err == nil && path != root {
			rel, _ := filepath.Rel(root, path)
			paths = append(paths, rel)
		}
		return err
	}))
	return paths
}

// put writes a file with all directories on the way to it, as someone else.
func put(t *testing.T, path string, data []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

// unprivileged runs f as a user who isn't root and owns nothing, as far as the
// file system is concerned. Another user runs f as who they are.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	// The file system's user is the thread's own.
	const nobody = 65534
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	require.NoError(t, setUser(nobody))
	defer func() { require.NoError(t, setUser(0)) }()
	f()
}
