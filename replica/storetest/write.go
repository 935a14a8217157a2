package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

func testType(t *testing.T, s *suite) {
	require.NotEmpty(t, s.store.Type())
	require.Equal(t, s.store.Type(), s.client.Type())
}

// TestReplicaClient_WriteLTXFile of the guide.
func testWriteRead(t *testing.T, s *suite) {
	data := []byte("test ltx content")
	f := s.write(t, Name(0, 1, 100), data)
	assert.Equal(t, int64(len(data)), f.Size)
	assert.Equal(t, data, s.read(t, Name(0, 1, 100), 0, 0))
}

func testWriteReadLTX(t *testing.T, s *suite) {
	for _, name := range []replica.Name{Name(0, 1, 1), Name(0, 2, 2), Name(2, 1, 6), Name(9, 1, 6)} {
		data := LTX(t, name.MinTXID, name.MaxTXID, Seed(uint64(name.Level)))
		s.write(t, name, data)
		assert.Equal(t, data, s.read(t, name, 0, 0))
	}
}

func testWriteEmpty(t *testing.T, s *suite) {
	name := Name(0, 1, 1)
	f := s.write(t, name, nil)
	assert.Zero(t, f.Size)
	assert.Empty(t, s.read(t, name, 0, 0))
	require.Len(t, s.list(t, 0), 1)
}

// The first and the last that there can be of everything.
func testWriteEveryLevel(t *testing.T, s *suite) {
	const last = ^ltx.TXID(0)
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		for _, name := range []replica.Name{Name(level, 0, 0), Name(level, 1, 1), Name(level, 0xabcdef, last), Name(level, last, last)} {
			data := []byte(name.String())
			s.write(t, name, data)
			assert.Equal(t, data, s.read(t, name, 0, 0))
		}
	}
}

func testWriteInvalid(t *testing.T, s *suite) {
	for _, name := range []replica.Name{Name(-1, 1, 1), Name(10, 1, 1), Name(0, 2, 1)} {
		for _, exclusive := range []bool{false, true} {
			_, err := s.store.WriteLTXFile(t.Context(), name, bytes.NewReader([]byte("x")), replica.WriteOptions{Exclusive: exclusive})
			require.ErrorIs(t, err, os.ErrInvalid)
			requireFileError(t, err, "write", name)
		}
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
		txid := ltx.TXID(10 + i)
		name := Name(0, txid, txid)
		written := s.write(t, name, LTX(t, txid, txid, Timestamp(want)))
		assert.True(t, written.ModTime.Equal(want), "the write says %s, want %s", written.ModTime, want)
		files := ListWith(t, s.store, 0, replica.ListOptions{From: txid, ExactTimes: true})
		require.Len(t, files, 1)
		assert.True(t, files[0].ModTime.Equal(want), "the listing says %s, want %s", files[0].ModTime, want)
		f, err := s.store.StatLTXFile(t.Context(), name, replica.StatOptions{ExactTime: true})
		require.NoError(t, err)
		assert.True(t, f.ModTime.Equal(want), "the exact stat says %s, want %s", f.ModTime, want)
		assert.Equal(t, files[0].Version, f.Version)
		f, err = s.store.StatLTXFile(t.Context(), name, replica.StatOptions{})
		require.NoError(t, err)
		listed := ListWith(t, s.store, 0, replica.ListOptions{From: txid})
		require.Len(t, listed, 1)
		assert.True(t, f.ModTime.Equal(listed[0].ModTime), "the stat says %s, and the listing %s", f.ModTime, listed[0].ModTime)
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
		f := s.write(t, Name(0, 4, ltx.TXID(4+i)), data)
		assert.WithinRange(t, f.ModTime, before, time.Now().Add(slack))
	}
	for _, f := range s.exact(t, 0) {
		assert.WithinDuration(t, time.Now(), f.ModTime, 2*testTimeout)
	}
}

var errBroken = errors.New("the content broke")

