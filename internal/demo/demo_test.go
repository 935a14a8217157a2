package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

func TestSampleIsValid(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "replica")
	require.NoError(t, extract(dir))
	files := sampleFiles()
	require.NotEmpty(t, files)
	for _, f := range files {
		content, err := os.Open(filepath.Join(dir, f.Path))
		require.NoError(t, err)
		defer content.Close()
		info, err := content.Stat()
		require.NoError(t, err)
		require.True(t, f.ModTime.Equal(info.ModTime()), f.Path)
		header, err := ltxfile.Verify(context.Background(), content, info.Size())
		require.NoError(t, err, f.Path)
		require.Equal(t, time.UnixMilli(header.Timestamp).UTC(), f.ModTime)
	}
	require.Equal(t, "ltx/0009", filepath.Dir(files[len(files)-1].InMount))
	require.Error(t, extract(filepath.Join(dir, files[0].Path)))
}

// fakeMount lays the sample out as a mount does.
func fakeMount(t *testing.T) (*tour, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	tour := &tour{Replica: filepath.Join(t.TempDir(), "replica"), Mountpoint: t.TempDir(), Out: &out}
	require.NoError(t, extract(tour.Replica))
	files := sampleFiles()
	for _, f := range files {
		name := filepath.Join(tour.Mountpoint, f.InMount)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, f.Content, 0o644))
		require.NoError(t, os.Chtimes(name, f.ModTime, f.ModTime))
	}
	slices.SortFunc(files, func(a, b sampleFile) int { return strings.Compare(path.Base(a.Path), path.Base(b.Path)) })
	var latest string
	for i, f := range files {
		_, last, err := ltx.ParseFilename(path.Base(f.Path))
		require.NoError(t, err)
		latest = filepath.Join(tour.Mountpoint, "db", "at", last.String()+".db")
		require.NoError(t, os.MkdirAll(filepath.Dir(latest), 0o755))
		require.NoError(t, os.WriteFile(latest, restore(t, files[:i+1]), 0o644))
	}
	times := filepath.Join(tour.Mountpoint, "db", "time")
	require.NoError(t, os.Mkdir(times, 0o755))
	require.NoError(t, os.Symlink("../at/0000000000000009.db", filepath.Join(times, database.FormatTime(files[0].ModTime)+".db")))
	require.NoError(t, os.Symlink(latest, filepath.Join(tour.Mountpoint, "db", "latest.db")))
	return tour, &out
}

// restore makes the database file of a snapshot and files that follow it, not in WAL mode.
func restore(t *testing.T, files []sampleFile) []byte {
	t.Helper()
	var inputs []io.Reader
	for _, f := range files {
		inputs = append(inputs, bytes.NewReader(f.Content))
	}
	var compacted, db bytes.Buffer
	c, err := ltx.NewCompactor(&compacted, inputs)
	require.NoError(t, err)
	c.HeaderFlags = ltx.HeaderFlagNoChecksum
	require.NoError(t, c.Compact(context.Background()))
	require.NoError(t, ltx.NewDecoder(&compacted).DecodeDatabaseTo(&db))
	db.Bytes()[18], db.Bytes()[19] = 1, 1
	return db.Bytes()
}

func TestTourText(t *testing.T) {
	tour, out := fakeMount(t)
	require.NoError(t, tour.describe())
	tour.suggest()
	for _, want := range []string{tour.Replica, tour.Mountpoint, "ltx/0009", "$ ls -l", "$ cmp"} {
		if want[0] == '$' {
			want = want[1:]
		}
		require.Contains(t, out.String(), want)
	}
}

func TestTourFindsThatAMountIsWritable(t *testing.T) {
	tour, out := fakeMount(t)
	err := tour.run(context.Background())
	require.ErrorIs(t, err, unix.EROFS)
	require.Contains(t, out.String(), "LTX1")
}

func TestTourFindsWhatIsWrong(t *testing.T) {
	files := sampleFiles()
	first := files[0]
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, path string)
		says  string
	}{
		"content": {func(t *testing.T, path string) {
			flipped := bytes.Clone(first.Content)
			flipped[200] ^= 1
			require.NoError(t, os.WriteFile(path, flipped, 0o644))
			require.NoError(t, os.Chtimes(path, first.ModTime, first.ModTime))
		}, "other content"},
		"size":    {func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 100)) }, "100 bytes"},
		"time":    {func(t *testing.T, path string) { require.NoError(t, os.Chtimes(path, time.Now(), time.Now())) }, "has the time"},
		"missing": {func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) }, "no such file"},
		"no database": {func(t *testing.T, path string) {
			db := filepath.Join(filepath.Dir(path), "..", "..", "db", "at", "0000000000000009.db")
			require.NoError(t, os.WriteFile(db, make([]byte, 4096), 0o644))
		}, "no SQLite database"},
		"a state is missing": {func(t *testing.T, path string) {
			require.NoError(t, os.Remove(filepath.Join(filepath.Dir(path), "..", "..", "db", "at", "0000000000000009.db")))
		}, "4 states"},
		"stray": {func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "stray"), nil, 0o644))
		}, "stray"},
	} {
		t.Run(name, func(t *testing.T) {
			tour, _ := fakeMount(t)
			tt.spoil(t, filepath.Join(tour.Mountpoint, first.InMount))
			require.ErrorContains(t, tour.check(), tt.says)
		})
	}
}

func TestStep(t *testing.T) {
	tour, out := fakeMount(t)
	ctx := context.Background()
	require.NoError(t, tour.runStep(ctx, step{"Not there", []string{"no-such-tool"}, nil}))
	require.Contains(t, out.String(), "not installed")
	require.ErrorContains(t, tour.runStep(ctx, step{"Fails", []string{"cmp", "/no/such", "/no/such"}, nil}), "exit status 2")
	require.ErrorContains(t, tour.runStep(ctx, step{"Shows too little", []string{"ls", tour.Mountpoint}, []string{"nothing like it"}}), "nothing like it")

	ended := errors.New("the mount has ended")
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(ended)
	require.ErrorIs(t, tour.runStep(ctx, step{"Is cut short", []string{"cat", "/dev/zero"}, nil}), ended)
}
