package disk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/mock"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a store with one file, and the directory of a cache.
type rig struct {
	t    *testing.T
	dir  string
	mock *mock.Store
	file replica.File
	data []byte
	log  bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "cache"), mock: mock.New()}
	r.data = storetest.LTX(t, 1, 1, storetest.PageSize(65536), storetest.Commit(9), storetest.Noise())
	require.Greater(t, len(r.data), 4*blockSize)
	r.file = r.mock.Put(0, 1, 1, r.data)
	t.Cleanup(func() { require.Zero(t, r.mock.OpenReaders()) })
	return r
}

// cache is what a process has of the directory, until it is closed.
func (r *rig) cache(change ...func(*Options)) *Cache {
	r.t.Helper()
	opts := Options{Dir: r.dir, Size: 100 << 20, Logger: slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	for _, f := range change {
		f(&opts)
	}
	c, err := Open(opts)
	require.NoError(r.t, err)
	r.t.Cleanup(c.Close)
	return c
}

func withoutBytes(s Stats) Stats {
	s.Bytes, s.Keeps = 0, false
	return s
}

// finish ends a process that has done all that it had begun.
func (c *Cache) finish() {
	last := content{key: "last", verify: func(context.Context, io.ReaderAt) error { return errors.New("it is of nothing") }}
	c.letGo(c.use(last, true))
	c.toFinish <- last
	for there := error(nil); there == nil; time.Sleep(time.Millisecond) { // until it is removed
		_, there = os.Stat(c.path("last") + partial)
	}
	c.Close()
}

// read reads a range, which must be right, and returns how many bytes the store gave for it.
func (r *rig) read(c *Cache, off, size int64) (asked int64) {
	r.t.Helper()
	r.mock.ResetCalls()
	rc, err := c.Around(r.mock, "replica").OpenLTXFile(r.t.Context(), r.file, off, size)
	require.NoError(r.t, err)
	got, err := io.ReadAll(rc)
	require.NoError(r.t, err)
	require.NoError(r.t, rc.Close())
	require.True(r.t, bytes.Equal(r.data[off:off+size], got), "other bytes")
	return r.mock.BytesRead()
}

// entry is the one file in the directory whose name ends so.
func (r *rig) entry(suffix string) string {
	r.t.Helper()
	paths := slices.DeleteFunc(r.entries(), func(path string) bool { return filepath.Ext(path) != suffix })
	require.Len(r.t, paths, 1)
	return paths[0]
}

func (r *rig) entries() (names []string) {
	r.t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.dir, format, "*"))
	require.NoError(r.t, err)
	return paths
}

// What was read is kept, also by the next process, and what wasn't is asked for alone.
func TestKept(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	c := r.cache()
	require.EqualValues(t, 100, r.read(c, 0, 100))
	require.Zero(t, r.read(c, 0, 100))
	require.EqualValues(t, 100, r.read(c, blockSize+50, 100))
	require.EqualValues(t, 2*blockSize, r.read(c, blockSize, 2*blockSize))
	require.Zero(t, r.read(c, blockSize+50, 100))
	c.finish()
	c = r.cache()
	require.Zero(t, r.read(c, blockSize+1, 2*blockSize-1))
	require.Equal(t, size-2*blockSize, r.read(c, 0, size))
	require.Equal(t, 2, r.mock.Calls(mock.OpOpen), "before and behind what is there")
	c.finish()
	require.Len(t, r.entries(), 2, "and its checksums")
	require.Equal(t, Stats{Completed: 1, HitBytes: 4*blockSize - 1, MissBytes: size - 2*blockSize}, withoutBytes(c.Stats()))

	// It is whole now: as it is in the store, and read-only.
	whole, err := os.ReadFile(r.entry(""))
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.data, whole))
	st, err := os.Stat(r.entry(""))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o400), st.Mode())
	require.Zero(t, r.read(r.cache(), 0, size))
	require.Empty(t, r.log.String())
}

