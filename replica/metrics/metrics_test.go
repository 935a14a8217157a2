package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/metrics"
	"github.com/ltxfs/ltxfs/replica/mock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

// events keeps what it hears.
type events struct {
	mu  sync.Mutex
	all []metrics.Event
}

func (e *events) Done(event metrics.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

// Each operation is told of once, with what it moved and how long the store took.
func TestEvents(t *testing.T) {
	type want struct {
		op    metrics.Op
		files int64
		bytes int64
		took  time.Duration
	}
	content := []byte("content")
	readAll := func(t *testing.T, r io.ReadCloser, err error) {
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.NoError(t, err)
		time.Sleep(time.Hour) // the caller's own time
		require.NoError(t, r.Close())
	}
	const each = time.Second // of every call of the mock
	for name, tt := range map[string]struct {
		run  func(t *testing.T, c replica.Client, f replica.File)
		want want
	}{
		"list": {func(t *testing.T, c replica.Client, _ replica.File) {
			it, err := c.LTXFiles(t.Context(), 0, 0, false)
			require.NoError(t, err)
			for it.Next() {
				time.Sleep(time.Hour)
			}
			require.NoError(t, it.Close())
		}, want{metrics.List, 3, 0, 4 * each}},
		"list stopped early": {func(t *testing.T, c replica.Client, _ replica.File) {
			it, err := c.LTXFiles(t.Context(), 0, 0, false)
			require.NoError(t, err)
			require.True(t, it.Next())
			require.NoError(t, it.Close())
			require.NoError(t, it.Close())
		}, want{metrics.List, 1, 0, 2 * each}},
		"stat": {func(t *testing.T, c replica.Client, _ replica.File) {
			_, err := c.(replica.Stater).StatLTXFile(t.Context(), 0, 1, 1)
			require.NoError(t, err)
		}, want{metrics.Stat, 1, 0, each}},
		"read": {func(t *testing.T, c replica.Client, _ replica.File) {
			r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
			readAll(t, r, err)
		}, want{metrics.Read, 1, 7, 3 * each}},
		"read a version": {func(t *testing.T, c replica.Client, f replica.File) {
			r, err := replica.Open(t.Context(), c, f, 2, 3)
			readAll(t, r, err)
		}, want{metrics.Read, 1, 3, 3 * each}},
		"read a little": {func(t *testing.T, c replica.Client, f replica.File) {
			r, err := replica.Open(t.Context(), c, f, 0, 0)
			require.NoError(t, err)
			_, err = io.ReadFull(r, make([]byte, 2))
			require.NoError(t, err)
			require.NoError(t, r.Close())
		}, want{metrics.Read, 1, 2, 2 * each}},
		"write": {func(t *testing.T, c replica.Client, _ replica.File) {
			_, err := c.WriteLTXFile(t.Context(), 1, 1, 1, bytes.NewReader(content))
			require.NoError(t, err)
		}, want{metrics.Write, 1, 7, 2 * each}},
		"write a version": {func(t *testing.T, c replica.Client, _ replica.File) {
			_, err := replica.Write(t.Context(), c, 1, 1, 1, bytes.NewReader(content))
			require.NoError(t, err)
		}, want{metrics.Write, 1, 7, 2 * each}},
		"write exclusively": {func(t *testing.T, c replica.Client, _ replica.File) {
			_, err := replica.WriteExclusive(t.Context(), c, 1, 1, 1, bytes.NewReader(content))
			require.NoError(t, err)
		}, want{metrics.Write, 1, 7, 2 * each}},
		"delete": {func(t *testing.T, c replica.Client, f replica.File) {
			require.NoError(t, c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{f.Info(), f.Info()}))
		}, want{metrics.Delete, 2, 0, 2 * each}},
		"delete all": {func(t *testing.T, c replica.Client, _ replica.File) {
			require.NoError(t, c.DeleteAll(t.Context()))
		}, want{metrics.Delete, 0, 0, each}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				f := m.Put(0, 1, 1, content)
				m.Put(0, 2, 2, nil)
				m.Put(0, 3, 3, nil)
				m.Inject(mock.Fault{Delay: each})
				e := &events{}
				tt.run(t, metrics.New(m, e), f)
				require.Equal(t, []metrics.Event{{Op: tt.want.op, Files: tt.want.files, Bytes: tt.want.bytes, Took: tt.want.took}}, e.all)
			})
		})
	}
}

