package file

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// The time is the file's own, to the nanosecond, unless the header is asked.
func TestListTimes(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	mtime := time.Date(2026, 1, 2, 3, 4, 5, 123456789, time.UTC)
	for txid, data := range map[ltx.TXID][]byte{
		2: storetest.LTX(t, 2, 2), 3: []byte("short"), 4: storetest.Bytes(1, 5000), 5: nil,
	} {
		write(t, s, 0, txid, txid, data)
		require.NoError(t, os.Chtimes(pathOf(s, 0, txid, txid), mtime, mtime))
	}
	for _, f := range storetest.List(t, s, 0) {
		assert.True(t, f.ModTime.Equal(mtime), f.ModTime)
		assert.Equal(t, time.UTC, f.ModTime.Location())
	}
	files := storetest.ListWith(t, s, 0, replica.ListOptions{ExactTimes: true})
	require.Len(t, files, 4)
	for _, f := range files {
		want := mtime
		if f.MinTXID == 2 {
			want = storetest.DefaultTime
		}
		assert.True(t, f.ModTime.Equal(want), f.ModTime)
		got, err := s.StatLTXFile(t.Context(), f.Name, replica.StatOptions{ExactTime: true})
		require.NoError(t, err)
		assert.Equal(t, f, got)
	}
}

func TestListMetadataUnreadable(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	write(t, s, 0, 1, 1, storetest.LTX(t, 1, 1))
	path := pathOf(s, 0, 1, 1)
	for p := filepath.Dir(path); p != filepath.Dir(filepath.Dir(s.Path())); p = filepath.Dir(p) {
		require.NoError(t, os.Chmod(p, 0o755))
	}
	require.NoError(t, os.Chmod(path, 0))
	unprivileged(t, func() {
		assert.Len(t, storetest.List(t, s, 0), 1, "this needs no more than the directory")
		files, err := list(s, 0, replica.ListOptions{ExactTimes: true})
		assert.Empty(t, files)
		require.ErrorIs(t, err, os.ErrPermission)
		assert.ErrorContains(t, err, path)
		known := func(replica.File) (time.Time, bool) { return time.Time{}, true }
		assert.Len(t, storetest.ListWith(t, s, 0, replica.ListOptions{ExactTimes: true, Known: known}), 1, "it was opened")
	})
}

// Names alone need no look at the files.
func TestListNamesLooksAtNoFile(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	write(t, s, 0, 1, 1, nil)
	dir := filepath.Dir(pathOf(s, 0, 1, 1))
	for p := filepath.Dir(dir); p != filepath.Dir(filepath.Dir(s.Path())); p = filepath.Dir(p) {
		require.NoError(t, os.Chmod(p, 0o755))
	}
	require.NoError(t, os.Chmod(dir, 0o444)) // its names can be read, and no more
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	unprivileged(t, func() {
		files, err := list(s, 0, replica.ListOptions{NamesOnly: true})
		require.NoError(t, err)
		assert.Equal(t, []replica.File{{Name: storetest.Name(0, 1, 1)}}, files)
		_, err = list(s, 0, replica.ListOptions{})
		require.ErrorIs(t, err, os.ErrPermission)
	})
}

// A file that was written over in place between the listing of its name and the
// reading of its header is described as one of the two.
func TestListMetadataChanged(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	for txid := ltx.TXID(1); txid <= 6; txid++ {
		write(t, s, 0, txid, txid, storetest.LTX(t, txid, txid))
	}
	next, stop := iter.Pull2(s.LTXFiles(t.Context(), 0, replica.ListOptions{ExactTimes: true}))
	defer stop()
	_, err, ok := next()
	require.True(t, ok)
	require.NoError(t, err)
	path := func(txid ltx.TXID) string { return pathOf(s, 0, txid, txid) }
	require.NoError(t, os.Remove(path(2)))
	require.NoError(t, os.Remove(path(3)))
	require.NoError(t, os.Symlink(path(1), path(3)))
	require.NoError(t, os.Remove(path(4)))
	require.NoError(t, os.Mkdir(path(4), 0o700))
	f := write(t, s, 0, 5, 5, storetest.LTX(t, 5, 5, storetest.Commit(9), storetest.Timestamp(storetest.DefaultTime.Add(time.Hour))))
	got, err, _ := next()
	require.NoError(t, err)
	assert.Equal(t, f, got)
	got, err, _ = next()
	require.NoError(t, err)
	assert.Equal(t, ltx.TXID(6), got.MinTXID)
	_, _, ok = next()
	assert.False(t, ok)
}

