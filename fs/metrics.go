package fs

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
)

const (
	// agesFreshness is how old what is told of the states may be: whoever asks for it every
	// few seconds asks the store no more often.
	agesFreshness = time.Minute

	// agesTimeout is how long is waited for all stores. What comes later is told the next time.
	agesTimeout = 5 * time.Second

	// agesAtOnce is how many replicas are asked at a time.
	agesAtOnce = 16

	// maxHanging is how many listings may hang before none is begun for metrics: each holds
	// a thread, and Go ends a process that has 10,000.
	maxHanging = 512
)

// Usage is what a mount holds, and has done, in memory.
type Usage struct {
	Cache              blocks.Stats
	Budget, BudgetUsed int64 // bytes
	Replicas           int   // that have been opened
	Inodes             int   // of files, states and links that the kernel knows
	Unpublished        int   // files that were written and are in no replica
}

// Usage returns the figures as they are now.
func (m *Mounted) Usage() Usage {
	unpublished := 0
	trees := m.mount.opened()
	for _, t := range trees {
		unpublished += t.staged.Count()
	}
	return Usage{
		Cache:      m.mount.blocks.Stats(),
		Budget:     m.mount.budget.Size(),
		BudgetUsed: m.mount.budget.Used(),
		Replicas:   len(trees),
		Inodes:     m.mount.inodes.known(),

		Unpublished: unpublished,
	}
}

// ages are what is known of the states of a replica.
type ages struct {
	mu     sync.Mutex
	asked  time.Time
	last   *told  // nil before the store has said anything
	reason string // why it couldn't be told, when that was tried last
}

// told is what a store has told of the states.
type told struct {
	states, gaps   int
	newest, oldest time.Time // zero if there is no state, or its header couldn't be read
}

