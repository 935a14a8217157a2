package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// The tests here are of what the guide's six methods have and a Store hasn't.

func (s *suite) clientWrite(ctx context.Context, name replica.Name, r io.Reader) (*ltx.FileInfo, error) {
	return s.client.WriteLTXFile(ctx, name.Level, name.MinTXID, name.MaxTXID, r)
}

func (s *suite) clientRead(t *testing.T, name replica.Name, offset, size int64) []byte {
	t.Helper()
	r, err := s.client.OpenLTXFile(t.Context(), name.Level, name.MinTXID, name.MaxTXID, offset, size)
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return data
}

func (s *suite) clientList(t *testing.T, level int, seek ltx.TXID, useMetadata bool) []*ltx.FileInfo {
	t.Helper()
	it, err := s.client.LTXFiles(t.Context(), level, seek, useMetadata)
	require.NoError(t, err)
	files, err := ltx.SliceFileIterator(it)
	require.NoError(t, err)
	require.NoError(t, it.Err())
	return files
}

// Init may be called again, and by many at once.
func testClientInit(t *testing.T, s *suite) {
	c, ok := s.client.(interface{ Init(context.Context) error })
	if !ok {
		return // ClientOf alone isn't all of a ReplicaClient
	}
	var g errgroup.Group
	for range 8 {
		g.Go(func() error { return c.Init(t.Context()) })
	}
	require.NoError(t, g.Wait())
	assert.Empty(t, s.clientList(t, 0, 0, false), "Init made files")
}

// TestReplicaClient_WriteLTXFile, _PartialRead and _NotFound of the guide.
func testClientWriteRead(t *testing.T, s *suite) {
	data := []byte("test ltx content")
	info, err := s.client.WriteLTXFile(t.Context(), 3, 1, 100, bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, 3, info.Level)
	assert.Equal(t, ltx.TXID(1), info.MinTXID)
	assert.Equal(t, ltx.TXID(100), info.MaxTXID)
	assert.Equal(t, int64(len(data)), info.Size)
	name := Name(3, 1, 100)
	assert.Equal(t, data, s.clientRead(t, name, 0, 0))
	assert.Equal(t, data[5:8], s.clientRead(t, name, 5, 3))
	_, err = s.client.OpenLTXFile(t.Context(), 3, 999, 999, 0, 0)
	require.ErrorIs(t, err, os.ErrNotExist)
	requireFileError(t, err, "open", Name(3, 999, 999))
	_, err = s.client.OpenLTXFile(t.Context(), 3, 1, 100, -1, 0)
	require.ErrorIs(t, err, os.ErrInvalid)
}

// A stream is stored whole, however it comes, from where it stands.
func testClientWriteStreams(t *testing.T, s *suite) {
	data := LTX(t, 3, 3, Commit(400), Noise()) // more than is held in memory
	path := filepath.Join(t.TempDir(), "content")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	moved := bytes.NewReader(append([]byte("before"), data...))
	_, err = moved.Seek(6, io.SeekStart)
	require.NoError(t, err)
	small := LTX(t, 3, 3)
	for title, tt := range map[string]struct {
		r    io.Reader
		data []byte
	}{
		"one byte":       {iotest.OneByteReader(bytes.NewReader(small)), small},
		"data and error": {iotest.DataErrReader(bytes.NewReader(data)), data},
		"half":           {iotest.HalfReader(bytes.NewReader(data)), data},
		"file":           {f, data},
		"moved":          {moved, data},
	} {
		t.Run(title, func(t *testing.T) {
			r, data := tt.r, tt.data
			info, err := s.clientWrite(t.Context(), Name(0, 3, 3), r)
			require.NoError(t, err)
			assert.True(t, info.CreatedAt.Equal(DefaultTime), "the header came in pieces")
			assert.Equal(t, int64(len(data)), info.Size)
			assert.Equal(t, data, s.clientRead(t, Name(0, 3, 3), 0, 0))
			n, err := r.Read(make([]byte, 1))
			assert.Zero(t, n)
			assert.Equal(t, io.EOF, err, "it wasn't read to its end")
		})
	}
}

func testClientWriteLarge(t *testing.T, s *suite) {
	const size = 5 << 20
	want := sha256.New()
	info, err := s.clientWrite(t.Context(), Name(0, 1000, 2000), io.TeeReader(NewReader(7, size), want))
	require.NoError(t, err)
	assert.Equal(t, int64(size), info.Size)
	got := sha256.Sum256(s.clientRead(t, Name(0, 1000, 2000), 0, 0))
	assert.Equal(t, want.Sum(nil), got[:])
}

func testClientWriteInvalid(t *testing.T, s *suite) {
	for _, name := range []replica.Name{Name(-1, 1, 1), Name(10, 1, 1), Name(0, 2, 1)} {
		_, err := s.clientWrite(t.Context(), name, bytes.NewReader([]byte("x")))
		require.ErrorIs(t, err, os.ErrInvalid)
		requireFileError(t, err, "write", name)
	}
}

