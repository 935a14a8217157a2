package fs

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/replica"
)

var (
	_ gofs.FileReader          = (*keptFile)(nil)
	_ gofs.FileReleaser        = (*keptFile)(nil)
	_ gofs.FilePassthroughFder = (*completeFile)(nil)
	_ gofs.FileReader          = (*keptState)(nil)
	_ gofs.FileReleaser        = (*keptState)(nil)
	_ gofs.FilePassthroughFder = (*completeState)(nil)
)

// openMode is how an inode is open whose content a disk cache may have. All opens of one must go one
// way, from the first to the last release, whatever becomes of the cache meanwhile.
type openMode struct {
	mu       sync.Mutex
	opens    int
	complete *os.File // which the kernel reads, or nil
}

// open returns the file that the kernel is to read, which find finds for the first open, or nil.
func (o *openMode) open(ctx context.Context, t *tree, find func(context.Context) (*os.File, error)) *os.File {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opens == 0 && t.keptPassthrough.on() {
		f, err := find(ctx)
		switch {
		case err != nil: // it isn't there, or the disk hangs
		case t.keptPassthrough.takes(f, t.diskLog()):
			o.complete = f
		default:
			_ = f.Close() // opened for reading only: nothing can be lost
		}
	}
	o.opens++
	return o.complete
}

func (o *openMode) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opens--; o.opens == 0 && o.complete != nil {
		_ = o.complete.Close() // opened for reading only: nothing can be lost
		o.complete = nil
	}
}

// keptFile is a handle on a file that the disk cache may have.
type keptFile struct{ fileHandle }

// completeFile is one on a file that it has all of, which the kernel reads itself.
type completeFile struct{ keptFile }

func (n *file) openKept(ctx context.Context, flags uint32) gofs.FileHandle {
	complete := n.mode.open(ctx, n.tree, func(context.Context) (*os.File, error) { return n.tree.disk.OpenComplete(n.f) })
	h := keptFile{n.handle(flags)}
	if complete != nil {
		return &completeFile{h}
	}
	return &h
}

func (h *keptFile) Release(ctx context.Context) syscall.Errno {
	h.node.tree.requests.after(ctx, h.node.mode.release)
	return h.fileHandle.Release(ctx)
}

func (h *completeFile) PassthroughFd() (int, bool) { return int(h.node.mode.complete.Fd()), true }

// keptState is a handle on a state that the disk cache may have, and keeps if it is read whole.
type keptState struct {
	stateHandle
	key  string
	copy *disk.Copy // nil if there is none, or the kernel reads it
	lost atomic.Bool
	read *coverage // nil if the kernel reads it, or the cache has no room for it
}

// completeState is one that it has, which the kernel reads itself.
type completeState struct{ keptState }

func (h stateHandle) kept(ctx context.Context) gofs.FileHandle {
	n := h.node
	cache, key, size := n.tree.opts.DiskCache, n.key(h.reader.Identity()), n.state.Size()
	if n.mode.open(ctx, n.tree, func(context.Context) (*os.File, error) { return cache.OpenCopy(key, size) }) != nil {
		return &completeState{keptState{stateHandle: h, key: key}}
	}
	k := &keptState{stateHandle: h, key: key, copy: cache.Copy(key, size)} // without it, the files are read
	if cache.HasRoom(size) {
		k.read = &n.read
		k.read.open(size)
	}
	return k
}

func (h *completeState) PassthroughFd() (int, bool) { return int(h.node.mode.complete.Fd()), true }

func (h *keptState) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := h.node
	dest = dest[:max(min(int64(len(dest)), n.state.Size()-off), 0)]
	if h.read != nil {
		h.read.add(off, int64(len(dest)))
	}
	if h.copy != nil && !h.lost.Load() {
		if _, err := h.copy.ReadAt(dest, off); err == nil {
			return fuse.ReadResultData(dest), 0
		}
		h.lost.Store(true)
	}
	return h.stateHandle.Read(ctx, dest, off)
}

func (h *keptState) Release(ctx context.Context) syscall.Errno {
	h.node.tree.requests.after(ctx, h.node.mode.release)
	if h.read != nil && h.read.close() && (h.copy == nil || h.lost.Load()) {
		h.node.tree.keeper.take(&toKeep{h.node, h.key, h.reader.Files()})
	}
	if h.copy != nil {
		h.copy.Close()
	}
	return h.stateHandle.Release(ctx)
}

