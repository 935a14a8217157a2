package fs

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/cache/disk"
	"github.com/ltxfs/ltxfs/internal/database"
	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// keptRig is a mount with a disk cache, of two files that are too large to be verified when a state
// is opened.
type keptRig struct {
	*driver
	*storetest.History
	cache *disk.Cache
	dir   string

	// opened, if set, is called with what is opened, and returns what the store gives of it.
	opened atomic.Pointer[func(ctx context.Context, f replica.File, data []byte) []byte]
}

func newKeptRig(t *testing.T) *keptRig {
	r := &keptRig{History: storetest.NewHistory(t, 1, 4096), dir: filepath.Join(t.TempDir(), "cache")}
	m := mock.New()
	r.Put = func(n replica.Name, data []byte) { m.Put(n.Level, n.MinTXID, n.MaxTXID, data) }
	r.Commit(200, 0)
	r.Commit(200, 400)
	for n, data := range r.Files {
		require.Greater(t, len(data), 192<<10, n)
	}
	var err error
	r.cache, err = disk.Open(disk.Options{Dir: r.dir, Size: 100 << 20, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(r.cache.Close)
	r.driver = newDriverWith(t, Options{
		Tree:    Tree{Store: &changing{replica.Wrapper{Store: m}, r}, Freshness: time.Hour},
		ExactDB: true, DiskCache: r.cache, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}, far)
	return r
}

// changing is the store of a rig.
type changing struct {
	replica.Wrapper
	rig *keptRig
}

func (s *changing) OpenLTXFile(ctx context.Context, f replica.File, off, size int64) (io.ReadCloser, error) {
	if opened := s.rig.opened.Load(); opened != nil {
		data := (*opened)(ctx, f, s.rig.Files[f.Name])
		return io.NopCloser(io.NewSectionReader(bytes.NewReader(data), off, size)), nil
	}
	return s.Wrapper.OpenLTXFile(ctx, f, off, size)
}

// give sets what is called with what is opened.
func (r *keptRig) give(opened func(ctx context.Context, f replica.File, data []byte) []byte) {
	r.opened.Store(&opened)
}

// openState opens a state. Reading and releasing are what is returned.
func (r *keptRig) openState(txid ltx.TXID) (read func(off int64, n int) []byte, release func()) {
	r.t.Helper()
	node := r.walk("db", "at", stateName(txid)).NodeId
	fh, e := r.open(node, syscall.O_RDONLY)
	require.Zero(r.t, e)
	return func(off int64, n int) []byte {
		b, e := r.read(node, fh, off, n)
		require.Zero(r.t, e)
		return b
	}, func() { r.release(node, fh) }
}

// readState reads all of a state, in order.
func (r *keptRig) readState(txid ltx.TXID) (all []byte) {
	r.t.Helper()
	read, release := r.openState(txid)
	for off := int64(0); off < 200*4096; off += 128 << 10 {
		all = append(all, read(off, 128<<10)...)
	}
	release()
	return all
}

// toKeep is what a state is kept by.
func (r *keptRig) toKeep(txid ltx.TXID) *toKeep {
	r.t.Helper()
	var s *database.State
	require.NoError(r.t, r.tree.states.Current(r.t.Context(), func(tl *database.Timeline) (err error) {
		i, ok := tl.Search(txid)
		require.True(r.t, ok)
		s, err = r.tree.states.State(r.t.Context(), tl, i)
		return err
	}))
	rd, err := s.Open(r.t.Context())
	require.NoError(r.t, err)
	defer rd.Close()
	n := &stateNode{node: node{tree: r.tree}, state: s}
	return &toKeep{n, n.key(rd.Identity()), rd.Files()}
}

// copyOf is the copy that there is of a state, or nil.
func (r *keptRig) copyOf(txid ltx.TXID) []byte {
	r.t.Helper()
	k := r.toKeep(txid)
	c := r.cache.Copy(k.key, k.node.state.Size())
	if c == nil {
		return nil
	}
	defer c.Close()
	b := make([]byte, k.node.state.Size())
	_, err := c.ReadAt(b, 0)
	require.NoError(r.t, err)
	return b
}

// requireKept waits until there is a copy of a state, which must be right.
func (r *keptRig) requireKept(txid ltx.TXID) {
	r.t.Helper()
	var got []byte
	require.Eventually(r.t, func() bool { got = r.copyOf(txid); return got != nil }, far, time.Millisecond)
	require.True(r.t, bytes.Equal(r.File(txid), got), "a copy of other bytes")
}

// evict removes all files of the cache that aren't being filled.
func (r *keptRig) evict() {
	r.t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.dir, "v1", "*"))
	require.NoError(r.t, err)
	for _, path := range paths {
		if filepath.Ext(path) != ".part" {
			require.NoError(r.t, os.Remove(path))
		}
	}
}

var secondFile = replica.Name{MinTXID: 2, MaxTXID: 2}

