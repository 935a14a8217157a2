package replicatest

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// info is a file as DeleteLTXFiles takes it.
func info(files ...replica.File) []*ltx.FileInfo {
	var infos []*ltx.FileInfo
	for _, f := range files {
		infos = append(infos, f.Info())
	}
	return infos
}

// find returns a file as a listing has it.
func (s *suite) find(t *testing.T, id id) replica.File {
	t.Helper()
	it, err := s.client.LTXFiles(t.Context(), id.level, id.minTXID, false)
	require.NoError(t, err)
	defer it.Close()
	for it.Next() {
		item := it.Item()
		if item.MinTXID != id.minTXID || item.MaxTXID != id.maxTXID {
			continue
		}
		f := replica.File{Level: item.Level, MinTXID: item.MinTXID, MaxTXID: item.MaxTXID, Size: item.Size, ModTime: item.CreatedAt}
		if v, ok := it.(replica.VersionIterator); ok {
			f.Version = v.Version()
		}
		return f
	}
	require.NoError(t, it.Err())
	require.Fail(t, "not listed", "%+v", id)
	return replica.File{}
}

func testListEmpty(t *testing.T, s *suite) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		assert.Empty(t, list(t, s.client, level, 0, false))
		assert.Empty(t, list(t, s.client, level, 5, true))
	}
	it, err := s.client.LTXFiles(t.Context(), 0, 0, false)
	require.NoError(t, err)
	assert.False(t, it.Next())
	assert.False(t, it.Next())
	assert.Nil(t, it.Item())
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	assert.False(t, it.Next())
	require.NoError(t, it.Close())
}

// By min TXID, then by max TXID, whatever the order they were written in.
func testListSorted(t *testing.T, s *suite) {
	for _, txids := range [][2]ltx.TXID{
		{7, 9}, {1, 1}, {0x10, 0x10}, {2, 3}, {1, 0x20}, {1, 2}, {9, 9}, {0xa, 0xa}, {1, 9},
		{0xffffffffffffffff, 0xffffffffffffffff}, {0x8000000000000000, 0x8000000000000001}, {3, 0x8000000000000000},
	} {
		s.write(t, id{1, txids[0], txids[1]}, []byte("x"))
	}
	assert.Equal(t, []string{
		"0000000000000001-0000000000000001.ltx",
		"0000000000000001-0000000000000002.ltx",
		"0000000000000001-0000000000000009.ltx",
		"0000000000000001-0000000000000020.ltx",
		"0000000000000002-0000000000000003.ltx",
		"0000000000000003-8000000000000000.ltx",
		"0000000000000007-0000000000000009.ltx",
		"0000000000000009-0000000000000009.ltx",
		"000000000000000a-000000000000000a.ltx",
		"0000000000000010-0000000000000010.ltx",
		"8000000000000000-8000000000000001.ltx",
		"ffffffffffffffff-ffffffffffffffff.ltx",
	}, names(list(t, s.client, 1, 0, false)))
}

// The seek is to the first file whose min TXID is there or beyond.
func testListSeek(t *testing.T, s *suite) {
	for _, txids := range [][2]ltx.TXID{{1, 5}, {6, 6}, {6, 10}, {0x100, 0x200}} {
		s.write(t, id{1, txids[0], txids[1]}, []byte("x"))
	}
	all := names(list(t, s.client, 1, 0, false))
	require.Len(t, all, 4)
	for _, tt := range []struct {
		seek ltx.TXID
		want []string
	}{
		{0, all}, {1, all}, {2, all[1:]}, {5, all[1:]}, {6, all[1:]}, {7, all[3:]}, {0xff, all[3:]},
		{0x100, all[3:]}, {0x101, []string{}}, {^ltx.TXID(0), []string{}},
	} {
		assert.Equal(t, tt.want, names(list(t, s.client, 1, tt.seek, false)), "seek %s", tt.seek)
		assert.Equal(t, tt.want, names(list(t, s.client, 1, tt.seek, true)), "seek %s with metadata", tt.seek)
	}
}

func testListLevels(t *testing.T, s *suite) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		s.write(t, id{level, 1, ltx.TXID(level + 1)}, []byte("x"))
	}
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		files := list(t, s.client, level, 0, false)
		require.Len(t, files, 1)
		assert.Equal(t, level, files[0].Level)
		assert.Equal(t, ltx.TXID(level+1), files[0].MaxTXID)
	}
}

func testListInvalid(t *testing.T, s *suite) {
	for _, level := range []int{-1, 10, 1 << 20} {
		_, err := s.client.LTXFiles(t.Context(), level, 0, false)
		require.ErrorIs(t, err, os.ErrInvalid, "level %d", level)
	}
}