// coverage is which units of a file were asked for by all who have it open, so that what is read
// again and again counts once.
type coverage struct {
	mu    sync.Mutex
	opens int
	size  int64    // in bytes
	seen  []uint64 // a bit for each unit, once one was
	n     int64    // of those that were
}

// coverageUnit is the kernel's page, in bytes, of which its reads are.
const coverageUnit = 4 << 10

func (c *coverage) units() int64 { return (c.size + coverageUnit - 1) / coverageUnit }

func (c *coverage) open(size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opens++
	c.size = size
}

// add notes that n bytes from off on were asked for.
func (c *coverage) add(off, n int64) {
	first, end := (off+coverageUnit-1)/coverageUnit, (off+n)/coverageUnit
	if off+n == c.size {
		end = c.units()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = make([]uint64, (c.units()+63)/64)
	}
	for i := first; i < end; i++ {
		if bit := uint64(1) << (i % 64); c.seen[i/64]&bit == 0 {
			c.seen[i/64] |= bit
			c.n++
		}
	}
}

// close reports whether three quarters were since the first open, or since it reported so: the kernel
// may have had the rest.
func (c *coverage) close() (most bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opens--
	if most = c.n >= c.units()-c.units()/4; most || c.opens == 0 {
		c.seen, c.n = nil, 0
	}
	return most
}

// toKeep is a state that was read whole, of which a copy is to be made.
type toKeep struct {
	node  *stateNode
	key   string
	files []replica.File
}

// keeper makes copies of states that were read whole, one after the other.
type keeper struct {
	ctx   context.Context
	end   context.CancelFunc
	queue chan *toKeep
	ended chan struct{}
}

const (
	// mostToKeep is how many states may wait for the keeper.
	mostToKeep = 4

	// keeperTimeout is how long an end waits for a disk that takes its time.
	keeperTimeout = 5 * time.Second
)

// mostSources is of how many files a state is at most that is kept. While its copy is made all are
// open, with their checksums: two descriptors each, and a quarter of those that the process may have.
func mostSources() int {
	var files unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &files) // none is kept if it can't be told
	return int(min(512, files.Cur/4/2))
}

func newKeeper() *keeper {
	k := &keeper{queue: make(chan *toKeep, mostToKeep), ended: make(chan struct{})}
	k.ctx, k.end = context.WithCancel(context.Background())
	go k.keepAll()
	return k
}

func (k *keeper) keepAll() {
	defer close(k.ended)
	for {
		select {
		case s := <-k.queue:
			if err := s.keep(k.ctx); err != nil {
				s.node.tree.log.Debug("not kept", "file", s.node.path(), "error", err)
			}
		case <-k.ctx.Done():
			return
		}
	}
}

// take has a state kept, if not too many wait for that.
func (k *keeper) take(s *toKeep) {
	select {
	case k.queue <- s:
	default:
	}
}

// close ends what is under way.
func (k *keeper) close() {
	k.end()
	select {
	case <-k.ended:
	case <-time.After(keeperTimeout):
	}
}

// keep makes a copy of a state. A page has no checksum of its own, so that it is made anew, of
// files that have been verified, and of nothing else: all that was read before, page indexes among
// it, may have been changed on its way.
func (s *toKeep) keep(ctx context.Context) error {
	t, cache, size := s.node.tree, s.node.tree.opts.DiskCache, s.node.state.Size()
	if c := cache.Copy(s.key, size); c != nil {
		c.Close()
		return nil
	}
	needs := size
	for _, f := range s.files {
		needs += f.Size
	}
	if len(s.files) > mostSources() || !cache.HasRoom(needs) {
		return disk.ErrIncomplete
	}
	sources := make([]database.Source, len(s.files))
	for i, f := range s.files {
		w, err := t.disk.Complete(ctx, f, t.within.read)
		if err != nil {
			return err
		}
		defer w.Close() // held until the copy is there: who unlinks it meanwhile takes nothing away
		sources[i] = database.Source{File: f, ReaderAt: w}
	}
	r, err := s.node.state.Restored(ctx, sources)
	if err != nil {
		return err
	}
	defer r.Close()
	return cache.MakeCopy(ctx, s.node.key(r.Identity), size, r)
}