// The directory is removed while it is listed.
func TestListDirRemoved(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	write(t, s, 0, 1, 1, nil)
	for _, read := range []bool{false, true} {
		write(t, s, 0, 1, 1, nil)
		write(t, s, 0, 2, 2, nil)
		it, err := NewReplicaClient(s).LTXFiles(t.Context(), 0, 0, false)
		require.NoError(t, err)
		if read {
			require.True(t, it.Next())
		}
		require.NoError(t, os.RemoveAll(filepath.Join(s.Path(), "ltx")))
		assert.False(t, it.Next())
		require.NoError(t, it.Close())
	}
}

// A listing holds one descriptor, from its first file to its end or Close.
func TestListDescriptor(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		write(t, s, 0, txid, txid, nil)
	}
	holds := func() (n int) {
		entries, err := os.ReadDir(descriptors)
		require.NoError(t, err)
		for _, e := range entries {
			if path, err := os.Readlink(filepath.Join(descriptors, e.Name())); err == nil && strings.HasPrefix(path, s.Path()) {
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
		t.Run(name, func(t *testing.T) {
			itCtx := t.Context()
			if name == "cancel" {
				itCtx = ctx
			}
			it, err := NewReplicaClient(s).LTXFiles(itCtx, 0, 0, true)
			require.NoError(t, err)
			assert.Zero(t, holds())
			require.True(t, it.Next())
			assert.Equal(t, 1, holds())
			end(it)
			assert.Zero(t, holds())
			_ = it.Close()
		})
	}
}

// A large level comes in order, for as long as the loop goes on, and no longer than ctx.
func TestListLarge(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	dir := filepath.Join(s.Path(), "ltx", "0")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	const n = 12 * maxBatch // of which the last four come in whole batches
	for i := range n {
		txid := ltx.TXID(i + 1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, ltx.FormatFilename(txid, txid)), make([]byte, i%7), 0o600))
	}
	for _, most := range []int{1, minShared, 8 * maxBatch, 10*maxBatch + 1, n} {
		ctx, cancel := context.WithCancel(t.Context())
		found := 0
		for f, err := range s.LTXFiles(ctx, 0, replica.ListOptions{}) {
			require.NoError(t, err)
			require.Equal(t, storetest.Name(0, ltx.TXID(found+1), ltx.TXID(found+1)), f.Name)
			require.EqualValues(t, found%7, f.Size)
			if found++; found == most {
				break
			}
		}
		require.Equal(t, most, found)
		found = 0
		for _, err := range s.LTXFiles(ctx, 0, replica.ListOptions{}) {
			if found++; found == most {
				cancel()
			} else if found > most {
				require.ErrorIs(t, err, context.Canceled)
			}
		}
		require.Equal(t, min(most, n-1)+1, found)
		cancel()
	}
}

// Litestream's names, which it writes to before it renames them, are no files.
func TestListOthersTemporaries(t *testing.T) {
	s := New(t.TempDir(), replica.LitestreamFile)
	put(t, filepath.Join(s.Path(), "ltx", "0", ltx.FormatFilename(1, 1)+".tmp"), nil)
	assert.Empty(t, storetest.List(t, s, 0))
}

func BenchmarkList(b *testing.B) {
	const n = 200_000
	s := New(b.TempDir(), replica.LitestreamFile)
	dir := filepath.Join(s.Path(), "ltx", "0")
	require.NoError(b, os.MkdirAll(dir, 0o700))
	for i := range n {
		txid := ltx.TXID(i + 1)
		require.NoError(b, os.WriteFile(filepath.Join(dir, ltx.FormatFilename(txid, txid)), nil, 0o600))
	}
	for _, all := range []bool{false, true} {
		b.Run(fmt.Sprintf("all=%t", all), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				found := 0
				for _, err := range s.LTXFiles(b.Context(), 0, replica.ListOptions{}) {
					require.NoError(b, err)
					if found++; !all && found == 10 {
						break
					}
				}
			}
			b.ReportMetric(n, "files")
		})
	}
}
