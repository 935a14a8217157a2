package cache

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/superfly/ltx"
)

// Deadlines of an index's requests, and how many of a listing's stats run at a
// time, unless IndexOptions has others.
const (
	DefaultListTimeout      = 60 * time.Second
	DefaultStatTimeout      = 30 * time.Second
	DefaultExactConcurrency = 50
)

// IndexOptions are the parameters of an Index.
type IndexOptions struct {
	// Freshness is how old an answer of the store may be to be given again.
	// With 0, every call asks the store.
	Freshness time.Duration

	// ListTimeout and StatTimeout are the deadlines of one listing and of one
	// stat. 0 is the default.
	ListTimeout time.Duration
	StatTimeout time.Duration

	// Settle is how long a store may go on contradicting a change that was
	// made through it. For so long the change wins over an answer that does.
	// With 0, any answer to a question asked after the change is right.
	Settle time.Duration

	// ExactTimes makes every mtime the LTX timestamp, whatever that costs: from
	// StatLTXFileExact if the client is a replica.ExactStater, once for each
	// version of a file, and else from listings with metadata.
	ExactTimes bool

	// ExactConcurrency is how many StatLTXFileExact a listing has under way at
	// a time. 0 is DefaultExactConcurrency.
	ExactConcurrency int

	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// Logger gets one debug line a request; nil is none.
	Logger *slog.Logger
}

// Index knows the files of each level: what the store said within the freshness
// interval, and what this mount did since.
//
// Events, which are own changes, invalidations, and beginnings of requests, are
// numbered: what a request found counts for what came before it, and not for what
// came after, whatever the clock says.
type Index struct {
	client replica.Client
	opts   IndexOptions

	// statFile finds one file with the time that it is to have; nil if the
	// client can't. exact is set if listings leave the times to it, and
	// metadata if they must find them.
	statFile statFunc
	exact    bool
	metadata bool

	root   context.Context // of all requests; done after Close
	cancel context.CancelCauseFunc

	landings sync.WaitGroup // requests that have not landed

	mu      sync.Mutex
	closed  bool
	seq     uint64 // of the last event
	levels  [replica.MaxLevel + 1]levelIndex
	stats   map[statKey]*stat // under way
	found   *simplelru.LRU[statKey, *stat]
	flights map[uint64]struct{} // the events that requests in flight began with
}

// statFunc is what StatLTXFile and StatLTXFileExact are.
type statFunc func(ctx context.Context, level int, min, max ltx.TXID) (replica.File, error)

// levelIndex is what is known of one level.
type levelIndex struct {
	base    *Snapshot // nil before the first listing
	times   times
	own     overlay
	invalid uint64   // the event of the last Invalidate
	listing *listing // the last one begun, while it runs
	running int      // listings
}

// NewIndex returns an index of what client lists. It knows nothing yet.
func NewIndex(client replica.Client, opts IndexOptions) *Index {
	if opts.ListTimeout <= 0 {
		opts.ListTimeout = DefaultListTimeout
	}
	if opts.StatTimeout <= 0 {
		opts.StatTimeout = DefaultStatTimeout
	}
	if opts.ExactConcurrency <= 0 {
		opts.ExactConcurrency = DefaultExactConcurrency
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	x := &Index{
		client:  client,
		opts:    opts,
		stats:   map[statKey]*stat{},
		flights: map[uint64]struct{}{},
	}
	var err error
	if x.found, err = simplelru.NewLRU[statKey, *stat](maxFound, nil); err != nil {
		panic(err) // its one error is a size below 1
	}
	stater, stats := replica.As[replica.Stater](client)
	exact, exacts := replica.As[replica.ExactStater](client)
	switch {
	case opts.ExactTimes && exacts:
		x.statFile, x.exact = exact.StatLTXFileExact, true
	case opts.ExactTimes:
		x.metadata = true // and Find lists as well
	case stats:
		x.statFile = stater.StatLTXFile
	}
	x.root, x.cancel = context.WithCancelCause(context.Background())
	return x
}

// Put makes a file that this mount wrote show at once.
func (x *Index) Put(f replica.File) { x.change(f, false) }

// Remove makes a file that this mount deleted be gone at once.
func (x *Index) Remove(level int, min, max ltx.TXID) {
	x.change(replica.File{Level: level, MinTXID: min, MaxTXID: max}, true)
}

func (x *Index) change(f replica.File, removed bool) {
	if replica.CheckLevel(f.Level) != nil {
		return // no call returns a file of such a level either
	}
	// What a snapshot would make of it, so that it doesn't matter which of
	// the two answers.
	f.ModTime = unpackTime(packTime(f.ModTime))

	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.opts.Now()
	lv := &x.levels[f.Level]
	lv.own.put(&change{file: f, removed: removed, at: now, seq: x.event()})
	if lv.own.due() {
		lv.fold(f.Level)
		lv.own.prune(now.Add(-max(x.opts.Freshness, x.opts.Settle)), x.oldestFlight())
	}
}

// Invalidate makes the next Level or Find of a level ask the store.
func (x *Index) Invalidate(level int) {
	if replica.CheckLevel(level) != nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.levels[level].invalid = x.event()
}

// Close ends the requests in flight. Those who wait for them, and every later
// call, get an error that wraps os.ErrClosed.
func (x *Index) Close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.cancel(errClosed)
	x.landings.Wait()
}

// event numbers an event. Index.mu is held.
func (x *Index) event() uint64 {
	x.seq++
	return x.seq
}

// launch notes that a request begins, and land that its result is there.
func (x *Index) launch() (seq uint64) {
	seq = x.event()
	x.flights[seq] = struct{}{}
	x.landings.Add(1)
	return seq
}

func (x *Index) land(seq uint64) {
	delete(x.flights, seq)
	x.landings.Done()
}

// oldestFlight returns the event that the longest running request began with.
func (x *Index) oldestFlight() uint64 {
	oldest := uint64(math.MaxUint64)
	for seq := range x.flights {
		oldest = min(oldest, seq)
	}
	return oldest
}

// recent tells whether what was asked at that time and event is still an answer.
func (x *Index) recent(lv *levelIndex, now, began time.Time, seq uint64) bool {
	return seq > lv.invalid && now.Sub(began) < x.opts.Freshness
}

// fresh tells whether the level's base is still an answer.
func (x *Index) fresh(lv *levelIndex, now time.Time) bool {
	return lv.base != nil && x.recent(lv, now, lv.base.began, lv.base.seq)
}

// fold takes the own changes into what stays when they are forgotten.
func (lv *levelIndex) fold(level int) {
	if lv.merge() == nil {
		lv.times.keep(&lv.own, level)
	}
}

// merge returns the base with all own changes. It becomes the base itself, lest
// the level be in memory twice; the overlay still has what the next listing may
// lack.
func (lv *levelIndex) merge() *Snapshot {
	if lv.base != nil {
		lv.base = lv.own.apply(lv.base)
	}
	return lv.base
}
