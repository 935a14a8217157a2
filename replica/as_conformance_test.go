package replica_test

import (
	"context"
	"testing"
	"time"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/file"
	"github.com/ltxfs/ltxfs/replica/limit"
	"github.com/ltxfs/ltxfs/replica/metrics"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/replicatest"
	"github.com/ltxfs/ltxfs/replica/retry"
)

// decorators are the clients around a client, each with limits that don't slow
// the suite down.
var decorators = []struct {
	name string
	wrap func(replica.Client) replica.Client
}{
	{"around", func(c replica.Client) replica.Client { return replica.Around{Client: c} }},
	{"retry", func(c replica.Client) replica.Client {
		return retry.New(c, retry.Options{MinBackoff: time.Microsecond})
	}},
	{"bandwidth", func(c replica.Client) replica.Client { return limit.NewBandwidth(c, 1<<40, 1<<40) }},
	{"bandwidth of writing", func(c replica.Client) replica.Client { return limit.NewBandwidth(c, 0, 1<<40) }},
	{"in flight", func(c replica.Client) replica.Client { return limit.NewInFlight(c, 4) }},
	{"metrics", func(c replica.Client) replica.Client { return metrics.New(c, metrics.NewCounters()) }},
	{"all", func(c replica.Client) replica.Client {
		c = retry.New(limit.NewBandwidth(c, 1<<40, 1<<40), retry.Options{})
		return metrics.New(limit.NewInFlight(c, 4), metrics.NewCounters())
	}},
}

// Every decorator passes the suite around every kind of client.
func TestDecoratorsConform(t *testing.T) {
	for _, d := range decorators {
		t.Run(d.name, func(t *testing.T) {
			var m *mock.ReplicaClient // of the test of the suite that runs
			resources := func(replica.Client) int { return m.OpenReaders() + m.OpenIterators() }
			harnesses := map[string]replicatest.Harness{
				"mock": {
					New:       func(*testing.T) replica.Client { m = mock.New(); return only(d.wrap(m)) },
					Resources: resources,
				},
				"mock without extras": {
					New:       func(*testing.T) replica.Client { m = mock.New(); return only(d.wrap(m.Limit(0))) },
					Resources: resources,
				},
			}
			if d.name == "all" { // the others would each wait for the disk
				harnesses["file"] = replicatest.Harness{
					New: func(t *testing.T) replica.Client { return only(d.wrap(file.New(t.TempDir(), replica.LitestreamFile))) },
				}
			}
			for name, h := range harnesses {
				h.LargeSize = 4 << 20
				t.Run(name, func(t *testing.T) { replicatest.Run(t, h) })
			}
		})
	}
}

// only returns c as a client whose type says what As says of c, as the types of
// the concrete clients do.
func only(c replica.Client) replica.Client {
	type client interface {
		replica.Client
		Init(context.Context) error
	}
	base := c.(client)
	stat, _ := replica.As[replica.Stater](c)
	open, versions := replica.As[replica.VersionOpener](c)
	write, _ := replica.As[replica.VersionWriter](c)
	exclusive, _ := replica.As[replica.ExclusiveWriter](c)
	space, spaces := replica.As[replica.Spacer](c)
	local, locals := replica.As[replica.LocalOpener](c)
	switch {
	case !versions:
		return struct{ client }{base}
	case !spaces:
		return struct {
			client
			replica.Stater
			replica.VersionOpener
			replica.VersionWriter
			replica.ExclusiveWriter
		}{base, stat, open, write, exclusive}
	case !locals:
		return struct {
			client
			replica.Stater
			replica.VersionOpener
			replica.VersionWriter
			replica.ExclusiveWriter
			replica.Spacer
		}{base, stat, open, write, exclusive, space}
	}
	return struct {
		client
		replica.Stater
		replica.VersionOpener
		replica.VersionWriter
		replica.ExclusiveWriter
		replica.Spacer
		replica.LocalOpener
	}{base, stat, open, write, exclusive, space, local}
}
