package mock_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

func read(t *testing.T, c replica.Client, txid ltx.TXID) (string, error) {
	t.Helper()
	r, err := c.OpenLTXFile(t.Context(), 0, txid, txid, 0, 0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

func write(t *testing.T, c replica.Client, txid ltx.TXID, data string) error {
	t.Helper()
	_, err := c.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader([]byte(data)))
	return err
}

func remove(t *testing.T, c replica.Client, txid ltx.TXID) error {
	t.Helper()
	return c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: txid, MaxTXID: txid}})
}

// calls is every operation, by a call that meets it.
func calls(t *testing.T, c *mock.ReplicaClient) map[mock.Op]func() error {
	list := func(useMetadata bool) error {
		it, err := c.LTXFiles(t.Context(), 0, 0, useMetadata)
		if err != nil {
			return err
		}
		_, err = ltx.SliceFileIterator(it)
		return err
	}
	return map[mock.Op]func() error{
		mock.OpInit:      func() error { return c.Init(t.Context()) },
		mock.OpList:      func() error { return list(false) },
		mock.OpNext:      func() error { return list(false) },
		mock.OpHead:      func() error { return list(true) },
		mock.OpStat:      func() error { _, err := c.StatLTXFile(t.Context(), 0, 1, 1); return err },
		mock.OpOpen:      func() error { _, err := read(t, c, 1); return err },
		mock.OpRead:      func() error { _, err := read(t, c, 1); return err },
		mock.OpWrite:     func() error { return write(t, c, 1, "new") },
		mock.OpPublish:   func() error { return write(t, c, 1, "new") },
		mock.OpDelete:    func() error { return remove(t, c, 1) },
		mock.OpDeleteAll: func() error { return c.DeleteAll(t.Context()) },
	}
}

func TestFail(t *testing.T) {
	c := mock.New()
	for op, call := range calls(t, c) {
		t.Run(string(op), func(t *testing.T) {
			c.Put(0, 1, 1, []byte("old"))
			stop := c.Fail(op, errBroken)
			for range 3 {
				require.ErrorIs(t, call(), errBroken)
			}
			data, ok := c.Bytes(0, 1, 1)
			require.True(t, ok)
			assert.Equal(t, "old", string(data), "a call that failed did something")
			stop()
			stop()
			require.NoError(t, call())

			c.Put(0, 1, 1, []byte("old"))
			c.FailOnce(op, errBroken)
			require.ErrorIs(t, call(), errBroken)
			require.NoError(t, call())
		})
	}
	c.Fail("", errBroken)
	for op, call := range calls(t, c) {
		require.ErrorIs(t, call(), errBroken, op)
	}
	c.ClearFaults()
	for op, call := range calls(t, c) {
		c.Put(0, 1, 1, nil)
		require.NoError(t, call(), op)
	}
	c.SetLogger(slog.Default())
	assert.Equal(t, "mock", c.Type())
}

func TestFailFile(t *testing.T) {
	c := mock.New()
	c.Put(0, 1, 1, []byte("one"))
	c.Put(0, 2, 2, []byte("two"))
	key := mock.Key{Level: 0, MinTXID: 2, MaxTXID: 2}
	stop := c.FailFile(mock.OpOpen, key, errBroken)
	_, err := read(t, c, 1)
	require.NoError(t, err)
	_, err = read(t, c, 2)
	require.ErrorIs(t, err, errBroken)
	assert.ErrorContains(t, err, ltx.FormatFilename(2, 2))
	assert.Contains(t, key.String(), ltx.FormatFilename(2, 2))
	stop()

	c.FailFile(mock.OpDelete, key, errBroken)
	err = c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{MinTXID: 2, MaxTXID: 2}, {MinTXID: 1, MaxTXID: 1}})
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, 1, c.Len(), "the others are deleted all the same")
}

