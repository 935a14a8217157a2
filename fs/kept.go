package fs

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/flight"
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
		f, err := flight.Do(ctx, t.calls, t.within.stat, find, func(f *os.File) { _ = f.Close() })
		switch {
		case err != nil: // it isn't there, or the daemon finds out why
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
	complete := n.mode.open(ctx, n.tree, func(ctx context.Context) (*os.File, error) { return n.tree.Store.OpenLocal(ctx, n.f) })
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
}

// completeState is one that it has, which the kernel reads itself.
type completeState struct{ keptState }

func (h stateHandle) kept(ctx context.Context) gofs.FileHandle {
	n := h.node
	cache, key, size := n.tree.opts.DiskCache, n.key(h.reader.Identity()), n.state.Size()
	if n.mode.open(ctx, n.tree, func(context.Context) (*os.File, error) { return cache.OpenCopy(key, size) }) != nil {
		return &completeState{keptState{stateHandle: h, key: key}}
	}
	k := &keptState{stateHandle: h, key: key}
	k.copy, _ = flight.Do(ctx, n.tree.calls, n.tree.within.stat, func(context.Context) (*disk.Copy, error) { return cache.Copy(key, size), nil },
		func(c *disk.Copy) {
			if c != nil {
				c.Close()
			}
		}) // without it, the files are read
	return k
}

func (h *completeState) PassthroughFd() (int, bool) { return int(h.node.mode.complete.Fd()), true }

func (h *keptState) Read(ctx context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n := h.node
	dest = dest[:max(min(int64(len(dest)), n.state.Size()-off), 0)]
	if h.copy != nil && !h.lost.Load() {
		// The disk may come back when dest is another's.
		p, err := flight.Do(ctx, n.tree.calls, n.tree.within.read, func(context.Context) ([]byte, error) {
			p := make([]byte, len(dest))
			_, err := h.copy.ReadAt(p, off)
			return p, err
		}, nil)
		if err == nil {
			return fuse.ReadResultData(p), 0
		}
		h.lost.Store(true)
	}
	r, e := h.stateHandle.Read(ctx, dest, off)
	if e == 0 {
		n.read.Add(int64(len(dest)))
	}
	return r, e
}

func (h *keptState) Release(ctx context.Context) syscall.Errno {
	h.node.tree.requests.after(ctx, h.node.mode.release)
	if h.copy != nil {
		h.copy.Close()
	} else if h.node.readWhole() && h.node.tree.keeper.take(h) {
		return 0 // the keeper closes the reader
	}
	return h.stateHandle.Release(ctx)
}

// readWhole reports whether a state was read, from its files, as often as all of it needs, but for what
// the kernel may have had.
func (n *stateNode) readWhole() bool {
	size := n.state.Size()
	return n.read.Load() >= size-size/4
}

// keeper makes copies of states that were read whole, one after the other.
type keeper struct {
	ctx   context.Context
	end   context.CancelFunc
	queue chan *keptState
	work  sync.WaitGroup
}

// mostToKeep is how many states may wait for the keeper, each of which is held open.
const mostToKeep = 4

func newKeeper() *keeper {
	k := &keeper{queue: make(chan *keptState, mostToKeep)}
	k.ctx, k.end = context.WithCancel(context.Background())
	k.work.Go(k.keepAll)
	return k
}

func (k *keeper) keepAll() {
	for {
		select {
		case h := <-k.queue:
			if err := h.keep(k.ctx); err != nil {
				h.node.tree.log.Debug("not kept", "file", h.node.path(), "error", err)
			}
			h.reader.Close()
		case <-k.ctx.Done():
			for len(k.queue) > 0 {
				(<-k.queue).reader.Close()
			}
			return
		}
	}
}

// take has a state kept, if not too many wait for that.
func (k *keeper) take(h *keptState) bool {
	select {
	case <-k.ctx.Done():
		return false
	case k.queue <- h:
		h.node.read.Store(0)
		return true
	default:
		return false
	}
}

// close ends what is under way. No state is opened or released any more.
func (k *keeper) close() {
	k.end()
	k.work.Wait()
}

// keep makes a copy of a state. A page has no checksum of its own, so that it is read once more, from
// files that have been verified.
func (h *keptState) keep(ctx context.Context) error {
	t, size := h.node.tree, h.node.state.Size()
	files := h.reader.Files()
	needs := size
	for _, f := range files {
		needs += f.Size
	}
	if !t.opts.DiskCache.HasRoom(needs) {
		return disk.ErrIncomplete
	}
	for _, f := range files {
		if err := t.disk.Complete(ctx, f); err != nil {
			return err
		}
	}
	h.reader.Refresh()
	return t.opts.DiskCache.MakeCopy(ctx, h.key, size, func(p []byte, off int64) error {
		ctx, cancel := flight.Within(ctx, t.within.list)
		defer cancel()
		if n, err := h.reader.ReadAt(ctx, p, off); err != nil || n < len(p) || h.node.key(h.reader.Identity()) != h.key {
			return database.ErrIncomplete
		}
		return nil
	})
}