// Damage to any byte of what isn't whole, or of its records, is asked of the store again, and
// mended.
func TestDamage(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	c := r.cache()
	r.read(c, 0, size-1)
	c.finish()
	path := r.entry(partial)
	st, err := os.Stat(path)
	require.NoError(t, err)
	for at := int64(5); at < st.Size(); at += blockSize / 2 {
		if at >= size {
			at = max(at, st.Size()-recordSize) // of the last block
		}
		flip(t, path, at)
		c := r.cache()
		if at < size {
			require.Equal(t, min(blockSize, size-1-at/blockSize*blockSize), r.read(c, 0, size-1), at)
			require.EqualValues(t, 1, c.Stats().Damaged)
		} else {
			r.read(c, 0, size-1)
		}
		require.Zero(t, r.read(c, 0, size-1), at)
		c.finish()
	}
	require.Contains(t, r.log.String(), "the disk cache is damaged")
}

// Damage to what is whole, or to its checksums, has it go, and be filled again.
func TestDamageToWhole(t *testing.T) {
	for _, which := range []string{"", sums} {
		r := newRig(t)
		size := int64(len(r.data))
		c := r.cache()
		r.read(c, 0, size)
		c.finish()
		flip(t, r.entry(which), 8)
		c = r.cache()
		require.EqualValues(t, blockSize, r.read(c, 0, size), "the block, and no other")
		require.EqualValues(t, 1, c.Stats().Damaged)
		require.Equal(t, size, r.read(c, 0, size), "it has gone")
		c.finish()
		require.Zero(t, r.read(r.cache(), 0, size))
		require.EqualValues(t, 1, c.Stats().Completed)
	}
}