func testWriteContentError(t *testing.T, s *suite) {
	for i, n := range []int64{0, 10, 200, 600_000} {
		name := Name(1, ltx.TXID(i+1), ltx.TXID(i+1))
		data := Bytes(1, 1_000_000)
		for _, want := range []error{errBroken, io.ErrUnexpectedEOF} {
			_, err := s.store.WriteLTXFile(t.Context(), name, &hooked{Content: bytes.NewReader(data), at: n, err: want}, replica.WriteOptions{})
			require.ErrorIs(t, err, want)
			requireFileError(t, err, "write", name)
			s.requireMissing(t, name)
		}
		// It is shorter than it says.
		_, err := s.store.WriteLTXFile(t.Context(), name, &hooked{Content: bytes.NewReader(data), at: n, err: io.EOF}, replica.WriteOptions{})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		s.requireMissing(t, name)
	}
}

func testWriteContentErrorKeepsOld(t *testing.T, s *suite) {
	name := Name(1, 1, 7)
	old := LTX(t, 1, 7)
	want := s.write(t, name, old)
	called := false
	content := &hooked{Content: bytes.NewReader(Bytes(1, 1_000_000)), at: 600_000, err: errBroken, then: func() {
		// Nothing shows of a write under way.
		called = true
		assert.Equal(t, old, s.read(t, name, 0, 0))
		assert.Len(t, s.list(t, 1), 1)
	}}
	_, err := s.store.WriteLTXFile(t.Context(), name, content, replica.WriteOptions{})
	require.ErrorIs(t, err, errBroken)
	require.True(t, called)
	assert.Equal(t, old, s.read(t, name, 0, 0))
	files := s.exact(t, 1)
	require.Len(t, files, 1)
	assert.Equal(t, want.Size, files[0].Size)
	assert.True(t, want.ModTime.Equal(files[0].ModTime))
}

