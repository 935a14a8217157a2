package database

import (
	"bytes"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
)

// unpack unpacks pages of a file, which has these bytes from off on, on all cores.
func (s *State) unpack(file [][]byte, off int64, pages []page) error {
	workers := max(min(runtime.GOMAXPROCS(0), len(pages)*int(s.stamp.pageSize)/unpackAlone), 1)
	var g errgroup.Group
	for some := range slices.Chunk(pages, (len(pages)+workers-1)/workers) {
		g.Go(func() error { return s.unpackSome(file, off, some) })
	}
	return g.Wait()
}

func (s *State) unpackSome(file [][]byte, off int64, pages []page) error {
	size := int(s.stamp.pageSize)
	var buf, whole []byte
	for _, p := range pages {
		dest := p.dest
		if len(dest) < size {
			whole = slices.Grow(whole[:0], size)[:size]
			dest = whole
		}
		if err := ltxfile.UnpackPage(cut(file, p.Offset-off, p.Size, &buf), p.Pgno, dest); err != nil {
			return err
		}
		s.tree.see(p.Pgno, dest, s.stamp.commit)
		if p.Pgno == 1 && !s.d.opts.Exact {
			noWAL(dest)
		}
		if len(p.dest) < size {
			copy(p.dest, whole[p.skip:])
		}
	}
	return nil
}

// cut returns n bytes from off on: where they lie in one piece, or else in buf.
func cut(pieces [][]byte, off, n int64, buf *[]byte) []byte {
	*buf = (*buf)[:0]
	for _, piece := range pieces {
		if off >= int64(len(piece)) {
			off -= int64(len(piece))
			continue
		}
		piece = piece[off:]
		if off = 0; len(*buf) == 0 && n <= int64(len(piece)) {
			return piece[:n:n]
		}
		*buf = append(*buf, piece[:min(n-int64(len(*buf)), int64(len(piece)))]...)
		if int64(len(*buf)) == n {
			break
		}
	}
	return *buf
}

// magic is what a database begins with.
const magic = "SQLite format 3\x00"

// noWAL makes page 1 say that the database has a rollback journal, where it says that
// it has a WAL: SQLite can't open that without writing to it.
func noWAL(page []byte) {
	const writeVersion, readVersion = 18, 19
	if !bytes.HasPrefix(page, []byte(magic)) {
		return
	}
	for _, at := range []int{writeVersion, readVersion} {
		if page[at] == 2 {
			page[at] = 1
		}
	}
}
