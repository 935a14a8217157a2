package disk

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lowWatermark is to what part of its size a cache that is full is emptied, in percent.
	lowWatermark = 90

	// leastSweeps is into how many parts the size is divided of which a process keeps one before it looks
	// again what others have kept.
	leastSweeps = 20

	// reserved is how much of a disk is left to others, as one part of so many.
	reserved = 20

	// maxAge is for how long a file stays that nobody uses.
	maxAge = 30 * 24 * time.Hour

	// leastSweep is for how many bytes the directory of a large cache isn't looked through.
	leastSweep = 1 << 20

	// namesAtOnce is how many names of a directory are read at once.
	namesAtOnce = 1024
)

// errNoRoom is why nothing is kept where others have the disk.
var errNoRoom = errors.New("the disk has no room beside what others have on it, and a twentieth that stays free")

// sweep makes room, in the background.
func (c *Cache) sweep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil || !c.sweeping.CompareAndSwap(false, true) {
		return
	}
	before := c.counters.kept.Load()
	c.work.Go(func() {
		defer c.sweeping.Store(false)
		sum, err := c.makeRoom()
		room := int64(0)
		if err == nil {
			c.age()
			room, err = c.space(sum)
		}
		if err == nil && room <= sum && room < c.opts.Size {
			err = errNoRoom
		}
		c.counters.seen.Store(sum)
		c.counters.kept.Add(-before)
		c.room.Store(max(min((room-sum)/2, c.opts.Size/leastSweeps), min(leastSweep, c.opts.Size/10))) // other mounts fill it as well
		if err != nil {
			c.fault(err)
		}
	})
}

// makeRoom unlinks the files that were used longest ago until there is room for what others
// take up.
func (c *Cache) makeRoom() (sum int64, err error) {
	if err := c.makeDirs(); err != nil {
		return 0, err
	}
	// A directory may have a million files, so that all there is of them is how much was used when.
	sizes := map[int64]int64{}
	if err := c.each(c.dir, func(_ string, used, size int64) error {
		sizes[used] += size
		sum += size
		return nil
	}); err != nil {
		return 0, err
	}
	room, err := c.space(sum)
	if err != nil {
		return sum, err
	}
	most := room
	if sum > room {
		most = room / 100 * lowWatermark
	}
	oldest, left, some := time.Now().Add(-maxAge).Unix(), sum, false
	for _, used := range slices.Sorted(maps.Keys(sizes)) {
		if left <= most && used > oldest {
			break
		}
		oldest, left, some = max(oldest, used), left-sizes[used], true
	}
	if !some {
		return sum, nil
	}
	return sum - c.unlink(oldest, sum, most), nil
}

// unlink unlinks files that were used before a time, and of those that were used in the last
// second before it as many as must go. It returns how much that was.
func (c *Cache) unlink(oldest, sum, most int64) (gone int64) {
	_ = c.each(c.dir, func(path string, used, size int64) error { // what can't be read now is there the next time
		if used > oldest || used == oldest && sum-gone <= most {
			return nil
		}
		err := os.Remove(path)
		if err == nil {
			c.counters.evictions.Add(1)
			gone += size
		}
		return err
	})
	return gone
}

// age unlinks what nobody has used of other versions of ltxfs. What it can't stays, and stops nothing else.
func (c *Cache) age() {
	dirs, err := os.ReadDir(c.opts.Dir)
	oldest := time.Now().Add(-maxAge).Unix()
	for _, dir := range dirs {
		if other, _ := filepath.Match(formats, dir.Name()); !other || !dir.IsDir() || dir.Name() == format {
			continue
		}
		err = errors.Join(err, c.each(filepath.Join(c.opts.Dir, dir.Name()), func(path string, used, _ int64) error {
			if used > oldest {
				return nil
			}
			return os.Remove(path)
		}))
	}
	if err != nil {
		c.opts.Logger.Info("can't look through what other versions of ltxfs have kept", "error", err)
	}
}

// ours are the names that a cache gives to files, in this version and any other: by the content's key, and to what it
// tries a directory with. All else in a directory is its owner's.
var ours = regexp.MustCompile(`^([0-9a-f]{64}([.].*)?|try-[0-9]+)$`)

// each calls do for the cache's files in a directory, with the second of their last use, and their
// size on disk.
func (c *Cache) each(in string, do func(path string, used, size int64) error) error {
	dir, err := os.Open(in)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		files, err := dir.ReadDir(namesAtOnce)
		if err == io.EOF || c.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range files {
			if !ours.MatchString(f.Name()) {
				continue
			}
			path := filepath.Join(in, f.Name())
			st, err := f.Info()
			if err == nil && st.Mode().IsRegular() {
				switch sys := st.Sys().(*syscall.Stat_t); {
				case sys.Nlink > 1 && filepath.Ext(path) == partial: // it has become complete, and its process was killed
					err = os.Remove(path)
				default:
					err = do(path, st.ModTime().Unix(), sys.Blocks*512)
				}
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // another process was faster
				return err
			}
		}
	}
}

// space is how much the files may take up, which take up sum.
func (c *Cache) space(sum int64) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(c.dir, &st); err != nil {
		return 0, err
	}
	free, whole := int64(st.Bavail)*st.Bsize, int64(st.Blocks)*st.Bsize
	return max(min(c.opts.Size, sum+free-whole/reserved), 0), nil
}
