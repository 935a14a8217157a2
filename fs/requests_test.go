package fs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// Requests are counted by operation, and those that fail by errno, and while the access log
// is on each is a line.
func TestKernelRequests(t *testing.T) {
	m := newStates(t, 3)
	size := m.Put(1, 1, 3, bytes.Repeat([]byte("x"), 300<<10)).Size
	tr := newDriver(t, m, true)
	var log bytes.Buffer
	r := newRequests(slog.New(slog.NewTextHandler(&log, nil)))
	tr.mount.requests = r
	tr.raw = &watched{tr.raw, r}

	file := tr.walk("ltx", "0001", fileName(1, 3)).NodeId
	_, e := tr.lookup(tr.level(1), "other")
	require.Equal(t, syscall.ENOENT, e)
	require.Empty(t, log.String())
	require.Equal(t, 1.0, counted(t, r.errors.WithLabelValues("LOOKUP", "ENOENT")))
	require.Equal(t, fuse.Status(syscall.ENXIO), tr.raw.Lseek(nil, &fuse.LseekIn{InHeader: header(file), Offset: 1 << 40, Whence: unix.SEEK_DATA}, &fuse.LseekOut{}))
	require.Equal(t, 1.0, counted(t, r.errors.WithLabelValues("LSEEK", "ENXIO")))

	r.logged.Store(true)
	fh, e := tr.open(file, syscall.O_RDONLY)
	require.Zero(t, e)
	cancel := make(chan struct{})
	for range 2 {
		data, e := tr.readUnless(cancel, file, fh, 100<<10, 200<<10)
		require.Zero(t, e)
		require.Len(t, data, 200<<10)
	}
	out, e := tr.lookup(tr.walk("db", "at").NodeId, "missing")
	require.Zero(t, e, "the kernel remembers it")
	require.Zero(t, out.NodeId)
	r.logged.Store(false)
	tr.raw.Release(nil, &fuse.ReleaseIn{InHeader: header(file), Fh: fh})
	require.Empty(t, r.underWay)
	require.Equal(t, float64(2*200<<10), counted(t, r.read))
	require.EqualValues(t, 300<<10, size)

	var lines []string
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(line, "msg=access ")
		before, after, _ := strings.Cut(strings.TrimSpace(line), " took=")
		_, after, _ = strings.Cut(after, " ")
		lines = append(lines, strings.TrimSpace(before+" "+after))
	}
	read := "op=READ file=/ltx/0001/" + fileName(1, 3) + " offset=102400 size=204800 bytes=204800 blocks=3 fetched="
	require.Equal(t, []string{
		"op=OPEN file=/ltx/0001/" + fileName(1, 3), read + "3", read + "0",
		"op=LOOKUP file=/db", "op=LOOKUP file=/db/at", "op=LOOKUP file=/db/at/missing errno=ENOENT",
	}, lines)
}

// counted is the value of a counter.
func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return m.GetCounter().GetValue()
}

// A request that panics is over.
func TestPanickingRequest(t *testing.T) {
	r := newRequests(slog.New(slog.DiscardHandler))
	w := &watched{requests: r} // of no file system
	require.Panics(t, func() { w.StatFs(nil, &fuse.InHeader{}, nil) })
	require.Empty(t, r.underWay)
	require.Equal(t, 1.0, counted(t, r.errors.WithLabelValues("STATFS", "EIO")))
}

// A request that no deadline has ended is one that never will; one that publishes may take as
// long as it takes.
func TestHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRequests(slog.New(slog.DiscardHandler))
		publishing := r.begin("FLUSH", nil)
		time.Sleep(time.Hour)
		require.NoError(t, r.healthy())
		read := r.begin("READ", nil)
		time.Sleep(defaultDeadlines.open)
		require.NoError(t, r.healthy())
		time.Sleep(time.Minute + time.Second)
		require.EqualError(t, r.healthy(), "a request of the kernel, READ, has been under way for 3m1s")
		r.end(read, fuse.EIO)
		require.NoError(t, r.healthy())
		r.end(publishing, fuse.OK)
	})
	for _, d := range []time.Duration{
		defaultDeadlines.read, defaultDeadlines.stat, defaultDeadlines.list, defaultDeadlines.delete,
		defaultDeadlines.space, defaultDeadlines.open, defaultDeadlines.replica,
	} {
		require.Less(t, d, stuckAfter)
	}
}

