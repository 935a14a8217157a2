package fs

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// DropListings: what others have written shows at once, in levels, by name and in states.
func TestDropListings(t *testing.T) {
	store := mock.New()
	store.Put(0, 1, 1, storetest.LTX(t, 1, 1))
	tr := newDriverOf(t, store, false, time.Hour, far)
	mounted := &Mounted{mount: tr.mount}
	files := func() []string {
		names, e := tr.list(tr.level(0), true)
		require.Zero(t, e)
		return names
	}
	states := func() []string {
		names, e := tr.list(tr.walk("db", "at").NodeId, true)
		require.Zero(t, e)
		return names
	}
	require.Equal(t, []string{fileName(1, 1)}, files())
	require.Equal(t, []string{stateName(1)}, states())
	require.Equal(t, 1, mounted.Usage().Replicas)

	store.Put(0, 2, 2, storetest.LTX(t, 2, 2))
	require.Equal(t, []string{fileName(1, 1)}, files())
	_, e := tr.lookup(tr.level(0), fileName(2, 2))
	require.Equal(t, syscall.ENOENT, e)

	mounted.DropListings()
	_, e = tr.lookup(tr.level(0), fileName(2, 2))
	require.Zero(t, e)
	require.Equal(t, []string{fileName(1, 1), fileName(2, 2)}, files())
	require.Equal(t, []string{stateName(1), stateName(2)}, states())
}

// DropListings of many databases: those that have come show at once.
func TestDropDatabases(t *testing.T) {
	m := &manyDatabases{names: []string{"a.db"}}
	tr := newDriverWith(t, Options{Databases: m.databases(t)}, far)
	ls := func() []string {
		names, e := tr.list(1, true)
		require.Zero(t, e)
		return names
	}
	require.Equal(t, []string{"a.db"}, ls())
	m.names = []string{"a.db", "b.db"}
	require.Equal(t, []string{"a.db"}, ls())
	(&Mounted{mount: tr.mount}).DropListings()
	require.Equal(t, []string{"a.db", "b.db"}, ls())
	require.Equal(t, 2, m.lists)
}
