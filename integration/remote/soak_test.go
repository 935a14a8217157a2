package remote

import (
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

var soak = flag.Duration("soak", 20*time.Second, "how long TestSoak has things go wrong, at least")

const (
	soakBudget = 8 << 20
	soakOutage = 4 * time.Second // of the store, beside its end and start

	// What is kept of the files and states that were seen last has as many as it can after
	// tablesFilled. In as long a time, memory grows by mostGrowth at most, in MiB: a peak of
	// garbage at one end of it makes that much of a difference.
	tablesFilled, mostGrowth = 8 * time.Minute, 4

	// forgetTimeout is how long a mount may keep what states were read by, of which page maps
	// may be files: a minute, with what a busy machine adds.
	forgetTimeout = 75 * time.Second

	// catchUpTimeout is how long Litestream may take to replicate what was committed
	// while it couldn't: it waits longer from failure to failure.
	catchUpTimeout = 2 * time.Minute

	// compactionsLast is for how long Litestream can complain of files that overlap, or have a
	// gap between them, after a write was made and its answer lost: until retention has deleted
	// them, which keeps what 12 s of snapshots need, and three of those, one every 5 s.
	compactionsLast = 30 * time.Second
)

// soakRun is a database that Litestream replicates into a mount, which others read, while
// its store and its process end and come back.
type soakRun struct {
	t         *testing.T
	server    *s3test.Server
	bucket    string
	dir       string // the mount point
	staging   string
	m         *ltxfstest.Mounted
	source    *ltxfstest.Database
	replicate *ltxfstest.Litestream
	events    []soakSpan

	since    time.Time    // when it was mounted last
	resident [][2]float64 // hours since then, and MiB

	mu                    sync.Mutex
	states, files, missed int        // reads
	failed                []soakSpan // reads, and lines of logs
}

// soakSpan is something that took a while.
type soakSpan struct {
	began, ended time.Time
	what         string
}

// Litestream replicates through a mount for as long as -soak says, and states and files are
// read, while retention deletes files, the store is away at times, and the mount is killed and
// mounted again. No error is without such a cause, and at the end nothing is left of it.
func TestSoak(t *testing.T) { // alone: it is about what lasts, not about load
	s := &soakRun{t: t, server: s3test.StartMinIO(t), dir: ltxfstest.MountPoint(t), staging: t.TempDir(), source: ltxfstest.NewDatabase(t)}
	s.bucket = s.server.Bucket(t)
	s.mount()
	idle := s.idleMount()
	s.replicate = ltxfstest.StartLitestream(t, ltxfstest.LitestreamConfig(s.source.Path, "file://"+s.dir))
	s.catchUp()
	stop := s.use()

	quiet := max(*soak/40, deadlineSlack+3*time.Second)
	for began := time.Now(); time.Since(began) < *soak; {
		if time.Since(began) < *soak/3 { // so that memory can grow for the rest
			s.goOn(quiet)
			s.event("the mount is killed", s.killMount)
		}
		s.goOn(quiet)
		s.event("the store is away", func() {
			s.server.Stop(t)
			s.goOn(soakOutage)
			s.server.Start(t)
		})
	}
	s.goOn(quiet)
	stop()
	s.source.Close()
	s.replicate.Stop(t)
	require.Equal(t, ltxfstest.DatabaseSHA256(t, s.source.Path), ltxfstest.DatabaseSHA256(t, s.m.Path("db/latest.db")), "the newest state is the database")

	s.requireIdle(idle)
	s.requireFlat()
	s.endMount(func() { require.Equal(t, ltxfstest.ExitOK, s.m.Terminate(t), s.m.Log()) })
	s.requireCaused()
	deleted := s.replicate.Deleted(t)
	t.Logf("%d states and %d files read, of %d others retention came first, and deleted %d files; %d events caused %d failed reads and lines in logs",
		s.states, s.files, s.missed, deleted, len(s.events), len(s.failed))
	require.Greater(t, min(s.states, s.files, deleted), 20, "reads, and deleted files")
}

func (s *soakRun) mount() {
	s.t.Helper()
	s.m = s.mountOf("db", s.dir, s.staging)
	s.since, s.resident = time.Now(), nil
}

func (s *soakRun) mountOf(replica, dir, staging string) *ltxfstest.Mounted {
	s.t.Helper()
	return ltxfstest.MountWith(s.t, s.server.URL(s.bucket, replica), ltxfstest.MountOptions{
		Dir: dir, Env: s.server.Env(),
		Flags: []string{"--rw", "--http=127.0.0.1:0", fmt.Sprint("--cache-size=", soakBudget), "--staging-dir", staging},
	})
}

// idleMount is a mount of another replica that has done each thing once.
func (s *soakRun) idleMount() *ltxfstest.Mounted {
	s.t.Helper()
	m := s.mountOf("idle", ltxfstest.MountPoint(s.t), s.t.TempDir())
	p := m.Process(s.t)
	defer p.Close()
	file := ltxfstest.LevelPath(9, ltx.FormatFilename(1, 1))
	require.NoError(s.t, p.WriteFile(file, storetest.LTX(s.t, 1, 1)))
	for _, path := range []string{file, "db/latest.db"} {
		_, err := p.ReadFile(path)
		require.NoError(s.t, err)
	}
	require.NoError(s.t, p.Unlink(file))
	return m
}

// goOn lets everything go on for a while, and samples the mount's memory.
func (s *soakRun) goOn(d time.Duration) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		at := <-tick.C
		s.resident = append(s.resident, [2]float64{at.Sub(s.since).Hours(), float64(s.m.Resident(s.t)) / (1 << 20)})
	}
}

