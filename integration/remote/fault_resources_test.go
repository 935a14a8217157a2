package remote

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

const (
	// schedTrace has the Go runtime of the daemon print its goroutines every two
	// seconds, so that they can be counted while it lives.
	schedTrace = "GODEBUG=schedtrace=2000,scheddetail=1"

	// idleTimeout is how long a connection may outlast its last use, 10 s, with
	// time for a machine that has much to do.
	idleTimeout = 45 * time.Second

	// goroutinesMore is by how much the number of goroutines may differ: those
	// that wait for the kernel's requests come and go, and so do those of the
	// runtime itself.
	goroutinesMore = 8
)

// resources are what a daemon holds.
type resources struct {
	open       []string // its descriptors, without sockets
	sockets    int
	goroutines int
}

var (
	traceHead = regexp.MustCompile(`(?m)^SCHED \d+ms:`)
	// A goroutine with the status 6 has ended; the runtime keeps it for a
	// new one.
	traceGoroutine = regexp.MustCompile(`(?m)^ +G\d+: status=(\d+)\(`)
)

// resources are what the daemon holds now.
func (r *rig) resources() resources {
	r.t.Helper()
	var res resources
	for _, path := range r.m.Descriptors(r.t) {
		name, _, numbered := strings.Cut(path, ":[")
		if numbered && name == "socket" {
			res.sockets++
			continue
		}
		res.open = append(res.open, name)
	}
	slices.Sort(res.open)
	res.goroutines = r.goroutines()
	return res
}

// goroutines waits for the next trace of the daemon and counts the goroutines in
// it.
func (r *rig) goroutines() int {
	r.t.Helper()
	traces := func() [][]int { return traceHead.FindAllStringIndex(r.m.Log(), -1) }
	seen := len(traces())
	// The first has begun after this, and is whole when the next begins.
	ltxfstest.Eventually(r.t, ltxfstest.Timeout, "the runtime has traced its goroutines", func() bool { return len(traces()) >= seen+2 })
	heads := traces()
	block := r.m.Log()[heads[seen][0]:heads[seen+1][0]]
	n := 0
	for _, match := range traceGoroutine.FindAllStringSubmatch(block, -1) {
		if match[1] != "6" {
			n++
		}
	}
	require.Positive(r.t, n, "goroutines in a trace: %s", block)
	return n
}

// requireResources waits until the daemon has let go of its connections, and
// compares what it holds with what it held when it was new.
func (r *rig) requireResources() {
	r.t.Helper()
	var now resources
	// Each connection has two goroutines.
	most := r.before.goroutines - 2*r.before.sockets + goroutinesMore
	asBefore := func() bool {
		now = r.resources()
		return now.sockets == 0 && now.goroutines <= most && slices.Equal(now.open, r.before.open)
	}
	for deadline := time.Now().Add(idleTimeout); !asBefore() && time.Now().Before(deadline); {
	}
	require.Zero(r.t, now.sockets, "connections after %v of silence", idleTimeout)
	require.Equal(r.t, r.before.open, now.open, "what the daemon has open")
	require.LessOrEqual(r.t, now.goroutines, most, "goroutines, of %d with %d connections before", r.before.goroutines, r.before.sockets)
}

// requireBudget shows that all of the memory budget is free to be used: a file of
// its size is cached whole. Were one block still charged for a read that failed,
// the file wouldn't fit, and reading it again would ask the store.
func (r *rig) requireBudget() {
	r.t.Helper()
	for range 2 {
		r.proxy.Reset()
		got := r.read(r.probe, direct)
		require.NoError(r.t, got.err(), got.stderr)
		require.True(r.t, bytes.Equal(r.probe.data, got.data), "the file as large as the budget has wrong bytes")
	}
	require.Zero(r.t, r.proxy.Counts()[s3test.GetObject], "requests to read again a file that is as large as the budget")
}
