package ltxfile

import "github.com/superfly/ltx"

// Order checks that a file has only pages that it may have, in their order, and a snapshot
// all of them.
type Order struct {
	h       ltx.Header
	lenient bool // see Restorable

	prev, tail uint32
}

// NewOrder returns the order of the pages of a file.
func NewOrder(h ltx.Header) *Order { return &Order{h: h} }

// Next checks that a page may follow the previous one. An error wraps ErrInvalid.
func (o *Order) Next(pgno uint32) error {
	lock := o.h.LockPgno()
	switch {
	case pgno <= o.prev:
		return invalid("page %d follows page %d: pages must ascend", pgno, o.prev)
	case pgno > o.h.Commit && o.lenient:
		o.prev = pgno
		return nil
	case pgno > o.h.Commit:
		return invalid("page %d is beyond the database's end, page %d", pgno, o.h.Commit)
	case pgno == lock:
		// SQLite never writes it, and no encoder takes it.
		return invalid("page %d is SQLite's lock page, which has no content", pgno)
	}
	want := o.prev + 1
	if want == lock {
		want++
	}
	if pgno != want {
		if o.h.IsSnapshot() && !o.lenient {
			return invalid("%w: page %d is missing", errIncomplete, want)
		}
		o.tail = pgno
	}
	o.prev = pgno
	return nil
}

// End checks that a snapshot is complete once its last page was read.
//
// Other files may have no page at all: a transaction that only cuts pages off
// the database's end writes none, and neither does one whose pages a later one
// within the same compacted range has cut off.
func (o *Order) End() error {
	if !o.h.IsSnapshot() || o.lenient || o.ends() {
		return nil
	}
	return invalid("%w: it ends with page %d of %d", errIncomplete, o.prev, o.h.Commit)
}

// ends reports whether the last page was the last of the database.
func (o *Order) ends() bool {
	last := o.h.Commit
	if last == o.h.LockPgno() {
		last--
	}
	return o.prev == last
}

// Tail is the first page of those from which on the file has all to the end of the database.
func (o *Order) Tail() uint32 {
	if !o.ends() {
		return o.h.Commit + 1
	}
	return max(o.tail, 1)
}
