package limit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const perSecond = 100 << 10

// Reading and writing take the time that the limit says, together.
func TestBandwidth(t *testing.T) {
	const size = 5 * perSecond
	content := replicatest.Bytes(1, size)
	write := func(t *testing.T, c replica.Client, txid ltx.TXID) {
		_, err := replica.Write(t.Context(), c, 0, txid, txid, bytes.NewReader(content))
		require.NoError(t, err)
	}
	read := func(t *testing.T, c replica.Client) {
		r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
		require.NoError(t, err)
		defer r.Close()
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got))
	}
	for _, tt := range []struct {
		name        string
		read, write int64
		run         func(t *testing.T, c replica.Client)
		want        time.Duration
	}{
		{"read", perSecond, 0, read, 5 * time.Second},
		{"write", 0, perSecond, func(t *testing.T, c replica.Client) { write(t, c, 2) }, 5 * time.Second},
		{"read without a limit", 0, perSecond, read, 0},
		{"write without a limit", perSecond, 0, func(t *testing.T, c replica.Client) { write(t, c, 2) }, 0},
		{"read by two", perSecond, perSecond, func(t *testing.T, c replica.Client) {
			done := make(chan struct{})
			go func() { read(t, c); close(done) }()
			read(t, c)
			<-done
		}, 10 * time.Second},
		{"no limits", 0, -1, read, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				write(t, m, 1)
				begin := time.Now()
				tt.run(t, limit.NewBandwidth(m, tt.read, tt.write))
				took := time.Since(begin)
				// What may go at once at the beginning is a quarter of a second's.
				assert.InDelta(t, max(tt.want-time.Second/4, 0), took, float64(10*time.Millisecond))
			})
		})
	}
}

// Nobody waits for long at a time, and no longer than the context lets it.
func TestBandwidthWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		f := m.Put(0, 1, 1, make([]byte, 10*perSecond))
		c := limit.NewBandwidth(m, perSecond, perSecond)
		r, err := replica.Open(t.Context(), c, f, 0, 0)
		require.NoError(t, err)
		defer r.Close()
		for range 20 {
			begin := time.Now()
			n, err := r.Read(make([]byte, 5*perSecond))
			require.NoError(t, err)
			assert.Positive(t, n)
			assert.LessOrEqual(t, time.Since(begin), time.Second/4)
		}

		for _, cancelled := range []bool{true, false} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			want := context.DeadlineExceeded
			if cancelled {
				want = context.Canceled
				time.AfterFunc(time.Second, cancel)
			}
			begin := time.Now()
			r, err := c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, r)
			require.ErrorIs(t, err, want)
			var fe *replica.FileError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, "read", fe.Op)
			require.NoError(t, r.Close())
			_, err = c.WriteLTXFile(ctx, 0, 2, 2, bytes.NewReader(make([]byte, 10*perSecond)))
			require.ErrorIs(t, err, want)
			assert.LessOrEqual(t, time.Since(begin), 3*time.Second)
			cancel()
		}
		assert.Equal(t, 1, m.Len())
	})
}

// A limit below a byte at a time still lets bytes through.
func TestBandwidthTiny(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		begin := time.Now()
		_, err := limit.NewBandwidth(m, 1, 2).WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader([]byte("12345")))
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, time.Since(begin))
		got, _ := m.Bytes(0, 1, 1)
		assert.Equal(t, "12345", string(got))
	})
}

// ops are the operations that take a place, each on a file that is there.
func ops(c replica.Client, f replica.File) map[string]func(ctx context.Context) error {
	drop := func(_ any, err error) error { return err }
	read := func(r io.ReadCloser, err error) error {
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		return err
	}
	level, txid, data := f.Level, f.MinTXID, []byte("x")
	return map[string]func(ctx context.Context) error{
		"init": func(ctx context.Context) error { return c.(interface{ Init(context.Context) error }).Init(ctx) },
		"list": func(ctx context.Context) error { return drop(c.LTXFiles(ctx, level, 0, false)) },
		"stat": func(ctx context.Context) error { return drop(c.(replica.Stater).StatLTXFile(ctx, level, txid, txid)) },
		"exact": func(ctx context.Context) error {
			return drop(c.(replica.ExactStater).StatLTXFileExact(ctx, level, txid, txid))
		},
		"open":          func(ctx context.Context) error { return read(c.OpenLTXFile(ctx, level, txid, txid, 0, 0)) },
		"open version":  func(ctx context.Context) error { return read(replica.Open(ctx, c, f, 0, 0)) },
		"open local":    func(ctx context.Context) error { return drop(c.(replica.LocalOpener).OpenLocal(ctx, f)) },
		"write":         func(ctx context.Context) error { return drop(c.WriteLTXFile(ctx, 1, 2, 2, bytes.NewReader(data))) },
		"write version": func(ctx context.Context) error { return drop(replica.Write(ctx, c, 1, 3, 3, bytes.NewReader(data))) },
		"write exclusive": func(ctx context.Context) error {
			return drop(replica.WriteExclusive(ctx, c, 1, 4, 4, bytes.NewReader(data)))
		},
		"delete":     func(ctx context.Context) error { return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: 5}}) },
		"delete all": func(ctx context.Context) error { return c.DeleteAll(ctx) },
	}
}