// What is whole and has lost its checksums, or an end, goes.
func TestNoSums(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	cut := func(path string) error { return os.Truncate(path, 5) }
	for i, lose := range []func(path string) error{os.Remove, cut, cut} {
		c := r.cache()
		r.read(c, 0, size)
		c.finish()
		require.NoError(t, lose(r.entry([]string{sums, sums, ""}[i])))
		c = r.cache()
		require.Equal(t, size, r.read(c, 0, size))
		c.finish()
	}
	require.Empty(t, r.log.String())
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[at] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(b[at:at+1], at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// What is cut short, at any place, is as good as what it has.
func TestCutShort(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	for _, keep := range []int64{0, 1, 4096, 3 * blockSize, size, size + 1} {
		c := r.cache()
		r.read(c, 0, size-1)
		c.finish()
		require.NoError(t, os.Truncate(r.entries()[0], keep))
		c = r.cache()
		require.Positive(t, r.read(c, 0, size-1))
		require.Zero(t, r.read(c, 0, size-1))
		c.finish()
		require.NoError(t, os.Remove(r.entries()[0]))
	}
}

// What another process fills is read of the store, and what it has filled isn't.
func TestTwoProcesses(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	a, b := r.cache(), r.cache()
	rc, err := a.Around(r.mock, "replica").OpenLTXFile(t.Context(), r.file, 0, size)
	require.NoError(t, err)
	require.Equal(t, size, r.read(b, 0, size))
	require.Equal(t, size, r.read(b, 0, size))
	require.NoError(t, rc.Close())
	require.Equal(t, size, r.read(a, 0, size))
	require.Zero(t, r.read(a, 0, size), "though it may be about to become whole")
	a.finish()
	require.Zero(t, r.read(b, 0, size))
	require.Empty(t, r.log.String())
}

// What is no LTX file isn't kept as a whole one.
func TestInvalid(t *testing.T) {
	r := newRig(t)
	r.data[len(r.data)/2] ^= 1
	r.file = r.mock.Put(0, 1, 1, r.data)
	c := r.cache()
	r.read(c, 0, int64(len(r.data)))
	c.finish()
	require.NotContains(t, r.entries(), c.path((&Store{id: "replica"}).content(r.file).key))
	require.True(t, c.writable(), "the disk is sound")
	require.Empty(t, r.log.String())
}

// Versions, names and replicas have their own entries.
func TestIdentity(t *testing.T) {
	c := newRig(t).cache()
	f := replica.File{Name: replica.Name{Level: 1, MinTXID: 1, MaxTXID: 2}, Version: replica.Version{ETag: `"a"`, Modified: 3, Size: 4}}
	path := func(id string, f replica.File) string { return c.path((&Store{id: id}).content(f).key) }
	paths := map[string]bool{path("r", f): true, path("q", f): true, c.path(copyOf("r", 4).key): true}
	for _, change := range []func(f *replica.File){
		func(f *replica.File) { f.Level = 2 }, func(f *replica.File) { f.MinTXID = 2 }, func(f *replica.File) { f.MaxTXID = 3 },
		func(f *replica.File) { f.Version.ETag = `"b"` }, func(f *replica.File) { f.Version.Modified = 4 },
		func(f *replica.File) { f.Version.Size = 5 },
	} {
		other := f
		change(&other)
		paths[path("r", other)] = true
	}
	require.Len(t, paths, 9)
}

// Where nothing but a time and a size tells versions apart, nothing is kept.
func TestNoETag(t *testing.T) {
	r := newRig(t)
	f := r.file
	f.Version.ETag = ""
	rc, err := r.cache().Around(sole{r.mock, r.file}, "replica").OpenLTXFile(t.Context(), f, 0, 0)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, rc)
	require.NoError(t, err)
	require.NoError(t, rc.Close())
	require.Empty(t, r.entries())
}

// sole is a store that opens one file.
type sole struct {
	replica.Store
	f replica.File
}

func (s sole) OpenLTXFile(ctx context.Context, _ replica.File, offset, size int64) (io.ReadCloser, error) {
	return s.Store.OpenLTXFile(ctx, s.f, offset, size)
}

// The store around a store passes the suite.
func TestConforms(t *testing.T) {
	c := newRig(t).cache()
	var m *mock.Store
	storetest.Run(t, storetest.Harness{
		New:       func(t *testing.T) replica.Store { m = mock.New(); return c.Around(m, t.Name()) },
		Resources: func(replica.Store) int { return m.OpenReaders() + m.OpenListings() },
		LargeSize: 4 << 20,
	})
}

// Bytes of a block are kept together with those that they touch, in whatever order they come.
func TestPieces(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	e := c.use((&Store{cache: c}).content(r.file), true)
	p := make([]byte, blockSize)
	for _, off := range []int64{blockSize + 4096, 3*blockSize - 1, blockSize + 8192, blockSize, 0, blockSize + 3000} {
		n := min(4096, blockSize-off%blockSize)
		e.keep(off/blockSize, uint32(off%blockSize), r.data[off:off+n])
		_, err := e.ReadAt(p[:n], off)
		require.NoError(t, err)
		require.True(t, bytes.Equal(r.data[off:off+n], p[:n]), off)
	}
	_, err := e.ReadAt(p[:3*4096], blockSize)
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.data[blockSize:blockSize+3*4096], p[:3*4096]))
	_, err = e.ReadAt(p[:3*4096+1], blockSize)
	require.ErrorIs(t, err, ErrIncomplete)
	c.letGo(e)
}

// What can't be right is asked for again, though somebody has it open.
func TestForget(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	s := c.Around(r.mock, "replica")
	rc, err := s.OpenLTXFile(t.Context(), r.file, 0, 0)
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, rc, blockSize)
	require.NoError(t, err)
	require.Zero(t, r.read(c, 0, 100))
	s.Forget(r.file)
	require.EqualValues(t, 100, r.read(c, 0, 100))
	require.NoError(t, rc.Close())
	require.EqualValues(t, 100, r.read(c, blockSize, 100), "it keeps nothing any more that was open")
}

// An entry that another process has unlinked takes no more room.
func TestUnlinkedTakesNoRoom(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	rc, err := c.Around(r.mock, "replica").OpenLTXFile(t.Context(), r.file, 0, 0)
	require.NoError(t, err)
	require.NoError(t, os.Remove(r.entry(partial)))
	_, err = io.Copy(io.Discard, rc)
	require.NoError(t, err)
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(rc.(*reader).entry.f.Fd()), &st))
	require.Zero(t, st.Blocks)
	require.NoError(t, rc.Close())
}