// Collect implements prometheus.Collector. It asks the stores of the replicas that were used
// for their states, once a minute at most.
func (m *Mounted) Collect(ch chan<- prometheus.Metric) {
	r := m.mount.requests
	for _, c := range []prometheus.Collector{r.seconds, r.errors, r.read, r.written} {
		c.Collect(ch)
	}
	usage := m.Usage()
	stats := usage.Cache
	var onDisk disk.Stats
	if c := m.mount.opts.DiskCache; c != nil {
		onDisk = c.Stats()
	}
	writable := 0.0
	if onDisk.Keeps {
		writable = 1
	}
	r.mu.Lock()
	underWay := len(r.underWay)
	r.mu.Unlock()
	healthy := 1.0
	if r.healthy() != nil {
		healthy = 0
	}
	for _, row := range []struct {
		name, help string
		kind       prometheus.ValueType
		value      float64
	}{
		{"healthy", "1, or 0 while a request of the kernel has been under way for longer than any deadline.", prometheus.GaugeValue, healthy},
		{"fuse_requests_under_way", "Requests of the kernel that have no answer yet.", prometheus.GaugeValue, float64(underWay)},
		{"cache_hits_total", "Blocks that were asked for and in memory, or on their way.", prometheus.CounterValue, float64(stats.Hits)},
		{"cache_misses_total", "Blocks that were asked for and had to be fetched.", prometheus.CounterValue, float64(stats.Misses)},
		{"cache_evictions_total", "Blocks that made room for others.", prometheus.CounterValue, float64(stats.Evictions)},
		{"cache_fetched_bytes_total", "Bytes of blocks that were fetched.", prometheus.CounterValue, float64(stats.FetchedBytes)},
		{"cache_ahead_bytes_total", "Bytes that were fetched before anybody had asked for them.", prometheus.CounterValue, float64(stats.AheadBytes)},
		{"cache_ahead_used_bytes_total", "Bytes of these that somebody has asked for since.", prometheus.CounterValue, float64(stats.AheadUsed)},
		{"cache_guessed_bytes_total", "Bytes that were fetched ahead since a B-tree named them as next.", prometheus.CounterValue, float64(stats.GuessedBytes)},
		{"cache_guessed_used_bytes_total", "Bytes of these that somebody has asked for since.", prometheus.CounterValue, float64(stats.GuessedUsed)},
		{"cache_bytes", "Memory of the blocks that are cached.", prometheus.GaugeValue, float64(stats.CachedBytes)},
		{"budget_bytes", "Memory that everything may use together: --cache-size.", prometheus.GaugeValue, float64(usage.Budget)},
		{"budget_used_bytes", "Memory of the budget that is in use. That of cached blocks is given back to whoever needs it.",
			prometheus.GaugeValue, float64(usage.BudgetUsed)},
		{"disk_cache_hit_bytes_total", "Bytes of files that were asked for and in the disk cache. What the kernel reads of it by itself, it doesn't tell.",
			prometheus.CounterValue, float64(onDisk.HitBytes)},
		{"disk_cache_miss_bytes_total", "Bytes of files that had to be read of the replica, for who asked for them or to have a file whole.", prometheus.CounterValue, float64(onDisk.MissBytes)},
		{"disk_cache_completed_total", "Files and states that the disk cache has got whole.", prometheus.CounterValue, float64(onDisk.Completed)},
		{"disk_cache_evictions_total", "Files of the disk cache that made room for others, or that nobody had used: a partial entry is one, a whole one two.", prometheus.CounterValue, float64(onDisk.Evictions)},
		{"disk_cache_damaged_total", "Blocks of the disk cache that didn't match their checksums, and were read of the replica again.",
			prometheus.CounterValue, float64(onDisk.Damaged)},
		{"disk_cache_bytes", "What the disk cache takes up: as its directory was looked through last, and what this mount has kept since.",
			prometheus.GaugeValue, float64(onDisk.Bytes)},
		{"disk_cache_writable", "1 if the disk cache keeps what is read, and 0 for 10 s whenever its disk has refused that or hung, or without one.",
			prometheus.GaugeValue, writable},
		{"unpublished_files", "Files that were written to the mount and aren't in the replica.", prometheus.GaugeValue, float64(usage.Unpublished)},
		{"replicas", "Replicas that were opened.", prometheus.GaugeValue, float64(usage.Replicas)},
		{"inodes", "Files, states and links that the kernel knows.", prometheus.GaugeValue, float64(usage.Inodes)},
	} {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("ltxfs_"+row.name, row.help, nil, nil), row.kind, row.value)
	}
	m.collectAges(ch)
}

// Describe implements prometheus.Collector, for one that has a metric only once there is something
// to tell.
func (m *Mounted) Describe(chan<- *prometheus.Desc) {}

var (
	newestDesc = stateDesc("newest_state_timestamp_seconds", "When the newest state that can be restored was written, as its LTX file says.")
	oldestDesc = stateDesc("oldest_state_timestamp_seconds", "When the oldest state that can be restored was written.")
	statesDesc = stateDesc("states", "States that can be restored.")
	gapsDesc   = stateDesc("gaps", "Stretches of transactions that no file has, so that nothing beyond them counts.")

	unknownDesc = prometheus.NewDesc("ltxfs_replicas_unknown",
		"Replicas of which nothing is known: that were used and couldn't be opened, or haven't answered since.", nil, nil)
)

func stateDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("ltxfs_"+name, help, []string{"database"}, nil)
}

