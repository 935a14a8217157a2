package remote

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

const (
	// schedTrace has the Go runtime of the daemon print its goroutines every
	// second, so that they can be counted while it lives.
	schedTrace = "GODEBUG=schedtrace=1000,scheddetail=1"

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

// traceHead begins a trace.
const traceHead = "\nSCHED "

// A goroutine with the status 6 has ended; the runtime keeps it for a new one.
var traceGoroutine = regexp.MustCompile(`(?m)^ +G\d+: status=(\d+)\(`)

// descriptors are what the daemon has open now, and how many sockets beside.
func (r *rig) descriptors() (open []string, sockets int) {
	r.t.Helper()
	for _, path := range r.m.Descriptors(r.t) {
		name, _, numbered := strings.Cut(path, ":[")
		if numbered && name == "socket" {
			sockets++
			continue
		}
		open = append(open, name)
	}
	slices.Sort(open)
	return open, sockets
}

// resources are what the daemon holds now.
func (r *rig) resources() resources {
	r.t.Helper()
	open, sockets := r.descriptors()
	return resources{open, sockets, r.goroutines()}
}

// goroutines waits for the next trace of the daemon and counts the goroutines in
// it.
func (r *rig) goroutines() int {
	r.t.Helper()
	n, from := 0, len(r.m.Log())
	// The first head from here on begins a trace, and the second ends it.
	ltxfstest.Eventually(r.t, ltxfstest.Timeout, "the runtime has traced its goroutines", func() bool {
		traces := strings.SplitN(r.m.LogFrom(from), traceHead, 3)
		if len(traces) < 3 {
			return false
		}
		for _, match := range traceGoroutine.FindAllStringSubmatch(traces[1], -1) {
			if match[1] != "6" {
				n++
			}
		}
		require.Positive(r.t, n, "goroutines in a trace: %s", traces[1])
		return true
	})
	return n
}

// listening is how many sockets a daemon without connections has: for the commands of ltxfs.
const listening = 1

// requireResources waits until the daemon has let go of its connections, and
// compares what it holds with what it held when it was new.
func (r *rig) requireResources() {
	r.t.Helper()
	deadline := time.Now().Add(idleTimeout)
	open, sockets := r.descriptors()
	for time.Now().Before(deadline) && (sockets > listening || !slices.Equal(r.before.open, open)) {
		time.Sleep(50 * time.Millisecond)
		open, sockets = r.descriptors()
	}
	require.Equal(r.t, listening, sockets, "sockets after %v of silence", idleTimeout)
	require.Equal(r.t, r.before.open, open, "what the daemon has open")

	// Each connection has two goroutines.
	connections := r.before.sockets - listening
	most := r.before.goroutines - 2*connections + goroutinesMore
	goroutines := r.goroutines()
	for time.Now().Before(deadline) && goroutines > most {
		goroutines = r.goroutines()
	}
	require.LessOrEqual(r.t, goroutines, most, "goroutines, of %d with %d connections before", r.before.goroutines, connections)
}

// requireBudget shows that all of the memory budget is free to be used: a file of
// its size is cached whole. Were one block still charged for a read that failed,
// the file wouldn't fit, and reading it again would ask the store. It is read backwards:
// what a stream leaves behind isn't kept.
func (r *rig) requireBudget() {
	r.t.Helper()
	p := r.m.Process(r.t)
	defer p.Close()
	f, err := p.Open(r.probe.path(), unix.O_RDONLY|unix.O_DIRECT, 0)
	require.NoError(r.t, err)
	for range 2 {
		r.proxy.Reset()
		for off := (len(r.probe.data) - 1) / maxBlock * maxBlock; off >= 0; off -= maxBlock {
			want := r.probe.data[off:min(off+maxBlock, len(r.probe.data))]
			got, err := f.ReadAt(len(want), int64(off))
			require.NoError(r.t, err)
			require.True(r.t, bytes.Equal(want, got), "the file as large as the budget has wrong bytes at %d", off)
		}
	}
	require.Zero(r.t, r.proxy.Counts()[s3test.GetObject], "requests to read again a file that is as large as the budget")
}
