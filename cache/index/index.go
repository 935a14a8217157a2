// Package index knows the files of each level of a replica. What is true of a name, the
// first row that applies tells:
//
//	1  own change   recent: younger than Freshness and than the last Invalidate
//	2  own change   over rows 3 and 4 that were asked before it, or contradict it within Settle
//	3  listing      recent; one that is under way, as far as it has come
//	4  stat         recent, or asked for now; if there is none, the store is asked
//	5  known time   over the time in rows 3 and 4, of own writes and of exact times found before
//
// Index.answer is rows 1 to 4, change.outlives row 2, and Snapshot.known row 5.
package index

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// Deadlines of an index's requests, unless Options has others.
const (
	defaultListTimeout = 60 * time.Second
	defaultStatTimeout = 30 * time.Second
)

// errClosed is what calls get that come, or still wait, after Close.
var errClosed = fmt.Errorf("the index is closed: %w", os.ErrClosed)

// Options are the parameters of an Index.
type Options struct {
	// Freshness is how old an answer of the store may be to be given again.
	// With 0, every call asks the store.
	Freshness time.Duration

	// Settle is how long a store may go on contradicting a change that was
	// made through it. For so long the change wins over an answer that does.
	// With 0, any answer to a question asked after the change is right.
	Settle time.Duration

	// ListTimeout and StatTimeout are the deadlines of one listing and of one
	// stat. 0 is 60 s and 30 s.
	ListTimeout time.Duration
	StatTimeout time.Duration

	// RefreshAll, if set, is how old a listing of a whole level may be, of a store that lists in order. Until then,
	// a new one asks only for what comes after the last file that was found, and takes the rest to be as it was,
	// unless that file isn't.
	RefreshAll time.Duration

	// ExactTimes makes every ModTime the LTX timestamp, whatever that costs:
	// once for each version of a file.
	ExactTimes bool

	// Sorted says that the store lists in the order of names, as far as is known.
	Sorted bool

	// Stray is as in replica.ListOptions, for any level.
	Stray func(level int, base string)

	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// Memory is told of the memory that the files of levels take up; nil is nobody.
	Memory Memory

	// Logger gets one debug line a request; nil is none.
	Logger *slog.Logger
}

// Memory is who keeps account of memory.
type Memory interface {
	// Add is called when n more bytes are taken up, or -n fewer. It doesn't wait.
	Add(n int64)
}

// Index knows the files of each level.
//
// Events, which are own changes, invalidations, and beginnings of requests, are
// numbered: what a request found counts for what came before it, and not for what
// came after, whatever the clock says.
type Index struct {
	store    replica.Store
	opts     Options
	requests *flight.Group

	mu      sync.Mutex
	closed  bool
	seq     uint64 // of the last event
	levels  [replica.MaxLevel + 1]levelIndex
	stats   *simplelru.LRU[replica.Name, *stat] // under way, and answers
	flights map[uint64]struct{}                 // the events that requests in flight began with
}

// levelIndex is what is known of one level.
type levelIndex struct {
	// base is what the last listing found, and own changes since. Without a
	// listing, or after one that failed, it is no answer, but knows times.
	base       *Snapshot
	own        ownChanges
	whole      answer   // when the last listing of the whole level began, and the last file found since
	invalid    uint64   // the event of the last Invalidate
	listing    *listing // the last one begun, while it runs
	running    int      // listings
	disordered bool     // the last listing was in another order
}

// maxStats is how many stats are kept for the freshness interval. A program that
// copies a file asks for its name several times in a row.
const maxStats = 1024

// New returns an index of what store has. It knows nothing yet.
func New(store replica.Store, opts Options) *Index {
	if opts.ListTimeout <= 0 {
		opts.ListTimeout = defaultListTimeout
	}
	if opts.StatTimeout <= 0 {
		opts.StatTimeout = defaultStatTimeout
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	x := &Index{store: store, opts: opts, requests: flight.NewGroup(), flights: map[uint64]struct{}{}}
	for level := range x.levels {
		x.levels[level].base = &Snapshot{level: level}
	}
	var err error
	if x.stats, err = simplelru.NewLRU[replica.Name, *stat](maxStats, nil); err != nil {
		panic(err) // its one error is a size below 1
	}
	return x
}

// Put makes a file that this mount wrote show at once.
func (x *Index) Put(f replica.File) { x.change(f, true) }

// Remove makes a file that this mount deleted be gone at once.
func (x *Index) Remove(name replica.Name) { x.change(replica.File{Name: name}, false) }

func (x *Index) change(f replica.File, exists bool) {
	if replica.CheckLevel(f.Level) != nil {
		return // no call returns a file of such a level either
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.opts.Now()
	lv := &x.levels[f.Level]
	lv.own.put(&change{file: packable(f), exists: exists, began: now, seq: x.event()})
	if lv.own.due() {
		lv.merge(x.opts.Memory)
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

// Overdue is how many requests have passed their deadline, and hold a thread since the store
// hasn't returned.
func (x *Index) Overdue() int { return x.requests.Overdue() }

// Close ends the requests in flight. Those who wait for them, and every later
// call, get an error that wraps os.ErrClosed.
func (x *Index) Close() {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.requests.Close(errClosed)
}

// event numbers an event. Index.mu is held.
func (x *Index) event() uint64 {
	x.seq++
	return x.seq
}

// launch notes that a request begins, until it lands.
func (x *Index) launch() (seq uint64) {
	seq = x.event()
	x.flights[seq] = struct{}{}
	return seq
}

// oldestFlight returns the event that the longest running request began with.
func (x *Index) oldestFlight() uint64 {
	oldest := uint64(math.MaxUint64)
	for seq := range x.flights {
		oldest = min(oldest, seq)
	}
	return oldest
}
