package metrics_test

import (
	"bytes"
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
	"go.uber.org/goleak"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/metrics"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errBroken = errors.New("broken")
	one       = storetest.Name(0, 1, 1)
)

// Each operation is counted once, with what it moved and how long the store took.
func TestOperations(t *testing.T) {
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
		run  func(t *testing.T, s replica.Store, f replica.File)
		want want
	}{
		"list": {func(t *testing.T, s replica.Store, _ replica.File) {
			for _, err := range s.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
				require.NoError(t, err)
				time.Sleep(time.Hour)
			}
		}, want{metrics.List, 3, 0, 4 * each}},
		"list stopped early": {func(t *testing.T, s replica.Store, _ replica.File) {
			for _, err := range s.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
				require.NoError(t, err)
				time.Sleep(time.Hour)
				break
			}
		}, want{metrics.List, 1, 0, 2 * each}},
		"stat": {func(t *testing.T, s replica.Store, _ replica.File) {
			_, err := s.StatLTXFile(t.Context(), one, replica.StatOptions{})
			require.NoError(t, err)
		}, want{metrics.Stat, 1, 0, each}},
		"stat exactly": {func(t *testing.T, s replica.Store, _ replica.File) {
			_, err := s.StatLTXFile(t.Context(), one, replica.StatOptions{ExactTime: true})
			require.NoError(t, err)
		}, want{metrics.Exact, 1, 0, 2 * each}},
		"read": {func(t *testing.T, s replica.Store, _ replica.File) {
			r, err := s.OpenLTXFile(t.Context(), replica.File{Name: one}, 0, 0)
			readAll(t, r, err)
		}, want{metrics.Read, 1, 7, 3 * each}},
		"read a version": {func(t *testing.T, s replica.Store, f replica.File) {
			r, err := s.OpenLTXFile(t.Context(), f, 2, 3)
			readAll(t, r, err)
		}, want{metrics.Read, 1, 3, 3 * each}},
		"read a little": {func(t *testing.T, s replica.Store, f replica.File) {
			r, err := s.OpenLTXFile(t.Context(), f, 0, 0)
			require.NoError(t, err)
			_, err = io.ReadFull(r, make([]byte, 2))
			require.NoError(t, err)
			require.NoError(t, r.Close())
		}, want{metrics.Read, 1, 2, 2 * each}},
		"write": {func(t *testing.T, s replica.Store, _ replica.File) {
			storetest.Write(t, s, storetest.Name(1, 1, 1), content)
		}, want{metrics.Write, 1, 7, 2 * each}},
		"write exclusively": {func(t *testing.T, s replica.Store, _ replica.File) {
			_, err := s.WriteLTXFile(t.Context(), storetest.Name(1, 1, 1), bytes.NewReader(content), replica.WriteOptions{Exclusive: true})
			require.NoError(t, err)
		}, want{metrics.Write, 1, 7, 2 * each}},
		"delete": {func(t *testing.T, s replica.Store, f replica.File) {
			require.NoError(t, s.DeleteLTXFiles(t.Context(), f.Name, f.Name))
		}, want{metrics.Delete, 2, 0, 2 * each}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := mock.New()
				f := m.Put(0, 1, 1, content)
				m.Put(0, 2, 2, nil)
				m.Put(0, 3, 3, nil)
				m.Inject(mock.Fault{Delay: each})
				counters := metrics.NewCounters()
				tt.run(t, metrics.New(m, counters), f)
				var want metrics.Summary
				want[tt.want.op] = metrics.Totals{Count: 1, Files: tt.want.files, Bytes: tt.want.bytes, Took: tt.want.took}
				require.Equal(t, want, counters.Snapshot())
			})
		})
	}
}