// Each operation waits for its turn, for as long as its context lets it, and gives
// its place back.
func TestInFlight(t *testing.T) {
	for name := range ops(nil, replica.File{}) {
		t.Run(name, func(t *testing.T) {
			m := mock.New()
			f := m.Put(0, 1, 1, []byte("content"))
			c := limit.NewInFlight(m, 1)
			op := ops(c, f)[name]
			held, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
			require.NoError(t, err)
			m.ResetCalls()
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			require.ErrorIs(t, op(ctx), context.DeadlineExceeded)
			for _, o := range []mock.Op{mock.OpInit, mock.OpList, mock.OpStat, mock.OpOpen, mock.OpWrite, mock.OpDelete, mock.OpDeleteAll} {
				assert.Zero(t, m.Calls(o), "it didn't wait")
			}
			done := make(chan error)
			go func() { done <- op(context.Background()) }()
			require.NoError(t, held.Close())
			for range 2 { // the place was given back
				// A mock can't do everything, and an exclusive write not twice.
				if err := <-done; !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, os.ErrExist) {
					require.NoError(t, err)
				}
				go func() { done <- op(context.Background()) }()
			}
			<-done
			assert.Zero(t, m.OpenReaders())
		})
	}
}

// A body holds its place until its end, an error, Close, or the end of its
// context, whichever comes first, and gives it back once.
func TestInFlightBodies(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, m *mock.ReplicaClient, r io.ReadCloser, cancel func()){
		"end": func(t *testing.T, _ *mock.ReplicaClient, r io.ReadCloser, _ func()) {
			_, err := io.ReadAll(r)
			require.NoError(t, err)
		},
		"error": func(t *testing.T, m *mock.ReplicaClient, r io.ReadCloser, _ func()) {
			m.FailOnce(mock.OpRead, io.ErrClosedPipe)
			_, err := io.ReadAll(r)
			require.ErrorIs(t, err, io.ErrClosedPipe)
		},
		"close":     func(t *testing.T, _ *mock.ReplicaClient, r io.ReadCloser, _ func()) { require.NoError(t, r.Close()) },
		"abandoned": func(_ *testing.T, _ *mock.ReplicaClient, _ io.ReadCloser, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				m.Put(0, 1, 1, []byte("content"))
				c := limit.NewInFlight(m, 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				first, err := c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)
				require.NoError(t, err)
				leave(t, m, first, cancel)
				synctest.Wait()
				second, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
				require.NoError(t, err)

				// Nothing more that happens to the first frees the second's.
				_ = first.Close()
				cancel()
				synctest.Wait()
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				_, err = c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.NoError(t, second.Close())
			})
		})
	}
}

// A listing holds no place while its caller is busy with a file, and waits for one
// with the next.
func TestInFlightListings(t *testing.T) {
	m := mock.New()
	for i := range ltx.TXID(3) {
		m.Put(0, i, i, []byte("content"))
	}
	c := limit.NewInFlight(m, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	it, err := c.LTXFiles(ctx, 0, 0, false)
	require.NoError(t, err)
	require.True(t, it.Next())
	r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	require.NoError(t, err)
	cancel()
	require.False(t, it.Next())
	for range 2 {
		require.ErrorIs(t, it.Err(), context.Canceled)
		require.ErrorIs(t, it.Close(), context.Canceled)
		require.False(t, it.Next())
		require.Nil(t, it.Item())
	}
	require.NoError(t, r.Close())
	assert.Zero(t, m.OpenIterators())
}

// However many come, no more than the limit are under way, and all get through.
func TestInFlightMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &counting{ReplicaClient: mock.New()}
		m.Inject(mock.Fault{Delay: time.Second})
		c := limit.NewInFlight(m, 3)
		done := make(chan error)
		begin := time.Now()
		for i := range ltx.TXID(30) {
			go func() {
				_, err := c.WriteLTXFile(t.Context(), 0, i, i, bytes.NewReader(nil))
				done <- err
			}()
		}
		for range 30 {
			require.NoError(t, <-done)
		}
		assert.Equal(t, int64(3), m.most.Load())
		assert.Equal(t, 20*time.Second, time.Since(begin), "two faults each, three at a time")
	})
}

// counting knows how many writes there were at a time.
type counting struct {
	*mock.ReplicaClient
	now, most atomic.Int64
}

func (c *counting) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	defer c.now.Add(-1)
	return c.ReplicaClient.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}

// No limit is no client around the client.
func TestInFlightWithoutLimit(t *testing.T) {
	m := mock.New()
	require.Same(t, m, limit.NewInFlight(m, 0))
}