func testListAttributes(t *testing.T, s *suite) {
	var want []replica.File
	for i := range 5 {
		want = append(want, s.write(t, id{0, ltx.TXID(i + 1), ltx.TXID(i + 1)}, Bytes(uint64(i), i*1000)))
	}
	for i, got := range list(t, s.client, 0, 0, true) {
		assert.Equal(t, 0, got.Level)
		assert.Equal(t, want[i].Size, got.Size)
		assert.True(t, want[i].ModTime.Equal(got.CreatedAt), "%s listed as %s", want[i].ModTime, got.CreatedAt)
	}
	// What was handed out stays as it is.
	it, err := s.client.LTXFiles(t.Context(), 0, 0, false)
	require.NoError(t, err)
	defer it.Close()
	require.True(t, it.Next())
	item := it.Item()
	assert.Same(t, item, it.Item())
	require.True(t, it.Next())
	assert.Equal(t, ltx.TXID(1), item.MinTXID)
	assert.Equal(t, ltx.TXID(2), it.Item().MinTXID)
}

// With metadata the time is the header's, and without it what the store has.
func testListMetadata(t *testing.T, s *suite) {
	times := []time.Time{DefaultTime, DefaultTime.Add(time.Millisecond), DefaultTime.Add(time.Hour)}
	for i, ts := range times {
		s.write(t, id{0, ltx.TXID(i + 2), ltx.TXID(i + 2)}, LTX(t, ltx.TXID(i+2), ltx.TXID(i+2), Timestamp(ts)))
	}
	s.write(t, id{0, 0x100, 0x100}, []byte("no LTX"))
	files := list(t, s.client, 0, 0, true)
	require.Len(t, files, 4)
	for i, ts := range times {
		assert.True(t, ts.Equal(files[i].CreatedAt), "%s listed as %s", ts, files[i].CreatedAt)
	}
	assert.WithinDuration(t, time.Now(), files[3].CreatedAt, 2*testTimeout)
}

// More than stores and directories give at once.
func testListManyFiles(t *testing.T, s *suite) {
	const n = 2300
	written := make([]replica.File, n)
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		g.Go(func() (err error) {
			// Not in order.
			txid := ltx.TXID((i*7919)%n + 1)
			written[i], err = replica.Write(t.Context(), s.client, 1, txid, txid, bytes.NewReader(nil))
			return err
		})
	}
	require.NoError(t, g.Wait())
	files := list(t, s.client, 1, 0, false)
	require.Len(t, files, n)
	for i, f := range files {
		require.Equal(t, ltx.TXID(i+1), f.MinTXID)
	}
	require.Len(t, list(t, s.client, 1, n-9, false), 10)
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(written...)))
	require.Empty(t, list(t, s.client, 1, 0, false))
}

func testListStrangers(t *testing.T, s *suite) {
	if s.PutStranger == nil {
		return
	}
	s.write(t, id{1, 1, 1}, []byte("x"))
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		s.PutStranger(t, s.client, level)(t)
		files := list(t, s.client, level, 0, false)
		assert.Equal(t, level == 1, len(files) == 1, "level %d lists %q", level, names(files))
		assert.Len(t, list(t, s.client, level, 0, true), len(files))
	}
}

// A file that vanishes is passed over, or listed if it had been found already.
func testListVanishing(t *testing.T, s *suite) {
	var files []replica.File
	for i := range 20 {
		files = append(files, s.write(t, id{1, ltx.TXID(i + 1), ltx.TXID(i + 1)}, []byte("x")))
	}
	for _, useMetadata := range []bool{false, true} {
		it, err := s.client.LTXFiles(t.Context(), 1, 0, useMetadata)
		require.NoError(t, err)
		require.True(t, it.Next())
		last := it.Item().MinTXID
		require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(files[5:15]...)))
		kept := 1
		for it.Next() {
			assert.Greater(t, it.Item().MinTXID, last)
			last = it.Item().MinTXID
			if last <= 5 || last > 15 {
				kept++
			}
		}
		require.NoError(t, it.Err())
		require.NoError(t, it.Close())
		assert.Equal(t, 10, kept, "a file that didn't vanish is missing")
		require.Len(t, list(t, s.client, 1, 0, useMetadata), 10)
		for _, f := range files[5:15] {
			s.write(t, id{1, f.MinTXID, f.MaxTXID}, []byte("x"))
		}
	}
}

// cancelledList lists with a context that is done after n files, and returns the
// iterator, which has come to its end.
func (s *suite) cancelledList(t *testing.T, n int) ltx.FileIterator {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	it, err := s.client.LTXFiles(ctx, 1, 0, false)
	require.NoError(t, err)
	for range n {
		require.True(t, it.Next())
	}
	cancel()
	// What has been fetched already may come, but not for ever.
	for more := 0; it.Next(); more++ {
		require.Less(t, more, 1000, "it goes on after its context is done")
	}
	return it
}

