package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	// endSize is how much of a file's end is read first, in bytes: most page indexes
	// are no longer.
	endSize = 64 << 10

	// endsAtOnce is how many files have their indexes read at the same time.
	endsAtOnce = 32
)

// indexes makes the run of each file, held, of which some are there on an error.
func (d *Database) indexes(ctx context.Context, files []replica.File) ([]*run, error) {
	made := make([]*run, len(files))
	g, gctx := errgroup.WithContext(ctx)
	for i, f := range files {
		unlock, err := d.reading.Lock(gctx, f.Name)
		if err != nil {
			break // which g tells, or else ctx
		}
		if made[i] = d.known(f); made[i] != nil {
			unlock()
			continue
		}
		if err := d.ends.Acquire(gctx, 1); err != nil {
			unlock()
			break
		}
		g.Go(func() (err error) {
			defer unlock()
			defer d.ends.Release(1)
			made[i], err = d.index(gctx, f)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return made, err
	}
	return made, context.Cause(ctx)
}

// known is the run of a file that was read before, held, or nil.
func (d *Database) known(f replica.File) *run {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, ok := d.runs.Get(versionOf(f)); ok {
		return r.hold()
	}
	return nil
}

// runSize is what a run takes beside its files and entries, in bytes.
const runSize = 256

func (r *run) memory() int { return runSize + len(r.files)*memberSize + r.n*entrySize }

// remember keeps the run of a file for other plans, as long as such runs take no more than
// a quarter of what page maps may.
func (d *Database) remember(r *run) {
	if r.disk != nil || r.files[0].damaged {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := versionOf(r.files[0].File)
	if d.closed || d.runs.Contains(key) {
		return
	}
	d.runs.Add(key, r.hold())
	for d.runsSize += r.memory(); d.runsSize > d.opts.Maps.most/4; {
		d.runs.RemoveOldest()
	}
}

// index makes the run of one file. What isn't sound is read twice: the store can have given
// something else once.
func (d *Database) index(ctx context.Context, f replica.File) (r *run, err error) {
	for range 2 {
		if r != nil {
			r.release()
		}
		r, err = d.readIndex(ctx, f)
		if err == nil && !r.files[0].damaged {
			d.remember(r)
			break
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			break
		}
	}
	return r, err
}

// readIndex reads the index of a file, and its header.
func (d *Database) readIndex(ctx context.Context, f replica.File) (*run, error) {
	g, gctx := errgroup.WithContext(ctx)
	var h header
	if f.Size > endSize {
		g.Go(func() (err error) {
			h, err = d.header(gctx, f)
			return err
		})
	}
	var r *run
	g.Go(func() (err error) {
		if r, err = d.readRun(gctx, f); err == nil && f.Size <= endSize {
			h, err = d.header(gctx, f) // it has come with the end
		}
		return err
	})
	err := g.Wait()
	switch {
	case err == nil:
		r.pageSize = h.pageSize
	case r != nil:
		r.release()
		r = nil
	}
	return r, err
}

// readRun is readIndex, without the header.
func (d *Database) readRun(ctx context.Context, f replica.File) (*run, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := min(endSize, f.Size)
	var end []byte
	var err error
	if n > 0 {
		if end, err = d.read(ctx, f, f.Size-n, n); err != nil {
			return nil, err
		}
	}
	off, size, err := ltxfile.IndexAt(end, f.Size)
	if err != nil {
		return nil, damaged(f, err)
	}
	m := member{File: f, sum: binary.BigEndian.Uint64(end[len(end)-8:])}
	if n == f.Size {
		if h, err := parseHeader(end, f.Name); err == nil {
			d.mu.Lock()
			remember(d.headers, d.opts.Memory, versionOf(f), h)
			d.mu.Unlock()
		}
		// A page has no checksum of its own.
		_, err := ltxfile.Verify(ctx, bytes.NewReader(end), n)
		m.damaged = errors.Is(err, ltx.ErrChecksumMismatch)
	}
	// What of the end belongs to the index.
	inEnd := end[max(off-(f.Size-n), 0) : off+size-(f.Size-n)]
	var index io.Reader = bytes.NewReader(inEnd)
	if rest := size - int64(len(inEnd)); rest > 0 {
		p := d.readParts(ctx, f, off, off+rest)
		defer func() {
			cancel()
			p.close()
		}()
		index = io.MultiReader(p, index)
	}
	w := newRunWriter(d.opts.Maps, []member{m})
	if err := ltxfile.ReadIndex(index, off, func(fr ltxfile.Frame) error { return w.add(entry{Frame: fr}) }); err != nil {
		w.abort()
		return nil, inFile(f, err)
	}
	return w.finish()
}

const (
	// partSize is how much of a longer index a request is for, in bytes, and partsAhead how
	// many requests there are at a time.
	partSize   = 1 << 20
	partsAhead = 4
)

// parts gives a range of a file in order, which it reads by several requests at a time.
type parts struct {
	d     *Database
	queue chan chan part
	cur   part
	left  []byte
}

type part struct {
	size  int64 // of the budget
	bytes []byte
	err   error
}

func (d *Database) readParts(ctx context.Context, f replica.File, off, end int64) *parts {
	p := &parts{d: d, queue: make(chan chan part, partsAhead)}
	size := min(partSize, d.opts.Budget.Size()/8)
	go func() {
		defer close(p.queue)
		for ; off < end; off += size {
			n, done := min(size, end-off), make(chan part, 1)
			// In order, so that none waits for memory that later ones have.
			if err := d.opts.Budget.Acquire(ctx, n); err != nil {
				done <- part{err: err}
				p.queue <- done
				return
			}
			go func(off int64) {
				b, err := d.read(ctx, f, off, n)
				done <- part{n, b, err}
			}(off)
			p.queue <- done
		}
	}()
	return p
}

func (p *parts) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		p.d.opts.Budget.Release(p.cur.size)
		p.cur = part{}
		done, ok := <-p.queue
		if !ok {
			return 0, io.EOF
		}
		p.cur = <-done
		if p.cur.err != nil {
			return 0, p.cur.err
		}
		p.left = p.cur.bytes
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// close gives the memory back, once what was begun has ended. The context of the parts is
// done.
func (p *parts) close() {
	p.d.opts.Budget.Release(p.cur.size)
	for done := range p.queue {
		p.d.opts.Budget.Release((<-done).size)
	}
}
