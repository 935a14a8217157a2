package remote

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const (
	// readDeadline is that of a read, and listDeadline that of a listing.
	readDeadline, listDeadline = 30 * time.Second, 60 * time.Second

	// deadlineSlack is what the kernel, the tool and a busy machine may add.
	deadlineSlack = 5 * time.Second
)

// requireDeadline checks that a tool ended by a deadline and not before.
func requireDeadline(t testing.TB, o outcome, d time.Duration) {
	t.Helper()
	require.Equal(t, syscall.ETIMEDOUT, o.errno, "%s: %s", o.tool, o.stderr)
	require.InDelta(t, (d + deadlineSlack/2).Seconds(), o.took.Seconds(), (deadlineSlack/2 + time.Second/2).Seconds(), "%s", o.tool)
}

// A server that is stopped and started again: what was begun before and meanwhile
// goes on.
func faultStopped(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{own: true})
	l := r.use(loadOptions{readErrnos: timedOut, writeErrnos: timedOut})
	l.goOn(1, 1)
	r.server.Stop(t)
	<-time.After(20 * time.Second)
	r.server.Start(t)
	l.goOn(2, 2)
	r.publishAll(l.end())
	r.requireRecovered()
}

// A server that takes connections and says nothing for a while.
func faultPaused(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{own: true})
	l := r.use(loadOptions{readErrnos: timedOut, writeErrnos: timedOut})
	l.goOn(1, 1)
	r.server.Pause(t)
	<-time.After(15 * time.Second)
	r.server.Resume(t)
	l.goOn(2, 2)
	require.Empty(t, l.end(), "15 s are within all deadlines")
	require.Zero(t, countErrors(l.reads), "15 s are within all deadlines")
	r.requireRecovered()
}

// A server that never comes back: all ends with an error, what is in memory can
// be read, nothing is lost, and the next mount has it.
func faultGone(t *testing.T, kind *s3test.Kind) {
	// What names are known is not asked again, however slow the machine is.
	r := newRig(t, kind, rigOptions{own: true, flags: []string{"--freshness=5m"}})
	cold, cached := r.seeds[5], r.seeds[0]
	r.requireReads(cached)
	finish := r.beginWrite(r.newWrite(3))
	r.look(cold)
	r.look(r.seeds[6])
	r.server.Kill(t)
	l := r.use(loadOptions{readErrnos: timedOut, writeErrnos: timedOut, pages: []uint32{3}})

	results := make(chan outcome, 2)
	go func() { results <- r.read(cold, direct) }()
	go func() { results <- finish() }()
	r.requireReads(cached)
	r.requireKillable(r.seeds[6])
	l.goOn(0, 1)
	failed := l.end()
	require.Len(t, failed, len(l.writes))
	for range cap(results) {
		o := <-results
		require.Contains(t, timedOut, o.errno, "%s %s: %s", o.tool, o.file.path(), o.stderr)
		switch {
		case o.file.level == seedLevel:
			require.LessOrEqual(t, o.took, readDeadline+deadlineSlack)
		default:
			require.LessOrEqual(t, o.took, publishMax)
			require.NotEmpty(t, o.staged)
			failed = append(failed, o)
		}
	}
	r.requireStaged(failed)

	require.Equal(t, ltxfstest.ExitUnpublished, r.m.Terminate(t))
	log := r.m.Log()
	for _, path := range r.stagedFiles() {
		require.Contains(t, log, path)
	}
	r.server.Start(t)
	r.requireBucket()
	r.publishLeftovers()
}

// publishLeftovers mounts again, after a mount that left files unpublished, and
// follows the advice that this mount gives for each.
func (r *rig) publishLeftovers() {
	r.t.Helper()
	left := r.stagedFiles()
	require.NotEmpty(r.t, left)
	r.mount(rigOptions{flags: []string{"--staging-dir", r.m.Staging}})
	var advice [][]string
	ltxfstest.Eventually(r.t, ltxfstest.Timeout, "the log advises on each file", func() bool {
		advice = regexp.MustCompile(`(?m)^ +to publish it: (.*)\n`).FindAllStringSubmatch(r.m.Log(), -1)
		return len(advice) == len(left)
	})
	for _, command := range advice {
		ltxfstest.Shell(r.t, command[1])
	}
	require.Empty(r.t, r.stagedFiles())
	r.warmUp()
	for name := range left {
		name = strings.TrimSuffix(name, ".tmp")
		for key := range r.may {
			if strings.HasSuffix(key, "/"+name) {
				r.must[key] = true
			}
		}
	}
	r.requireRecovered()
}

// look looks a file up, which the kernel then remembers for some seconds.
func (r *rig) look(f ltxFile) {
	r.t.Helper()
	ltxfstest.MustRun(r.t, "stat", r.m.Path(f.path()))
}