// event has something go wrong, which is over once Litestream has caught up: what failed by
// then is told soon.
func (s *soakRun) event(what string, do func()) {
	s.t.Helper()
	began := time.Now()
	do()
	s.catchUp()
	s.events = append(s.events, soakSpan{began, time.Now().Add(deadlineSlack), what})
}

// catchUp waits until all that is committed by now can be read through the mount.
func (s *soakRun) catchUp() {
	s.t.Helper()
	last := func(db string) string {
		return ltxfstest.Run(s.t, 2*readDeadline, "sqlite3", "-readonly", db, "SELECT printf('%09d', coalesce(max(id), 0)) FROM entry").Stdout
	}
	committed := last(s.source.Path)
	ltxfstest.Eventually(s.t, catchUpTimeout, "Litestream has caught up", func() bool { return last(s.m.Path("db/latest.db")) >= committed })
}

// killMount kills the mount and mounts again, which tells of all that wasn't published.
func (s *soakRun) killMount() {
	noticed := len(s.replicate.Warnings(s.t))
	s.endMount(func() { s.m.Kill(s.t) })
	ltxfstest.Eventually(s.t, ltxfstest.Timeout, "Litestream notices that the mount is dead", func() bool {
		return len(s.replicate.Warnings(s.t)) > noticed
	})
	var left []string
	require.NoError(s.t, filepath.WalkDir(s.staging, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Ext(path) != ".lock" {
			left = append(left, path)
		}
		return err
	}))
	// Until it is mounted again, the mount point is a plain directory.
	s.replicate.Signal(s.t, syscall.SIGSTOP)
	s.mount()
	s.replicate.Signal(s.t, syscall.SIGCONT)
	for _, path := range left {
		require.Contains(s.t, s.m.Log(), path, "what is left unpublished is told")
	}
}

var (
	ltxfsTrouble      = regexp.MustCompile(`(?m)^time=(\S+) level=(?:WARN|ERROR) .*$`)
	litestreamTrouble = regexp.MustCompile(`"time":"([^"]+)".*`)
)

