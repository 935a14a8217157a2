package storetest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

func testListEmpty(t *testing.T, s *suite) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		assert.Empty(t, s.list(t, level))
		assert.Empty(t, ListWith(t, s.store, level, replica.ListOptions{From: 5, ExactTimes: true}))
	}
}

// By min TXID, then by max TXID, whatever the order they were written in.
func testListSorted(t *testing.T, s *suite) {
	for _, txids := range [][2]ltx.TXID{
		{7, 9}, {1, 1}, {0x10, 0x10}, {2, 3}, {1, 0x20}, {1, 2}, {9, 9}, {0xa, 0xa}, {1, 9},
		{0xffffffffffffffff, 0xffffffffffffffff}, {0x8000000000000000, 0x8000000000000001}, {3, 0x8000000000000000},
	} {
		s.write(t, Name(1, txids[0], txids[1]), []byte("x"))
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
	}, bases(s.list(t, 1)))
}

// A listing begins with the first file whose min TXID is there or beyond.
func testListFrom(t *testing.T, s *suite) {
	for _, txids := range [][2]ltx.TXID{{1, 5}, {6, 6}, {6, 10}, {0x100, 0x200}} {
		s.write(t, Name(1, txids[0], txids[1]), []byte("x"))
	}
	all := bases(s.list(t, 1))
	require.Len(t, all, 4)
	for _, tt := range []struct {
		from ltx.TXID
		want []string
	}{
		{0, all}, {1, all}, {2, all[1:]}, {5, all[1:]}, {6, all[1:]}, {7, all[3:]}, {0xff, all[3:]},
		{0x100, all[3:]}, {0x101, []string{}}, {^ltx.TXID(0), []string{}},
	} {
		for _, opts := range []replica.ListOptions{{}, {ExactTimes: true}, {NamesOnly: true}} {
			opts.From = tt.from
			assert.Equal(t, tt.want, bases(ListWith(t, s.store, 1, opts)), "%+v", opts)
		}
	}
}

func testListLevels(t *testing.T, s *suite) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		s.write(t, Name(level, 1, ltx.TXID(level+1)), []byte("x"))
	}
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		files := s.list(t, level)
		require.Len(t, files, 1)
		assert.Equal(t, level, files[0].Level)
		assert.Equal(t, ltx.TXID(level+1), files[0].MaxTXID)
	}
}

func testListInvalid(t *testing.T, s *suite) {
	for _, level := range []int{-1, 10, 1 << 20} {
		files, err := collect(t.Context(), s.store, level, replica.ListOptions{})
		require.ErrorIs(t, err, os.ErrInvalid, "level %d", level)
		require.Empty(t, files)
	}
}

func testListAttributes(t *testing.T, s *suite) {
	var want []replica.File
	for i := range 5 {
		want = append(want, s.write(t, Name(0, ltx.TXID(i+1), ltx.TXID(i+1)), Bytes(uint64(i), i*1000)))
	}
	files := s.exact(t, 0)
	require.Len(t, files, 5)
	for i, got := range files {
		assert.Equal(t, want[i].Name, got.Name)
		assert.Equal(t, want[i].Size, got.Size)
		assert.Equal(t, want[i].Version, got.Version)
		assert.True(t, want[i].ModTime.Equal(got.ModTime), "%s listed as %s", want[i].ModTime, got.ModTime)
	}
}

// With names only, the rest may be left out, but it isn't wrong.
func testListNamesOnly(t *testing.T, s *suite) {
	for i := range 5 {
		s.write(t, Name(0, ltx.TXID(i+1), ltx.TXID(i+1)), Bytes(uint64(i), i*1000))
	}
	want := s.list(t, 0)
	got := ListWith(t, s.store, 0, replica.ListOptions{NamesOnly: true})
	require.Equal(t, bases(want), bases(got))
	for i, f := range got {
		assert.Equal(t, want[i].Name, f.Name)
		if !f.Version.IsZero() {
			assert.Equal(t, want[i], f)
		}
	}
}

