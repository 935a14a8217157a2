package replica_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/metrics"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// wrappers are the stores around a store, each with limits that don't slow the
// suite down.
var wrappers = []struct {
	name       string
	wrap       func(replica.Store) replica.Store
	opensLocal bool // that the kernel may read files by itself
}{
	{"wrapper", func(s replica.Store) replica.Store { return replica.Wrapper{Store: s} }, false},
	{"bandwidth", func(s replica.Store) replica.Store { return limit.NewBandwidth(1<<40, 1<<40).Around(s) }, false},
	{"bandwidth of writing", func(s replica.Store) replica.Store { return limit.NewBandwidth(0, 1<<40).Around(s) }, true},
	{"in flight", func(s replica.Store) replica.Store { return limit.NewInFlight(4).Around(s) }, true},
	{"metrics", func(s replica.Store) replica.Store { return metrics.New(s, metrics.NewCounters()) }, true},
	{"example", func(s replica.Store) replica.Store { return &counting{Wrapper: replica.Wrapper{Store: s}} }, true},
	{"all", func(s replica.Store) replica.Store {
		return metrics.New(limit.NewInFlight(4).Around(limit.NewBandwidth(0, 1<<40).Around(s)), metrics.NewCounters())
	}, true},
}

// Every store around a store passes the suite.
func TestWrappersConform(t *testing.T) {
	for _, w := range wrappers {
		t.Run(w.name, func(t *testing.T) {
			var m *mock.Store // of the test of the suite that runs
			storetest.Run(t, storetest.Harness{
				New:       func(*testing.T) replica.Store { m = mock.New(); return w.wrap(m) },
				Resources: func(replica.Store) int { return m.OpenReaders() + m.OpenListings() },
				LargeSize: 4 << 20,
			})
			onDisk := storetest.Harness{
				New:        func(t *testing.T) replica.Store { return w.wrap(file.New(t.TempDir(), replica.LitestreamFile)) },
				OpensLocal: w.opensLocal,
				LargeSize:  4 << 20,
			}
			if w.name == "all" { // the others would each wait for the disk
				storetest.Run(t, onDisk)
				return
			}
			storetest.RunOne(t, onDisk, "OpenLocal")
			storetest.RunOne(t, onDisk, "Space")
		})
	}
}

// A wrapper passes on what the store is.
func TestWrapperPassesOn(t *testing.T) {
	disk := file.New(t.TempDir(), replica.LitestreamFile)
	for _, w := range wrappers {
		require.Equal(t, disk.Type(), w.wrap(disk).Type())
		p := w.wrap(disk).Properties()
		p.Requests = 0 // which limits set
		require.Equal(t, disk.Properties(), p)
	}
}
