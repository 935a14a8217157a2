package replicatest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

func testType(t *testing.T, s *suite) {
	require.NotEmpty(t, s.client.Type())
}

// Init may be called again, and by many at once.
func testInit(t *testing.T, s *suite) {
	c, ok := s.client.(interface{ Init(context.Context) error })
	require.True(t, ok, "a client needs Init")
	var g errgroup.Group
	for range 8 {
		g.Go(func() error { return c.Init(t.Context()) })
	}
	require.NoError(t, g.Wait())
	assert.Empty(t, list(t, s.client, 0, 0, false), "Init made files")
}

// TestReplicaClient_WriteLTXFile of the guide.
func testWriteRead(t *testing.T, s *suite) {
	data := []byte("test ltx content")
	info, err := s.client.WriteLTXFile(t.Context(), 0, 1, 100, bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, 0, info.Level)
	assert.Equal(t, ltx.TXID(1), info.MinTXID)
	assert.Equal(t, ltx.TXID(100), info.MaxTXID)
	assert.Equal(t, int64(len(data)), info.Size)
	assert.Equal(t, data, s.read(t, id{0, 1, 100}, 0, 0))
}

func testWriteReadLTX(t *testing.T, s *suite) {
	for _, id := range []id{{0, 1, 1}, {0, 2, 2}, {2, 1, 6}, {9, 1, 6}} {
		data := LTX(t, id.minTXID, id.maxTXID, Seed(uint64(id.level)))
		s.write(t, id, data)
		assert.Equal(t, data, s.read(t, id, 0, 0))
	}
}

func testWriteEmpty(t *testing.T, s *suite) {
	id := id{0, 1, 1}
	f := s.write(t, id, nil)
	assert.Zero(t, f.Size)
	assert.Empty(t, s.read(t, id, 0, 0))
	require.Len(t, list(t, s.client, 0, 0, false), 1)
}

// The first and the last that there can be of everything.
func testWriteEveryLevel(t *testing.T, s *suite) {
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		for _, id := range []id{{level, 0, 0}, {level, 1, 1}, {level, 0xabcdef, ^ltx.TXID(0)}, {level, ^ltx.TXID(0), ^ltx.TXID(0)}} {
			data := fmt.Appendf(nil, "%+v", id)
			s.write(t, id, data)
			assert.Equal(t, data, s.read(t, id, 0, 0))
		}
	}
}

func testWriteSlowReader(t *testing.T, s *suite) {
	data := LTX(t, 3, 3)
	for i, r := range []io.Reader{
		iotest.OneByteReader(bytes.NewReader(data)),
		iotest.DataErrReader(bytes.NewReader(data)),
		iotest.HalfReader(bytes.NewReader(data)),
	} {
		id := id{0, 3, ltx.TXID(3 + i)}
		f, err := replica.Write(t.Context(), s.client, id.level, id.minTXID, id.maxTXID, r)
		require.NoError(t, err)
		assert.True(t, f.ModTime.Equal(DefaultTime), "the header came in pieces")
		assert.Equal(t, data, s.read(t, id, 0, 0))
	}
}

func testWriteInvalid(t *testing.T, s *suite) {
	for _, id := range []id{{-1, 1, 1}, {10, 1, 1}, {0, 2, 1}} {
		_, err := s.client.WriteLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, bytes.NewReader([]byte("x")))
		require.ErrorIs(t, err, os.ErrInvalid)
		requireFileError(t, err, "write", id)
	}
}

// The time is the header's for the write, the exact listing and the exact stat, and
// the others agree on theirs.
func testWriteTimestamp(t *testing.T, s *suite) {
	for i, want := range []time.Time{
		DefaultTime,
		time.Date(2026, 11, 22, 22, 6, 2, 598_000_000, time.UTC),
		time.UnixMilli(1),
		time.Now().Add(24 * time.Hour).Truncate(time.Millisecond),
	} {
		id := id{0, ltx.TXID(10 + i), ltx.TXID(10 + i)}
		info, err := s.client.WriteLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID,
			bytes.NewReader(LTX(t, id.minTXID, id.maxTXID, Timestamp(want))))
		require.NoError(t, err)
		assert.True(t, info.CreatedAt.Equal(want), "the write says %s, want %s", info.CreatedAt, want)
		files := list(t, s.client, 0, id.minTXID, true)
		require.Len(t, files, 1)
		assert.True(t, files[0].CreatedAt.Equal(want), "the listing says %s, want %s", files[0].CreatedAt, want)
		if c, ok := s.client.(replica.ExactStater); ok {
			f, err := c.StatLTXFileExact(t.Context(), id.level, id.minTXID, id.maxTXID)
			require.NoError(t, err)
			assert.True(t, f.ModTime.Equal(want), "the exact stat says %s, want %s", f.ModTime, want)
		}
		if c, ok := s.client.(replica.Stater); ok {
			f, err := c.StatLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID)
			require.NoError(t, err)
			listed := list(t, s.client, 0, id.minTXID, false)
			require.Len(t, listed, 1)
			assert.True(t, f.ModTime.Equal(listed[0].CreatedAt), "the stat says %s, and the listing %s", f.ModTime, listed[0].CreatedAt)
		}
	}
}

