package limit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
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
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const perSecond = 100 << 10

var one = storetest.Name(0, 1, 1)

// Reading and writing take the time that the limit says, together.
func TestBandwidth(t *testing.T) {
	const size = 5 * perSecond
	content := storetest.Bytes(1, size)
	write := func(t *testing.T, s replica.Store, txid ltx.TXID) {
		storetest.Write(t, s, storetest.Name(0, txid, txid), content)
	}
	read := func(t *testing.T, s replica.Store) {
		got := storetest.Read(t, s, replica.File{Name: one}, 0, 0)
		require.True(t, bytes.Equal(content, got))
	}
	for _, tt := range []struct {
		name        string
		read, write int64
		run         func(t *testing.T, s replica.Store)
		want        time.Duration
	}{
		{"read", perSecond, 0, read, 5 * time.Second},
		{"write", 0, perSecond, func(t *testing.T, s replica.Store) { write(t, s, 2) }, 5 * time.Second},
		{"read without a limit", 0, perSecond, read, 0},
		{"write without a limit", perSecond, 0, func(t *testing.T, s replica.Store) { write(t, s, 2) }, 0},
		{"read by two", perSecond, perSecond, func(t *testing.T, s replica.Store) {
			done := make(chan struct{})
			go func() { read(t, s); close(done) }()
			read(t, s)
			<-done
		}, 10 * time.Second},
		{"no limits", 0, -1, read, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				write(t, m, 1)
				begin := time.Now()
				tt.run(t, limit.NewBandwidth(tt.read, tt.write).Around(m))
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
		s := limit.NewBandwidth(perSecond, perSecond).Around(m)
		r, err := s.OpenLTXFile(t.Context(), f, 0, 0)
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
			r, err := s.OpenLTXFile(ctx, replica.File{Name: one}, 0, 0)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, r)
			require.ErrorIs(t, err, want)
			var fe *replica.FileError
			require.ErrorAs(t, err, &fe)
			assert.Equal(t, "read", fe.Op)
			require.NoError(t, r.Close())
			_, err = s.WriteLTXFile(ctx, storetest.Name(0, 2, 2), bytes.NewReader(make([]byte, 10*perSecond)), replica.WriteOptions{})
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
		_, err := limit.NewBandwidth(1, 2).Around(m).WriteLTXFile(t.Context(), one, bytes.NewReader([]byte("12345")), replica.WriteOptions{})
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, time.Since(begin))
		got, _ := m.Bytes(0, 1, 1)
		assert.Equal(t, "12345", string(got))
	})
}

// A pace that is set already is kept beside the limit.
func TestBandwidthKeepsPace(t *testing.T) {
	broken := errors.New("broken")
	for _, want := range []error{nil, broken} {
		m, asked := mock.New(), 0
		_, err := limit.NewBandwidth(0, 1<<40).Around(m).WriteLTXFile(t.Context(), one, bytes.NewReader([]byte("12345")), replica.WriteOptions{
			Pace: func(_ context.Context, n int) error { asked += n; return want },
		})
		require.ErrorIs(t, err, want)
		assert.Equal(t, 5, asked)
	}
}

// ops are the operations that take a place, each on a file that is there.
func ops(s replica.Store, f replica.File) map[string]func(ctx context.Context) error {
	drop := func(_ any, err error) error { return err }
	read := func(r io.ReadCloser, err error) error {
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		return err
	}
	write := func(ctx context.Context, txid ltx.TXID, opts replica.WriteOptions) error {
		return drop(s.WriteLTXFile(ctx, storetest.Name(1, txid, txid), bytes.NewReader([]byte("x")), opts))
	}
	return map[string]func(ctx context.Context) error{
		"list": func(ctx context.Context) error {
			for _, err := range s.LTXFiles(ctx, f.Level, replica.ListOptions{}) {
				return err
			}
			return nil
		},
		"stat": func(ctx context.Context) error { return drop(s.StatLTXFile(ctx, f.Name, replica.StatOptions{})) },
		"exact": func(ctx context.Context) error {
			return drop(s.StatLTXFile(ctx, f.Name, replica.StatOptions{ExactTime: true}))
		},
		"open":            func(ctx context.Context) error { return read(s.OpenLTXFile(ctx, replica.File{Name: f.Name}, 0, 0)) },
		"open version":    func(ctx context.Context) error { return read(s.OpenLTXFile(ctx, f, 0, 0)) },
		"open local":      func(ctx context.Context) error { return drop(s.OpenLocal(ctx, f)) },
		"write":           func(ctx context.Context) error { return write(ctx, 2, replica.WriteOptions{}) },
		"write exclusive": func(ctx context.Context) error { return write(ctx, 4, replica.WriteOptions{Exclusive: true}) },
		"delete":          func(ctx context.Context) error { return s.DeleteLTXFiles(ctx, storetest.Name(5, 0, 0)) },
	}
}