func testClientWriteReaderError(t *testing.T, s *suite) {
	for i, n := range []int{0, 10, 200, 600_000, 2_000_000} {
		name := Name(1, ltx.TXID(i+1), ltx.TXID(i+1))
		for _, want := range []error{errBroken, io.ErrUnexpectedEOF} {
			_, err := s.clientWrite(t.Context(), name, &failingReader{r: bytes.NewReader(Bytes(1, n)), err: want})
			require.ErrorIs(t, err, want)
			requireFileError(t, err, "write", name)
			s.requireMissing(t, name)
		}
	}
}

func testClientWriteReaderErrorKeepsOld(t *testing.T, s *suite) {
	name := Name(1, 1, 7)
	old := LTX(t, 1, 7)
	want := s.write(t, name, old)
	r := &failingReader{r: bytes.NewReader(Bytes(1, 600_000)), err: errBroken, then: func() {
		assert.Equal(t, old, s.clientRead(t, name, 0, 0))
		assert.Len(t, s.clientList(t, 1, 0, false), 1)
	}}
	_, err := s.clientWrite(t.Context(), name, r)
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, old, s.clientRead(t, name, 0, 0))
	files := s.clientList(t, 1, 0, true)
	require.Len(t, files, 1)
	assert.Equal(t, want.Size, files[0].Size)
	assert.True(t, want.ModTime.Equal(files[0].CreatedAt))
}

func testClientWriteCancelled(t *testing.T, s *suite) {
	name := Name(1, 1, 7)
	_, err := s.clientWrite(doneContext(), name, bytes.NewReader([]byte("x")))
	require.ErrorIs(t, err, context.Canceled)
	requireFileError(t, err, "write", name)
	s.requireMissing(t, name)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// It has had half a megabyte, and would get more for ever.
	first := &failingReader{r: bytes.NewReader(Bytes(1, 500_000)), then: cancel, err: io.EOF}
	within(t, func() {
		_, err := s.clientWrite(ctx, name, io.MultiReader(first, readerOnly{&endless{}}))
		assert.ErrorIs(t, err, context.Canceled)
	})
	s.requireMissing(t, name)
}

// readerOnly hides what a reader can beside Read.
type readerOnly struct{ io.Reader }

// Of many writers of one name one wins, whole, and every reader gets the whole
// of one of them.
func testClientWriteConcurrentSameName(t *testing.T, s *suite) {
	name := Name(3, 1, 1)
	const writers, rounds = 6, 5
	contents := make(map[string]bool)
	content := func(i int) []byte { return Bytes(uint64(i), 50_000+i*1000) }
	for i := range writers {
		contents[string(content(i))] = true
	}
	s.write(t, name, content(0))
	var writing errgroup.Group
	for i := range writers {
		writing.Go(func() error {
			data := content(i)
			for range rounds {
				f, err := s.clientWrite(t.Context(), name, bytes.NewReader(data))
				if err != nil {
					return err
				}
				if f.Size != int64(len(data)) {
					return fmt.Errorf("writer %d is told of %d bytes, and wrote %d", i, f.Size, len(data))
				}
			}
			return nil
		})
	}
	stop := make(chan struct{})
	var reading errgroup.Group
	readers := 2
	if s.Torn {
		readers = 0
	}
	for range readers {
		reading.Go(func() error {
			for {
				r, err := s.store.OpenLTXFile(t.Context(), replica.File{Name: name}, 0, 0)
				if err != nil {
					return err
				}
				data, err := io.ReadAll(r)
				r.Close()
				if err != nil {
					return err
				}
				if !contents[string(data)] {
					return fmt.Errorf("a reader got %d bytes that nobody wrote", len(data))
				}
				select {
				case <-stop:
					return nil
				default:
				}
			}
		})
	}
	require.NoError(t, writing.Wait())
	close(stop)
	require.NoError(t, reading.Wait())
	assert.True(t, contents[string(s.read(t, name, 0, 0))])
	assert.Len(t, s.list(t, 3), 1)
}