// What fails is counted as such.
func TestErrors(t *testing.T) {
	list := func(t *testing.T, s replica.Store, _ replica.File) (_ metrics.Op, last error) {
		for _, err := range s.LTXFiles(t.Context(), 0, replica.ListOptions{}) {
			last = err
		}
		return metrics.List, last
	}
	for op, run := range map[mock.Op]func(t *testing.T, s replica.Store, f replica.File) (metrics.Op, error){
		mock.OpList: list,
		mock.OpNext: list,
		mock.OpStat: func(t *testing.T, s replica.Store, _ replica.File) (metrics.Op, error) {
			_, err := s.StatLTXFile(t.Context(), one, replica.StatOptions{})
			return metrics.Stat, err
		},
		mock.OpOpen: func(t *testing.T, s replica.Store, f replica.File) (metrics.Op, error) {
			_, err := s.OpenLTXFile(t.Context(), f, 0, 0)
			return metrics.Read, err
		},
		mock.OpRead: func(t *testing.T, s replica.Store, f replica.File) (metrics.Op, error) {
			r, err := s.OpenLTXFile(t.Context(), f, 0, 0)
			require.NoError(t, err)
			_, err = io.ReadAll(r)
			require.NoError(t, r.Close())
			return metrics.Read, err
		},
		mock.OpPublish: func(t *testing.T, s replica.Store, _ replica.File) (metrics.Op, error) {
			_, err := s.WriteLTXFile(t.Context(), one, strings.NewReader("x"), replica.WriteOptions{})
			return metrics.Write, err
		},
		mock.OpDelete: func(t *testing.T, s replica.Store, _ replica.File) (metrics.Op, error) {
			return metrics.Delete, s.DeleteLTXFiles(t.Context(), one)
		},
	} {
		t.Run(string(op), func(t *testing.T) {
			m := mock.New()
			f := m.Put(0, 1, 1, []byte("content"))
			m.Fail(op, errBroken)
			counters := metrics.NewCounters()
			want, err := run(t, metrics.New(m, counters), f)
			require.ErrorIs(t, err, errBroken)
			for op, got := range counters.Snapshot() {
				ended := int64(0)
				if metrics.Op(op) == want {
					ended = 1
				}
				assert.Equal(t, ended, got.Count)
				assert.Equal(t, ended, got.Errors)
				assert.Zero(t, got.Missing)
				assert.Zero(t, got.Bytes)
			}
		})
	}
}

// Counters add up, from many goroutines.
func TestCounters(t *testing.T) {
	disk := file.New(t.TempDir(), replica.LitestreamFile)
	m := mock.New()
	f := m.Put(0, 1, 1, []byte("content"))
	counters := metrics.NewCounters()
	s := metrics.New(m, counters)
	var g sync.WaitGroup
	for range 10 {
		g.Go(func() {
			r, err := s.OpenLTXFile(t.Context(), f, 0, 0)
			assert.NoError(t, err)
			_, err = io.ReadAll(r)
			assert.NoError(t, err)
			assert.NoError(t, r.Close())
			_, err = s.StatLTXFile(t.Context(), one, replica.StatOptions{ExactTime: true})
			assert.NoError(t, err)
			_, err = s.StatLTXFile(t.Context(), storetest.Name(0, 7, 7), replica.StatOptions{})
			assert.ErrorIs(t, err, os.ErrNotExist)
			for _, err := range s.LTXFiles(t.Context(), 17, replica.ListOptions{}) {
				assert.ErrorIs(t, err, os.ErrInvalid)
			}
		})
	}
	g.Wait()
	written := storetest.Write(t, metrics.New(disk, counters), one, []byte("123"))
	opened, err := metrics.New(disk, counters).OpenLocal(t.Context(), written)
	require.NoError(t, err)
	require.NoError(t, opened.Close())

	sum := counters.Snapshot()
	for op, want := range map[metrics.Op]metrics.Totals{
		metrics.List:   {Count: 10, Errors: 10},
		metrics.Stat:   {Count: 10, Missing: 10, Files: 10},
		metrics.Exact:  {Count: 10, Files: 10},
		metrics.Read:   {Count: 10, Files: 10, Bytes: 70},
		metrics.Local:  {Count: 1, Files: 1},
		metrics.Write:  {Count: 1, Files: 1, Bytes: 3},
		metrics.Delete: {},
	} {
		got := sum[op]
		assert.Equal(t, want.Count > 0, got.Took > 0, op)
		got.Took = 0
		assert.Equal(t, want, got, op)
	}
	require.NoError(t, s.DeleteLTXFiles(t.Context(), one))
	assert.Zero(t, sum[metrics.Delete].Count, "a snapshot changes")
}

// The summary is one line in the log, of what there was.
func TestSummaryInTheLog(t *testing.T) {
	var sum metrics.Summary
	sum[metrics.List] = metrics.Totals{Count: 1, Files: 2300, Took: 1500 * time.Millisecond}
	sum[metrics.Read] = metrics.Totals{Count: 2, Files: 2, Bytes: 4096, Missing: 1, Errors: 1, Took: time.Second}
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	log.Info("requests", "store", sum)
	assert.Equal(t, "level=INFO msg=requests store.list.count=1 store.list.files=2300 store.list.took=1.5s "+
		"store.read.count=2 store.read.files=2 store.read.bytes=4096 store.read.missing=1 store.read.errors=1 store.read.took=1s\n",
		out.String())
}