// endMount ends the mount, whose memory has kept to its promise.
func (s *soakRun) endMount(end func()) {
	s.t.Helper()
	require.LessOrEqual(s.t, s.m.Memory(s.t), int64(soakBudget+memoryOverhead), "resident memory at its peak")
	end()
	s.addTrouble(ltxfsTrouble, s.m.Log())
}

// addTrouble notes the lines of a log that match, as having failed.
func (s *soakRun) addTrouble(lines *regexp.Regexp, log string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range lines.FindAllStringSubmatch(log, -1) {
		at, err := time.Parse(time.RFC3339Nano, line[1])
		require.NoError(s.t, err, line)
		s.failed = append(s.failed, soakSpan{at, at, line[0]})
	}
}

// requireCaused checks that each failure has to do with an event.
func (s *soakRun) requireCaused() {
	s.t.Helper()
	s.addTrouble(litestreamTrouble, strings.Join(s.replicate.Warnings(s.t), ""))
	for _, f := range s.failed {
		later := time.Duration(0)
		if strings.Contains(f.what, "post-compaction verification failed") {
			later = compactionsLast
		}
		if !slices.ContainsFunc(s.events, func(e soakSpan) bool { return f.began.Before(e.ended.Add(later)) && f.ended.After(e.began) }) {
			s.t.Errorf("no event has caused %v; events: %v", f, s.events)
		}
	}
}

// requireIdle waits until the mount, which nobody uses any more, holds no more than one that has
// hardly been used, both without connections to the store.
func (s *soakRun) requireIdle(idle *ltxfstest.Mounted) {
	s.t.Helper()
	type held struct {
		open       []string // without sockets
		sockets    int      // what --http listens on, our connection to it, and what commands connect to
		goroutines int
		// Bytes of the budget without cached blocks, requests under way, unpublished files.
		gauges [3]float64
	}
	of := func(m *ltxfstest.Mounted) (h held) {
		now, _ := m.Metrics(s.t)
		h.goroutines = int(now.Sum("go_goroutines"))
		h.gauges = [...]float64{now.Sum("ltxfs_budget_used_bytes") - now.Sum("ltxfs_cache_bytes"),
			now.Sum("ltxfs_fuse_requests_under_way"), now.Sum("ltxfs_unpublished_files")}
		h.open, h.sockets = (&rig{t: s.t, m: m}).descriptors()
		for i, path := range h.open {
			if filepath.Ext(path) == ".lock" {
				h.open[i] = "lock" // of the mount point, or of the staging directory
			}
		}
		return h
	}
	for deadline := time.Now().Add(forgetTimeout); ; time.Sleep(50 * time.Millisecond) {
		got, want := of(s.m), of(idle)
		if slices.Equal(got.open, want.open) && max(got.sockets, want.sockets) == 3 && got.gauges == [3]float64{} &&
			got.goroutines <= want.goroutines+goroutinesMore {
			s.t.Logf("the mount holds %+v, an idle one %+v", got, want)
			return
		}
		require.Less(s.t, time.Now(), deadline, "the mount holds %+v, an idle one %+v", got, want)
	}
}

// requireFlat checks that the mount's memory didn't grow in the last half of the time since
// it was mounted last, by the slope of the line that is nearest to all samples of that.
func (s *soakRun) requireFlat() {
	s.t.Helper()
	var n, x, y, xx, xy float64
	for _, r := range s.resident[len(s.resident)/2:] {
		n, x, y, xx, xy = n+1, x+r[0], y+r[1], xx+r[0]*r[0], xy+r[0]*r[1]
	}
	slope, took := (n*xy-x*y)/(n*xx-x*x), time.Since(s.since)/2
	s.t.Logf("resident memory in the last %v: %.1f MiB on average, growing by %.1f MiB an hour; its peak in twice that time was %.1f",
		took.Round(time.Second), y/n, slope, float64(s.m.Memory(s.t))/(1<<20))
	if took >= tablesFilled {
		require.Less(s.t, slope*took.Hours(), float64(mostGrowth), "MiB")
	}
}
