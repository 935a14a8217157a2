package fs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestDirectories(t *testing.T) {
	d := newDirectories([]string{"b/y.db", "a.db", "b/x.db", "b.db", "b/c/d/z", "a.db", "a.db/below/x.db"})
	require.Equal(t, map[string][]string{
		"": {"a.db", "b", "b.db"}, "b": {"c", "x.db", "y.db"}, "b/c": {"d"}, "b/c/d": {"z"},
	}, d.below)
	require.Equal(t, []string{"a.db/below/x.db"}, d.hidden)
	require.Equal(t, map[string]bool{
		"a.db": true, "b": false, "b.db": true, "b/x.db": true, "b/y.db": true, "b/c": false, "b/c/d": false, "b/c/d/z": true,
	}, d.isDatabase)
}

// manyDatabases are databases of which each open is counted, and may fail.
type manyDatabases struct {
	names  []string
	lists  int
	opens  map[string]int
	listed error
	failed error
	hang   bool
	deaf   chan struct{} // if set, Open waits for it alone
	silent chan struct{} // if set, List does
}

func (m *manyDatabases) databases(t *testing.T) *Databases {
	m.opens = map[string]int{}
	return &Databases{
		Freshness: time.Minute,
		List: func(context.Context) ([]string, error) {
			m.lists++
			if m.silent != nil {
				<-m.silent
			}
			return m.names, m.listed
		},
		Open: func(ctx context.Context, name string) (Tree, error) {
			m.opens[name]++
			if m.hang {
				<-ctx.Done()
				return Tree{}, context.Cause(ctx)
			}
			if m.deaf != nil {
				<-m.deaf
			}
			store := mock.New()
			store.Put(0, 1, 1, storetest.LTX(t, 1, 1))
			return Tree{ID: "mock://" + name, Store: store, Freshness: time.Minute}, m.failed
		},
	}
}

// What is looked at costs a listing for each freshness interval, and what is used is opened
// once.
func TestDatabases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manyDatabases{names: []string{"b.db", "team/a.db"}}
		tr := newDriverWith(t, Options{Databases: m.databases(t)}, far)
		ls := func(path ...string) []string {
			t.Helper()
			names, e := tr.list(tr.walk(path...).NodeId, true)
			require.Zero(t, e)
			return names
		}
		require.Equal(t, []string{"b.db", "team"}, ls())
		require.Equal(t, []string{"a.db"}, ls("team"))
		_, e := tr.lookup(tr.walk("team").NodeId, "x.db")
		require.Equal(t, syscall.ENOENT, e)
		first := tr.walk("team", "a.db")
		require.NotEqual(t, first.Ino, tr.walk("b.db").Ino)
		require.Equal(t, 1, m.lists)
		require.Empty(t, m.opens)
		require.LessOrEqual(t, first.EntryTimeout(), time.Minute)

		require.Equal(t, []string{"ltx", "snapshots", "db"}, ls("team", "a.db"))
		require.Equal(t, []string{fileName(1, 1)}, ls("team", "a.db", "ltx", "0000"))
		require.Equal(t, map[string]int{"team/a.db": 1}, m.opens)

		m.names = []string{"new.db", "team/a.db"}
		require.Equal(t, []string{"b.db", "team"}, ls())
		time.Sleep(time.Minute)
		require.Equal(t, []string{"new.db", "team"}, ls())
		require.Equal(t, 2, m.lists)
		_, e = tr.lookup(1, "b.db")
		require.Equal(t, syscall.ENOENT, e)
		require.Equal(t, first.Ino, tr.walk("team", "a.db").Ino)
		require.Equal(t, []string{fileName(1, 1)}, ls("team", "a.db", "ltx", "0000"))
		require.Equal(t, map[string]int{"team/a.db": 1}, m.opens)

		m.names = []string{"team"} // which was a folder
		time.Sleep(time.Minute)
		require.Equal(t, []string{"ltx", "snapshots", "db"}, ls("team"))
		require.NotEqual(t, first.Ino, tr.walk("team").Ino)

		m.listed = os.ErrPermission
		time.Sleep(time.Minute)
		require.Equal(t, []string{"team"}, ls(), "what was there last")
		require.Equal(t, []string{fileName(1, 1)}, ls("team", "ltx", "0000"))
		lists := m.lists
		m.listed, m.names = nil, []string{"a.db"}
		require.Equal(t, []string{"team"}, ls())
		require.Equal(t, lists, m.lists, "and not asked for again each time")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"a.db"}, ls())
	})
}

// Without any listing there is nothing to show.
func TestDatabasesUnlisted(t *testing.T) {
	m := &manyDatabases{listed: os.ErrPermission}
	tr := newDriverWith(t, Options{Databases: m.databases(t)}, far)
	_, e := tr.list(1, false)
	require.Equal(t, syscall.EACCES, e)
	_, e = tr.lookup(1, "a.db")
	require.Equal(t, syscall.EACCES, e)
}