// What is told of the states is the store's word of a minute ago at most, and stays while the
// store fails.
func TestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newStates(t, 3)
		tr := newDriver(t, m, false)
		known := func() told {
			last, ok := tr.tree.ages.known()
			require.True(t, ok)
			return last
		}
		look := func() told {
			tr.tree.lookAtAges(t.Context())
			return known()
		}
		a := look()
		require.Equal(t, 3, a.states)
		require.Equal(t, 0, a.gaps)
		require.Equal(t, stateAt(1), a.oldest.UTC())
		require.Equal(t, stateAt(3), a.newest.UTC())

		m.Put(0, 5, 5, nil)
		time.Sleep(agesFreshness - time.Second)
		require.Equal(t, 0, look().gaps)
		time.Sleep(time.Second)
		a = look()
		require.Equal(t, 1, a.gaps)
		require.Equal(t, stateAt(3), a.newest.UTC())

		over, cancel := context.WithCancel(t.Context())
		cancel()
		m.Put(0, 4, 4, storetest.LTX(t, 4, 4, storetest.Timestamp(stateAt(4))))
		time.Sleep(2 * agesFreshness)
		tr.tree.lookAtAges(over)
		require.Equal(t, 3, known().states, "who has no time left asks nobody")
		require.Equal(t, 5, look().states)

		m.Fail(mock.OpList, syscall.EIO)
		time.Sleep(2 * agesFreshness)
		require.Equal(t, 5, look().states)
	})
}

// A label tells any two names apart, and has nothing in it that a terminal obeys.
func TestLabel(t *testing.T) {
	for name, want := range map[string]string{
		"": "", "team a/orders.db": "team a/orders.db", "日本.db": "日本.db",
		"bad\xff.db": `"bad\xff.db"`, "bad\xfe.db": `"bad\xfe.db"`, "\x1b[2J": `"\x1b[2J"`, `a"b`: `"a\"b"`,
	} {
		require.Equal(t, want, label(name))
	}
}

// A disk that hangs isn't asked again and again for metrics: each call that doesn't return holds
// a thread. Where many hang, none is asked.
func TestMetricsOfHangingDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const replicas = 200
		gate := make(chan struct{})
		tr := newDriverWithin(t, Options{Databases: &Databases{
			Freshness: 24 * time.Hour,
			List: func(context.Context) (names []string, err error) {
				for i := range replicas {
					names = append(names, fmt.Sprint(i, ".db"))
				}
				return names, nil
			},
		}}, defaultDeadlines)
		stores := make([]*mock.Store, replicas)
		for i := range stores {
			stores[i] = newStates(t, 1)
			stores[i].Inject(mock.Fault{Op: mock.OpList, Wait: gate})
			name := fmt.Sprint(i, ".db")
			_, err := tr.mount.add(Tree{Name: name, ID: name, Store: &hangingStore{stores[i], true}, Freshness: time.Second})
			require.NoError(t, err)
		}
		calls := func() (most, all int) {
			for _, s := range stores {
				n := s.Calls(mock.OpList)
				most, all = max(most, n), all+n
			}
			return most, all
		}
		for range 100 {
			metricsOf(t, tr)
			time.Sleep(14 * time.Second) // so that none comes at the very moment of a deadline
		}
		most, all := calls()
		require.Equal(t, 10, most)
		require.Greater(t, all, maxHanging)
		require.Less(t, all, replicas*10)

		close(gate)
		synctest.Wait()
		require.Len(t, metricsOf(t, tr)["ltxfs_states"].GetMetric(), replicas)
	})
}

// Each request that go-fuse passes on is counted, but for those that the kernel doesn't send to
// a mount with these options.
func TestEachRequestIsCounted(t *testing.T) {
	unsent := []string{"Access", "GetXAttr", "ListXAttr", "SetXAttr", "RemoveXAttr", "GetLk", "SetLk", "SetLkw"}
	unanswered := []string{"String", "SetDebug", "Init", "Forget", "OnUnmount"}
	r := newRequests(slog.New(slog.DiscardHandler))
	w := reflect.ValueOf(&watched{requests: r}) // of no file system
	all := reflect.TypeFor[fuse.RawFileSystem]()
	operations := 0
	for i := range all.NumMethod() {
		name := all.Method(i).Name
		if slices.Contains(append(unsent, unanswered...), name) {
			continue
		}
		method := w.MethodByName(name)
		var args []reflect.Value
		for in := range method.Type().Ins() {
			arg := reflect.Zero(in)
			if in.Kind() == reflect.Pointer {
				arg = reflect.New(in.Elem())
			}
			args = append(args, arg)
		}
		require.Panics(t, func() { method.Call(args) })
		if name != "Writev" { // is a WRITE as well
			operations++
		}
		counted := make(chan prometheus.Metric, all.NumMethod())
		r.seconds.Collect(counted)
		require.Len(t, counted, operations, name)
	}
}
