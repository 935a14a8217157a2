package database

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

const (
	// endSize is how much of a file's end is read first, in bytes: most page indexes
	// are no longer.
	endSize = 64 << 10

	// partSize is how much of a longer one a request is for, and partsAhead how many
	// there are at a time.
	partSize   = 1 << 20
	partsAhead = 4

	// endsAtOnce is how many files of a plan have their indexes read at the same time.
	endsAtOnce = 32
)

// content is what a state is read from: the files of a plan, and where in them each
// page is. It never changes, but that the id alone is left of it once nobody holds it.
type content struct {
	id   planID
	plan []replica.File
	size uint32 // of a page
	runs []*run // of adjacent files of the plan, all together
	refs int    // guarded by Database.mu
}

// fileSize is what a file takes in a plan and in the run that it is in, in bytes.
const fileSize = 256

// hold returns c, held once more, or nil if it was let go before.
func (d *Database) hold(c *content) *content {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c == nil || c.refs == 0 {
		return nil
	}
	c.refs++
	return c
}

func (d *Database) release(c *content) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.releaseLocked(c)
}

func (d *Database) releaseLocked(c *content) {
	if c.refs--; c.refs > 0 {
		return
	}
	delete(d.contents, c)
	for _, r := range c.runs {
		r.release()
	}
	d.opts.Memory.Add(-int64(len(c.plan)) * fileSize)
	c.plan, c.runs = nil, nil
}

// keep is release, but that the content stays for a while.
func (d *Database) keep(c *content) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent != nil {
		d.releaseLocked(d.recent)
	}
	d.recent = c
	d.used()
}

// build makes the content of a plan, held once. What other contents have of it isn't
// made again.
func (d *Database) build(ctx context.Context, plan []replica.File, pageSize uint32) (_ *content, err error) {
	c := &content{id: idOf(plan), plan: plan, size: pageSize, runs: d.shared(plan, pageSize)}
	defer func() {
		if err != nil {
			for _, r := range c.runs {
				r.release()
			}
		}
	}()
	rest := plan[c.files():]
	made := make([]*run, len(rest))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(endsAtOnce)
	for i, f := range rest {
		g.Go(func() (err error) {
			made[i], err = d.readIndex(gctx, f, pageSize)
			return err
		})
	}
	err = g.Wait()
	for _, r := range made {
		switch {
		case r == nil:
		case err != nil:
			r.release()
		default:
			err = c.push(r)
		}
	}
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c.refs = 1
	d.contents[c] = struct{}{}
	d.opts.Memory.Add(int64(len(plan)) * fileSize)
	return c, nil
}

// files is how many files of its plan its runs are of.
func (c *content) files() (n int) {
	for _, r := range c.runs {
		n += len(r.files)
	}
	return n
}

// identity tells what a file holds from what else it may hold: its size, and the checksum of
// its bytes that it ends with.
type identity struct {
	size int64
	sum  uint64
}

// identities are those of the files of its plan.
func (c *content) identities() map[replica.Name]identity {
	all := map[replica.Name]identity{}
	for _, r := range c.runs {
		for i, f := range r.files {
			all[f.Name] = identity{f.Size, r.sums[i]}
		}
	}
	return all
}

// shared are the runs, held, of the content that has most files of a plan from its
// beginning on.
func (d *Database) shared(plan []replica.File, pageSize uint32) (runs []*run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	most := 0
	for c := range d.contents {
		n, files := 0, 0
		for n < len(c.runs) && c.size == pageSize {
			f := c.runs[n].files
			if len(plan)-files < len(f) || !slices.EqualFunc(f, plan[files:files+len(f)], sameVersion) {
				break
			}
			n, files = n+1, files+len(f)
		}
		if files > most {
			most, runs = files, c.runs[:n]
		}
	}
	runs = slices.Clone(runs)
	for _, r := range runs {
		r.hold()
	}
	return runs
}

func sameVersion(a, b replica.File) bool { return versionOf(a) == versionOf(b) }

// push adds the next run of the plan, and takes it over. A run becomes one with the one
// before unless that is more than twice as large, so that there are few.
func (c *content) push(r *run) error {
	c.runs = append(c.runs, r)
	for n := len(c.runs); n > 1 && c.runs[n-2].n <= 2*c.runs[n-1].n; n = len(c.runs) {
		both, err := merge(c.runs[n-2], c.runs[n-1])
		if err != nil {
			return err
		}
		c.runs[n-2].release()
		c.runs[n-1].release()
		c.runs = append(c.runs[:n-2], both)
	}
	return nil
}

// find returns where the pages are from number first on. One that no file has is zero.
func (c *content) find(first uint32, n int) ([]entry, error) {
	found := make([]entry, n)
	var buf []byte
	base := len(c.plan)
	for _, r := range slices.Backward(c.runs) {
		base -= len(r.files)
		if r.disk != nil && buf == nil {
			buf = make([]byte, n*entrySize)
		}
		if err := r.find(first, found, base, buf); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// readIndex makes the run of one file, whose header must have that page size.
func (d *Database) readIndex(ctx context.Context, f replica.File, pageSize uint32) (*run, error) {
	g, gctx := errgroup.WithContext(ctx)
	check := func() error {
		h, err := d.header(gctx, f)
		if err == nil && h.pageSize != pageSize {
			err = damaged(f, fmt.Errorf("its pages have %d bytes, those of the state %d", h.pageSize, pageSize))
		}
		return err
	}
	if f.Size > endSize {
		g.Go(check)
	}
	var r *run
	g.Go(func() (err error) {
		if r, err = d.readRun(gctx, f); err == nil && f.Size <= endSize {
			err = check() // it has come with the end
		}
		return err
	})
	err := g.Wait()
	if err != nil && r != nil {
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
	if n == f.Size && n >= ltx.HeaderSize {
		if h, err := parseHeader(end, f.Name); err == nil {
			d.mu.Lock()
			remember(d.headers, d.opts.Memory, versionOf(f), h)
			d.mu.Unlock()
		}
	}
	off, size, err := ltxfile.IndexAt(end, f.Size)
	if err != nil {
		return nil, damaged(f, err)
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
	w := newRunWriter(d.opts.Maps, []replica.File{f}, []uint64{binary.BigEndian.Uint64(end[len(end)-8:])})
	if err := ltxfile.ReadIndex(index, off, func(fr ltxfile.Frame) error { return w.add(entry{Frame: fr}) }); err != nil {
		w.abort()
		return nil, inFile(f, err)
	}
	return w.finish()
}

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