// A process that was killed while an entry was to become complete leaves one that may be open
// elsewhere, and isn't written to.
func TestKilledWhileFinishing(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	c := r.cache()
	r.read(c, 0, size)
	c.finish()
	complete := r.entry("")
	require.NoError(t, os.Link(complete, complete+partial))
	require.NoError(t, os.Remove(complete+sums))
	f, err := os.Open(complete)
	require.NoError(t, err)
	for range 2 { // the first finds that it can't be checked, and then that it can't be written to
		c = r.cache()
		r.read(c, 0, size)
		c.finish()
	}
	require.Zero(t, r.read(r.cache(), 0, size))
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.data, got))
	require.NoError(t, f.Close())
	require.Empty(t, r.log.String())
}

// An entry that was unlinked while it was filled, and begun anew by another process, isn't
// taken for whole.
func TestUnlinkedWhileFilled(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	a, b := r.cache(), r.cache()
	rc, err := a.Around(r.mock, "replica").OpenLTXFile(t.Context(), r.file, 0, size)
	require.NoError(t, err)
	require.NoError(t, os.Remove(r.entry(partial)))
	other, err := b.Around(r.mock, "replica").OpenLTXFile(t.Context(), r.file, 0, size)
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, other, blockSize)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, rc)
	require.NoError(t, err)
	require.NoError(t, rc.Close())
	a.finish()
	require.Zero(t, a.Stats().Completed)
	require.NoError(t, other.Close())
	require.Equal(t, size-blockSize, r.read(r.cache(), 0, size), "what the other has kept is there")
	require.Empty(t, r.log.String())
}

// A directory that was removed is made again.
func TestRemoved(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	c.swept()
	require.NoError(t, os.RemoveAll(c.dir))
	require.EqualValues(t, 100, r.read(c, 0, 100))
	require.Zero(t, r.read(c, 0, 100))
	require.Empty(t, r.log.String())
}

// A cache that is full lets go of what was used longest ago.
func TestFull(t *testing.T) {
	r := newRig(t)
	size := int64(len(r.data))
	var files []replica.File
	for i := range int64(6) {
		data := storetest.LTX(t, 1, 1, storetest.PageSize(65536), storetest.Commit(9), storetest.Noise(), storetest.Seed(uint64(i)))
		r.file, r.data = r.mock.Put(int(i), 1, 1, data), data
		files = append(files, r.file)
		c := r.cache(func(o *Options) { o.Size = 3 * size })
		r.read(c, 0, size)
		c.finish()
		for _, path := range r.entries() {
			st, err := os.Stat(path)
			require.NoError(t, err)
			old := unix.NsecToTimeval(st.ModTime().UnixNano() - 3600e9)
			require.NoError(t, unix.Utimes(path, []unix.Timeval{old, old}))
		}
	}
	c := r.cache(func(o *Options) { o.Size = 3 * size })
	c.finish()
	var sum int64
	for _, path := range r.entries() {
		st, err := os.Stat(path)
		require.NoError(t, err)
		sum += st.Size()
	}
	require.LessOrEqual(t, sum, 3*size)
	_, err := os.Stat(c.path((&Store{id: "replica"}).content(files[5]).key))
	require.NoError(t, err, "the last is there")
}

// A directory that others can look into is refused.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err := Open(Options{Dir: dir, Size: 1 << 20})
	require.ErrorContains(t, err, "chmod 700")
	require.False(t, strings.Contains(err.Error(), format))
}

// Who reads while the cache is closed lets go of what it has, and nothing begins any more.
func TestUsedWhileClosed(t *testing.T) {
	r := newRig(t)
	for range 30 {
		c := r.cache()
		rc, err := c.Around(r.mock, "replica").OpenLTXFile(t.Context(), r.file, 0, 100)
		require.NoError(t, err)
		var reading sync.WaitGroup
		reading.Go(func() {
			for c.ctx.Err() == nil {
				c.sweep()
			}
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
			c.sweep()
		})
		c.Close()
		reading.Wait()
		<-rc.(*reader).entry.closed
		require.False(t, c.sweeping.Load())
	}
}
