package retry_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/replicatest"
	"github.com/ltxfs/ltxfs/replica/retry"
)

// A body that breaks off again and again is whole in the end, whatever range it is
// of.
func TestResume(t *testing.T) {
	content := replicatest.Bytes(1, 100_000)
	for _, r := range []struct{ offset, size int64 }{
		{0, 0}, {0, 100_000}, {0, 200_000}, {1234, 0}, {1234, 50_000}, {99_999, 1}, {100_000, 10}, {200_000, 0},
	} {
		for _, every := range []int64{1, 1000, 33_333} {
			m := mock.New()
			f := m.Put(3, 1, 1, content)
			c := &breaking{ReplicaClient: m, every: every}
			if every == 1 && r.size != 1 {
				continue // a hundred thousand openings
			}
			body, err := replica.Open(t.Context(), retry.New(c, fast), f, r.offset, r.size)
			require.NoError(t, err)
			got, err := io.ReadAll(body)
			require.NoError(t, err)
			require.NoError(t, body.Close())
			want := content[min(r.offset, 100_000):]
			if r.size > 0 {
				want = want[:min(r.size, int64(len(want)))]
			}
			require.True(t, bytes.Equal(want, got), "%d bytes from %d on, broken every %d: %d bytes", r.size, r.offset, every, len(got))
			require.Zero(t, m.OpenReaders())
			require.LessOrEqual(t, m.Calls(mock.OpOpen), len(want)/int(every)+1)
		}
	}
}

// breaking breaks every body off after so many bytes, with the last of them.
type breaking struct {
	*mock.ReplicaClient
	every int64
}

func (c *breaking) OpenLTXFileVersion(ctx context.Context, f replica.File, offset, size int64) (io.ReadCloser, error) {
	rc, err := c.ReplicaClient.OpenLTXFileVersion(ctx, f, offset, size)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{iotest.DataErrReader(io.MultiReader(io.LimitReader(rc, c.every), &ended{rc})), rc}, nil
}

// ended is errFlaky, unless the body is at its end as well.
type ended struct{ r io.Reader }

func (e *ended) Read([]byte) (int, error) {
	if n, err := e.r.Read(make([]byte, 1)); n == 0 && err == io.EOF {
		return 0, io.EOF
	}
	return 0, errFlaky
}

// It goes on with the same version or not at all.
func TestResumeReplaced(t *testing.T) {
	for name, change := range map[string]func(m *mock.ReplicaClient){
		"replaced": func(m *mock.ReplicaClient) { m.Put(0, 1, 1, replicatest.Bytes(2, 1000)) },
		"deleted":  func(m *mock.ReplicaClient) { m.Remove(0, 1, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			m := mock.New()
			old := replicatest.Bytes(1, 1000)
			f := m.Put(0, 1, 1, old)
			m.Inject(mock.Fault{Op: mock.OpRead, Err: errFlaky, AfterBytes: 500, Times: 1})
			body, err := replica.Open(t.Context(), retry.New(m, fast), f, 0, 0)
			require.NoError(t, err)
			change(m)
			got, err := io.ReadAll(body)
			require.Equal(t, old[:500], got)
			var fe *replica.FileError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, "read", fe.Op)
			if name == "replaced" {
				require.ErrorIs(t, err, replica.ErrReplaced)
			} else {
				require.ErrorIs(t, err, os.ErrNotExist)
			}
			_, again := body.Read(make([]byte, 1))
			require.Equal(t, err, again, "an error stays")
			require.NoError(t, body.Close())
			assert.Zero(t, m.OpenReaders())
		})
	}
}

// Without a version, nobody can tell whether the rest is of the same file.
func TestBreakWithoutVersion(t *testing.T) {
	m := mock.New()
	f := m.Put(0, 1, 1, replicatest.Bytes(1, 1000))
	c := retry.New(m, fast)
	unversioned := f
	unversioned.Version = ""
	for _, c := range []replica.Client{c, retry.New(m.Limit(0), fast)} {
		m.ClearFaults()
		m.Inject(mock.Fault{Op: mock.OpRead, Err: errFlaky, AfterBytes: 500, Times: 1})
		body, err := replica.Open(t.Context(), c, unversioned, 0, 0)
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		require.ErrorIs(t, err, errFlaky)
		assert.Len(t, got, 500)
		require.NoError(t, body.Close())
	}
}