// Each operation waits for its turn, for as long as its context lets it, and gives
// its place back.
func TestInFlight(t *testing.T) {
	for name := range ops(nil, replica.File{}) {
		t.Run(name, func(t *testing.T) {
			m := mock.New()
			f := m.Put(0, 1, 1, []byte("content"))
			s := limit.NewInFlight(1).Around(m)
			op := ops(s, f)[name]
			held, err := s.OpenLTXFile(t.Context(), replica.File{Name: one}, 0, 0)
			require.NoError(t, err)
			m.ResetCalls()
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			require.ErrorIs(t, op(ctx), context.DeadlineExceeded)
			for _, o := range []mock.Op{mock.OpList, mock.OpStat, mock.OpOpen, mock.OpWrite, mock.OpDelete} {
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
	for name, leave := range map[string]func(t *testing.T, m *mock.Store, r io.ReadCloser, cancel func()){
		"end": func(t *testing.T, _ *mock.Store, r io.ReadCloser, _ func()) {
			_, err := io.ReadAll(r)
			require.NoError(t, err)
		},
		"error": func(t *testing.T, m *mock.Store, r io.ReadCloser, _ func()) {
			m.FailOnce(mock.OpRead, io.ErrClosedPipe)
			_, err := io.ReadAll(r)
			require.ErrorIs(t, err, io.ErrClosedPipe)
		},
		"close":     func(t *testing.T, _ *mock.Store, r io.ReadCloser, _ func()) { require.NoError(t, r.Close()) },
		"abandoned": func(_ *testing.T, _ *mock.Store, _ io.ReadCloser, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				m.Put(0, 1, 1, []byte("content"))
				s := limit.NewInFlight(1).Around(m)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				first, err := s.OpenLTXFile(ctx, replica.File{Name: one}, 0, 0)
				require.NoError(t, err)
				leave(t, m, first, cancel)
				synctest.Wait()
				second, err := s.OpenLTXFile(t.Context(), replica.File{Name: one}, 0, 0)
				require.NoError(t, err)

				// Nothing more that happens to the first frees the second's.
				_ = first.Close()
				cancel()
				synctest.Wait()
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				_, err = s.OpenLTXFile(ctx, replica.File{Name: one}, 0, 0)
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
	s := limit.NewInFlight(1).Around(m)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next, stop := iter.Pull2(s.LTXFiles(ctx, 0, replica.ListOptions{}))
	defer stop()
	_, err, ok := next()
	require.True(t, ok)
	require.NoError(t, err)
	r, err := s.OpenLTXFile(t.Context(), replica.File{Name: one}, 0, 0)
	require.NoError(t, err)
	cancel()
	f, err, ok := next()
	require.True(t, ok)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, replica.File{}, f)
	_, _, ok = next()
	require.False(t, ok)
	require.NoError(t, r.Close())
	assert.Zero(t, m.OpenListings())
}

// A listing in any order keeps its place for many files, and then lets in who waits.
func TestInFlightListingsInAnyOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.New()
		const turn = 1000
		for i := range ltx.TXID(2*turn + 1) {
			m.Put(0, i, i, nil)
		}
		s := limit.NewInFlight(1).Around(m)
		listed := 0
		var stated atomic.Int64
		for f, err := range s.LTXFiles(t.Context(), 0, replica.ListOptions{AnyOrder: true}) {
			require.NoError(t, err)
			if listed++; listed%turn == 1 {
				go func() {
					_, err := s.StatLTXFile(t.Context(), f.Name, replica.StatOptions{})
					assert.NoError(t, err)
					stated.Add(1)
				}()
			}
			synctest.Wait()
			require.EqualValues(t, listed/turn, stated.Load(), listed)
		}
		synctest.Wait()
		require.Equal(t, 2*turn+1, listed)
		require.EqualValues(t, 3, stated.Load())
	})
}

// However many come, no more than half of the limit are under way, and all get through.
func TestInFlightMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &counting{Store: mock.New()}
		m.Inject(mock.Fault{Delay: time.Second})
		s := limit.NewInFlight(6).Around(m)
		done := make(chan error)
		begin := time.Now()
		for i := range ltx.TXID(30) {
			go func() {
				_, err := s.WriteLTXFile(t.Context(), storetest.Name(0, i, i), bytes.NewReader(nil), replica.WriteOptions{})
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

// Writes that last leave places to others. With one place, who waits for it takes turns
// with those who write.
func TestInFlightBesideWrites(t *testing.T) {
	for n, most := range map[int]int{1: 1, 2: 1, 3: 2, 64: 32} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				f := m.Put(0, 1, 1, []byte("content"))
				m.Inject(mock.Fault{Op: mock.OpPublish, Delay: time.Minute})
				s := limit.NewInFlight(n).Around(m)
				written := make(chan error, 2*n+8)
				for i := range ltx.TXID(cap(written)) {
					go func() {
						_, err := s.WriteLTXFile(t.Context(), storetest.Name(1, i, i), bytes.NewReader(nil), replica.WriteOptions{})
						written <- err
					}()
				}
				synctest.Wait()
				require.Equal(t, most, m.Calls(mock.OpPublish))
				for _, op := range []func(){
					func() {
						_, err := s.StatLTXFile(t.Context(), f.Name, replica.StatOptions{})
						require.NoError(t, err)
					},
					func() { storetest.Read(t, s, f, 0, 0) },
				} {
					began := time.Now()
					op()
					waited := time.Duration(0)
					if n == 1 {
						waited = time.Minute
					}
					require.Equal(t, waited, time.Since(began))
					synctest.Wait()
				}
				for range cap(written) {
					require.NoError(t, <-written)
				}
			})
		})
	}
}

