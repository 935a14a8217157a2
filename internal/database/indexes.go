package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	// endSize is how much of a file's end is read first, in bytes: most page indexes
	// are no longer.
	endSize = 64 << 10

	// wholeSize is how large a file is at most that is read whole, in bytes, for one request less.
	// The disk cache keeps one range of each 128 KiB, so that it wouldn't keep a header and an end
	// that both reach into the first of these.
	wholeSize = 128<<10 + endSize

	// endsAtOnce is how many files of a replica have their indexes read at the same time.
	endsAtOnce = 32

	// indexRequests is of how many requests one after the other an index may take the time.
	indexRequests = 4
)

// reading is a page index on its way, which many may wait for.
type reading struct {
	done    chan struct{} // closed when it has come; run and err are set before
	run     *run          // held for each who waits
	err     error
	waiters int // guarded by Database.mu
	cancel  func(cause error)
}

// runsOf makes the run of each file, held. On an error, some are there.
func (d *Database) runsOf(ctx context.Context, files []replica.File) (made []*run, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	made = make([]*run, len(files))
	coming := make([]*reading, len(files))
	for i, f := range files {
		if made[i], coming[i], err = d.begin(ctx, f); err != nil {
			cancel(err)
			break
		}
	}
	for i, w := range coming {
		if w == nil {
			continue
		}
		var failed error
		if made[i], failed = d.wait(ctx, w); failed != nil && err == nil {
			err = failed
			cancel(err)
		}
	}
	return made, err
}

// begin returns the run of a file, held, if it is known, or who reads it.
func (d *Database) begin(ctx context.Context, f replica.File) (*run, *reading, error) {
	if r, w := d.join(f); r != nil || w != nil {
		return r, w, nil
	}
	if err := d.ends.Acquire(ctx, 1); err != nil {
		return nil, nil, replica.NewFileError("read", f.Name, context.Cause(ctx))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r, w := d.joinLocked(f); r != nil || w != nil {
		d.ends.Release(1)
		return r, w, nil
	}
	w := &reading{done: make(chan struct{}), waiters: 1}
	d.reading[versionOf(f)] = w
	w.cancel = flight.Go(ctx, d.opts.Calls, indexRequests*d.opts.ReadTimeout, flight.Work[*run]{
		Run:  func(ctx context.Context) (*run, error) { return d.readSound(ctx, f) },
		Land: func(r *run, err error) { d.land(f, w, r, err) },
		Late: func(r *run) { r.release() },
		Over: func() { d.ends.Release(1) },
	})
	return nil, w, nil
}

func (d *Database) join(f replica.File) (*run, *reading) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.joinLocked(f)
}

func (d *Database) joinLocked(f replica.File) (*run, *reading) {
	key := versionOf(f)
	if r, ok := d.runs.Get(key); ok {
		return r.hold(), nil
	}
	w := d.reading[key]
	if w != nil {
		w.waiters++
	}
	return nil, w
}

// land gives what has come to those who wait.
func (d *Database) land(f replica.File, w *reading, r *run, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if key := versionOf(f); d.reading[key] == w {
		delete(d.reading, key)
	}
	if w.run, w.err = r, err; r != nil {
		for range w.waiters {
			r.hold()
		}
		d.keepRun(r)
		r.release() // the reader's own
	}
	close(w.done)
}

// wait returns what has come, or why ctx is done. Where nobody waits any more, reading ends.
func (d *Database) wait(ctx context.Context, w *reading) (*run, error) {
	select {
	case <-w.done:
		return w.run, w.err
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-w.done:
		return w.run, w.err
	default:
	}
	if w.waiters--; w.waiters == 0 {
		maps.DeleteFunc(d.reading, func(_ version, other *reading) bool { return other == w })
		w.cancel(context.Cause(ctx))
	}
	return nil, context.Cause(ctx)
}

// keepRun keeps the run of a file for other plans, if it is sound, as long as such runs take
// no more than a quarter of what page maps may. Database.mu is held.
func (d *Database) keepRun(r *run) {
	size := r.memory()
	if d.closed || r.disk != nil || r.files[0].damaged || size > d.opts.Maps.mostKept() {
		return
	}
	for !d.opts.Maps.tryKeep(size) {
		if _, _, ok := d.runs.RemoveOldest(); !ok { // others have it all
			return
		}
	}
	d.runs.Add(versionOf(r.files[0].File), r.hold())
	d.used()
}

// readSound is readIndex, twice for what isn't sound: the store can have given something else
// once.
func (d *Database) readSound(ctx context.Context, f replica.File) (*run, error) {
	r, err := d.readIndex(ctx, f)
	if !unsound(r, err) {
		return r, err
	}
	if r != nil {
		r.release()
	}
	d.foundInvalid(f, false)
	if r, err = d.readIndex(ctx, f); unsound(r, err) {
		d.foundInvalid(f, true)
	}
	return r, err
}

// unsound reports whether what readIndex returns is of a damaged file.
func unsound(r *run, err error) bool {
	return errors.Is(err, ErrDamaged) || err == nil && r.files[0].damaged
}

// readIndex makes the run of a file. It reads its page index, and its header.
func (d *Database) readIndex(ctx context.Context, f replica.File) (*run, error) {
	g, gctx := errgroup.WithContext(ctx)
	var h header
	if f.Size > wholeSize {
		g.Go(func() (err error) {
			h, err = d.header(gctx, f)
			return err
		})
	}
	var r *run
	g.Go(func() (err error) {
		if r, err = d.readRun(gctx, f); err == nil && f.Size <= wholeSize {
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
	n := f.Size
	if n > wholeSize {
		n = endSize
	}
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
		// A page has no checksum of its own.
		_, err := ltxfile.Verify(ctx, bytes.NewReader(end), n)
		if ctx.Err() != nil {
			return nil, replica.NewFileError("read", f.Name, context.Cause(ctx))
		}
		m.damaged = errors.Is(err, ltx.ErrChecksumMismatch)
		if h, err := parseHeader(end, f.Name); err == nil && !m.damaged {
			d.mu.Lock()
			remember(d, d.headers, versionOf(f), h)
			d.mu.Unlock()
		}
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
