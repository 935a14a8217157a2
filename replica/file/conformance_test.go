package file_test

import (
	"errors"
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
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestConformance(t *testing.T) {
	for _, layout := range replica.Layouts {
		t.Run(layout.Name, func(t *testing.T) { storetest.Run(t, harness(layout)) })
	}
}

func harness(layout replica.Layout) storetest.Harness {
	return storetest.Harness{
		New:        func(t *testing.T) replica.Store { return file.New(t.TempDir(), layout) },
		Client:     func(s replica.Store) replica.Client { return file.NewReplicaClient(s.(*file.Store)) },
		OpensLocal: true,
		Leftovers:  leftovers,
		Put: func(s replica.Store, name replica.Name, data []byte) error {
			dir := levelDir(s, name.Level)
			return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name.Base()), data, 0o600))
		},
		PutStranger: putStrangers,
		Overwrite: func(t *testing.T, s replica.Store, f replica.File, data []byte) {
			t.Helper()
			w, err := os.OpenFile(filepath.Join(levelDir(s, f.Level), f.Base()), os.O_WRONLY|os.O_TRUNC, 0)
			require.NoError(t, err)
			_, err = w.Write(data)
			require.NoError(t, err)
			require.NoError(t, w.Close())
		},
	}
}

func levelDir(s replica.Store, level int) string {
	store := s.(*file.Store)
	return filepath.Join(store.Path(), store.Layout().LevelDir(level))
}

const strangerPrefix = "stranger"

// leftovers are all files but those with LTX names and the strangers.
func leftovers(t *testing.T, s replica.Store) (left []string) {
	t.Helper()
	root := s.(*file.Store).Path()
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
func putStrangers(t *testing.T, s replica.Store, level int) (check func(t *testing.T)) {
	t.Helper()
	dir := levelDir(s, level)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	name := func(minTXID ltx.TXID) string { return filepath.Join(dir, ltx.FormatFilename(minTXID, 0x5000)) }
	files := []string{
		filepath.Join(dir, strangerPrefix+".ltx"),
		filepath.Join(dir, strangerPrefix+ltx.FormatFilename(1, 2)),
		filepath.Join(dir, ltx.FormatFilename(1, 2)+"."+strangerPrefix),
		filepath.Join(dir, "."+ltx.FormatFilename(1, 2)+"."+strangerPrefix+".tmp"),
		filepath.Join(dir, ltx.FormatFilename(2, 1)), // no replica has such a range
		filepath.Join(filepath.Dir(dir), strangerPrefix),
		filepath.Join(s.(*file.Store).Path(), strangerPrefix),
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
