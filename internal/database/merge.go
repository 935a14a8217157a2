package database

import (
	"cmp"
	"slices"
)

// merge makes one run of two that are adjacent: of the pages that both have, it has the
// later's.
func merge(earlier, later *run) (*run, error) {
	w := newRunWriter(earlier.maps, slices.Concat(earlier.files, later.files))
	a, b := cursor{run: earlier}, cursor{run: later, base: len(earlier.files)}
	err := cmp.Or(a.next(), b.next())
	for err == nil && (!a.end || !b.end) {
		switch {
		case b.end || !a.end && a.e.Pgno < b.e.Pgno:
			if err = w.add(a.e); err == nil {
				err = a.next()
			}
		default:
			same := !a.end && a.e.Pgno == b.e.Pgno
			if err = w.add(b.e); err == nil {
				err = b.next()
			}
			if err == nil && same {
				err = a.next()
			}
		}
	}
	if err != nil {
		w.abort()
		return nil, err
	}
	return w.finish()
}

// cursor goes through the entries of a run.
type cursor struct {
	run  *run
	base int // of its files
	i    int
	b    []byte
	buf  []byte
	e    entry
	end  bool
}

func (c *cursor) next() error {
	if len(c.b) == 0 {
		if c.i == c.run.n {
			c.end = true
			return nil
		}
		if c.buf == nil && c.run.disk != nil {
			c.buf = make([]byte, pieceSize)
		}
		j := min(c.i+pieceEntries, c.run.n)
		var err error
		if c.b, err = c.run.entries(c.i, j, c.buf); err != nil {
			return err
		}
		c.i = j
	}
	c.e = entryOf(c.b)
	c.e.file += c.base
	c.b = c.b[entrySize:]
	return nil
}
