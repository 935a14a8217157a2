// Package database has the restorable states of a replica's database: which TXIDs can
// be restored, from which files, and what the database file of each is, read page by
// page out of the replica's files.
//
// A state is what Litestream restores for its TXID. It is read from the files that
// Litestream would choose (Timeline.plan), by way of their page indexes, which say
// where each page is. Of these a map is made (run) that states have in common as far as
// their files are the same.
package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// Options are what a Database works with.
type Options struct {
	ReplicaID string
	Store     replica.Store
	Index     *index.Index
	Blocks    *blocks.Cache
	Budget    *blocks.Budget
	Maps      *Maps
	Memory    index.Memory
	Calls     *flight.Group // of the store

	// Exact leaves page 1 as Litestream restores it. Otherwise it says that the
	// database isn't in WAL mode, in which SQLite can't open one that it can't write
	// to.
	Exact bool

	// Forget, if set, is told of files of which something was read that can't be right, before
	// it is read again, unless it couldn't be right the second time either within the last hour.
	Forget func(replica.File)

	// ReadTimeout is the deadline of one request.
	ReadTimeout time.Duration

	Logger *slog.Logger
}

// Database is the states of one replica. All its methods may be called at once from
// many goroutines.
type Database struct {
	opts Options

	mu        sync.Mutex
	timeline  *Timeline
	gaps      []gap // that are believed
	headers   *simplelru.LRU[version, header]
	asking    map[version]*asking
	times     *simplelru.LRU[ltx.TXID, header] // the earliest that was seen of each state
	ahead     ahead
	instants  instants
	unordered bool                               // a state has an earlier time than one before it
	invalid   *simplelru.LRU[version, time.Time] // since when a file is taken for damaged in the replica itself
	contents  map[*content]struct{}
	runs      *simplelru.LRU[version, *run] // of single files
	reading   map[version]*reading
	recent    *content // of the state that was closed last
	forgets   *time.Timer
	closed    bool

	building sync.Mutex          // is held by who makes a timeline
	ends     *semaphore.Weighted // a place for each file whose index is read
}

// maxKnown is how many headers, times of states, and runs of files are kept at most, and
// knownSize what a header or a time takes, in bytes.
const (
	maxKnown  = 64 << 10
	knownSize = 256
)

// New returns the states of a replica.
func New(opts Options) *Database {
	d := &Database{
		opts: opts, asking: map[version]*asking{}, contents: map[*content]struct{}{},
		headers: newKnown[version](opts.Memory), times: newKnown[ltx.TXID](opts.Memory),
		reading: map[version]*reading{}, invalid: newLRU[version, time.Time](maxInvalid, nil), ends: semaphore.NewWeighted(endsAtOnce),
	}
	d.runs = newLRU(maxKnown, func(_ version, r *run) {
		d.opts.Maps.unkeep(r.memory())
		r.release()
	})
	return d
}

func newKnown[K comparable](memory index.Memory) *simplelru.LRU[K, header] {
	return newLRU(maxKnown, func(K, header) { memory.Add(-knownSize) })
}

func newLRU[K comparable, V any](size int, lost func(K, V)) *simplelru.LRU[K, V] {
	l, err := simplelru.NewLRU(size, lost)
	if err != nil {
		panic(err) // its one error is a size below 1
	}
	return l
}

// remember puts a header into a table of d, unless that is closed. Database.mu is held.
func remember[K comparable](d *Database, l *simplelru.LRU[K, header], key K, h header) {
	if d.closed {
		return
	}
	if !l.Contains(key) {
		d.opts.Memory.Add(knownSize)
	}
	l.Add(key, h)
}

// keptGone is how many headers, and times of states, may be known of what is gone, beside
// as many as there are files, or states.
const keptGone = 1024

