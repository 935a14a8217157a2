package fs

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/singleflight"

	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/cache/index"
	"github.com/ltxfs/ltxfs/fs/staging"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// Tree is a replica and where it is in the mount.
type Tree struct {
	// Name is the path of its directory below the mount's root. It is "" for one that is
	// the root itself.
	Name string

	// ID tells the replica from every other: its canonical URL, without secrets.
	ID string

	// Store is the replica.
	Store replica.Store

	// Staging is where files are until they are published. A mount that can
	// write needs one.
	Staging *staging.Dir

	// Freshness is how old what the tree shows of other writers' work may be.
	Freshness time.Duration

	// RefreshAll, if set, is how old a listing of a whole level may be, where one that is older than
	// Freshness asks only for what comes after the last file.
	RefreshAll time.Duration

	// ExactTimes makes the mtime of every file its LTX timestamp, at a request
	// for each version of a file where the store's listings have another time.
	ExactTimes bool
}

// tree is what the nodes of one replica share.
type tree struct {
	*mount
	Tree
	log    *slog.Logger // of the mount, naming the database where there are several
	inos   uint64       // added to the inode numbers of directories and links
	stages uint64       // added to the IDs of staged files
	hash   [16]byte     // of ID and Name
	index  *index.Index
	states *database.Database // nil if they aren't shown
	staged *staging.Files
	spaces singleflight.Group
	ages   ages

	passthrough passthrough // of a replica on disk
	disk        *disk.Store // nil without a disk cache
}

// newTree makes the i-th tree of a mount.
func newTree(m *mount, i int, opts Tree) *tree {
	var kept *disk.Store
	var forget func(replica.File)
	if m.opts.DiskCache != nil && !opts.Store.Properties().Local {
		kept = m.opts.DiskCache.Around(opts.Store, opts.ID)
		opts.Store, forget = kept, kept.Forget
	}
	t := &tree{mount: m, Tree: opts, disk: kept, log: m.log, stages: uint64(i+1) << 40}
	sum := sha256.Sum256([]byte(opts.ID + "\x00" + opts.Name)) // two databases may have one replica
	t.hash = [16]byte(sum[:])
	if opts.Name != "" {
		t.inos = dirInos(opts.Name)
		t.log = m.log.With("database", opts.Name)
	}
	t.index = index.New(opts.Store, index.Options{
		Freshness:   opts.Freshness,
		Settle:      opts.Store.Properties().Settle,
		ListTimeout: m.within.list,
		StatTimeout: m.within.stat,
		ExactTimes:  opts.ExactTimes,
		RefreshAll:  opts.RefreshAll,
		Sorted:      !opts.Store.Properties().Local,
		Memory:      m.share,
		Logger:      t.log,
	})
	if !m.opts.NoDB {
		t.states = database.New(database.Options{
			ReplicaID:   opts.ID,
			Store:       opts.Store,
			Index:       t.index,
			Blocks:      m.blocks,
			Budget:      m.budget,
			Maps:        m.maps,
			Memory:      m.share,
			Calls:       m.calls,
			Exact:       m.opts.ExactDB,
			ReadTimeout: m.within.read,
			Forget:      forget,
			Logger:      t.log,
		})
	}
	t.staged = staging.New(staging.Options{
		Dir:     opts.Staging,
		Store:   opts.Store,
		Index:   t.index,
		Memory:  m.writing,
		Calls:   m.calls,
		Root:    opts.Name,
		UID:     m.opts.UID,
		GID:     m.opts.GID,
		Mode:    m.opts.FileMode,
		Write:   m.within.read,
		Publish: m.within.publish,
		Delete:  m.within.delete,
		Logger:  t.log,
	})
	return t
}

// exists reports whether the replica has a file, and asks the store itself with
// now.
func (t *tree) exists(ctx context.Context, name replica.Name, now bool) (bool, error) {
	ctx, cancel := flight.Within(ctx, t.within.stat)
	defer cancel()
	var err error
	if now {
		_, err = t.index.FindNow(ctx, name)
	} else {
		_, _, err = t.index.Find(ctx, name)
	}
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// failed is the errno of an operation, whose error it logs unless it is one that
// callers provoke every day.
func (t *tree) failed(op, path string, err error) syscall.Errno {
	var passed []syscall.Errno
	if op == "stage" {
		passed = chosen
	}
	e := errno(err, passed...)
	if !slices.Contains(everyday, e) && !slices.Contains(passed, e) {
		t.log.Error("can't "+op, "file", path, "error", err, "errno", e.Error())
	}
	return e
}

// notPublished is the errno of a publication. s is staged as it was.
func (t *tree) notPublished(s *staging.File, as string, err error) syscall.Errno {
	e := errno(err)
	if !errors.Is(err, staging.ErrUnlinked) && !errors.Is(err, staging.ErrPublished) {
		at, _ := s.Place()
		t.log.Warn("not published", "file", as, "error", err, "errno", e.Error(), "staged", t.Staging.FilePath(at.String()))
	}
	return e
}

// statfs fills in the room in the store where that can be told without a
// network, and else a large store that is half empty, so that no tool that
// looks first refuses to write.
func (t *tree) statfs(ctx context.Context, out *fuse.StatfsOut) {
	const blockSize = 4096
	space := replica.Space{Total: 1 << 50, Free: 1 << 49, Available: 1 << 49, Files: 1 << 40, FilesFree: 1 << 39}
	if t.Store != nil {
		// Callers share one call, so that a disk that hangs doesn't collect
		// one for each df.
		ctx, cancel := flight.Within(ctx, t.within.space)
		defer cancel()
		select {
		case r := <-t.spaces.DoChan("", func() (any, error) { return t.Store.Space(context.WithoutCancel(ctx)) }):
			if r.Err == nil {
				space = r.Val.(replica.Space)
			}
		case <-ctx.Done():
		}
	}
	out.Bsize, out.Frsize, out.NameLen = blockSize, blockSize, 255
	out.Blocks = uint64(space.Total) / blockSize
	out.Bfree = uint64(space.Free) / blockSize
	out.Bavail = uint64(space.Available) / blockSize
	out.Files = uint64(space.Files)
	out.Ffree = uint64(space.FilesFree)
}