// The exact time is the header's, or the upload's where there is none.
func testListExactTimes(t *testing.T, s *suite) {
	times := []time.Time{DefaultTime, DefaultTime.Add(time.Millisecond), DefaultTime.Add(time.Hour)}
	for i, ts := range times {
		s.write(t, Name(0, ltx.TXID(i+2), ltx.TXID(i+2)), LTX(t, ltx.TXID(i+2), ltx.TXID(i+2), Timestamp(ts)))
	}
	s.write(t, Name(0, 0x100, 0x100), []byte("no LTX"))
	files := s.exact(t, 0)
	require.Len(t, files, 4)
	for i, ts := range times {
		assert.True(t, ts.Equal(files[i].ModTime), "%s listed as %s", ts, files[i].ModTime)
	}
	assert.WithinDuration(t, time.Now(), files[3].ModTime, 2*testTimeout)
}

// What is known isn't found out again, and what isn't is found out all the same.
func testListKnownTimes(t *testing.T, s *suite) {
	known := time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC)
	for i := range 4 {
		txid := ltx.TXID(i + 1)
		s.write(t, Name(0, txid, txid), LTX(t, txid, txid))
	}
	var mu sync.Mutex
	asked := map[replica.Name]replica.Version{}
	files := ListWith(t, s.store, 0, replica.ListOptions{ExactTimes: true, Known: func(f replica.File) (time.Time, bool) {
		mu.Lock()
		defer mu.Unlock()
		asked[f.Name] = f.Version
		return known, f.MinTXID%2 == 0
	}})
	require.Len(t, files, 4)
	for i, f := range s.list(t, 0) {
		assert.Equal(t, f.Version, asked[f.Name])
		assert.Equal(t, f.Version, files[i].Version)
		if want := []time.Time{DefaultTime, known}[i%2]; !want.Equal(files[i].ModTime) {
			assert.Fail(t, "wrong time", "%s is listed with %s, not %s", f.Name, files[i].ModTime, want)
		}
	}
}

// More than stores and directories give at once.
func testListManyFiles(t *testing.T, s *suite) {
	n := s.ManyFiles
	put := s.Put
	if put == nil {
		put = func(store replica.Store, name replica.Name, data []byte) error {
			_, err := store.WriteLTXFile(t.Context(), name, bytes.NewReader(data), replica.WriteOptions{})
			return err
		}
	}
	var g errgroup.Group
	g.SetLimit(16)
	for i := range n {
		// Not in order.
		txid := ltx.TXID((i*7919)%n + 1)
		g.Go(func() error { return put(s.store, Name(1, txid, txid), nil) })
	}
	require.NoError(t, g.Wait())
	files := s.list(t, 1)
	require.Len(t, files, n)
	for i, f := range files {
		require.Equal(t, ltx.TXID(i+1), f.MinTXID)
	}
	require.Len(t, ListWith(t, s.store, 1, replica.ListOptions{From: ltx.TXID(n - 9)}), 10)
	s.delete(t, files...)
	require.Empty(t, s.list(t, 1))
}

func testListStrangers(t *testing.T, s *suite) {
	if s.PutStranger == nil {
		return
	}
	s.write(t, Name(1, 1, 1), []byte("x"))
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		s.PutStranger(t, s.store, level)(t)
		files := s.list(t, level)
		assert.Equal(t, level == 1, len(files) == 1, "level %d lists %q", level, bases(files))
		assert.Len(t, s.exact(t, level), len(files))
		assert.Equal(t, bases(files), bases(ListWith(t, s.store, level, replica.ListOptions{NamesOnly: true})))
	}
}

// A file that vanishes is passed over, or listed if it had been found already.
func testListVanishing(t *testing.T, s *suite) {
	var files []replica.File
	for i := range 20 {
		files = append(files, s.write(t, Name(1, ltx.TXID(i+1), ltx.TXID(i+1)), []byte("x")))
	}
	for _, opts := range []replica.ListOptions{{}, {ExactTimes: true}, {NamesOnly: true}} {
		last, kept := ltx.TXID(0), 0
		for f, err := range s.store.LTXFiles(t.Context(), 1, opts) {
			require.NoError(t, err)
			assert.Greater(t, f.MinTXID, last)
			last = f.MinTXID
			if last <= 5 || last > 15 {
				kept++
			}
			if last == 1 {
				s.delete(t, files[5:15]...)
			}
		}
		assert.Equal(t, 10, kept, "a file that didn't vanish is missing")
		require.Len(t, ListWith(t, s.store, 1, opts), 10)
		for _, f := range files[5:15] {
			s.write(t, f.Name, []byte("x"))
		}
	}
}

