package database

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/cache/blocks"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// Reader reads a state. It may be used by many goroutines at once. It is to be closed.
type Reader struct {
	state *State

	mu    sync.Mutex
	files *files

	ahead lookAhead
}

// Close ends what is read ahead, and lets go of the state.
func (r *Reader) Close() {
	r.mu.Lock()
	f := r.files
	r.files = nil
	r.mu.Unlock()
	f.close()
	r.state.closed()
}

// filesOf are the reader's handles on the files of a content.
func (r *Reader) filesOf(c *content) *files {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil || r.files.content != c {
		r.files.close()
		r.files = r.state.d.open(c)
	}
	return r.files
}

// Identity is a hash of what identifies the files that the state is read from now: their
// names, their sizes and the checksums that they end with. It is the same in each process.
func (r *Reader) Identity() [sha256.Size]byte {
	c, _ := r.state.content()
	defer r.state.d.release(c)
	c.identified.Do(func() {
		h := sha256.New()
		for _, f := range c.files() {
			identify(h, f.File, f.sum)
		}
		h.Sum(c.hash[:0])
	})
	return c.hash
}

func identify(h hash.Hash, f replica.File, sum uint64) { fmt.Fprintln(h, f.Name, f.Size, sum) }

// Files are the files that the state is read from now, in the order in which it is restored.
func (r *Reader) Files() (files []replica.File) {
	c, _ := r.state.content()
	defer r.state.d.release(c)
	for _, f := range c.files() {
		files = append(files, f.File)
	}
	return files
}

// files are handles on the files of a content, made as they are needed.
type files struct {
	*content
	d *Database

	mu      sync.Mutex
	handles []*blocks.Handle // by their place in the plan
	closed  bool
}

func (d *Database) open(c *content) *files {
	return &files{content: c, d: d, handles: make([]*blocks.Handle, c.len())}
}

func (f *files) handle(i int) *blocks.Handle {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handles[i] == nil {
		f.handles[i] = f.d.openFile(f.at(i).File)
		if f.closed { // by who reads other files now; nothing more is fetched ahead of these
			f.handles[i].Close()
		}
	}
	return f.handles[i]
}

func (f *files) close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, h := range f.handles {
		if h != nil {
			h.Close()
		}
	}
}

// openFile returns a handle on a file. What is cached of it can still be read, and
// compared, once it is gone.
func (d *Database) openFile(f replica.File) *blocks.Handle {
	h := d.opts.Blocks.Open(d.opts.ReplicaID, d.opts.Store, f)
	h.Keep = true
	return h
}

// ReadAt reads the bytes of the database file from off on. Where fewer are left than p
// has room for, it reads those.
func (r *Reader) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	s := r.state
	n := min(int64(len(p)), s.Size()-off)
	if n <= 0 {
		return 0, nil
	}
	for range maxTries {
		c, lost := s.content()
		f := r.filesOf(c)
		err := s.readPages(ctx, f, p[:n], off)
		if err == nil {
			r.looks(ctx, f, off, n)
		}
		if IsGone(err) {
			if lost != nil {
				err = lost
			} else if again := s.replace(ctx, c, err); again == nil {
				s.d.release(c)
				continue
			} else {
				err = again
			}
		}
		s.d.release(c)
		if err != nil {
			return 0, err
		}
		return int(n), nil
	}
	return 0, s.failed(fmt.Errorf("files of it change faster than it can be read: %w", replica.ErrReplaced))
}

// page is a page that is to be read, and the part of it that was asked for.
type page struct {
	entry
	dest []byte
	skip int // bytes of the page before that part
}

// span is pages that lie near each other in a file.
type span struct {
	file     int
	off, end int64
	pages    []page
}

const (
	// joinGap is how far apart in a file two pages may lie to be read together, and maxSpan
	// how much of it is, in bytes.
	joinGap = 128 << 10
	maxSpan = 1 << 20

	// unpackAlone is what one goroutine unpacks before there is another, in bytes.
	unpackAlone = 64 << 10
)

// readPages fills dest with what the files of a content have from off on.
func (s *State) readPages(ctx context.Context, f *files, dest []byte, off int64) error {
	size := int64(s.stamp.pageSize)
	first, last := off/size, (off+int64(len(dest))-1)/size
	found, err := f.find(uint32(first)+1, int(last-first)+1)
	if err != nil {
		return err
	}
	lock := ltx.LockPgno(s.stamp.pageSize)
	pages := make([]page, 0, len(found))
	for i, e := range found {
		pgno, start := uint32(first)+uint32(i)+1, (first+int64(i))*size
		from, to := max(off, start), min(off+int64(len(dest)), start+size)
		part := dest[from-off : to-off]
		switch {
		case pgno == lock:
			clear(part) // SQLite never writes it
		case e.Pgno == 0:
			return s.failed(fmt.Errorf("%w: page %d of %d is in none of them", ErrIncomplete, pgno, s.stamp.commit))
		default:
			pages = append(pages, page{e, part, int(from - start)})
		}
	}
	var g errgroup.Group
	for _, sp := range spansOf(pages) {
		g.Go(func() (err error) {
			file := f.at(sp.file)
			if file.damaged {
				return damaged(file.File, ltx.ErrChecksumMismatch)
			}
			h := f.handle(sp.file)
			for try := range 2 {
				if err = s.readSpan(ctx, h, sp); !errors.Is(err, ltxfile.ErrInvalid) {
					break
				}
				// The store can have given something else, and may not the next time.
				s.d.foundInvalid(file.File, try > 0)
				h.Forget(sp.off, sp.end-sp.off)
			}
			return inFile(file.File, err)
		})
	}
	return g.Wait()
}

// ErrIncomplete means that a plan's files don't have all pages.
var ErrIncomplete = errors.New("the files of the replica that it is read from aren't complete")

func spansOf(pages []page) (spans []*span) {
	latest := map[int]*span{}
	for _, p := range pages {
		s := latest[p.file]
		if s == nil || p.Offset-s.end > joinGap || p.Offset+p.Size-s.off > maxSpan {
			s = &span{file: p.file, off: p.Offset}
			latest[p.file] = s
			spans = append(spans, s)
		}
		s.end, s.pages = p.Offset+p.Size, append(s.pages, p)
	}
	return spans
}

func (s *State) readSpan(ctx context.Context, h *blocks.Handle, sp *span) error {
	for left := sp.pages; len(left) > 0; {
		off := left[0].Offset
		slice, err := h.ReadSome(ctx, sp.end-off, off)
		if err != nil {
			return err
		}
		n := 0
		for n < len(left) && left[n].Offset+left[n].Size <= off+int64(slice.Len()) {
			n++
		}
		if n == 0 { // the memory has no room for all blocks that the frame is in
			slice.Release()
			if slice, err = h.Read(ctx, make([]byte, left[0].Size), off); err != nil {
				return err
			}
			n = 1
		}
		err = s.unpack(slice.Slices(), off, left[:n])
		slice.Release()
		if err != nil {
			return err
		}
		left = left[n:]
	}
	return nil
}