func TestSkipAndTimes(t *testing.T) {
	c := mock.New()
	c.Put(0, 1, 1, nil)
	c.Inject(mock.Fault{Op: mock.OpOpen, Err: errBroken, Skip: 2, Times: 2})
	var failed []bool
	for range 6 {
		_, err := read(t, c, 1)
		failed = append(failed, err != nil)
	}
	assert.Equal(t, []bool{false, false, true, true, false, false}, failed)
}

func TestAfterBytes(t *testing.T) {
	c := mock.New()
	c.Put(0, 1, 1, replicatest.Bytes(1, 100_000))
	c.Inject(mock.Fault{Op: mock.OpRead, Err: io.ErrUnexpectedEOF, AfterBytes: 12_345})
	r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Len(t, data, 12_345)
	assert.Equal(t, int64(12_345), c.BytesRead())
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mock.New()
		c.Put(0, 1, 1, []byte("x"))
		gate := make(chan struct{})
		c.Inject(mock.Fault{Op: mock.OpOpen, Wait: gate})
		done := make(chan error, 1)
		go func() {
			_, err := read(t, c, 1)
			done <- err
		}()
		synctest.Wait()
		assert.Empty(t, done)
		close(gate)
		require.NoError(t, <-done)

		c.ClearFaults()
		c.Inject(mock.Fault{Op: mock.OpOpen, Wait: make(chan struct{})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mock.New()
		c.Put(0, 1, 1, []byte("x"))
		c.Inject(mock.Fault{Delay: time.Minute, Err: errBroken})
		for op, call := range calls(t, c) {
			start := time.Now()
			require.ErrorIs(t, call(), errBroken, op)
			assert.GreaterOrEqual(t, time.Since(start), time.Minute, op)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.LTXFiles(ctx, 0, 0, false)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestCalls(t *testing.T) {
	c := mock.New()
	c.Put(0, 1, 1, []byte("four"))
	c.Put(0, 2, 2, nil)
	for op := range calls(t, c) {
		assert.Zero(t, c.Calls(op), "Put counts")
	}
	_, err := read(t, c, 1)
	require.NoError(t, err)
	_, err = read(t, c, 3)
	require.ErrorIs(t, err, os.ErrNotExist)
	it, err := c.LTXFiles(t.Context(), 0, 0, true)
	require.NoError(t, err)
	assert.Equal(t, 1, c.OpenIterators())
	require.True(t, it.Next())
	require.NoError(t, it.Close())
	assert.Zero(t, c.OpenIterators())

	assert.Equal(t, 2, c.Calls(mock.OpOpen))
	assert.Equal(t, 1, c.CallsFor(mock.OpOpen, mock.Key{MinTXID: 1, MaxTXID: 1}))
	assert.Equal(t, 1, c.CallsFor(mock.OpOpen, mock.Key{MinTXID: 3, MaxTXID: 3}))
	assert.Equal(t, 1, c.Calls(mock.OpList))
	assert.Equal(t, 1, c.Calls(mock.OpNext))
	assert.Equal(t, 1, c.Calls(mock.OpHead))
	assert.Positive(t, c.Calls(mock.OpRead))
	assert.Equal(t, int64(4), c.BytesRead())
	c.ResetCalls()
	assert.Zero(t, c.Calls(mock.OpOpen))
	assert.Zero(t, c.CallsFor(mock.OpOpen, mock.Key{MinTXID: 1, MaxTXID: 1}))
	assert.Zero(t, c.BytesRead())

	r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, 1, c.OpenReaders())
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.Close(), os.ErrClosed)
	assert.Zero(t, c.OpenReaders())
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestLag(t *testing.T) {
	c := mock.New()
	list := func() int { return len(replicatest.List(t, c, 0)) }
	c.SetLag(mock.Lag{Writes: 3, Deletes: 2})
	require.NoError(t, write(t, c, 1, "new"))
	assert.Equal(t, 1, c.Len())
	assert.Zero(t, list())
	_, err := read(t, c, 1)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = c.StatLTXFile(t.Context(), 0, 1, 1)
	require.NoError(t, err, "the third call sees it")
	assert.Equal(t, 1, list())

	require.NoError(t, remove(t, c, 1))
	assert.Zero(t, c.Len())
	assert.Equal(t, 1, list())
	assert.Zero(t, list())

	// A delete doesn't overtake the write before it.
	require.NoError(t, write(t, c, 1, "newer"))
	require.NoError(t, remove(t, c, 1))
	assert.Equal(t, []int{0, 0, 0, 0}, []int{list(), list(), list(), list()})

	// What an overwritten file was stays for as long.
	c.Put(0, 2, 2, []byte("old"))
	require.NoError(t, write(t, c, 2, "new"))
	data, err := read(t, c, 2)
	require.NoError(t, err)
	assert.Equal(t, "old", data)
	c.Settle()
	data, err = read(t, c, 2)
	require.NoError(t, err)
	assert.Equal(t, "new", data)

	// Another writer's doing shows at once, whatever is under way.
	require.NoError(t, write(t, c, 2, "late"))
	c.Put(0, 2, 2, []byte("put"))
	c.Settle()
	data, err = read(t, c, 2)
	require.NoError(t, err)
	assert.Equal(t, "put", data)
	c.Remove(0, 2, 2)
	assert.Zero(t, list())
	_, ok := c.Bytes(0, 2, 2)
	assert.False(t, ok)
}

func TestListUploadTimes(t *testing.T) {
	c := mock.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c.SetClock(func() time.Time { return now })
	c.ListUploadTimes(true)
	f, err := replica.Write(t.Context(), c, 0, 1, 1, bytes.NewReader(replicatest.LTX(t, 1, 1)))
	require.NoError(t, err)
	assert.True(t, f.ModTime.Equal(replicatest.DefaultTime), "a writer knows")
	for useMetadata, want := range map[bool]time.Time{false: now, true: replicatest.DefaultTime} {
		it, err := c.LTXFiles(t.Context(), 0, 0, useMetadata)
		require.NoError(t, err)
		files, err := ltx.SliceFileIterator(it)
		require.NoError(t, err)
		assert.True(t, files[0].CreatedAt.Equal(want))
	}
	f, err = c.StatLTXFile(t.Context(), 0, 1, 1)
	require.NoError(t, err)
	assert.True(t, f.ModTime.Equal(now))
}

func TestLimit(t *testing.T) {
	c := mock.New()
	c.Put(0, 1, 1, nil)
	for can := range mock.Can(32) {
		limited := c.Limit(can)
		_, ok := limited.(replica.Stater)
		assert.Equal(t, can&mock.Stat != 0, ok, "%05b", can)
		_, ok = limited.(replica.VersionOpener)
		assert.Equal(t, can&mock.OpenVersion != 0, ok, "%05b", can)
		_, ok = limited.(replica.VersionWriter)
		assert.Equal(t, can&mock.WriteVersion != 0, ok, "%05b", can)
		_, ok = limited.(replica.ExclusiveWriter)
		assert.Equal(t, can&mock.WriteExclusive != 0, ok, "%05b", can)
		it, err := limited.LTXFiles(t.Context(), 0, 0, false)
		require.NoError(t, err)
		_, ok = it.(replica.VersionIterator)
		assert.Equal(t, can&mock.ListVersion != 0, ok, "%05b", can)
		require.True(t, it.Next())
		require.NoError(t, it.Close())

		// It is still what every client is.
		init, ok := limited.(interface {
			Init(ctx context.Context) error
			SetLogger(logger *slog.Logger)
		})
		require.True(t, ok)
		require.NoError(t, init.Init(t.Context()))
		assert.Equal(t, "mock", limited.Type())
	}
	c.Fail(mock.OpList, errBroken)
	_, err := c.Limit(0).LTXFiles(t.Context(), 0, 0, false)
	require.ErrorIs(t, err, errBroken)
}