// counting knows how many writes there were at a time.
type counting struct {
	*mock.Store
	now, most atomic.Int64
}

func (c *counting) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	defer c.now.Add(-1)
	return c.Store.WriteLTXFile(ctx, name, content, opts)
}

// A listing that its caller leaves, by a panic even, gives back no place twice.
func TestInFlightListingPanics(t *testing.T) {
	m := mock.New()
	m.Put(0, 1, 1, nil)
	s := limit.NewInFlight(1).Around(m)
	require.PanicsWithValue(t, "oops", func() {
		for range s.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
			panic("oops")
		}
	})
	require.Len(t, storetest.List(t, s, 0), 1)
}

// manyRequests is a store that takes 64 operations at a time.
type manyRequests struct{ replica.Store }

func (manyRequests) Properties() replica.Properties {
	return replica.Properties{Requests: 64, Lacks: []string{"one"}}
}

// What a store takes at a time is what both it and the limit allow.
func TestInFlightProperties(t *testing.T) {
	for n, want := range map[int]int{0: 64, 3: 3, 200: 64} {
		p := limit.NewInFlight(n).Around(manyRequests{}).Properties()
		require.Equal(t, replica.Properties{Requests: want, Lacks: []string{"one"}}, p)
	}
	require.Equal(t, 3, limit.NewInFlight(3).Around(mock.New()).Properties().Requests)
}

// No limit is no store around the store.
func TestInFlightWithoutLimit(t *testing.T) {
	m := mock.New()
	require.Same(t, m, limit.NewInFlight(0).Around(m))
}