// What has no valid header has the time of the upload.
func testWriteUploadTime(t *testing.T, s *suite) {
	brokenHeader := LTX(t, 4, 4)
	brokenHeader[8]++ // the page size
	for i, data := range [][]byte{nil, []byte("short"), Bytes(1, 5000), brokenHeader} {
		// Stores round times, and a store's clock isn't the test's.
		const slack = time.Minute
		before := time.Now().Add(-slack)
		info, err := s.client.WriteLTXFile(t.Context(), 0, 4, ltx.TXID(4+i), bytes.NewReader(data))
		require.NoError(t, err)
		assert.WithinRange(t, info.CreatedAt, before, time.Now().Add(slack))
	}
	for _, f := range list(t, s.client, 0, 0, true) {
		assert.WithinDuration(t, time.Now(), f.CreatedAt, 2*testTimeout)
	}
}

func testWriteReaderError(t *testing.T, s *suite) {
	broken := errors.New("the source broke")
	for i, n := range []int{0, 10, 200, 600_000} {
		id := id{1, ltx.TXID(i + 1), ltx.TXID(i + 1)}
		for _, want := range []error{broken, io.ErrUnexpectedEOF} {
			_, err := s.client.WriteLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID,
				&failingReader{r: bytes.NewReader(Bytes(1, n)), err: want})
			require.ErrorIs(t, err, want)
			requireFileError(t, err, "write", id)
			s.requireMissing(t, id)
		}
	}
}

func testWriteReaderErrorKeepsOld(t *testing.T, s *suite) {
	id := id{1, 1, 7}
	old := LTX(t, 1, 7)
	want := s.write(t, id, old)
	broken := errors.New("the source broke")
	r := &failingReader{r: bytes.NewReader(Bytes(1, 600_000)), err: broken, then: func() {
		// Nothing shows of a write under way.
		assert.Equal(t, old, s.read(t, id, 0, 0))
		assert.Len(t, list(t, s.client, 1, 0, false), 1)
	}}
	_, err := s.client.WriteLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, r)
	require.ErrorIs(t, err, broken)
	assert.Equal(t, old, s.read(t, id, 0, 0))
	files := list(t, s.client, 1, 0, true)
	require.Len(t, files, 1)
	assert.Equal(t, want.Size, files[0].Size)
	assert.True(t, want.ModTime.Equal(files[0].CreatedAt))
}