// Files that another mount takes away while a copy is made are in it as they were verified: nothing
// else that the store gives.
func TestKeptOfWhatWasVerified(t *testing.T) {
	r := newKeptRig(t)
	k := r.toKeep(2)
	evicted := false
	r.give(func(_ context.Context, f replica.File, data []byte) []byte {
		switch {
		case f.Name == secondFile && !evicted:
			r.evict()
			evicted = true
		case evicted:
			data = bytes.Clone(data)
			for i := range data {
				data[i] ^= 1
			}
		}
		return data
	})
	require.NoError(t, k.keep(t.Context()))
	require.True(t, evicted)
	r.requireKept(2)
}

// A page index that was changed on its way to who opened the state, so that an older version of a
// page is taken for the last, changes nothing of the copy.
func TestKeptWithoutItsPageIndex(t *testing.T) {
	r := newKeptRig(t)
	data := r.Files[secondFile]
	off, n, err := ltxfile.IndexAt(data, int64(len(data)))
	require.NoError(t, err)
	last := bytes.LastIndex(data[off:off+n], binary.AppendUvarint(nil, 200))
	require.Positive(t, last, "the last page is in it")
	r.give(func(_ context.Context, f replica.File, data []byte) []byte {
		if f.Name == secondFile {
			data = bytes.Clone(data)
			data[off+int64(last)] ^= 1
		}
		return data
	})
	all := r.readState(2)
	r.opened.Store(nil)
	require.Equal(t, r.File(2)[:199*4096], all[:199*4096])
	require.Equal(t, r.File(1)[199*4096:], all[199*4096:])
	// What is kept of the files doesn't match their checksums, so that it is asked for again.
	require.Eventually(t, func() bool {
		if r.copyOf(2) != nil {
			return true
		}
		r.readState(2)
		return false
	}, far, 50*time.Millisecond)
	r.requireKept(2)
}

// What was read several times counts once, in whatever order.
func TestKeptOnceReadWhole(t *testing.T) {
	r := newKeptRig(t)
	read, release := r.openState(1)
	for range 10 {
		read(0, 128<<10)
		read(400<<10, 64<<10)
	}
	release()
	read, release = r.openState(2)
	size := int64(200 * 4096)
	for off := size - 32<<10; off >= 0; off -= 32 << 10 {
		read(off, 32<<10)
	}
	release()
	r.requireKept(2) // after the other, if that was to be kept
	require.Nil(t, r.copyOf(1))
}

// A state is kept of as many files as may be open beside all else.
func TestMostSources(t *testing.T) {
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) })
	for limit, want := range map[uint64]int{1024: 128, 4096: 512, 8192: 512} {
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: before.Max}))
		require.Equal(t, want, mostSources())
	}
}

// What several have read of a state at the same time counts together, and takes memory once.
func TestKeptOnceReadTogether(t *testing.T) {
	r := newKeptRig(t)
	half := 100 * 4096
	readFirst, releaseFirst := r.openState(2)
	readSecond, releaseSecond := r.openState(2)
	readFirst(0, half)
	readSecond(int64(half), half)
	releaseFirst()
	releaseSecond()
	r.requireKept(2)
}

func TestCoverage(t *testing.T) {
	var c coverage
	c.open(10*coverageUnit + 1)
	for _, tt := range []struct{ off, n, want int64 }{
		{0, coverageUnit - 1, 0},
		{0, coverageUnit, 1},
		{0, coverageUnit, 1},
		{coverageUnit + 1, 2 * coverageUnit, 2}, // the second of three of which it has something
		{10 * coverageUnit, 1, 3},
		{coverageUnit, 6 * coverageUnit, 8},
		{7 * coverageUnit, coverageUnit, 9},
	} {
		c.add(tt.off, tt.n)
		require.Equal(t, tt.want, c.n)
		c.open(c.size)
		require.Equal(t, tt.want == 9, c.close())
	}
	require.Nil(t, c.seen, "it was told")
	c.add(0, coverageUnit)
	require.NotNil(t, c.seen)
	require.False(t, c.close())
	require.Nil(t, c.seen, "nobody has it open")
}

// An end waits for a copy that is being made no longer than the disk and the store take to hear of it,
// and no longer than a bound.
func TestUnmountWhileKeeping(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newKeptRig(t)
			asked, answer := make(chan struct{}), make(chan struct{})
			defer close(answer)
			k := r.toKeep(2)
			r.give(func(ctx context.Context, _ replica.File, data []byte) []byte {
				done := ctx.Done()
				if deaf {
					done = nil
				}
				close(asked)
				select {
				case <-answer:
				case <-done:
				}
				return data
			})
			r.mount.keeper.take(k)
			<-asked
			began := time.Now()
			r.mount.keeper.close()
			if deaf {
				require.Equal(t, keeperTimeout, time.Since(began))
			} else {
				require.Zero(t, time.Since(began))
			}
		})
	}
}