// What fails is told of with its error.
func TestErrors(t *testing.T) {
	for op, run := range map[mock.Op]func(t *testing.T, c replica.Client, f replica.File) (metrics.Op, error){
		mock.OpList: func(t *testing.T, c replica.Client, _ replica.File) (metrics.Op, error) {
			_, err := c.LTXFiles(t.Context(), 0, 0, false)
			return metrics.List, err
		},
		mock.OpNext: func(t *testing.T, c replica.Client, _ replica.File) (metrics.Op, error) {
			it, err := c.LTXFiles(t.Context(), 0, 0, false)
			require.NoError(t, err)
			require.False(t, it.Next())
			require.Error(t, it.Close())
			return metrics.List, it.Err()
		},
		mock.OpStat: func(t *testing.T, c replica.Client, _ replica.File) (metrics.Op, error) {
			_, err := c.(replica.Stater).StatLTXFile(t.Context(), 0, 1, 1)
			return metrics.Stat, err
		},
		mock.OpOpen: func(t *testing.T, c replica.Client, f replica.File) (metrics.Op, error) {
			_, err := replica.Open(t.Context(), c, f, 0, 0)
			return metrics.Read, err
		},
		mock.OpRead: func(t *testing.T, c replica.Client, f replica.File) (metrics.Op, error) {
			r, err := replica.Open(t.Context(), c, f, 0, 0)
			require.NoError(t, err)
			_, err = io.ReadAll(r)
			require.NoError(t, r.Close())
			return metrics.Read, err
		},
		mock.OpPublish: func(t *testing.T, c replica.Client, _ replica.File) (metrics.Op, error) {
			_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, strings.NewReader("x"))
			return metrics.Write, err
		},
		mock.OpDeleteAll: func(t *testing.T, c replica.Client, _ replica.File) (metrics.Op, error) {
			return metrics.Delete, c.DeleteAll(t.Context())
		},
	} {
		t.Run(string(op), func(t *testing.T) {
			m := mock.New()
			f := m.Put(0, 1, 1, []byte("content"))
			m.Fail(op, errBroken)
			e := &events{}
			want, err := run(t, metrics.New(m, e), f)
			require.ErrorIs(t, err, errBroken)
			require.Len(t, e.all, 1)
			assert.Equal(t, want, e.all[0].Op)
			assert.Equal(t, err, e.all[0].Err)
			assert.Zero(t, e.all[0].Bytes)
		})
	}
}

// exactMock is a mock that can stat exactly.
type exactMock struct{ *mock.ReplicaClient }

func (c exactMock) StatLTXFileExact(ctx context.Context, level int, minTXID, maxTXID ltx.TXID) (replica.File, error) {
	return c.StatLTXFile(ctx, level, minTXID, maxTXID)
}

// Counters add up, from many goroutines.
func TestCounters(t *testing.T) {
	disk := file.New(t.TempDir(), replica.LitestreamFile)
	m := mock.New()
	f := m.Put(0, 1, 1, []byte("content"))
	counters := metrics.NewCounters()
	c := metrics.New(exactMock{m}, counters)
	var g sync.WaitGroup
	for range 10 {
		g.Go(func() {
			r, err := replica.Open(t.Context(), c, f, 0, 0)
			assert.NoError(t, err)
			_, err = io.ReadAll(r)
			assert.NoError(t, err)
			assert.NoError(t, r.Close())
			_, err = c.(replica.ExactStater).StatLTXFileExact(t.Context(), 0, 1, 1)
			assert.NoError(t, err)
			_, err = c.(replica.Stater).StatLTXFile(t.Context(), 0, 7, 7)
			assert.ErrorIs(t, err, os.ErrNotExist)
			_, err = c.LTXFiles(t.Context(), 17, 0, false)
			assert.ErrorIs(t, err, os.ErrInvalid)
		})
	}
	g.Wait()
	written, err := replica.Write(t.Context(), metrics.New(disk, counters), 0, 1, 1, strings.NewReader("123"))
	require.NoError(t, err)
	opened, err := metrics.New(disk, counters).(replica.LocalOpener).OpenLocal(t.Context(), written)
	require.NoError(t, err)
	require.NoError(t, opened.Close())
	counters.Done(metrics.Event{Op: -1})
	counters.Done(metrics.Event{Op: metrics.Delete + 1})

	s := counters.Snapshot()
	for op, want := range map[metrics.Op]metrics.Totals{
		metrics.List:       {Count: 10, Errors: 10},
		metrics.Stat:       {Count: 10, Missing: 10, Files: 10},
		metrics.Exact:      {Count: 10, Files: 10},
		metrics.Read:       {Count: 10, Files: 10, Bytes: 70},
		metrics.Local:      {Count: 1, Files: 1},
		metrics.Write:      {Count: 1, Files: 1, Bytes: 3},
		metrics.Delete:     {},
		-1:                 {},
		metrics.Delete + 1: {},
	} {
		got := s.Of(op)
		assert.Equal(t, want.Count > 0, got.Took > 0, op)
		got.Took = 0
		assert.Equal(t, want, got, op)
	}
	counters.Done(metrics.Event{Op: metrics.Delete})
	assert.Zero(t, s.Of(metrics.Delete).Count, "a snapshot changes")
}

// The summary is one line in the log, of what there was.
func TestSummaryInTheLog(t *testing.T) {
	counters := metrics.NewCounters()
	counters.Done(metrics.Event{Op: metrics.List, Files: 2300, Took: 1500 * time.Millisecond})
	counters.Done(metrics.Event{Op: metrics.Read, Files: 1, Bytes: 4096, Took: time.Second, Err: errBroken})
	counters.Done(metrics.Event{Op: metrics.Read, Files: 1, Err: os.ErrNotExist})
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log.Info("requests", "store", counters.Snapshot())
	assert.Equal(t, "level=INFO msg=requests store.list.count=1 store.list.files=2300 store.list.took=1.5s "+
		"store.read.count=2 store.read.files=2 store.read.bytes=4096 store.read.missing=1 store.read.errors=1 store.read.took=1s\n",
		out.String())
	assert.Equal(t, "unknown", metrics.Op(99).String())
}
