package database

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/ltxfs/ltxfs/replica"
)

// content is what a state is read from: the files of a plan, and where in them each
// page is. It never changes, but that the id alone is left of it once nobody holds it.
type content struct {
	id   planID
	size uint32 // of a page
	runs []*run // of adjacent files of the plan, all together
	refs int    // guarded by Database.mu

	identified sync.Once // sets hash, which is Reader.Identity
	hash       [sha256.Size]byte
}

// files are those of its plan.
func (c *content) files() iter.Seq2[int, member] {
	return func(yield func(int, member) bool) {
		n := 0
		for _, r := range c.runs {
			for _, f := range r.files {
				if !yield(n, f) {
					return
				}
				n++
			}
		}
	}
}

// len is the number of files.
func (c *content) len() (n int) {
	for _, r := range c.runs {
		n += len(r.files)
	}
	return n
}

// at is the i-th file.
func (c *content) at(i int) member {
	for _, r := range c.runs {
		if i < len(r.files) {
			return r.files[i]
		}
		i -= len(r.files)
	}
	panic("database: no file of the plan")
}

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
	c.runs = nil
}

// keep is release, but that the content stays for a while, unless a file of it is to be
// read again.
func (d *Database) keep(c *content) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range c.files() {
		if f.damaged {
			d.releaseLocked(c)
			return
		}
	}
	if d.recent != nil {
		d.releaseLocked(d.recent)
	}
	d.recent = c
	d.used()
}

// build makes the content of a plan, held once. What other contents have of it isn't
// made again.
func (d *Database) build(ctx context.Context, plan []replica.File, pageSize uint32) (_ *content, err error) {
	c := &content{id: idOf(plan), size: pageSize, runs: d.shared(plan, pageSize)}
	defer func() {
		if err != nil {
			for _, r := range c.runs {
				r.release()
			}
		}
	}()
	rest := plan[c.len():]
	made, err := d.runsOf(ctx, rest)
	for i, r := range made {
		if err == nil && r.pageSize != pageSize {
			err = damaged(rest[i], fmt.Errorf("its pages have %d bytes, those of the state %d", r.pageSize, pageSize))
		}
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
	return c, nil
}

// identity tells what a file holds from what else it may hold: its size, and the checksum of
// its bytes that it ends with.
type identity struct {
	size int64
	sum  uint64
}

func (m member) identity() identity { return identity{m.Size, m.sum} }

// identities are those of the files of its plan.
func (c *content) identities() map[replica.Name]identity {
	all := map[replica.Name]identity{}
	for _, f := range c.files() {
		all[f.Name] = f.identity()
	}
	return all
}

// shared are the runs, held, of the content that has most files of a plan from its
// beginning on. A run with a damaged file isn't shared, so that it is read again.
func (d *Database) shared(plan []replica.File, pageSize uint32) (runs []*run) {
	d.mu.Lock()
	defer d.mu.Unlock()
	most := 0
	for c := range d.contents {
		n, files := 0, 0
		for n < len(c.runs) && c.size == pageSize {
			f := c.runs[n].files
			if len(plan)-files < len(f) || !slices.EqualFunc(f, plan[files:files+len(f)], member.is) {
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

// is reports whether it is that version of a file, and sound.
func (m member) is(f replica.File) bool { return !m.damaged && versionOf(m.File) == versionOf(f) }

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
	base := c.len()
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