func testListCancelled(t *testing.T, s *suite) {
	for i := range 10 {
		s.write(t, Name(1, ltx.TXID(i+1), ltx.TXID(i+1)), []byte("x"))
	}
	for _, opts := range []replica.ListOptions{{}, {ExactTimes: true}, {NamesOnly: true}} {
		files, err := collect(doneContext(), s.store, 1, opts)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, files)

		// What has been fetched already may come, but not for ever.
		for _, n := range []int{1, 5} {
			ctx, cancel := context.WithCancel(t.Context())
			var last error
			seen := 0
			for _, err := range s.store.LTXFiles(ctx, 1, opts) {
				require.NoError(t, last, "it goes on after an error")
				last = err
				if seen++; seen == n {
					cancel()
				}
				require.Less(t, seen, 1000, "it goes on after its context is done")
			}
			cancel()
			require.ErrorIs(t, last, context.Canceled)
		}
	}
}

func testListStoppedEarly(t *testing.T, s *suite) {
	for i := range 50 {
		s.write(t, Name(1, ltx.TXID(i+1), ltx.TXID(i+1)), []byte("x"))
	}
	check := watchLeaks(t)
	for i := range 100 {
		seen := 0
		for _, err := range s.store.LTXFiles(t.Context(), 1, replica.ListOptions{ExactTimes: i%2 == 0, NamesOnly: i%3 == 0}) {
			require.NoError(t, err)
			if seen++; seen > i%4 {
				break
			}
		}
		require.Equal(t, i%4+1, seen)
	}
	check()
}

func testListVersion(t *testing.T, s *suite) {
	a, b := Name(1, 1, 1), Name(1, 2, 2)
	s.write(t, a, []byte("x"))
	s.write(t, b, []byte("x"))
	first := s.find(t, a)
	require.False(t, first.Version.IsZero())
	require.Equal(t, first, s.find(t, a), "a version changes by itself")
	s.write(t, b, []byte("yy"))
	require.Equal(t, first.Version, s.find(t, a).Version, "a version changes with another file")
	changed := []byte("y")
	if s.Weak {
		changed = []byte("yy")
	}
	s.write(t, a, changed)
	require.NotEqual(t, first.Version, s.find(t, a).Version)
	require.Equal(t, s.find(t, a).Version, s.exact(t, 1)[0].Version)
}

func testStat(t *testing.T, s *suite) {
	name := Name(1, 1, 1)
	_, err := s.store.StatLTXFile(t.Context(), name, replica.StatOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
	requireFileError(t, err, "stat", name)

	s.write(t, name, LTX(t, 1, 1))
	got, err := s.store.StatLTXFile(t.Context(), name, replica.StatOptions{})
	require.NoError(t, err)
	assert.Equal(t, s.find(t, name), got)
	require.False(t, got.Version.IsZero())
	for _, opts := range []replica.StatOptions{{}, {ExactTime: true}} {
		_, err = s.store.StatLTXFile(doneContext(), name, opts)
		require.ErrorIs(t, err, context.Canceled)
		for _, name := range []replica.Name{Name(-1, 1, 1), Name(10, 1, 1), Name(0, 2, 1)} {
			_, err = s.store.StatLTXFile(t.Context(), name, opts)
			require.ErrorIs(t, err, os.ErrInvalid)
		}
	}
	s.delete(t, got)
	for _, opts := range []replica.StatOptions{{}, {ExactTime: true}} {
		f, err := s.store.StatLTXFile(t.Context(), name, opts)
		require.ErrorIs(t, err, os.ErrNotExist)
		require.Equal(t, replica.File{}, f)
	}
}

// A store on this machine has its space to tell, another hasn't.
func testSpace(t *testing.T, s *suite) {
	space, err := s.store.Space(t.Context())
	if !s.store.Properties().Local {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	assert.Positive(t, space.Total)
	assert.LessOrEqual(t, space.Free, space.Total)
	assert.LessOrEqual(t, space.Available, space.Free)
	assert.LessOrEqual(t, space.FilesFree, space.Files)
}
