package file_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

func TestConformance(t *testing.T) {
	for _, layout := range replica.Layouts {
		t.Run(layout.Name, func(t *testing.T) { replicatest.Run(t, harness(layout)) })
	}
}

func harness(layout replica.Layout) replicatest.Harness {
	return replicatest.Harness{
		New:         func(t *testing.T) replica.Client { return file.New(t.TempDir(), layout) },
		Leftovers:   leftovers,
		PutStranger: putStrangers,
		Overwrite: func(t *testing.T, c replica.Client, f replica.File, data []byte) {
			t.Helper()
			w, err := os.OpenFile(filepath.Join(levelDir(c, f.Level), f.Name()), os.O_WRONLY|os.O_TRUNC, 0)
			require.NoError(t, err)
			_, err = w.Write(data)
			require.NoError(t, err)
			require.NoError(t, w.Close())
		},
	}
}

func levelDir(c replica.Client, level int) string {
	fc := c.(*file.ReplicaClient)
	return filepath.Join(fc.Path(), fc.Layout().LevelDir(level))
}

const strangerPrefix = "stranger"

// leftovers are all files but those with LTX names and the strangers.
func leftovers(t *testing.T, c replica.Client) (left []string) {
	t.Helper()
	root := c.(*file.ReplicaClient).Path()
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		_, _, err = ltx.ParseFilename(d.Name())
		if err != nil && !strings.Contains(path, strangerPrefix) {
			left = append(left, path)
		}
		return nil
	}))
	return left
}

// putStrangers puts everything into a level's directory that looks a little
// like one of the replica's files.
func putStrangers(t *testing.T, c replica.Client, level int) (check func(t *testing.T)) {
	t.Helper()
	dir := levelDir(c, level)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	name := func(minTXID ltx.TXID) string { return filepath.Join(dir, ltx.FormatFilename(minTXID, 0x5000)) }
	files := []string{
		filepath.Join(dir, strangerPrefix+".ltx"),
		filepath.Join(dir, strangerPrefix+ltx.FormatFilename(1, 2)),
		filepath.Join(dir, ltx.FormatFilename(1, 2)+"."+strangerPrefix),
		filepath.Join(dir, "."+ltx.FormatFilename(1, 2)+"."+strangerPrefix+".tmp"),
		filepath.Join(filepath.Dir(dir), strangerPrefix),
		filepath.Join(c.(*file.ReplicaClient).Path(), strangerPrefix),
	}
	for _, path := range files {
		require.NoError(t, os.WriteFile(path, []byte(path), 0o600))
	}
	link, fifo, sub := name(0x1000), name(0x2000), name(0x3000)
	require.NoError(t, os.Symlink(files[0], link))
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	require.NoError(t, os.Mkdir(sub, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(sub, ltx.FormatFilename(1, 1)), []byte("x"), 0o600))
	return func(t *testing.T) {
		t.Helper()
		for _, path := range files {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, path, string(data))
		}
		for path, mode := range map[string]fs.FileMode{link: fs.ModeSymlink, fifo: fs.ModeNamedPipe, sub: fs.ModeDir} {
			info, err := os.Lstat(path)
			require.NoError(t, err)
			assert.Equal(t, mode, info.Mode().Type())
		}
		_, err := os.Stat(filepath.Join(sub, ltx.FormatFilename(1, 1)))
		require.NoError(t, err)
	}
}