func testWriteCancelled(t *testing.T, s *suite) {
	name := Name(1, 1, 7)
	t.Run("before", func(t *testing.T) {
		_, err := s.store.WriteLTXFile(doneContext(), name, bytes.NewReader([]byte("x")), replica.WriteOptions{})
		require.ErrorIs(t, err, context.Canceled)
		requireFileError(t, err, "write", name)
		s.requireMissing(t, name)
	})
	cancelled := func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		// Half a megabyte is read, and more would be for long.
		content := &hooked{Content: &endless{}, at: 500_000, then: cancel}
		within(t, func() {
			_, err := s.store.WriteLTXFile(ctx, name, content, replica.WriteOptions{})
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	t.Run("during", func(t *testing.T) {
		cancelled(t)
		s.requireMissing(t, name)
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		_, err := s.store.WriteLTXFile(ctx, name, bytes.NewReader([]byte("x")), replica.WriteOptions{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("keeps old", func(t *testing.T) {
		old := LTX(t, 1, 7)
		s.write(t, name, old)
		cancelled(t)
		assert.Equal(t, old, s.read(t, name, 0, 0))
	})
}

func testWriteReplaces(t *testing.T, s *suite) {
	name := Name(2, 5, 9)
	for i, data := range [][]byte{
		LTX(t, 5, 9), LTX(t, 5, 9, Commit(9)), []byte("shorter"), Bytes(3, 300_000), LTX(t, 5, 9, Seed(2)),
	} {
		f := s.write(t, name, data)
		assert.Equal(t, int64(len(data)), f.Size)
		require.Equal(t, data, s.read(t, name, 0, 0), "content %d", i)
		files := s.list(t, 2)
		require.Len(t, files, 1)
		assert.Equal(t, int64(len(data)), files[0].Size)
	}
}

// "Large File" of the guide.
func testWriteLarge(t *testing.T, s *suite) {
	local, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer local.Close()
	want := sha256.New()
	_, err = io.Copy(io.MultiWriter(local, want), NewReader(7, s.LargeSize))
	require.NoError(t, err)
	name := Name(0, 1000, 2000)
	f, err := s.store.WriteLTXFile(t.Context(), name, io.NewSectionReader(local, 0, s.LargeSize), replica.WriteOptions{})
	require.NoError(t, err)
	assert.Equal(t, s.LargeSize, f.Size)

	r, err := s.store.OpenLTXFile(t.Context(), f, 0, 0)
	require.NoError(t, err)
	got := sha256.New()
	n, err := io.Copy(got, r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	assert.Equal(t, s.LargeSize, n)
	assert.Equal(t, want.Sum(nil), got.Sum(nil))

	tail := s.read(t, name, s.LargeSize-5, 100)
	assert.Len(t, tail, 5)
}

// "Concurrent Writes" of the guide.
func testWriteConcurrent(t *testing.T, s *suite) {
	const n = 20
	name := func(i int) replica.Name { return Name(0, ltx.TXID(i*100), ltx.TXID((i+1)*100)) }
	var g errgroup.Group
	for i := range n {
		g.Go(func() error {
			data := fmt.Appendf(nil, "concurrent %d", i)
			_, err := s.store.WriteLTXFile(t.Context(), name(i), bytes.NewReader(data), replica.WriteOptions{})
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Len(t, s.list(t, 0), n)
	for i := range n {
		assert.Equal(t, fmt.Sprintf("concurrent %d", i), string(s.read(t, name(i), 0, 0)))
	}
}

// A write returns the version that others find.
func testWriteVersion(t *testing.T, s *suite) {
	name := Name(0, 1, 1)
	var before replica.Version
	for i := range 20 {
		// The same size and time: only that it is another tells.
		f := s.write(t, name, LTX(t, 1, 1, Noise(), Seed(uint64(i))))
		if !s.Weak {
			require.NotEqual(t, before, f.Version, "write %d has the version of what it replaced", i)
		}
		before = f.Version
		got, err := s.store.StatLTXFile(t.Context(), name, replica.StatOptions{})
		require.NoError(t, err)
		require.Equal(t, f.Version, got.Version)
		require.Equal(t, f.Size, got.Size)
	}
}

// What isn't what its digest was given is never seen, whichever byte it is.
func testWriteDigest(t *testing.T, s *suite) {
	newDigest := s.store.Properties().NewDigest
	if newDigest == nil {
		newDigest = replica.NewDigest
	}
	name, data := Name(1, 1, 7), LTX(t, 1, 7, Commit(200), Noise())
	opts := func(data []byte) replica.WriteOptions {
		d := newDigest()
		_, _ = d.Write(data)
		return replica.WriteOptions{Digest: d}
	}
	for _, unchanged := range []func(){
		func() { s.requireMissing(t, name) },
		func() { assert.Equal(t, data, s.read(t, name, 0, 0)) },
	} {
		changed := [][]byte{nil, data[:len(data)-1], append(bytes.Clone(data), 0)}
		for _, at := range []int{0, len(data) / 2, len(data) - 1} {
			changed = append(changed, bytes.Clone(data))
			changed[len(changed)-1][at]++
		}
		for _, is := range changed {
			_, err := s.store.WriteLTXFile(t.Context(), name, bytes.NewReader(is), opts(data))
			require.ErrorIs(t, err, replica.ErrChanged)
			requireFileError(t, err, "write", name)
			unchanged()
		}
		_, err := s.store.WriteLTXFile(t.Context(), name, bytes.NewReader(data), opts(data))
		require.NoError(t, err)
	}
	assert.Equal(t, data, s.read(t, name, 0, 0))
}

// The pace is asked for every byte before the file shows, and its error is the
// write's.
func testWritePace(t *testing.T, s *suite) {
	name := Name(1, 1, 7)
	data := LTX(t, 1, 7, Commit(200), Noise())
	var asked atomic.Int64
	f, err := s.store.WriteLTXFile(t.Context(), name, bytes.NewReader(data), replica.WriteOptions{
		Pace: func(ctx context.Context, n int) error {
			if asked.Add(int64(n)) == int64(n) {
				s.requireMissing(t, name)
			}
			return ctx.Err()
		},
	})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, asked.Load(), int64(len(data)))
	assert.Equal(t, data, Read(t, s.store, f, 0, 0))

	_, err = s.store.WriteLTXFile(t.Context(), name, bytes.NewReader([]byte("other")), replica.WriteOptions{
		Pace: func(context.Context, int) error { return errBroken },
	})
	require.ErrorIs(t, err, errBroken)
	requireFileError(t, err, "write", name)

	ctx, cancel := context.WithCancel(t.Context())
	within(t, func() {
		_, err := s.store.WriteLTXFile(ctx, name, bytes.NewReader([]byte("other")), replica.WriteOptions{
			Pace: func(ctx context.Context, _ int) error { cancel(); <-ctx.Done(); return ctx.Err() },
		})
		assert.ErrorIs(t, err, context.Canceled)
	})
	assert.Equal(t, data, s.read(t, name, 0, 0))
	assert.Len(t, s.list(t, 1), 1)
}
