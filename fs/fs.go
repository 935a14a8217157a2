// Package fs is the mounted tree: FUSE nodes over a replica's store, the caches
// and the staged files. It holds no code of a store and no format.
//
// A name in a level directory is one of two things. A published file is one
// version of one file of the replica and never changes; another version is
// another inode. A staged file is what a tool writes, under whatever name it
// chose, until it is published: at a rename to an LTX name, at fsync, or at
// close. See package staging.
package fs

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
)

// deadlines are those of what the kernel asks for. A request ends within its own
// even if the store never answers. To publish a file may take longer by its size.
type deadlines struct {
	read, stat, list, delete, publish, space time.Duration
	open                                     time.Duration // of a state, which may take several requests one after the other
	replica                                  time.Duration // to open one, with time for its own words of what has failed
}

var defaultDeadlines = deadlines{
	read:    30 * time.Second,
	stat:    30 * time.Second,
	list:    60 * time.Second,
	delete:  60 * time.Second,
	publish: 5 * time.Minute,
	space:   2 * time.Second,
	open:    2 * time.Minute,
	replica: 15 * time.Second,
}

// errClosed ends what still runs when a mount closes.
var errClosed = fmt.Errorf("the mount is closed: %w", os.ErrClosed)

// mount is what all trees below one mountpoint share.
type mount struct {
	opts    Options
	log     *slog.Logger
	within  deadlines
	started time.Time
	budget  *blocks.Budget
	writing *blocks.Part // of the budget, for publications and checks
	blocks  *blocks.Cache
	share   *blocks.Share // of the budget, for the indexes and inodes
	calls   *flight.Group // of the stores
	inodes  *inodeLimiter
	maps    *database.Maps

	requests *requests

	keptPassthrough passthrough // of the disk cache
	keeper          *keeper     // nil without one

	directWrites bool // the kernel takes its own pages away from what is written past them

	server    *fuse.Server
	databases *catalog // nil for a mount of one replica

	mu     sync.Mutex
	trees  []*tree // as they came
	closed bool    // there are to be no more
}

func newMount(opts Options, within deadlines) *mount {
	budget := blocks.NewBudget(opts.CacheSize)
	m := &mount{
		opts:    opts,
		log:     opts.Logger,
		within:  within,
		started: time.Now(),
		budget:  budget,
		blocks:  blocks.New(budget, blocks.Options{FetchTimeout: within.read}),
		calls:   flight.NewGroup(),

		requests: newRequests(opts.Logger),
	}
	m.writing = blocks.NewPart(budget)
	m.share = blocks.NewShare(budget, opts.Heap)
	m.inodes = newInodeLimiter(m.share, budget.Size())
	m.maps = database.NewMaps(budget.Size(), m.share)
	if opts.DiskCache != nil {
		m.keeper = newKeeper()
	}
	if opts.Databases != nil {
		m.databases = newCatalog(m, opts.Databases)
	}
	return m
}

// begin is called once the kernel has taken the mount, before the first request.
func (m *mount) begin(server *fuse.Server) {
	m.server = server
	m.directWrites = server.KernelSettings().SupportsVersion(7, 39)
	for _, t := range m.opened() {
		t.setUpPassthrough(server)
	}
	if c := m.opts.DiskCache; c != nil && !c.Checks() {
		m.keptPassthrough.setUp(server, m.diskLog())
	}
}

// diskLog is the log of what concerns the disk cache.
func (m *mount) diskLog() *slog.Logger { return m.log.With("of", "the disk cache") }

// add makes the tree of a replica.
func (m *mount) add(opts Tree) (*tree, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, errClosed
	}
	t := newTree(m, len(m.trees), opts)
	if m.server != nil {
		t.setUpPassthrough(m.server)
	}
	m.trees = append(m.trees, t)
	return t, nil
}

// opened are the trees that there are so far.
func (m *mount) opened() []*tree {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.trees)
}

// close ends what runs for the mount.
func (m *mount) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	if m.databases != nil {
		m.databases.calls.Close(errClosed)
	}
	if m.keeper != nil {
		m.keeper.close()
	}
	trees := m.opened()
	for _, t := range trees {
		t.staged.Close()
	}
	m.inodes.close()
	m.calls.Close(errClosed)
	for _, t := range trees {
		if t.states != nil {
			t.states.Close()
		}
		t.index.Close()
	}
	m.share.Close()
	m.blocks.Close()
}
