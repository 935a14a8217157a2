package fs

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// halfListed is a store with many files in level 0, of which a listing gives those before one until it may go on.
type halfListed struct {
	*mock.Store
	goOn chan error
	at   int // halfListedFiles if it is 0
}

const halfListedFiles = 5000

// names are those of all files.
func (s *halfListed) names() (names []string) {
	for i := ltx.TXID(1); i <= halfListedFiles; i++ {
		names = append(names, fileName(i, i))
	}
	return names
}

func (s *halfListed) LTXFiles(ctx context.Context, level int, opts replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		for i := 1; i <= halfListedFiles; i++ {
			if i == cmp.Or(s.at, halfListedFiles) {
				select {
				case err := <-s.goOn:
					if err != nil {
						yield(replica.File{}, err)
						return
					}
				case <-ctx.Done():
					yield(replica.File{}, ctx.Err())
					return
				}
			}
			if !yield(replica.File{Name: nameOf(ltx.TXID(i), ltx.TXID(i)), Size: 1, Version: replica.Version{Size: int64(i)}}, nil) {
				return
			}
		}
	}
}

// opened is a directory that is being read.
type opened struct {
	*driver
	node, fh, off uint64
	names         []string
}

func (tr *driver) opendir(node uint64) *opened {
	tr.t.Helper()
	var out fuse.OpenOut
	require.Equal(tr.t, fuse.OK, tr.raw.OpenDir(nil, &fuse.OpenIn{InHeader: header(node)}, &out))
	return &opened{driver: tr, node: node, fh: out.Fh}
}

// readdir reads some more names, of which there are none at the end.
func (d *opened) readdir(plus bool) (n int, _ syscall.Errno) { return d.readdirOf(plus, 4096) }

func (d *opened) readdirOf(plus bool, size int) (n int, _ syscall.Errno) {
	buf := make([]byte, size)
	l := fuse.NewDirEntryList(buf, d.off)
	in := &fuse.ReadIn{InHeader: header(d.node), Fh: d.fh, Offset: d.off, Size: uint32(len(buf))}
	read := d.raw.ReadDir
	if plus {
		read = d.raw.ReadDirPlus
	}
	if st := read(nil, in, l); !st.Ok() {
		return 0, errnoOf(st)
	}
	if l.Offset == d.off {
		return 0, 0
	}
	names := dirNames(buf, plus)
	d.names, d.off = append(d.names, names...), l.Offset
	return len(names), 0
}

func (d *opened) close() {
	d.raw.ReleaseDir(&fuse.ReleaseIn{InHeader: header(d.node), Fh: d.fh})
}

// TestFirstEntries: a directory is read while its level is still being listed, with own changes; if that
// fails, reading fails in that place, and anew once the directory is read anew.
func TestFirstEntries(t *testing.T) {
	for _, plus := range []bool{false, true} {
		for _, failure := range []error{nil, errors.New("broken")} {
			s := &halfListed{Store: mock.New(), goOn: make(chan error, 1)}
			tr := newDriver(t, s, true)
			level := tr.level(0)
			want := s.names()
			tr.stageFile(level, fileName(4, 4), storetest.LTX(t, 4, 4))
			tr.stageFile(level, "other", nil)
			first := tr.opendir(level)
			_, e := first.readdir(plus)
			require.Zero(t, e)
			require.Zero(t, tr.unlink(level, fileName(3, 3)))
			want = slices.DeleteFunc(want, func(name string) bool { return name == fileName(3, 3) || name == fileName(4, 4) })
			want = append(want, fileName(4, 4), "other")

			d := tr.opendir(level)
			for len(d.names) < 4000 {
				n, e := d.readdir(plus)
				require.Zero(t, e)
				require.Positive(t, n)
			}
			require.Equal(t, want[:len(d.names)], d.names)
			if plus {
				require.LessOrEqual(t, s.Calls(mock.OpStat), 2, "for what was deleted and staged")
			}
			s.goOn <- failure
			for n := 1; n > 0; {
				n, e = d.readdir(plus)
			}
			if failure == nil {
				require.Zero(t, e)
				require.Equal(t, want, d.names)
			} else {
				require.Equal(t, syscall.EIO, e)
				require.Equal(t, want[:len(d.names)], d.names)
				require.Greater(t, len(d.names), halfListedFiles-1024)
			}

			// rewinddir. What lists anew after a failure believes the store, which has not deleted anything.
			d.off, d.names = 0, nil
			if failure != nil {
				want = slices.Insert(want, 2, fileName(3, 3))
			}
			s.goOn <- nil
			for n := 1; n > 0; {
				n, e = d.readdir(plus)
				require.Zero(t, e)
			}
			require.Equal(t, want, d.names)
			d.close()
			first.close()
		}
	}
}