// A replica that can't be opened gives its errno to each use, is tried again later, and its
// reason is logged once.
func TestDatabaseThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		m := &manyDatabases{names: []string{"a.db", "b.db"}, failed: errors.Join(errors.New("no key"), os.ErrPermission)}
		tr := newDriverWith(t, Options{Databases: m.databases(t), Logger: slog.New(slog.NewTextHandler(&log, nil))}, far)
		node := tr.walk("a.db").NodeId
		for range 3 {
			_, e := tr.list(node, false)
			require.Equal(t, syscall.EACCES, e)
			_, e = tr.lookup(node, "ltx")
			require.Equal(t, syscall.EACCES, e)
		}
		require.Equal(t, 1, m.opens["a.db"])
		time.Sleep(openAgain)
		_, e := tr.list(node, false)
		require.Equal(t, syscall.EACCES, e)
		require.Equal(t, 2, m.opens["a.db"])
		require.Equal(t, 1, strings.Count(log.String(), "no key"))
		require.Contains(t, log.String(), "database=a.db")
		require.Equal(t, 1.0, gauge(t, tr, "ltxfs_replicas_unknown"))

		m.failed = nil
		time.Sleep(openAgain)
		names, e := tr.list(node, true)
		require.Zero(t, e)
		require.Contains(t, names, "ltx")
		require.Zero(t, gauge(t, tr, "ltxfs_replicas_unknown"))
	})
}

// A replica that doesn't answer has its deadline, holds up no other, and ends with the mount.
func TestDatabaseThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manyDatabases{names: []string{"a.db", "b.db"}, hang: true}
		tr := newDriverWith(t, Options{Databases: m.databases(t)}, 10*time.Second)
		began := time.Now()
		_, e := tr.list(tr.walk("a.db").NodeId, false)
		require.Equal(t, syscall.ETIMEDOUT, e)
		require.Equal(t, 10*time.Second, time.Since(began))
		time.Sleep(openAgain)

		ended := make(chan syscall.Errno)
		node := tr.walk("a.db").NodeId
		go func() {
			_, e := tr.list(node, false)
			ended <- e
		}()
		synctest.Wait()
		m.hang = false
		_, e = tr.list(tr.walk("b.db").NodeId, false)
		require.Zero(t, e)
		tr.mount.close()
		require.Equal(t, syscall.EIO, <-ended)
		_, err := tr.mount.add(Tree{ID: "late", Store: mock.New()})
		require.ErrorIs(t, err, os.ErrClosed)
	})
}

// A call that doesn't return, as on a disk that is gone, stays the only one.
func TestDatabaseThatIsDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manyDatabases{names: []string{"a.db"}, deaf: make(chan struct{})}
		tr := newDriverWith(t, Options{Databases: m.databases(t)}, 10*time.Second)
		node := tr.walk("a.db").NodeId
		for range 3 {
			_, e := tr.list(node, false)
			require.Equal(t, syscall.ETIMEDOUT, e)
			time.Sleep(openAgain)
		}
		close(m.deaf)
		synctest.Wait()
		_, e := tr.list(node, false)
		require.Zero(t, e)
		require.Equal(t, 2, m.opens["a.db"])
	})
}

// Who asks for metrics doesn't wait for a disk on which databases can't be looked for: what was
// there last is told of, and its stores are asked.
func TestMetricsOfDeafDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manyDatabases{names: []string{"a.db"}}
		tr := newDriverWith(t, Options{Databases: m.databases(t)}, far)
		_, e := tr.list(tr.walk("a.db").NodeId, false)
		require.Zero(t, e)
		time.Sleep(time.Minute)
		m.silent = make(chan struct{})
		for range 3 {
			began := time.Now()
			require.Equal(t, 1.0, gauge(t, tr, "ltxfs_states"))
			require.LessOrEqual(t, time.Since(began), agesTimeout)
		}
		close(m.silent)
		synctest.Wait()
		require.Equal(t, 2, m.lists, "one looks")
	})
}

// metricsOf is what a mount tells, by name.
func metricsOf(t *testing.T, tr *driver) map[string]*dto.MetricFamily {
	t.Helper()
	reg := prometheus.NewRegistry()
	require.NoError(t, reg.Register(&Mounted{mount: tr.mount}))
	families, err := reg.Gather()
	require.NoError(t, err)
	byName := map[string]*dto.MetricFamily{}
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

// gauge is the one value of a gauge.
func gauge(t *testing.T, tr *driver, name string) float64 {
	t.Helper()
	all := metricsOf(t, tr)[name].GetMetric()
	require.Len(t, all, 1)
	return all[0].GetGauge().GetValue()
}

// A replica that hasn't answered since it was opened is one of which nothing is known, and one
// that is there no more isn't told of, whatever became of it.
func TestUnknownReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manyDatabases{names: []string{"a.db", "b.db"}, failed: os.ErrPermission}
		tr := newDriverWith(t, Options{Databases: m.databases(t)}, far)
		_, e := tr.list(tr.walk("a.db").NodeId, false)
		require.Equal(t, syscall.EACCES, e)
		silent := newStates(t, 1)
		silent.Fail(mock.OpList, syscall.EIO)
		_, err := tr.mount.add(Tree{Name: "b.db", ID: "b", Store: silent, Freshness: time.Second})
		require.NoError(t, err)
		require.Equal(t, 2.0, gauge(t, tr, "ltxfs_replicas_unknown"))
		m.names = []string{"b.db"}
		time.Sleep(agesFreshness)
		require.Equal(t, 1.0, gauge(t, tr, "ltxfs_replicas_unknown"))
		silent.ClearFaults()
		time.Sleep(agesFreshness)
		damaged := silent.Fail(mock.OpOpen, syscall.EIO)
		require.Equal(t, 1.0, gauge(t, tr, "ltxfs_replicas_unknown"), "without the time of a state")
		damaged()
		time.Sleep(agesFreshness)
		require.Zero(t, gauge(t, tr, "ltxfs_replicas_unknown"))
		require.Equal(t, 1.0, gauge(t, tr, "ltxfs_states"))
	})
}