// forgetGone forgets headers and times of what a timeline hasn't, once most are. It would
// cost too much each time. Database.mu is held.
func (d *Database) forgetGone(t *Timeline) {
	files := 0
	for _, l := range t.levels {
		files += l.Len()
	}
	forgetMost(d.headers, files, func(f version) bool {
		v, ok := t.version(f.Name)
		return ok && v == f.Version
	})
	forgetMost(d.times, t.Len(), func(txid ltx.TXID) bool {
		_, ok := t.Search(txid)
		return ok
	})
}

func forgetMost[K comparable](l *simplelru.LRU[K, header], live int, lives func(K) bool) {
	if l.Len() <= 2*live+keptGone {
		return
	}
	for _, key := range l.Keys() {
		if !lives(key) {
			l.Remove(key)
		}
	}
}

// keepFor is how long the states, the page indexes that were read, and the page map of the
// state that was closed last, are kept after somebody asked for any.
const keepFor = time.Minute

// used has what is kept forgotten later. Database.mu is held.
func (d *Database) used() {
	if d.closed {
		return
	}
	if d.forgets == nil {
		d.forgets = time.AfterFunc(keepFor, d.forget)
	}
	d.forgets.Reset(keepFor)
}

// forget gives back what is kept for the next one who asks.
func (d *Database) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent != nil {
		d.releaseLocked(d.recent)
		d.recent = nil
	}
	d.runs.Purge()
	d.setTimeline(nil)
	d.setInstants(instants{})
}

// Close lets go of what is kept. No reader is open.
func (d *Database) Close() {
	d.mu.Lock()
	d.closed = true
	if d.forgets != nil {
		d.forgets.Stop()
	}
	d.headers.Purge()
	d.times.Purge()
	d.mu.Unlock()
	d.forget()
	d.opts.Maps.trees.forget(d)
}

const (
	// maxInvalid is how many files are taken for damaged in the replica itself at most, and
	// invalidFor how long.
	maxInvalid = 1024
	invalidFor = time.Hour
)

// foundInvalid is called when something was read of a file that can't be right, and again when that
// is so once more. Then the replica's file is damaged, and what is kept of it isn't forgotten for that.
func (d *Database) foundInvalid(f replica.File, again bool) {
	key := versionOf(f)
	d.mu.Lock()
	since, known := d.invalid.Get(key)
	known = known && time.Since(since) < invalidFor
	if again && !known {
		d.invalid.Add(key, time.Now())
	}
	d.mu.Unlock()
	if !again && !known && d.opts.Forget != nil {
		d.opts.Forget(f)
	}
}

// read reads n bytes of a file, without caching them, until ctx is done.
func (d *Database) read(ctx context.Context, f replica.File, off, n int64) ([]byte, error) {
	b := make([]byte, n)
	return b, d.ReadFile(ctx, d.opts.ReadTimeout, f, off, b)
}

// ReadFile fills b from an offset of a file on, without caching it, until ctx is done or so
// much time has passed. After an error, b may still be written to.
func (d *Database) ReadFile(ctx context.Context, within time.Duration, f replica.File, off int64, b []byte) error {
	if ctx.Err() != nil {
		return replica.NewFileError("read", f.Name, context.Cause(ctx))
	}
	done := make(chan error, 1)
	cancel := flight.Go(ctx, d.opts.Calls, within, flight.Work[struct{}]{
		Run: func(ctx context.Context) (none struct{}, err error) {
			body, err := d.opts.Store.OpenLTXFile(ctx, f, off, int64(len(b)))
			if err != nil {
				return none, err
			}
			_, err = io.ReadFull(body, b)
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = fmt.Errorf("it ends before byte %d: %w", off+int64(len(b)), io.ErrUnexpectedEOF)
			}
			return none, errors.Join(err, body.Close())
		},
		Land: func(_ struct{}, err error) { done <- err },
	})
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	err := <-done
	if named := (*replica.FileError)(nil); !errors.As(err, &named) {
		err = replica.NewFileError("read", f.Name, err)
	}
	return err
}