func testListCancelled(t *testing.T, s *suite) {
	for i := range 10 {
		s.write(t, id{1, ltx.TXID(i + 1), ltx.TXID(i + 1)}, []byte("x"))
	}
	it, err := s.client.LTXFiles(doneContext(), 1, 0, false)
	if err == nil {
		require.False(t, it.Next())
		err = it.Close()
	}
	require.ErrorIs(t, err, context.Canceled)

	for _, n := range []int{0, 1, 5} {
		it := s.cancelledList(t, n)
		require.ErrorIs(t, it.Err(), context.Canceled)
		require.ErrorIs(t, it.Close(), context.Canceled)
	}
}

func testListCloseReturnsError(t *testing.T, s *suite) {
	for i := range 10 {
		s.write(t, id{1, ltx.TXID(i + 1), ltx.TXID(i + 1)}, []byte("x"))
	}
	it := s.cancelledList(t, 1)
	require.ErrorIs(t, it.Close(), context.Canceled, "without Err")
	require.ErrorIs(t, it.Close(), context.Canceled, "the second time")
	require.ErrorIs(t, it.Err(), context.Canceled, "after Close")
	assert.False(t, it.Next())
	assert.Nil(t, it.Item())

	it = s.cancelledList(t, 1)
	_, err := ltx.SliceFileIterator(it)
	require.ErrorIs(t, err, context.Canceled)

	// Stopping early is no error.
	it, err = s.client.LTXFiles(t.Context(), 1, 0, false)
	require.NoError(t, err)
	require.True(t, it.Next())
	require.NoError(t, it.Close())
	assert.False(t, it.Next())
	require.NoError(t, it.Err())
}

func testListStoppedEarly(t *testing.T, s *suite) {
	for i := range 50 {
		s.write(t, id{1, ltx.TXID(i + 1), ltx.TXID(i + 1)}, []byte("x"))
	}
	check := watchLeaks(t)
	for i := range 100 {
		it, err := s.client.LTXFiles(t.Context(), 1, 0, i%2 == 0)
		require.NoError(t, err)
		for range i % 4 {
			require.True(t, it.Next())
		}
		require.NoError(t, it.Close())
	}
	// Or never closed, but read to its end.
	for range 100 {
		it, err := s.client.LTXFiles(t.Context(), 1, 45, false)
		require.NoError(t, err)
		for it.Next() {
			require.NotNil(t, it.Item())
		}
		require.NoError(t, it.Err())
	}
	check()
}

func testListVersion(t *testing.T, s *suite) {
	it, err := s.client.LTXFiles(t.Context(), 1, 0, false)
	require.NoError(t, err)
	require.NoError(t, it.Close())
	if _, ok := it.(replica.VersionIterator); !ok {
		return
	}
	a, b := id{1, 1, 1}, id{1, 2, 2}
	s.write(t, a, []byte("x"))
	s.write(t, b, []byte("x"))
	first := s.find(t, a)
	require.NotEmpty(t, first.Version)
	require.Equal(t, first, s.find(t, a), "a version changes by itself")
	s.write(t, b, []byte("y"))
	require.Equal(t, first.Version, s.find(t, a).Version, "a version changes with another file")
	s.write(t, a, []byte("y"))
	require.NotEqual(t, first.Version, s.find(t, a).Version)

	for _, useMetadata := range []bool{false, true} {
		it, err := s.client.LTXFiles(t.Context(), 1, 0, useMetadata)
		require.NoError(t, err)
		versions := it.(replica.VersionIterator)
		assert.Empty(t, versions.Version())
		require.True(t, it.Next())
		assert.Equal(t, s.find(t, a).Version, versions.Version())
		require.NoError(t, it.Close())
	}
}

func testStat(t *testing.T, s *suite) {
	c, ok := s.client.(replica.Stater)
	if !ok {
		return
	}
	file := id{1, 1, 1}
	_, err := c.StatLTXFile(t.Context(), file.level, file.minTXID, file.maxTXID)
	require.ErrorIs(t, err, os.ErrNotExist)
	requireFileError(t, err, "stat", file)

	s.write(t, file, LTX(t, 1, 1))
	got, err := c.StatLTXFile(t.Context(), file.level, file.minTXID, file.maxTXID)
	require.NoError(t, err)
	assert.Equal(t, s.find(t, file), got)

	_, err = c.StatLTXFile(doneContext(), file.level, file.minTXID, file.maxTXID)
	require.ErrorIs(t, err, context.Canceled)
	for _, id := range []id{{-1, 1, 1}, {10, 1, 1}, {0, 2, 1}} {
		_, err = c.StatLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID)
		require.ErrorIs(t, err, os.ErrInvalid)
	}
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), info(got)))
	_, err = c.StatLTXFile(t.Context(), file.level, file.minTXID, file.maxTXID)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func testSpace(t *testing.T, s *suite) {
	c, ok := s.client.(replica.Spacer)
	if !ok {
		return
	}
	space, err := c.Space(t.Context())
	require.NoError(t, err)
	assert.Positive(t, space.Total)
	assert.LessOrEqual(t, space.Free, space.Total)
	assert.LessOrEqual(t, space.Available, space.Free)
	assert.LessOrEqual(t, space.FilesFree, space.Files)
}