// TestFirstEntriesDeadline: who waits for the next entry gets an error by its deadline.
func TestFirstEntriesDeadline(t *testing.T) {
	s := &halfListed{Store: mock.New(), goOn: make(chan error, 1)}
	tr := newDriverOf(t, s, false, time.Minute, soon)
	d := tr.opendir(tr.level(0))
	defer d.close()
	n, e := 1, syscall.Errno(0)
	for n > 0 {
		n, e = d.readdir(false)
	}
	require.Equal(t, syscall.ETIMEDOUT, e)
	require.Greater(t, len(d.names), 4000)
}

// beginListing has a level be listed, so that the listing doesn't know what is deleted from then on.
func (tr *driver) beginListing(level uint64) {
	tr.t.Helper()
	d := tr.opendir(level)
	defer d.close()
	_, e := d.readdir(false)
	require.Zero(tr.t, e)
}

// TestFirstEntriesAtOnce: an answer has what is there, and waits for nothing more; one that has nothing isn't the end.
func TestFirstEntriesAtOnce(t *testing.T) {
	for _, plus := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const found, gone = 2048, 1024 // a block each
			s := &halfListed{Store: mock.New(), goOn: make(chan error, 1), at: found + 100}
			tr := newDriver(t, s, true)
			level := tr.level(0)
			tr.beginListing(level)
			for i := ltx.TXID(gone + 1); i <= found; i++ {
				tr.tree.index.Remove(nameOf(i, i))
			}
			want := slices.Delete(s.names(), gone, found)
			d := tr.opendir(level)
			defer d.close()
			began := time.Now()
			for len(d.names) < gone {
				n, e := d.readdirOf(plus, 128<<10)
				require.Zero(t, e)
				require.Positive(t, n)
			}
			require.Zero(t, time.Since(began))
			require.Equal(t, want[:gone], d.names)
			time.AfterFunc(time.Second, func() { s.goOn <- nil })
			n, e := d.readdirOf(plus, 128<<10)
			require.Zero(t, e)
			require.Positive(t, n)
			require.Equal(t, time.Second, time.Since(began))
			for n > 0 {
				n, e = d.readdirOf(plus, 128<<10)
				require.Zero(t, e)
			}
			require.Equal(t, want, d.names)
		})
	}
}

// TestFirstEntriesSeek: a place in a directory stays the same, while its level is being listed and afterwards, and what was
// deleted before takes none away.
func TestFirstEntriesSeek(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := &halfListed{Store: mock.New(), goOn: make(chan error, 1)}
	tr := newDriver(t, s, true)
	level := tr.level(0)
	tr.beginListing(level)
	want := s.names()
	for range 500 {
		i := random.IntN(len(want))
		require.Zero(t, tr.unlink(level, want[i]))
		want = slices.Delete(want, i, i+1)
	}
	d := tr.opendir(level)
	defer d.close()
	type place struct {
		off uint64
		n   int // names before it
	}
	var places []place
	read := func() int {
		places = append(places, place{d.off, len(d.names)})
		n, e := d.readdir(random.IntN(2) == 0)
		require.Zero(t, e)
		require.Equal(t, want[:len(d.names)], d.names)
		return n
	}
	seek := func() {
		for range 50 {
			p := places[1+random.IntN(len(places)-1)]
			d.off, d.names = p.off, want[:p.n:p.n]
			require.Positive(t, read())
		}
	}
	for len(d.names) < 3000 {
		require.Positive(t, read())
	}
	seek()
	require.Zero(t, tr.unlink(level, want[0]), "what is deleted since stays in its place")
	seek()
	s.goOn <- nil
	d.off, d.names = places[1].off, want[:places[1].n:places[1].n]
	for read() > 0 {
	}
	require.Equal(t, want, d.names)
	places = slices.DeleteFunc(places, func(p place) bool { return p.n == len(want) })
	seek()
}
