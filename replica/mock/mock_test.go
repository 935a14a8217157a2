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
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

func name(txid ltx.TXID) replica.Name { return storetest.Name(0, txid, txid) }

func read(t *testing.T, s *mock.Store, txid ltx.TXID) (string, error) {
	t.Helper()
	r, err := s.OpenLTXFile(t.Context(), replica.File{Name: name(txid)}, 0, 0)
	if err != nil {
		return "", err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return string(data), err
}

func write(t *testing.T, s *mock.Store, txid ltx.TXID, data string) error {
	t.Helper()
	_, err := s.WriteLTXFile(t.Context(), name(txid), bytes.NewReader([]byte(data)), replica.WriteOptions{})
	return err
}

func remove(t *testing.T, s *mock.Store, txid ltx.TXID) error {
	t.Helper()
	return s.DeleteLTXFiles(t.Context(), name(txid))
}

// calls is every operation, by a call that meets it.
func calls(t *testing.T, s *mock.Store) map[mock.Op]func() error {
	list := func(exact bool) error {
		for _, err := range s.LTXFiles(t.Context(), 0, replica.ListOptions{ExactTimes: exact}) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	stat := func() error {
		_, err := s.StatLTXFile(t.Context(), name(1), replica.StatOptions{})
		return err
	}
	return map[mock.Op]func() error{
		mock.OpInit:    func() error { return mock.NewReplicaClient(s).Init(t.Context()) },
		mock.OpList:    func() error { return list(false) },
		mock.OpNext:    func() error { return list(false) },
		mock.OpHead:    func() error { return list(true) },
		mock.OpStat:    stat,
		mock.OpOpen:    func() error { _, err := read(t, s, 1); return err },
		mock.OpRead:    func() error { _, err := read(t, s, 1); return err },
		mock.OpWrite:   func() error { return write(t, s, 1, "new") },
		mock.OpPublish: func() error { return write(t, s, 1, "new") },
		mock.OpDelete:  func() error { return remove(t, s, 1) },
	}
}

func TestFail(t *testing.T) {
	s := mock.New()
	for op, call := range calls(t, s) {
		t.Run(string(op), func(t *testing.T) {
			s.Put(0, 1, 1, []byte("old"))
			stop := s.Fail(op, errBroken)
			for range 3 {
				require.ErrorIs(t, call(), errBroken)
			}
			data, ok := s.Bytes(0, 1, 1)
			require.True(t, ok)
			assert.Equal(t, "old", string(data), "a call that failed did something")
			stop()
			stop()
			require.NoError(t, call())

			s.Put(0, 1, 1, []byte("old"))
			s.FailOnce(op, errBroken)
			require.ErrorIs(t, call(), errBroken)
			require.NoError(t, call())
		})
	}
	s.Fail("", errBroken)
	for op, call := range calls(t, s) {
		require.ErrorIs(t, call(), errBroken, op)
	}
	s.ClearFaults()
	for op, call := range calls(t, s) {
		s.Put(0, 1, 1, nil)
		require.NoError(t, call(), op)
	}
	c := mock.NewReplicaClient(s)
	c.SetLogger(slog.Default())
	assert.Equal(t, "mock", c.Type())
}

func TestFailFile(t *testing.T) {
	s := mock.New()
	s.Put(0, 1, 1, []byte("one"))
	s.Put(0, 2, 2, []byte("two"))
	two := name(2)
	stop := s.FailFile(mock.OpOpen, two, errBroken)
	_, err := read(t, s, 1)
	require.NoError(t, err)
	_, err = read(t, s, 2)
	require.ErrorIs(t, err, errBroken)
	assert.ErrorContains(t, err, ltx.FormatFilename(2, 2))
	stop()

	s.FailFile(mock.OpDelete, two, errBroken)
	err = s.DeleteLTXFiles(t.Context(), two, name(1))
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, 1, s.Len(), "the others are deleted all the same")
}

func TestSkipAndTimes(t *testing.T) {
	s := mock.New()
	s.Put(0, 1, 1, nil)
	s.Inject(mock.Fault{Op: mock.OpOpen, Err: errBroken, Skip: 2, Times: 2})
	var failed []bool
	for range 6 {
		_, err := read(t, s, 1)
		failed = append(failed, err != nil)
	}
	assert.Equal(t, []bool{false, false, true, true, false, false}, failed)
}

func TestAfterBytes(t *testing.T) {
	s := mock.New()
	s.Put(0, 1, 1, storetest.Bytes(1, 100_000))
	s.Inject(mock.Fault{Op: mock.OpRead, Err: io.ErrUnexpectedEOF, AfterBytes: 12_345})
	r, err := s.OpenLTXFile(t.Context(), replica.File{Name: name(1)}, 0, 0)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Len(t, data, 12_345)
	assert.Equal(t, int64(12_345), s.BytesRead())
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mock.New()
		s.Put(0, 1, 1, []byte("x"))
		gate := make(chan struct{})
		s.Inject(mock.Fault{Op: mock.OpOpen, Wait: gate})
		done := make(chan error, 1)
		go func() {
			_, err := read(t, s, 1)
			done <- err
		}()
		synctest.Wait()
		assert.Empty(t, done)
		close(gate)
		require.NoError(t, <-done)

		s.ClearFaults()
		s.Inject(mock.Fault{Op: mock.OpOpen, Wait: make(chan struct{})})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.OpenLTXFile(ctx, replica.File{Name: name(1)}, 0, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mock.New()
		s.Put(0, 1, 1, []byte("x"))
		s.Inject(mock.Fault{Delay: time.Minute, Err: errBroken})
		for op, call := range calls(t, s) {
			start := time.Now()
			require.ErrorIs(t, call(), errBroken, op)
			assert.GreaterOrEqual(t, time.Since(start), time.Minute, op)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		for _, err := range s.LTXFiles(ctx, 0, replica.ListOptions{}) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestCalls(t *testing.T) {
	s := mock.New()
	s.Put(0, 1, 1, []byte("four"))
	s.Put(0, 2, 2, nil)
	for op := range calls(t, s) {
		assert.Zero(t, s.Calls(op), "Put counts")
	}
	_, err := read(t, s, 1)
	require.NoError(t, err)
	_, err = read(t, s, 3)
	require.ErrorIs(t, err, os.ErrNotExist)
	for f, err := range s.LTXFiles(t.Context(), 0, replica.ListOptions{ExactTimes: true}) {
		require.NoError(t, err)
		assert.Equal(t, name(1), f.Name)
		assert.Equal(t, 1, s.OpenListings())
		break
	}
	assert.Zero(t, s.OpenListings())

	assert.Equal(t, 2, s.Calls(mock.OpOpen))
	assert.Equal(t, 1, s.CallsFor(mock.OpOpen, name(1)))
	assert.Equal(t, 1, s.CallsFor(mock.OpOpen, name(3)))
	assert.Equal(t, 1, s.Calls(mock.OpList))
	assert.Equal(t, 1, s.Calls(mock.OpNext))
	assert.Equal(t, 1, s.Calls(mock.OpHead))
	assert.Positive(t, s.Calls(mock.OpRead))
	assert.Equal(t, int64(4), s.BytesRead())
	s.ResetCalls()
	assert.Zero(t, s.Calls(mock.OpOpen))
	assert.Zero(t, s.CallsFor(mock.OpOpen, name(1)))
	assert.Zero(t, s.BytesRead())

	r, err := s.OpenLTXFile(t.Context(), replica.File{Name: name(1)}, 0, 0)
	require.NoError(t, err)
	assert.Equal(t, 1, s.OpenReaders())
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.Close(), os.ErrClosed)
	assert.Zero(t, s.OpenReaders())
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestLag(t *testing.T) {
	s := mock.New()
	list := func() int { return len(storetest.List(t, s, 0)) }
	s.SetLag(mock.Lag{Writes: 3, Deletes: 2})
	require.NoError(t, write(t, s, 1, "new"))
	assert.Equal(t, 1, s.Len())
	assert.Zero(t, list())
	_, err := read(t, s, 1)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = s.StatLTXFile(t.Context(), name(1), replica.StatOptions{})
	require.NoError(t, err, "the third call sees it")
	assert.Equal(t, 1, list())

	require.NoError(t, remove(t, s, 1))
	assert.Zero(t, s.Len())
	assert.Equal(t, 1, list())
	assert.Zero(t, list())

	// A delete doesn't overtake the write before it.
	require.NoError(t, write(t, s, 1, "newer"))
	require.NoError(t, remove(t, s, 1))
	assert.Equal(t, []int{0, 0, 0, 0}, []int{list(), list(), list(), list()})

	// What an overwritten file was stays for as long.
	s.Put(0, 2, 2, []byte("old"))
	require.NoError(t, write(t, s, 2, "new"))
	data, err := read(t, s, 2)
	require.NoError(t, err)
	assert.Equal(t, "old", data)
	s.ShowAll()
	data, err = read(t, s, 2)
	require.NoError(t, err)
	assert.Equal(t, "new", data)

	// Another writer's doing shows at once, whatever is under way.
	require.NoError(t, write(t, s, 2, "late"))
	s.Put(0, 2, 2, []byte("put"))
	s.ShowAll()
	data, err = read(t, s, 2)
	require.NoError(t, err)
	assert.Equal(t, "put", data)
	s.Remove(0, 2, 2)
	assert.Zero(t, list())
	_, ok := s.Bytes(0, 2, 2)
	assert.False(t, ok)
}

func TestListUploadTimes(t *testing.T) {
	s := mock.New()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.SetClock(func() time.Time { return now })
	s.ListUploadTimes(true)
	f := storetest.Write(t, s, name(1), storetest.LTX(t, 1, 1))
	assert.True(t, f.ModTime.Equal(storetest.DefaultTime), "a writer knows")
	for exact, want := range map[bool]time.Time{false: now, true: storetest.DefaultTime} {
		files := storetest.ListWith(t, s, 0, replica.ListOptions{ExactTimes: exact})
		require.Len(t, files, 1)
		assert.True(t, files[0].ModTime.Equal(want))
		f, err := s.StatLTXFile(t.Context(), name(1), replica.StatOptions{ExactTime: exact})
		require.NoError(t, err)
		assert.True(t, f.ModTime.Equal(want))
	}
	assert.Equal(t, 2, s.Calls(mock.OpHead), "a listing's and a stat's")
	known := func(replica.File) (time.Time, bool) { return now, true }
	storetest.ListWith(t, s, 0, replica.ListOptions{ExactTimes: true, Known: known})
	assert.Equal(t, 2, s.Calls(mock.OpHead), "what is known costs nothing")
}
