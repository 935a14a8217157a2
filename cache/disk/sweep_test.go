package disk

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Mounts that share a directory look at it before each of them has filled it.
func TestManyFill(t *testing.T) {
	r := newRig(t)
	const size = 160 * blockSize
	var mounts []*Cache
	for range 10 {
		c := r.cache(func(o *Options) { o.Size = size })
		c.swept()
		mounts = append(mounts, c)
	}
	for i, c := range mounts {
		for j := range 6 {
			e := c.use(copyOf(fmt.Sprint(i, j), 4*blockSize), true)
			for k := range e.blocks() {
				e.keep(k, 0, r.data[:blockSize])
			}
			c.letGo(e)
			c.swept()
			require.LessOrEqual(t, r.taken(), int64(size+size/leastSweeps))
		}
	}
}

// taken is what the directory takes up, in bytes.
func (r *rig) taken() (sum int64) {
	r.t.Helper()
	for _, path := range r.entries() {
		var st unix.Stat_t
		require.NoError(r.t, unix.Stat(path, &st))
		sum += st.Blocks * 512
	}
	return sum
}

// swept returns when nothing looks through the directory.
func (c *Cache) swept() {
	for c.sweeping.Load() {
		time.Sleep(time.Millisecond)
	}
}

// sweepNow looks through the directory.
func (c *Cache) sweepNow() {
	c.swept()
	c.sweep()
	c.swept()
}

// ownName is that of some entry.
var ownName = strings.Repeat("0a", sha256.Size)

// Files that nobody has used for 30 days go under a mount that does nothing, also those of other versions of ltxfs.
func TestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, dir: filepath.Join(t.TempDir(), "cache")}
		other, none := filepath.Join(r.dir, "v0"), filepath.Join(r.dir, "of-the-user")
		var paths []string
		for _, dir := range []string{filepath.Join(r.dir, format), other, none} {
			require.NoError(t, os.MkdirAll(dir, 0o700))
			path := filepath.Join(dir, ownName)
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			require.NoError(t, os.Chtimes(path, time.Now(), time.Now()))
			paths = append(paths, path)
		}
		c := r.cache()
		time.Sleep(29 * 24 * time.Hour)
		synctest.Wait()
		for _, path := range paths {
			require.FileExists(t, path)
		}
		time.Sleep(3 * 24 * time.Hour)
		synctest.Wait()
		require.NoFileExists(t, paths[0])
		require.NoFileExists(t, paths[1])
		require.FileExists(t, paths[2])
		c.Close()
	})
}

// A directory that was removed, and that somebody has made again for all to look into, isn't written to.
func TestRemovedAndOpen(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	c.sweepNow()
	require.NoError(t, os.RemoveAll(r.dir))
	require.NoError(t, os.Mkdir(r.dir, 0o755))
	require.EqualValues(t, 100, r.read(c, 0, 100))
	require.EqualValues(t, 100, r.read(c, 0, 100))
	c.sweepNow()
	require.NoDirExists(t, c.dir)
	c.Close()
	require.Contains(t, r.log.String(), "chmod 700")
}

// An entry with both names, whose process was killed between the two, counts once, and loses the one that it was to lose.
func TestTwoNames(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	r.read(c, 0, int64(len(r.data)))
	c.finish()
	before := r.taken()
	require.NoError(t, os.Link(r.entry(""), r.entry("")+partial))
	c = r.cache()
	c.sweepNow()
	require.Len(t, r.entries(), 2)
	require.Equal(t, before, c.Stats().Bytes)
}

// What else lies in the directory stays, and stops nobody who makes room, and no name of a directory is taken for a pattern.
func TestAgesByName(t *testing.T) {
	for _, name := range []string{"[x", "[ab]"} {
		r := newRig(t)
		beside := filepath.Dir(r.dir)
		r.dir = filepath.Join(beside, name)
		unused := func(dir, name string) string {
			require.NoError(t, os.MkdirAll(dir, 0o700))
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			then := time.Now().Add(-2 * maxAge)
			require.NoError(t, os.Chtimes(path, then, then))
			return path
		}
		keeps := []string{unused(r.dir, "v1.bak"), unused(filepath.Join(beside, "a", "v0"), ownName)}
		var goes []string
		for _, dir := range []string{filepath.Join(r.dir, format), filepath.Join(r.dir, "v0")} {
			for _, name := range []string{"", partial, sums, sums + "-123"} {
				goes = append(goes, unused(dir, ownName+name))
			}
			for _, name := range []string{"notes.txt", "photo.sums", ownName[1:], "x" + ownName, "try-it"} {
				keeps = append(keeps, unused(dir, name))
			}
		}
		r.cache().swept()
		for _, path := range goes {
			require.NoFileExists(t, path)
		}
		for _, path := range keeps {
			require.FileExists(t, path)
		}
		require.Empty(t, r.log.String())
	}
}

// Where nothing is old and everything fits, the directory is looked through once.
func TestLooksOnce(t *testing.T) {
	r := newRig(t)
	c := r.cache()
	r.read(c, 0, 100)
	c.swept()
	looks, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	require.NoError(t, err)
	defer unix.Close(looks)
	_, err = unix.InotifyAddWatch(looks, c.dir, unix.IN_OPEN|unix.IN_CLOSE_NOWRITE)
	require.NoError(t, err)
	c.sweepNow()
	n, err := unix.Read(looks, make([]byte, 100*unix.SizeofInotifyEvent))
	require.NoError(t, err)
	require.Equal(t, 2*unix.SizeofInotifyEvent, n, "it is opened and closed")
}
