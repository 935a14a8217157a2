// Package offline opens a replica to be read without a mount: its files, and the
// states of its database.
package offline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/exitcode"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/replicas"
	"github.com/ltxfs/ltxfs/internal/settings"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	openTimeout = 30 * time.Second
	readTimeout = 30 * time.Second
	listTimeout = time.Minute

	// freshness is how long what was listed counts: a command looks once.
	freshness = 24 * time.Hour
)

// Replica is a replica that is read without a mount.
type Replica struct {
	*replicas.Opened
	Name, ID string
	Budget   *blocks.Budget
	Memory   *blocks.Share // of the budget, for what can't be evicted
	Index    *index.Index
	Blocks   *blocks.Cache
	States   *database.Database

	opener *replicas.Opener
	calls  *flight.Group

	mu     sync.Mutex
	strays map[string]bool
	odd    map[replica.Name]bool
}

// Open opens the replica that the settings name. Its errors have exit codes. heap is as of
// blocks.NewShare.
func Open(ctx context.Context, cfg *settings.Mount, heap func(bytes int64), log *slog.Logger) (*Replica, error) {
	opening, cancel := flight.Deadline(ctx, openTimeout)
	defer cancel()
	opener := replicas.NewOpener(cfg)
	opened, err := opener.Open(opening, &cfg.Source, log)
	if err != nil {
		return nil, errors.Join(err, opener.Close())
	}
	return New(opener, opened, cfg.Source.Name(), cfg.Source.ID(), int64(cfg.CacheSize), heap, log), nil
}

// New returns a replica that was opened, with a budget in bytes.
func New(opener *replicas.Opener, opened *replicas.Opened, name, id string, size int64, heap func(bytes int64), log *slog.Logger) *Replica {
	budget := blocks.NewBudget(size)
	r := &Replica{
		Opened: opened, Name: name, ID: id, Budget: budget, Memory: blocks.NewShare(budget, heap),
		Blocks: blocks.New(budget, blocks.Options{FetchTimeout: readTimeout}),
		opener: opener, calls: flight.NewGroup(), strays: map[string]bool{}, odd: map[replica.Name]bool{},
	}
	r.Index = index.New(r.Store, index.Options{
		Freshness: freshness, ListTimeout: listTimeout, StatTimeout: readTimeout, Memory: r.Memory, Logger: log, Stray: r.stray,
	})
	r.States = database.New(database.Options{
		ReplicaID: r.ID, Store: r.Store, Index: r.Index, Blocks: r.Blocks, Budget: budget,
		Maps: database.NewMaps(budget.Size(), r.Memory), Memory: r.Memory, Calls: r.calls, Exact: true,
		ReadTimeout: readTimeout, Logger: log,
	})
	return r
}

func (r *Replica) stray(level int, base string) {
	if strings.HasSuffix(base, ".tmp") { // being written
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := replica.ParseName(level, base); ok {
		r.odd[n] = true
	} else {
		r.strays[fmt.Sprintf("ltx/%04d/%s", level, base)] = true
	}
}

// Strays are the paths of what was listed and has no name that a file can have, sorted.
func (r *Replica) Strays() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.strays))
}

// Odd are the names of files that something else has that was listed, or that no file can have
// since its last transaction would come before its first, sorted.
func (r *Replica) Odd() []replica.Name {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Keys(r.odd), replica.Name.Compare)
}

// Close ends what is under way.
func (r *Replica) Close() error {
	r.States.Close()
	r.Index.Close()
	r.calls.Close(os.ErrClosed)
	r.Blocks.Close()
	r.Memory.Close()
	return r.opener.Close()
}

// Failed gives an error of reading the replica the exit code that it has in all commands.
func Failed(err error) error {
	switch {
	case errors.Is(err, database.ErrDamaged), errors.Is(err, database.ErrIncomplete):
		return exitcode.Wrap(exitcode.Damaged, err)
	case errors.Is(err, context.DeadlineExceeded):
		return exitcode.Wrap(exitcode.Timeout, err)
	case errors.Is(err, os.ErrPermission):
		return exitcode.Wrap(exitcode.Permission, err)
	}
	return err
}
