package database

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/flight"
	"github.com/ltxfs/ltxfs/replica"
)

// Source is a file of a state, all of which is at hand.
type Source struct {
	replica.File
	io.ReaderAt
}

// Restored is a state's database file, page after page, made of its files alone: each page is
// that of the last file that has it. It needs no page index. It is to be closed. One goroutine uses it.
type Restored struct {
	// Identity is what Reader.Identity is for these files.
	Identity [sha256.Size]byte

	state  *State
	inputs []*input
	memory int64
	pgno   uint32 // of the page that was read last
	left   []byte // of it
}

// input is a file, at one of its pages.
type input struct {
	replica.File
	dec  *ltx.Decoder
	pgno int64 // 0 before the first page, noPage behind the last
	page []byte
}

const noPage = math.MaxInt64

const (
	// inputSize is how much of a file is read at once, in bytes: a block of the disk cache, which reads and
	// checks no less, so that each is read once.
	inputSize = 128 << 10

	// restoredShare is how much of the budget the files of a Restored take at most, as one part of so many.
	restoredShare = 4
)

// Restored returns the state as its files have it, which come in the order of Reader.Files. Once
// it has been read to its end, each has matched the checksum that it ends with.
func (s *State) Restored(ctx context.Context, sources []Source) (_ *Restored, err error) {
	pageSize, budget := int64(s.stamp.pageSize), s.d.opts.Budget
	r := &Restored{state: s}
	for _, src := range sources {
		r.memory += min(src.Size, inputSize) + pageSize
	}
	if r.memory > budget.Size()/restoredShare {
		return nil, s.failed(fmt.Errorf("its %d files are too many for the memory of the cache", len(sources)))
	}
	ctx, cancel := flight.Deadline(ctx, s.d.opts.ReadTimeout) // a large one that waits holds up all others
	defer cancel()
	if err := budget.Acquire(ctx, r.memory); err != nil {
		return nil, s.failed(fmt.Errorf("wait for memory: %w", err))
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	h := sha256.New()
	for _, src := range sources {
		var sum [8]byte
		if _, err := src.ReadAt(sum[:], src.Size-int64(len(sum))); err != nil {
			return nil, replica.NewFileError("read", src.Name, err)
		}
		identify(h, src.File, binary.BigEndian.Uint64(sum[:]))
		file := bufio.NewReaderSize(io.NewSectionReader(src, 0, src.Size), int(min(src.Size, inputSize)))
		in := &input{File: src.File, dec: ltx.NewDecoder(file), page: make([]byte, pageSize)}
		in.dec.SetRetainPageIndex(false)
		if err := in.dec.DecodeHeader(); err != nil {
			return nil, replica.NewFileError("read", src.Name, err)
		}
		r.inputs = append(r.inputs, in)
	}
	if last := r.inputs[len(r.inputs)-1]; last.dec.Header().Commit != s.stamp.commit {
		return nil, damaged(last.File, fmt.Errorf("it has %d pages, the state %d", last.dec.Header().Commit, s.stamp.commit))
	}
	r.Identity = [sha256.Size]byte(h.Sum(nil))
	return r, nil
}

// Read implements io.Reader.
func (r *Restored) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// next reads the next page.
func (r *Restored) next() error {
	s := r.state
	if r.pgno == s.stamp.commit {
		return r.end()
	}
	r.pgno++
	for _, in := range r.inputs {
		if err := in.skip(int64(r.pgno)); err != nil {
			return err
		}
		if in.pgno == int64(r.pgno) {
			r.left = in.page
		}
	}
	switch {
	case r.pgno == ltx.LockPgno(s.stamp.pageSize):
		r.left = make([]byte, s.stamp.pageSize) // SQLite never writes it
	case len(r.left) == 0:
		return s.failed(fmt.Errorf("%w: page %d of %d is in none of them", ErrIncomplete, r.pgno, s.stamp.commit))
	case r.pgno == 1 && !s.d.opts.Exact:
		noWAL(r.left)
	}
	return nil
}

// end reads what is left of the files, which may have had more pages once. Then it needs no memory
// any more, however long the disk takes for what was made of them.
func (r *Restored) end() error {
	for _, in := range r.inputs {
		if err := in.skip(noPage); err != nil {
			return err
		}
	}
	r.Close()
	return io.EOF
}

// skip goes on to the first page that isn't before pgno.
func (in *input) skip(pgno int64) error {
	for in.pgno < pgno {
		var h ltx.PageHeader
		switch err := in.dec.DecodePage(&h, in.page); err {
		case nil:
			in.pgno = int64(h.Pgno)
		case io.EOF:
			in.pgno = noPage
			if err := in.dec.Close(); err != nil {
				return replica.NewFileError("read", in.Name, err)
			}
		default:
			return replica.NewFileError("read", in.Name, err)
		}
	}
	return nil
}

// Close gives the memory back, unless the end has.
func (r *Restored) Close() {
	r.state.d.opts.Budget.Release(r.memory)
	r.inputs, r.memory = nil, 0
}
