// Package staging makes a mount's changes of a replica: it keeps what tools write on
// local disk, publishes it, and deletes published files. It knows no FUSE.
//
// Files has the names and the rules. A Dir is where the bytes are, in a tree that
// mirrors the mount's: under the base directory each replica has a directory, and in it
// each mount one of its own, beside a file that the mount holds locked for as long as it
// lives. A directory whose lock is free belongs to a mount that has ended; what is in it
// was never published.
package staging

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// Options are what Files need. Those of a read-only mount have no Dir.
type Options struct {
	Dir    *Dir
	Store  replica.Store // where files are published
	Index  Index
	Memory Memory
	Calls  *flight.Group // what calls of the store belong to

	// Root is the tree's directory below the mountpoint: "" if it is that itself.
	Root string

	// UID, GID and Mode are a staged file's until a tool sets others.
	UID, GID, Mode uint32

	// Write, Publish and Delete are the deadlines. To publish a file may take
	// longer by its size; see publishWithin.
	Write, Publish, Delete time.Duration

	Logger *slog.Logger
}

// Index is told what the store has. It is an *index.Index.
type Index interface {
	Put(replica.File)
	Remove(replica.Name)
	Invalidate(level int)
}

// Memory is a budget of bytes. It is a *blocks.Budget.
type Memory interface {
	Size() int64
	Acquire(ctx context.Context, n int64) error
	Release(n int64)
}

// Files are the staged files of one tree, and its changes of the replica. All
// methods may be called from many goroutines.
type Files struct {
	opts Options
	log  *slog.Logger

	// names make those wait who would write or delete one file of the store
	// while another does: what was acknowledged last must be what stays. A lock
	// is held until the store has really answered.
	names flight.Locks[replica.Name]

	// changing is held by each publication and deletion, and whole by who waits
	// until there is none.
	changing *semaphore.Weighted

	checks    *semaphore.Weighted   // those that run beside writers
	newDigest func() replica.Digest // of the store

	// changed is when each level was last changed, in Unix nanoseconds.
	changed [replica.MaxLevel + 1]atomic.Int64

	// mu guards what follows, and the fields of File that say so. It is held for
	// local disk, never for the store.
	mu      sync.Mutex
	closing bool // nothing is staged or written any more
	files   map[Place]*File
	lastID  uint64
}

// New returns Files without any.
func New(opts Options) *Files {
	t := &Files{
		opts: opts, log: opts.Logger, newDigest: opts.Store.Properties().NewDigest, files: make(map[Place]*File),
		changing: semaphore.NewWeighted(wholeLock),
		checks:   checksOf(opts.Memory),
	}
	if t.newDigest == nil {
		t.newDigest = replica.NewDigest
	}
	for level := range t.changed {
		t.touch(level)
	}
	return t
}

// Changed is when a level was last changed.
func (t *Files) Changed(level int) time.Time { return time.Unix(0, t.changed[level].Load()) }

func (t *Files) touch(level int) { t.changed[level].Store(time.Now().UnixNano()) }

// Path is a place as the user knows it, below the mountpoint.
func (t *Files) Path(at Place) string { return path.Join(t.opts.Root, at.String()) }

// At returns the staged file that a name shows, or nil.
func (t *Files) At(at Place) *File {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.files[at]
}

// Listed is a staged file in a listing.
type Listed struct {
	Name string
	ID   uint64
}

// Level lists the staged files of a level by name.
func (t *Files) Level(level int) []Listed {
	t.mu.Lock()
	defer t.mu.Unlock()
	var listed []Listed
	for at, s := range t.files {
		if at.Level == level {
			listed = append(listed, Listed{at.Name, s.ID})
		}
	}
	slices.SortFunc(listed, func(a, b Listed) int { return strings.Compare(a.Name, b.Name) })
	return listed
}

// CreateOptions say how a staged file begins.
type CreateOptions struct {
	Mode      uint32
	Replaces  bool // it replaces a published file; see Replace
	Exclusive bool // the name must be free when it is published, too
}

// Create makes an empty staged file with a name that no staged file has, and opens
// it.
func (t *Files) Create(at Place, opts CreateOptions) (*File, *os.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.files[at] != nil {
		return nil, nil, ErrTaken
	}
	s, err := t.create(at, opts)
	if err != nil {
		return nil, nil, err
	}
	return s, s.f, nil
}

// create makes an empty staged file with one handle. mu is held.
func (t *Files) create(at Place, opts CreateOptions) (*File, error) {
	if t.closing {
		return nil, os.ErrClosed
	}
	f, err := t.opts.Dir.Create(at.String())
	if err != nil {
		return nil, err
	}
	t.lastID++
	s := &File{
		ID: t.lastID, files: t, lock: semaphore.NewWeighted(wholeLock),
		place: at, linked: true, f: f, opens: 1,
		attr:     Attr{Mode: opts.Mode & 0o7777, UID: t.opts.UID, GID: t.opts.GID},
		replaces: opts.Replaces, exclusive: opts.Exclusive,
	}
	t.files[at] = s
	t.touch(at.Level)
	return s, nil
}

// unlink takes a name away from a file whose content is published or nobody's. If
// the disk doesn't let go of it, that is one file too many, and no loss. mu is
// held.
func (t *Files) unlink(s *File) {
	if err := t.opts.Dir.Remove(s.place.String()); err != nil {
		t.log.Warn("can't remove a file that isn't needed any more from the staging directory", "file", s.diskPath(), "error", err)
	}
	if t.files[s.place] == s {
		delete(t.files, s.place)
	}
	t.touch(s.place.Level)
	s.linked = false
	s.closeIfUnused()
}

// leave makes s published, and takes out of the namespace s itself and the staged
// file that had the published name. It is one step: a replacement that is begun
// after it must not go with them.
func (t *Files) leave(s *File, as replica.File) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.published.Store(&as)
	if s.linked {
		t.unlink(s)
	}
	if old := t.files[PlaceOf(as.Name)]; old != nil {
		t.unlink(old)
	}
}

// Count is how many staged files are in no replica. It touches no disk.
func (t *Files) Count() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.files {
		if !s.unused() {
			n++
		}
	}
	return n
}

// Unpublished are the staged files that are in no replica, by name.
func (t *Files) Unpublished() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var entries []Entry
	for at, s := range t.files {
		if s.unused() {
			continue
		}
		e := Entry{Name: t.Path(at), Path: s.diskPath(), Err: s.tried.err}
		if st, err := s.stat(); err == nil {
			e.Size, e.ModTime = st.Size, time.Unix(st.Mtim.Unix())
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}

// Close ends all staging. What is staged stays on disk, and in Unpublished.
func (t *Files) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
	for _, s := range t.files {
		if s.unused() {
			t.unlink(s)
		}
		if s.f == nil {
			continue
		}
		if err := errors.Join(s.f.Sync(), s.f.Close()); err != nil {
			t.log.Error("can't save a staged file", "file", t.Path(s.place), "error", err)
		}
		s.f = nil
	}
}