// A body that gives nothing any more is given up, and one that gives a little each
// time is not.
func TestBodyAttempts(t *testing.T) {
	m := mock.New()
	f := m.Put(0, 1, 1, replicatest.Bytes(1, 1000))
	m.Inject(mock.Fault{Op: mock.OpRead, Err: errFlaky, AfterBytes: 500})
	body, err := replica.Open(t.Context(), retry.New(m, fast), f, 0, 0)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err, "each body gives 500 bytes")
	assert.Len(t, got, 1000)
	require.NoError(t, body.Close())

	m.ClearFaults()
	m.ResetCalls()
	m.Inject(mock.Fault{Op: mock.OpRead, Err: errFlaky, Skip: 1})
	body, err = replica.Open(t.Context(), retry.New(m, fast), f, 0, 0)
	require.NoError(t, err)
	_, err = io.ReadFull(body, make([]byte, 100))
	require.NoError(t, err)
	_, err = body.Read(make([]byte, 100))
	require.ErrorIs(t, err, errFlaky)
	assert.ErrorContains(t, err, "given up after 5 attempts")
	assert.Equal(t, 5, m.Calls(mock.OpOpen))
	require.NoError(t, body.Close())
	assert.Zero(t, m.OpenReaders())
}

// What breaks when all of a range is there already is no failure, and nothing
// beyond the range is read for it.
func TestBreakAtTheEnd(t *testing.T) {
	content := replicatest.Bytes(1, 1000)
	m := mock.New()
	f := m.Put(0, 1, 1, content)
	m.Inject(mock.Fault{Op: mock.OpRead, Err: errFlaky, AfterBytes: 300, Times: 1})
	body, err := replica.Open(t.Context(), retry.New(m, fast), f, 100, 300)
	require.NoError(t, err)
	got, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Equal(t, content[100:400], got)
	assert.Equal(t, 1, m.Calls(mock.OpOpen))
	require.NoError(t, body.Close())
}

// Close ends a Read that waits for its next attempt.
func TestCloseDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		f := m.Put(0, 1, 1, replicatest.Bytes(1, 1000))
		m.Fail(mock.OpRead, errFlaky)
		body, err := replica.Open(t.Context(), retry.New(m, retry.Options{MinBackoff: 1e6 * time.Hour}), f, 0, 0)
		require.NoError(t, err)
		done := make(chan error)
		go func() {
			_, err := body.Read(make([]byte, 1))
			done <- err
		}()
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, body.Close())
		require.Error(t, <-done)
		assert.Equal(t, begin, time.Now())
		_, err = body.Read(make([]byte, 1))
		require.Error(t, err)
		assert.Zero(t, m.OpenReaders())
	})
}

// A listing that fails in the middle goes on after the last file, with none twice
// and none left out.
func TestResumeListing(t *testing.T) {
	for _, limited := range []bool{false, true} {
		for skip := range 8 {
			m := mock.New()
			var want []*ltx.FileInfo
			for _, id := range [][2]ltx.TXID{{1, 1}, {2, 2}, {2, 3}, {2, 7}, {3, 3}, {9, 9}} {
				want = append(want, m.Put(1, id[0], id[1], replicatest.Bytes(1, 10)).Info())
			}
			m.Put(1, 0, 0, nil)
			m.Inject(mock.Fault{Op: mock.OpNext, Err: errFlaky, Skip: skip, Times: 2})
			client := m.Limit(0)
			if !limited {
				client = m
			}
			it, err := retry.New(client, fast).LTXFiles(t.Context(), 1, 1, true)
			require.NoError(t, err)
			versions, ok := it.(replica.VersionIterator)
			require.Equal(t, !limited, ok)
			var got []*ltx.FileInfo
			for it.Next() {
				got = append(got, it.Item())
				if ok {
					require.NotEmpty(t, versions.Version())
				}
			}
			require.NoError(t, it.Err())
			require.Nil(t, it.Item())
			require.NoError(t, it.Close())
			require.Equal(t, want, got, "broken at file %d", skip)
			require.Zero(t, m.OpenIterators())
		}
	}
}

// One that can't go on says why, however it is asked, and holds nothing.
func TestListingGivenUp(t *testing.T) {
	for op, want := range map[mock.Op]string{mock.OpNext: "given up after 5", mock.OpList: "given up after 5"} {
		m := mock.New()
		m.Put(1, 1, 1, nil)
		m.Put(1, 2, 2, nil)
		it, err := retry.New(m, fast).LTXFiles(t.Context(), 1, 0, false)
		require.NoError(t, err)
		require.True(t, it.Next())
		m.Fail(mock.OpNext, errFlaky)
		m.Fail(op, errFlaky)
		require.False(t, it.Next())
		require.ErrorIs(t, it.Err(), errFlaky)
		require.ErrorContains(t, it.Err(), want)
		m.ClearFaults()
		require.False(t, it.Next(), "an error stays")
		require.Nil(t, it.Item())
		require.Empty(t, it.(replica.VersionIterator).Version())
		require.ErrorIs(t, it.Close(), errFlaky)
		require.Zero(t, m.OpenIterators())
	}
}