// A server that takes connections and never says anything: each call ends by its
// own deadline, and who waits can be killed.
func faultHung(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{own: true})
	finish := r.beginWrite(r.newWrite(3))
	for _, f := range r.seeds[4:8] {
		r.look(f)
	}
	r.server.Pause(t)
	l := r.use(loadOptions{readErrnos: timedOut, writeErrnos: timedOut})
	written := make(chan outcome, 1)
	go func() { written <- finish() }()
	results := make(chan func(), 3)
	go func() {
		o := r.read(r.seeds[4], direct)
		results <- func() { requireDeadline(t, o, readDeadline) }
	}()
	go func() {
		o := r.read(r.seeds[5], buffered)
		results <- func() { requireDeadline(t, o, readDeadline) }
	}()
	go func() {
		_, o := r.list(seedLevel)
		results <- func() { requireDeadline(t, o, listDeadline) }
	}()
	r.requireKillable(r.seeds[6])
	for range cap(results) {
		(<-results)()
	}
	r.server.Resume(t)
	o := <-written
	require.NoError(t, o.err(), "a write within its deadline of 5 minutes: %s", o.stderr)
	l.goOn(1, 1)
	r.publishAll(l.end())
	r.requireRecovered()
}

// requireKillable starts to read a file and kills the reader, which must go at once
// and not wait for the store.
func (r *rig) requireKillable(f ltxFile) {
	r.t.Helper()
	cmd := exec.Command("cat", r.m.Path(f.path()))
	require.NoError(r.t, cmd.Start())
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	ltxfstest.Eventually(r.t, ltxfstest.Timeout, "a reader waits for the store", func() bool { return r.opened(cmd.Process.Pid, f) })
	require.NoError(r.t, cmd.Process.Kill())
	select {
	case <-gone:
	case <-time.After(deadlineSlack):
		r.t.Errorf("a reader that was killed still waits for the store after %v", deadlineSlack)
		<-gone
	}
}

// opened tells whether a process has a file open.
func (r *rig) opened(pid int, f ltxFile) bool {
	open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, fd := range open {
		if target, err := filepath.EvalSymlinks(fd); err == nil && target == r.m.Path(f.path()) {
			return true
		}
	}
	return false
}

// manyReaders is more than the connections that there may be.
const manyReaders = 100

// However many wait for a store that hangs, all get their error in time, and the
// mount goes on.
func faultManyReaders(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{budget: 32})
	big := newFile(t, seedLevel, 800, 4096, storetest.Seed(1))
	r.store(big)
	r.look(big)
	remove := r.proxy.Intercept(r.proxy.Hang())
	l := r.use(loadOptions{readErrnos: timedOut, writeErrnos: timedOut})
	const script = `for i in $(seq 0 $(($2 - 1))); do
	dd if="$1" of=/dev/null bs=128k count=1 skip=$i iflag=direct status=none 2>&1 || true &
done
wait`
	result, took := r.run("bash", "-c", script, "bash", r.m.Path(big.path()), fmt.Sprint(manyReaders))
	require.Equal(t, manyReaders, strings.Count(result.Stdout, "Connection timed out"), result)
	require.LessOrEqual(t, took, readDeadline+deadlineSlack)
	remove()
	r.requireReads(big)
	l.goOn(1, 1)
	r.publishAll(l.end())
	r.requireRecovered()
}

// A mount whose store hangs can be ended: the second signal doesn't wait for what
// is being published, and all that isn't published is named.
func faultHungAtEnd(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{own: true})
	finish := r.beginWrite(r.newWrite(3))
	r.proxy.Reset()
	r.server.Pause(t)
	written := make(chan outcome, 1)
	go func() { written <- finish() }()
	read := exec.Command("cat", r.m.Path(r.seeds[7].path()))
	require.NoError(t, read.Start())
	readEnded := make(chan struct{})
	go func() { _ = read.Wait(); close(readEnded) }()
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the file is on its way", func() bool {
		return r.proxy.Counts()[s3test.PutObject] > 0
	})

	began := time.Now()
	r.m.Signal(t, syscall.SIGTERM)
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the mount is detached from who uses it", func() bool { return len(ltxfstest.Mounts(r.m.Dir)) == 0 })
	require.Equal(t, ltxfstest.ExitUnpublished, r.m.Terminate(t))
	require.Less(t, time.Since(began), 20*time.Second)
	require.NotZero(t, (<-written).errno)
	<-readEnded
	for _, path := range r.stagedFiles() {
		require.Contains(t, r.m.Log(), path)
	}
	r.server.Resume(t)
	r.requireBucket()
	r.publishLeftovers()
}