// A write beside a DeleteAll is either deleted or there, and no error.
func testClientWriteConcurrentDeleteAll(t *testing.T, s *suite) {
	data := LTX(t, 1, 1)
	var g errgroup.Group
	for i := range 4 {
		g.Go(func() error {
			for n := range 25 {
				txid := ltx.TXID(i*100 + n)
				if _, err := s.clientWrite(t.Context(), Name(0, txid, txid), bytes.NewReader(data)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for range 25 {
			if err := s.client.DeleteAll(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, g.Wait())
	for _, f := range s.clientList(t, 0, 0, false) {
		assert.Equal(t, data, s.clientRead(t, Name(0, f.MinTXID, f.MaxTXID), 0, 0))
	}
	require.NoError(t, s.client.DeleteAll(t.Context()))
	assert.Empty(t, s.clientList(t, 0, 0, false))
}

// The iterator gives what the store lists.
func testClientList(t *testing.T, s *suite) {
	for i := range 5 {
		txid := ltx.TXID(i + 1)
		s.write(t, Name(2, txid, txid), LTX(t, txid, txid, Commit(uint32(i+1))))
	}
	for _, seek := range []ltx.TXID{0, 1, 3, 6} {
		for _, useMetadata := range []bool{false, true} {
			var want []*ltx.FileInfo
			for _, f := range ListWith(t, s.store, 2, replica.ListOptions{From: seek, ExactTimes: useMetadata}) {
				want = append(want, f.Info())
			}
			assert.Equal(t, want, s.clientList(t, 2, seek, useMetadata))
		}
	}
	for _, f := range s.clientList(t, 2, 0, true) {
		assert.True(t, DefaultTime.Equal(f.CreatedAt))
	}
	for _, level := range []int{-1, 10, 1 << 20} {
		_, err := s.client.LTXFiles(t.Context(), level, 0, false)
		require.ErrorIs(t, err, os.ErrInvalid, "level %d", level)
	}

	// What was handed out stays as it is.
	it, err := s.client.LTXFiles(t.Context(), 2, 0, false)
	require.NoError(t, err)
	defer it.Close()
	require.True(t, it.Next())
	item := it.Item()
	assert.Same(t, item, it.Item())
	require.True(t, it.Next())
	assert.Equal(t, ltx.TXID(1), item.MinTXID)
	assert.Equal(t, ltx.TXID(2), it.Item().MinTXID)
}

func testClientListEmpty(t *testing.T, s *suite) {
	it, err := s.client.LTXFiles(t.Context(), 0, 0, false)
	require.NoError(t, err)
	assert.Nil(t, it.Item())
	assert.False(t, it.Next())
	assert.False(t, it.Next())
	assert.Nil(t, it.Item())
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	assert.False(t, it.Next())
	require.NoError(t, it.Close())
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

func testClientListCancelled(t *testing.T, s *suite) {
	for i := range 10 {
		s.write(t, Name(1, ltx.TXID(i+1), ltx.TXID(i+1)), []byte("x"))
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

func testClientListCloseReturnsError(t *testing.T, s *suite) {
	for i := range 10 {
		s.write(t, Name(1, ltx.TXID(i+1), ltx.TXID(i+1)), []byte("x"))
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
	assert.Nil(t, it.Item())
	require.NoError(t, it.Err())
}

func testClientListStoppedEarly(t *testing.T, s *suite) {
	for i := range 50 {
		s.write(t, Name(1, ltx.TXID(i+1), ltx.TXID(i+1)), []byte("x"))
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

// What can't be is an error, nil too, and the others are deleted all the same.
func testClientDelete(t *testing.T, s *suite) {
	require.NoError(t, s.client.DeleteLTXFiles(t.Context(), nil))
	require.Error(t, s.client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{nil}))
	a := s.write(t, Name(1, 1, 1), []byte("a"))
	b := s.write(t, Name(1, 2, 2), []byte("b"))
	err := s.client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{a.Info(), nil, {Level: 10, MinTXID: 1, MaxTXID: 1}, b.Info()})
	require.ErrorIs(t, err, os.ErrInvalid)
	assert.ErrorContains(t, err, Name(10, 1, 1).String())
	assert.Empty(t, s.list(t, 1))
}

// "Cleanup" of the guide.
func testClientDeleteAll(t *testing.T, s *suite) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		for i := range 3 {
			s.write(t, Name(level, ltx.TXID(i+1), ltx.TXID(i+2)), []byte("x"))
		}
	}
	require.NoError(t, s.client.DeleteAll(t.Context()))
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		assert.Empty(t, s.list(t, level), "files should be deleted")
	}
	s.requireMissing(t, Name(0, 1, 2))

	// The replica can be used as before.
	s.write(t, Name(0, 1, 1), []byte("again"))
	assert.Equal(t, []byte("again"), s.read(t, Name(0, 1, 1), 0, 0))
}

func testClientDeleteAllTwice(t *testing.T, s *suite) {
	require.NoError(t, s.client.DeleteAll(t.Context()), "of an empty replica")
	s.write(t, Name(0, 1, 1), []byte("x"))
	require.NoError(t, s.client.DeleteAll(t.Context()))
	require.NoError(t, s.client.DeleteAll(t.Context()))
}

func testClientDeleteAllLeavesStrangers(t *testing.T, s *suite) {
	if s.PutStranger == nil {
		return
	}
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		s.write(t, Name(level, 1, 1), []byte("x"))
	}
	var checks []func(*testing.T)
	for _, level := range []int{0, 3, 9} {
		checks = append(checks, s.PutStranger(t, s.store, level))
	}
	require.NoError(t, s.client.DeleteAll(t.Context()))
	for _, check := range checks {
		check(t)
	}
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		assert.Empty(t, s.list(t, level))
	}
}

func testClientDeleteAllCancelled(t *testing.T, s *suite) {
	s.write(t, Name(0, 1, 1), []byte("x"))
	err := s.client.DeleteAll(doneContext())
	require.Error(t, err)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	assert.Equal(t, []byte("x"), s.read(t, Name(0, 1, 1), 0, 0))
}
