package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

// The time is the file's own, to the nanosecond, unless the header is asked.
func TestListTimes(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	mtime := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)
	for txid, data := range map[ltx.TXID][]byte{
		2: replicatest.LTX(t, 2, 2), 3: []byte("short"), 4: replicatest.Bytes(1, 5000), 5: nil,
	} {
		write(t, c, 0, txid, txid, data)
		require.NoError(t, os.Chtimes(pathOf(c, 0, txid, txid), mtime, mtime))
	}
	for _, f := range replicatest.List(t, c, 0) {
		assert.True(t, f.CreatedAt.Equal(mtime), f.CreatedAt)
		assert.Equal(t, time.UTC, f.CreatedAt.Location())
	}
	it, err := c.LTXFiles(t.Context(), 0, 0, true)
	require.NoError(t, err)
	files, err := ltx.SliceFileIterator(it)
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, f := range files {
		want := mtime
		if f.MinTXID == 2 {
			want = replicatest.DefaultTime
		}
		assert.True(t, f.CreatedAt.Equal(want), f.CreatedAt)
	}
}

func TestListMetadataUnreadable(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	write(t, c, 0, 1, 1, replicatest.LTX(t, 1, 1))
	path := pathOf(c, 0, 1, 1)
	for p := filepath.Dir(path); p != filepath.Dir(filepath.Dir(c.Path())); p = filepath.Dir(p) {
		require.NoError(t, os.Chmod(p, 0o755))
	}
	require.NoError(t, os.Chmod(path, 0))
	unprivileged(t, func() {
		assert.Len(t, replicatest.List(t, c, 0), 1, "this needs no more than the directory")
		it, err := c.LTXFiles(t.Context(), 0, 0, true)
		require.NoError(t, err)
		assert.False(t, it.Next())
		require.ErrorIs(t, it.Err(), os.ErrPermission)
		require.ErrorIs(t, it.Close(), os.ErrPermission)
		assert.ErrorContains(t, it.Err(), path)
	})
}

// A file that was written over in place between the listing of its name and the
// reading of its header is described as one of the two.
func TestListMetadataChanged(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	for txid := ltx.TXID(1); txid <= 6; txid++ {
		write(t, c, 0, txid, txid, replicatest.LTX(t, txid, txid))
	}
	it, err := c.LTXFiles(t.Context(), 0, 0, true)
	require.NoError(t, err)
	defer it.Close()
	require.True(t, it.Next())
	path := func(txid ltx.TXID) string { return pathOf(c, 0, txid, txid) }
	require.NoError(t, os.Remove(path(2)))
	require.NoError(t, os.Remove(path(3)))
	require.NoError(t, os.Symlink(path(1), path(3)))
	require.NoError(t, os.Remove(path(4)))
	require.NoError(t, os.Mkdir(path(4), 0o700))
	f := write(t, c, 0, 5, 5, replicatest.LTX(t, 5, 5, replicatest.Commit(9), replicatest.Timestamp(replicatest.DefaultTime.Add(time.Hour))))
	require.True(t, it.Next())
	assert.Equal(t, f.Info(), it.Item())
	assert.Equal(t, f.Version, it.(replica.VersionIterator).Version())
	require.True(t, it.Next())
	assert.Equal(t, ltx.TXID(6), it.Item().MinTXID)
	assert.False(t, it.Next())
	require.NoError(t, it.Close())
}

// The directory is removed while it is listed.
func TestListDirRemoved(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	write(t, c, 0, 1, 1, nil)
	for _, read := range []bool{false, true} {
		write(t, c, 0, 1, 1, nil)
		write(t, c, 0, 2, 2, nil)
		it, err := c.LTXFiles(t.Context(), 0, 0, false)
		require.NoError(t, err)
		if read {
			require.True(t, it.Next())
		}
		require.NoError(t, os.RemoveAll(filepath.Join(c.Path(), "ltx")))
		assert.False(t, it.Next())
		require.NoError(t, it.Close())
	}
}

// A listing holds one descriptor, from its beginning to its end or Close.
func TestListDescriptor(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		write(t, c, 0, txid, txid, nil)
	}
	holds := func() (n int) {
		entries, err := os.ReadDir(descriptors)
		require.NoError(t, err)
		for _, e := range entries {
			if path, err := os.Readlink(filepath.Join(descriptors, e.Name())); err == nil && strings.HasPrefix(path, c.Path()) {
				n++
			}
		}
		return n
	}
	ctx, cancel := context.WithCancel(t.Context())
	for name, end := range map[string]func(it ltx.FileIterator){
		"close": func(it ltx.FileIterator) { require.NoError(t, it.Close()) },
		"end": func(it ltx.FileIterator) {
			require.True(t, it.Next())
			require.True(t, it.Next())
			require.False(t, it.Next())
		},
		"cancel": func(it ltx.FileIterator) { cancel(); require.False(t, it.Next()) },
	} {
		c, end := c, end
		t.Run(name, func(t *testing.T) {
			itCtx := t.Context()
			if name == "cancel" {
				itCtx = ctx
			}
			it, err := c.LTXFiles(itCtx, 0, 0, true)
			require.NoError(t, err)
			assert.Equal(t, 1, holds())
			require.True(t, it.Next())
			assert.Equal(t, 1, holds())
			end(it)
			assert.Zero(t, holds())
			_ = it.Close()
		})
	}
}

// Litestream's names, which it writes to before it renames them, are no files.
func TestListOthersTemporaries(t *testing.T) {
	c := New(t.TempDir(), replica.LitestreamFile)
	put(t, filepath.Join(c.Path(), "ltx", "0", ltx.FormatFilename(1, 1)+".tmp"), nil)
	assert.Empty(t, replicatest.List(t, c, 0))
}

func BenchmarkList(b *testing.B) {
	const n = 200_000
	c := New(b.TempDir(), replica.LitestreamFile)
	dir := filepath.Join(c.Path(), "ltx", "0")
	require.NoError(b, os.MkdirAll(dir, 0o700))
	for i := range n {
		txid := ltx.TXID(i + 1)
		require.NoError(b, os.WriteFile(filepath.Join(dir, ltx.FormatFilename(txid, txid)), nil, 0o600))
	}
	for _, all := range []bool{false, true} {
		b.Run(fmt.Sprintf("all=%t", all), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				it, err := c.LTXFiles(b.Context(), 0, 0, false)
				require.NoError(b, err)
				found := 0
				for it.Next() && (all || found < 10) {
					found++
					_ = it.(replica.VersionIterator).Version()
				}
				require.NoError(b, it.Close())
			}
			b.ReportMetric(n, "files")
		})
	}
}