func (m *Mounted) collectAges(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), agesTimeout)
	defer cancel()
	trees, unknown := m.mount.shown(ctx)
	hanging := 0
	for _, t := range trees {
		hanging += t.index.Overdue()
	}
	if hanging <= maxHanging {
		var g errgroup.Group
		g.SetLimit(agesAtOnce)
		for _, t := range trees {
			g.Go(func() error {
				t.lookAtAges(ctx)
				return nil
			})
		}
		_ = g.Wait() // nothing fails
	}
	for name, t := range trees {
		told, ok := t.ages.known()
		if !ok {
			unknown++
			continue
		}
		gauge := func(desc *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, name)
		}
		gauge(statesDesc, float64(told.states))
		gauge(gapsDesc, float64(told.gaps))
		if !told.newest.IsZero() {
			gauge(newestDesc, float64(told.newest.UnixMilli())/1000)
		}
		if !told.oldest.IsZero() {
			gauge(oldestDesc, float64(told.oldest.UnixMilli())/1000)
		}
	}
	ch <- prometheus.MustNewConstMetric(unknownDesc, prometheus.GaugeValue, float64(unknown))
}

// shown are the trees with states that are shown now, by name as a label can have it: not
// those of databases that are there no more, or that another has the name of. unopened is how
// many more there would be if they could be opened.
func (m *mount) shown(ctx context.Context) (trees map[string]*tree, unopened int) {
	trees = map[string]*tree{}
	is := map[string]bool{"": true} // the one replica
	if m.databases != nil {
		ctx, cancel := context.WithTimeout(ctx, agesTimeout/2) // the rest is the stores'
		defer cancel()
		dirs := m.databases.knownBy(ctx)
		if dirs == nil {
			return nil, 0
		}
		is, unopened = dirs.isDatabase, m.databases.countUnopened()
	}
	for _, t := range m.opened() {
		if t.states != nil && is[t.Name] {
			trees[label(t.Name)] = t
		}
	}
	return trees, unopened
}

// label is a name, quoted if it has what a label can't, or what moves a cursor.
func label(name string) string {
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return name
}

// lookAtAges asks the store, unless that was done lately, or it hangs. If it fails, what was
// known stays, and grows old.
func (t *tree) lookAtAges(ctx context.Context) {
	t.ages.mu.Lock()
	fresh := time.Since(t.ages.asked) < agesFreshness || t.index.Overdue() > 0 || ctx.Err() != nil
	if !fresh {
		t.ages.asked = time.Now()
	}
	t.ages.mu.Unlock()
	if fresh {
		return
	}
	done := make(chan struct{})
	flight.Go(ctx, t.calls, t.within.list, flight.Work[struct{}]{
		Run: func(ctx context.Context) (struct{}, error) {
			return struct{}{}, t.states.Current(ctx, func(l *database.Timeline) error { return t.readAges(ctx, l) })
		},
		Land: func(_ struct{}, err error) {
			if t.ages.failed(err) && !errors.Is(err, errClosed) {
				t.log.Warn("can't tell how old the newest state is", "error", err)
			}
			close(done)
		},
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (t *tree) readAges(ctx context.Context, l *database.Timeline) error {
	at := func(i int) (time.Time, error) {
		if i < 0 || i >= l.Len() {
			return time.Time{}, nil
		}
		s, err := t.states.State(ctx, l, i)
		if err != nil {
			return time.Time{}, err
		}
		return s.Time(), nil
	}
	newest, err := at(l.Len() - 1)
	oldest, oldErr := at(0)
	t.ages.mu.Lock()
	defer t.ages.mu.Unlock()
	before := cmp.Or(t.ages.last, &told{})
	t.ages.last = &told{l.Len(), len(l.Gaps()), newest, oldest}
	if err != nil {
		t.ages.last.newest = before.newest
	}
	if oldErr != nil {
		t.ages.last.oldest = before.oldest
	}
	return errors.Join(err, oldErr)
}

// failed notes how asking has ended, and reports whether that is a failure that is news.
func (a *ages) failed(err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	reason := ""
	if err != nil {
		reason = err.Error()
	}
	news := reason != "" && reason != a.reason
	a.reason = reason
	return news
}

// known is what the store has told last, and whether that is anything.
func (a *ages) known() (last told, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil || a.last.states > 0 && a.last.newest.IsZero() {
		return last, false
	}
	return *a.last, true
}
