package database

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// version is one version of a file.
type version struct {
	replica.Name
	replica.Version
}

func versionOf(f replica.File) version { return version{f.Name, f.Version} }

// header is what a file's header tells of the state that it ends at.
type header struct {
	pageSize uint32
	commit   uint32 // pages
	time     int64  // Unix milliseconds
	taken    bool   // is the time of a snapshot, which is taken after its state
}

// matches reports whether a state that h is of can be the one that a later listing has. A
// snapshot, which is taken after its state, can come before the files that end where it does.
func (h header) matches(later header) bool {
	if h.taken && !later.taken && h.time >= later.time {
		h.taken, h.time = false, later.time
	}
	return h == later
}

// asking is a header on its way, which many may wait for.
type asking struct {
	done   chan struct{} // closed when it is there; the rest is set before
	header header
	err    error
}

// header returns the header of a file, which it reads once.
func (d *Database) header(ctx context.Context, f replica.File) (header, error) {
	d.mu.Lock()
	h, ok := d.headers.Get(versionOf(f))
	if ok || ctx.Err() != nil {
		d.mu.Unlock()
		return h, replica.NewFileError("read", f.Name, context.Cause(ctx))
	}
	a := d.ask(ctx, f)
	d.mu.Unlock()
	select {
	case <-a.done:
		return a.header, a.err
	case <-ctx.Done():
		return header{}, replica.NewFileError("read", f.Name, context.Cause(ctx))
	}
}

// ask begins to read a header, unless that is under way. Database.mu is held.
func (d *Database) ask(ctx context.Context, f replica.File) *asking {
	key := versionOf(f)
	if a := d.asking[key]; a != nil {
		return a
	}
	a := &asking{done: make(chan struct{})}
	d.asking[key] = a
	go func() {
		h, err := d.readHeader(ctx, f)
		d.mu.Lock()
		defer d.mu.Unlock()
		defer close(a.done)
		delete(d.asking, key)
		if a.header, a.err = h, err; err == nil {
			remember(d, d.headers, key, h)
		}
	}()
	return a
}

func (d *Database) readHeader(ctx context.Context, f replica.File) (header, error) {
	if f.Size < ltx.HeaderSize {
		return header{}, damaged(f, fmt.Errorf("its %d bytes are less than a header", f.Size))
	}
	var wrong error
	for try := range 2 { // the store can have given something else once
		b, err := d.read(context.WithoutCancel(ctx), f, 0, ltx.HeaderSize)
		if err != nil {
			return header{}, err
		}
		var h header
		if h, wrong = parseHeader(b, f.Name); wrong == nil {
			return h, nil
		}
		d.foundInvalid(f, try > 0)
	}
	return header{}, damaged(f, wrong)
}

func parseHeader(b []byte, n replica.Name) (header, error) {
	h, err := ltxfile.ParseHeader(b)
	if err == nil {
		err = ltxfile.CheckName(h, n.MinTXID, n.MaxTXID)
	}
	return header{h.PageSize, h.Commit, h.Timestamp, isBase(n)}, err
}

// ErrDamaged means that a file of the replica can't be what Litestream wrote.
var ErrDamaged = errors.New("the file is damaged")

// damaged is an error that wraps ErrDamaged, and not err, which would be one of publishing.
func damaged(f replica.File, err error) error {
	return replica.NewFileError("read", f.Name, fmt.Errorf("%w: %v", ErrDamaged, err))
}

// inFile is the error of what was read in a file.
func inFile(f replica.File, err error) error {
	if errors.Is(err, ltxfile.ErrInvalid) {
		return damaged(f, err)
	}
	return err
}

const (
	// firstAhead and mostAhead bound how many headers are read ahead of who asks for
	// states in order.
	firstAhead, mostAhead = 8, 256
)

// ahead is how far headers were read ahead.
type ahead struct {
	next, until ltx.TXID
	window      int
}

// readAhead has the headers read that come next, if states are asked for in order, as
// by a listing that shows sizes.
func (d *Database) readAhead(ctx context.Context, t *Timeline, i int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &d.ahead
	inOrder := t.TXID(i) == a.next
	a.next = 0
	if i+1 < t.Len() {
		a.next = t.TXID(i + 1)
	}
	if !inOrder {
		a.window, a.until = 0, t.TXID(i)
		return
	}
	done, _ := t.Search(a.until)
	if done-i > a.window/2 {
		return
	}
	a.window = min(max(2*a.window, firstAhead), mostAhead)
	for j := max(done, i); j < min(i+a.window, t.Len()-1); j++ {
		f := t.End(j + 1)
		a.until = t.TXID(j + 1)
		if _, ok := d.headers.Peek(versionOf(f)); !ok {
			d.ask(ctx, f)
		}
	}
}

// stampOf is what tells the i-th state from another one of its TXID. Where the file
// that should tell is damaged, the one that ends the plan does.
func (d *Database) stampOf(ctx context.Context, t *Timeline, i int) (header, error) {
	h, err := d.header(ctx, t.End(i))
	if !errors.Is(err, ErrDamaged) {
		return h, err
	}
	plan := t.plan(t.TXID(i))
	return d.header(ctx, plan[len(plan)-1])
}

// timeOf is the time of the i-th state, which has that stamp. Where no more than a
// snapshot is left of it, it is what it was before.
func (d *Database) timeOf(t *Timeline, i int, stamp header) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	txid := t.TXID(i)
	before, ok := d.times.Get(txid)
	switch {
	case !stamp.taken:
		remember(d, d.times, txid, stamp)
	case ok && before.commit == stamp.commit && before.pageSize == stamp.pageSize:
		stamp.time = min(stamp.time, before.time)
	}
	return time.UnixMilli(stamp.time).UTC()
}