func testWriteCancelled(t *testing.T, s *suite) {
	id := id{1, 1, 7}
	t.Run("before", func(t *testing.T) {
		_, err := s.client.WriteLTXFile(doneContext(), id.level, id.minTXID, id.maxTXID, bytes.NewReader([]byte("x")))
		require.ErrorIs(t, err, context.Canceled)
		requireFileError(t, err, "write", id)
		s.requireMissing(t, id)
	})
	cancelled := func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		// It has had half a megabyte, and would get more for ever.
		first := &failingReader{r: bytes.NewReader(Bytes(1, 500_000)), then: cancel, err: io.EOF}
		within(t, func() {
			_, err := s.client.WriteLTXFile(ctx, id.level, id.minTXID, id.maxTXID, io.MultiReader(first, &endless{}))
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	t.Run("during", func(t *testing.T) {
		cancelled(t)
		s.requireMissing(t, id)
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, err := s.client.WriteLTXFile(ctx, id.level, id.minTXID, id.maxTXID, bytes.NewReader([]byte("x")))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("keeps old", func(t *testing.T) {
		old := LTX(t, 1, 7)
		s.write(t, id, old)
		cancelled(t)
		assert.Equal(t, old, s.read(t, id, 0, 0))
	})
}

func testWriteReplaces(t *testing.T, s *suite) {
	id := id{2, 5, 9}
	for i, data := range [][]byte{
		LTX(t, 5, 9), LTX(t, 5, 9, Commit(9)), []byte("shorter"), Bytes(3, 300_000), LTX(t, 5, 9, Seed(2)),
	} {
		f := s.write(t, id, data)
		assert.Equal(t, int64(len(data)), f.Size)
		require.Equal(t, data, s.read(t, id, 0, 0), "content %d", i)
		files := list(t, s.client, 2, 0, false)
		require.Len(t, files, 1)
		assert.Equal(t, int64(len(data)), files[0].Size)
	}
}

// "Large File" of the guide.
func testWriteLarge(t *testing.T, s *suite) {
	want := sha256.New()
	info, err := s.client.WriteLTXFile(t.Context(), 0, 1000, 2000,
		io.TeeReader(NewReader(7, s.LargeSize), want))
	require.NoError(t, err)
	assert.Equal(t, s.LargeSize, info.Size)

	r, err := s.client.OpenLTXFile(t.Context(), 0, 1000, 2000, 0, 0)
	require.NoError(t, err)
	got := sha256.New()
	n, err := io.Copy(got, r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Equal(t, s.LargeSize, n)
	assert.Equal(t, want.Sum(nil), got.Sum(nil))

	tail := s.read(t, id{0, 1000, 2000}, s.LargeSize-5, 100)
	assert.Len(t, tail, 5)
}

// "Concurrent Writes" of the guide.
func testWriteConcurrent(t *testing.T, s *suite) {
	const n = 20
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			data := fmt.Appendf(nil, "concurrent %d", i)
			_, err := s.client.WriteLTXFile(t.Context(), 0, ltx.TXID(i*100), ltx.TXID((i+1)*100), bytes.NewReader(data))
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Len(t, list(t, s.client, 0, 0, false), n)
	for i := range n {
		assert.Equal(t, fmt.Sprintf("concurrent %d", i), string(s.read(t, id{0, ltx.TXID(i * 100), ltx.TXID((i + 1) * 100)}, 0, 0)))
	}
}

// Of many writers of one name one wins, whole, and every reader gets the whole
// of one of them.
func testWriteConcurrentSameName(t *testing.T, s *suite) {
	id := id{3, 1, 1}
	const writers, rounds = 6, 5
	contents := make(map[string]bool)
	for i := range writers {
		contents[string(Bytes(uint64(i), 50_000+i*1000))] = true
	}
	s.write(t, id, Bytes(0, 50_000))
	var writing errgroup.Group
	for i := range writers {
		writing.Go(func() error {
			for range rounds {
				info, err := s.client.WriteLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, NewReader(uint64(i), int64(50_000+i*1000)))
				if err != nil {
					return err
				}
				if want := int64(50_000 + i*1000); info.Size != want {
					return fmt.Errorf("writer %d is told of %d bytes, and wrote %d", i, info.Size, want)
				}
			}
			return nil
		})
	}
	stop := make(chan struct{})
	var reading errgroup.Group
	for range 2 {
		reading.Go(func() error {
			for {
				r, err := s.client.OpenLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID, 0, 0)
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
	assert.True(t, contents[string(s.read(t, id, 0, 0))])
	assert.Len(t, list(t, s.client, 3, 0, false), 1)
}

// A write beside a DeleteAll is either deleted or there, and no error.
func testWriteConcurrentDeleteAll(t *testing.T, s *suite) {
	data := LTX(t, 1, 1)
	var g errgroup.Group
	for i := range 4 {
		g.Go(func() error {
			for n := range 25 {
				txid := ltx.TXID(i*100 + n)
				if _, err := s.client.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(data)); err != nil {
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
	for _, f := range list(t, s.client, 0, 0, false) {
		assert.Equal(t, data, s.read(t, id{0, f.MinTXID, f.MaxTXID}, 0, 0))
	}
	require.NoError(t, s.client.DeleteAll(t.Context()))
	assert.Empty(t, list(t, s.client, 0, 0, false))
}

// A write returns the version that others find.
func testWriteVersion(t *testing.T, s *suite) {
	c, ok := s.client.(replica.VersionWriter)
	if !ok {
		return
	}
	id := id{0, 1, 1}
	var before replica.Version
	for i := range 20 {
		// The same size and time: only that it is another tells.
		f, err := c.WriteLTXFileVersion(t.Context(), id.level, id.minTXID, id.maxTXID,
			bytes.NewReader(LTX(t, 1, 1, Noise(), Seed(uint64(i)))))
		require.NoError(t, err)
		require.NotEmpty(t, f.Version)
		require.NotEqual(t, before, f.Version, "write %d has the version of what it replaced", i)
		before = f.Version
		if c, ok := s.client.(replica.Stater); ok {
			got, err := c.StatLTXFile(t.Context(), id.level, id.minTXID, id.maxTXID)
			require.NoError(t, err)
			require.Equal(t, f.Version, got.Version)
			require.Equal(t, f.Size, got.Size)
		}
	}
}
