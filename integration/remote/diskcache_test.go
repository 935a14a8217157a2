package remote

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
)

// diskRig is a replica that is mounted with a disk cache, time and again.
type diskRig struct {
	*counted
	t     *testing.T
	dir   string // the cache
	files []ltxFile
}

// newDiskRig makes a replica of files of some 100 KiB to some MiB.
func newDiskRig(t *testing.T, kind *s3test.Kind) *diskRig {
	t.Helper()
	r := &diskRig{counted: newCounted(t, kind, replica.LitestreamS3), t: t, dir: filepath.Join(t.TempDir(), "cache")}
	for i := range 8 {
		f := newFile(t, seedLevel, ltx.TXID(i+1), 25<<(i%6))
		r.put(t, f.level, f.min, f.max, f.data)
		r.files = append(r.files, f)
	}
	return r
}

// mountCached mounts the replica with the least memory, so that nearly all that was read once
// comes from the disk.
func (r *diskRig) mountCached(flags ...string) *ltxfstest.Mounted {
	r.t.Helper()
	return r.mount(r.t, append([]string{"--cache-size=4MiB", "--http=127.0.0.1:0", "--disk-cache", r.dir}, flags...)...)
}

// requireRead reads all files, in pieces of some size.
func (r *diskRig) requireRead(p *ltxfstest.Process, size int) {
	r.t.Helper()
	for _, f := range r.files {
		requireReadOf(r.t, p, f, size)
	}
}

func requireReadOf(t *testing.T, p *ltxfstest.Process, f ltxFile, size int) {
	t.Helper()
	file, err := p.Open(f.path(), os.O_RDONLY, 0)
	require.NoError(t, err)
	for off := 0; off < len(f.data); off += size {
		n := min(size, len(f.data)-off)
		got, err := file.ReadAt(n, int64(off))
		require.NoError(t, err, "%s at %d", f.name(), off)
		require.True(t, bytes.Equal(f.data[off:off+n], got), "%s at %d", f.name(), off)
	}
	require.NoError(t, file.Close())
}

// completed waits until the mount has made n entries whole, as long as there is one more each time.
func completed(t *testing.T, m *ltxfstest.Mounted, n int) {
	t.Helper()
	for now := metric(t, m, "disk_cache_completed_total"); now < n; {
		before := now
		ltxfstest.Eventually(t, ltxfstest.Timeout, fmt.Sprintf("of %d entries more than %d are whole", n, before), func() bool {
			now = metric(t, m, "disk_cache_completed_total")
			return now > before
		})
	}
}

func metric(t *testing.T, m *ltxfstest.Mounted, name string, labels ...string) int {
	t.Helper()
	all, _ := m.Metrics(t)
	return int(all.Sum("ltxfs_"+name, labels...))
}

// entries are the files in the directory of the cache, by what their names end with.
func (r *diskRig) entries() map[string][]string {
	r.t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.dir, "v1", "*"))
	require.NoError(r.t, err)
	all := map[string][]string{}
	for _, path := range paths {
		all[filepath.Ext(path)] = append(all[filepath.Ext(path)], path)
	}
	return all
}

// What was read through a mount with a disk cache costs the next mount no more than the
// listings, and the kernel reads what is whole by itself: files, and states that were copied.
func TestDiskCache(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		files := ltxfstest.OrdersFiles(t)
		states, _ := ltxfstest.OrdersStates(t)
		dir, copied := filepath.Join(t.TempDir(), "cache"), filepath.Join(t.TempDir(), "copy.db")
		for round := range 3 {
			m := c.mount(t, "--disk-cache", dir, "--db-bytes=exact", "--http=127.0.0.1:0", "--log-level=debug")
			c.proxy.Reset()
			for _, f := range files {
				got := ltxfstest.MustRun(t, "cat", m.Path(ltxfstest.LevelPath(f.Level, f.Name)))
				require.True(t, string(ltxfstest.OrdersData(t, f)) == got, f.Name)
			}
			if round == 0 {
				completed(t, m, len(files))
			}
			for i, s := range states {
				ltxfstest.MustRun(t, "cp", m.Path("db/at/"+s.TXID+".db"), copied)
				require.Equal(t, s.SHA256, ltxfstest.MustRun(t, "sha256sum", copied)[:64])
				if round == 0 {
					completed(t, m, len(files)+i+1)
				}
			}
			gets, reads := c.proxy.Counts()[s3test.GetObject], metric(t, m, "fuse_request_seconds", "operation=READ")
			if round == 0 {
				require.Positive(t, gets)
				require.Positive(t, reads)
			} else {
				require.Zero(t, gets, describe(c.proxy.Requests()))
				require.Zero(t, reads, "what the kernel had to ask for")
				require.Zero(t, metric(t, m, "disk_cache_completed_total"))
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			require.NotContains(t, m.Log(), "level=WARN")
		}
	})
}

// A state that was looked into costs the next mount no request either.
func TestDiskCacheOfLookups(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		states, _ := ltxfstest.OrdersStates(t)
		dir := filepath.Join(t.TempDir(), "cache")
		for round := range 2 {
			m := c.mount(t, "--disk-cache", dir)
			c.proxy.Reset()
			for _, s := range states {
				ltxfstest.MustRun(t, "sqlite3", m.Path("db/at/"+s.TXID+".db"), "SELECT count(*) FROM sqlite_schema")
			}
			ltxfstest.MustRun(t, "ls", "-lL", m.Path("db/at"), m.Path("db/time"))
			require.Equal(t, round == 0, c.proxy.Counts()[s3test.GetObject] > 0, describe(c.proxy.Requests()))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}

// Without passthrough, what is kept is read by the daemon, block by block: by users, and with
// --disk-cache-check=always.
func TestDiskCacheChecked(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		r := newDiskRig(t, kind)
		for round := range 3 {
			m := r.mountCached("--disk-cache-check=always")
			r.proxy.Reset()
			r.requireRead(m.Process(t), 300_000)
			if round == 0 {
				completed(t, m, len(r.files))
			} else {
				require.Zero(t, r.proxy.Counts()[s3test.GetObject], describe(r.proxy.Requests()))
				require.GreaterOrEqual(t, metric(t, m, "disk_cache_hit_bytes_total"), total(r.files))
				require.Zero(t, metric(t, m, "disk_cache_miss_bytes_total"))
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}

func total(files []ltxFile) (n int) {
	for _, f := range files {
		n += len(f.data)
	}
	return n
}

// Mounts that share a directory with room for a part of what they read take entries away from
// each other, from readers who have them open, and the other way round. Beside them is another
// version of ltxfs.
func TestDiskCacheShared(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		r := newDiskRig(t, kind)
		for i := range 6 { // a file is kept that takes up to half of the room
			f := newFile(t, seedLevel, ltx.TXID(101+i), 200)
			r.put(t, f.level, f.min, f.max, f.data)
			r.files = append(r.files, f)
		}
		const size = "--disk-cache-size=2MiB"
		other := ltxfstest.BuildWith(t, "cache/disk/disk.go", `format = "v1"`, `format = "v0"`)
		var mounts []*ltxfstest.Mounted
		for _, binary := range []string{"", "", other} {
			mounts = append(mounts, ltxfstest.MountWith(t, r.proxy.URL(r.bucket, countedPath), ltxfstest.MountOptions{
				Flags:  []string{"--cache-size=4MiB", "--http=127.0.0.1:0", "--disk-cache", r.dir, size},
				Env:    r.server.Env(),
				Binary: binary,
			}))
		}
		t.Run("readers", func(t *testing.T) {
			for i, m := range mounts {
				for reader := range 2 {
					t.Run(fmt.Sprint(i, reader), func(t *testing.T) {
						t.Parallel()
						p := m.Process(t)
						for round := range 6 {
							for j := range r.files {
								requireReadOf(t, p, r.files[(j*(2*reader+1)+i+round)%len(r.files)], 100_000<<(round%4))
							}
						}
					})
				}
			}
		})
		evictions := 0
		for _, m := range mounts {
			evictions += metric(t, m, "disk_cache_evictions_total")
			require.Zero(t, metric(t, m, "disk_cache_damaged_total"))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
		require.Positive(t, evictions)
	})
}

// A disk that is full costs a warning, and no read.
func TestDiskCacheFull(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		r := newDiskRig(t, kind)
		disk := ltxfstest.SmallDisk(t, 1<<20)
		r.dir = filepath.Join(disk, "cache")
		require.NoError(t, os.WriteFile(filepath.Join(disk, "others"), make([]byte, 700<<10), 0o600))
		m := r.mountCached()
		for range 3 {
			r.requireRead(m.Process(t), 500_000)
		}
		require.Contains(t, m.Log(), "the disk cache keeps nothing for now")
		require.Contains(t, m.Log(), "no space left on device")
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())

		// Of the room that is left to others, the cache takes nothing, nor tries to.
		require.NoError(t, os.RemoveAll(r.dir))
		require.NoError(t, os.WriteFile(filepath.Join(disk, "others"), make([]byte, 980<<10), 0o600))
		m = r.mountCached()
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the log says that there is no room", func() bool {
			return strings.Contains(m.Log(), "a twentieth that stays free")
		})
		require.Zero(t, metric(t, m, "disk_cache_writable"))
		r.requireRead(m.Process(t), 500_000)
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// A disk that hangs costs whoever comes first a wait, and no read; nor does the mount's end wait for it.
func TestDiskCacheHangs(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		r := newDiskRig(t, kind)
		m := r.mountCached("--disk-cache-check=always")
		r.requireRead(m.Process(t), 1<<20)
		completed(t, m, len(r.files))
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		fifo := filepath.Join(t.TempDir(), "fifo") // whoever opens one waits until somebody is to write to it
		require.NoError(t, syscall.Mkfifo(fifo, 0o600))
		for _, path := range r.entries()[""] {
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Link(fifo, path))
		}
		m = r.mountCached()
		r.requireRead(m.Process(t), 1<<20)
		require.Contains(t, m.Log(), "the disk doesn't answer")
		require.Zero(t, metric(t, m, "disk_cache_hit_bytes_total"))
		require.Zero(t, metric(t, m, "disk_cache_writable"))
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// After a kill at any moment, what is left in the directory is right.
func TestDiskCacheKilled(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		r := newDiskRig(t, kind)
		for round := range 12 {
			m := r.mountCached()
			p := m.Process(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for _, f := range r.files {
					if _, err := p.ReadFile(f.path()); err != nil {
						return // the mount has gone
					}
				}
			}()
			// Every other time while files become complete.
			ltxfstest.Eventually(t, ltxfstest.Timeout, "much was read", func() bool {
				return r.proxy.Counts()[s3test.GetObject] > round || len(r.entries()[""]) > round/2 || isClosed(done)
			})
			m.Kill(t)
			<-done
			p.Close()
			r.proxy.Reset()
		}
		m := r.mountCached("--disk-cache-check=always")
		r.requireRead(m.Process(t), 1<<20)
		require.Zero(t, metric(t, m, "disk_cache_damaged_total"))
		require.Positive(t, metric(t, m, "disk_cache_hit_bytes_total"))
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// All opens of a file go one way until the last of them has ended, though it has become whole
// meanwhile.
func TestDiskCacheBecomesWhole(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		r := newDiskRig(t, kind)
		m := r.mountCached()
		p := m.Process(t)
		f := r.files[5]
		first, err := p.Open(f.path(), os.O_RDONLY, 0)
		require.NoError(t, err)
		requireReadOf(t, p, f, 1<<20)
		completed(t, m, 1)
		second, err := p.Open(f.path(), os.O_RDONLY, 0)
		require.NoError(t, err)
		requireReadOf(t, p, f, 1<<20)
		for _, open := range []*ltxfstest.File{first, second} {
			got, err := open.ReadAt(5000, 70_000)
			require.NoError(t, err)
			require.True(t, bytes.Equal(f.data[70_000:75_000], got))
			require.NoError(t, open.Close())
		}
		// The kernel tells of a close when it has returned.
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the kernel reads it by itself", func() bool {
			before := metric(t, m, "fuse_request_seconds", "operation=READ")
			file, err := p.Open(f.path(), os.O_RDONLY|syscall.O_DIRECT, 0) // past what the kernel has
			require.NoError(t, err)
			_, err = file.ReadAt(4096, 0)
			require.NoError(t, err)
			require.NoError(t, file.Close())
			return metric(t, m, "fuse_request_seconds", "operation=READ") == before
		})
		requireReadOf(t, p, f, 1<<20)
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// A directory that can't be one is refused, with what to do.
func TestDiskCacheRefused(t *testing.T) {
	mountpoint, open := ltxfstest.MountPoint(t), t.TempDir()
	require.NoError(t, os.Chmod(open, 0o755))
	for dir, want := range map[string]string{
		filepath.Join(mountpoint, "c"): "is in the mountpoint: choose another directory",
		open:                           "chmod 700",
		"/proc/c":                      "make the disk cache",
	} {
		got := ltxfstest.Ltxfs(t, "mount", "--disk-cache", dir, "s3://bucket/db", mountpoint)
		require.NotEqual(t, ltxfstest.ExitOK, got.Code)
		require.True(t, strings.Contains(got.Stderr, want), got.Stderr)
	}
}

// One on a disk that hangs isn't waited for without end.
func TestDiskCacheHangsAtMount(t *testing.T) {
	t.Parallel()
	dir := ltxfstest.MountPoint(t)
	disk := exec.Command("mergerfs", "-f", t.TempDir(), dir)
	disk.Env, disk.SysProcAttr = ltxfstest.Env(), &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, disk.Start())
	defer func() {
		require.NoError(t, disk.Process.Kill())
		require.Error(t, disk.Wait())
	}()
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the disk is there", func() bool { return len(ltxfstest.Mounts(dir)) > 0 })
	require.NoError(t, disk.Process.Signal(syscall.SIGSTOP))

	mount := exec.Command(ltxfstest.Binary(), "mount", "--disk-cache", filepath.Join(dir, "c"), "s3://bucket/db", ltxfstest.MountPoint(t))
	mount.Env = ltxfstest.Env()
	got := ltxfstest.RunCmd(t, 2*ltxfstest.Timeout, mount)
	require.Equal(t, ltxfstest.ExitTimeout, got.Code, got)
	require.Contains(t, got.Stderr, "hasn't answered yet")
	require.Contains(t, got.Stderr, "check its disk, or give another directory")
}

// A hundred thousand opens of what is whole, and of what isn't, leave nothing behind.
func TestDiskCacheLeaks(t *testing.T) {
	r := newDiskRig(t, s3test.MinIO)
	m := r.mountCached()
	p := m.Process(t)
	whole, part := r.files[0], r.files[5]
	requireReadOf(t, p, whole, 1<<20)
	completed(t, m, 1)
	opens := func() (descriptors []string, heap, goroutines int) {
		for i := range 50_000 {
			f := whole
			if i%2 == 0 {
				f = part
			}
			file, err := p.Open(f.path(), os.O_RDONLY, 0)
			require.NoError(t, err)
			if i%100 < 2 {
				_, err := file.ReadAt(1, 0)
				require.NoError(t, err)
			}
			require.NoError(t, file.Close())
		}
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the last open is released", func() bool {
			descriptors = m.Descriptors(t)
			return !slices.ContainsFunc(descriptors, func(path string) bool { return strings.HasPrefix(path, r.dir) })
		})
		for i, path := range descriptors {
			descriptors[i], _, _ = strings.Cut(path, ":[")
		}
		descriptors = slices.DeleteFunc(descriptors, func(name string) bool { return name == "socket" })
		for range 3 { // what pools have goes with the second
			m.HTTP(t, "/debug/pprof/heap?gc=1")
		}
		all, _ := m.Metrics(t)
		return descriptors, int(all.Sum("go_memstats_heap_alloc_bytes")), int(all.Sum("go_goroutines"))
	}
	descriptors, heap, goroutines := opens()
	descriptorsNow, heapNow, goroutinesNow := opens()
	require.Equal(t, descriptors, descriptorsNow)
	require.LessOrEqual(t, heapNow, heap+512<<10, "ten bytes an open")
	_, profile := m.HTTP(t, "/debug/pprof/goroutine?debug=1")
	require.LessOrEqual(t, goroutinesNow, goroutines+goroutinesMore, profile)
	t.Logf("descriptors %d, heap %d → %d, goroutines %d → %d", len(descriptors), heap, heapNow, goroutines, goroutinesNow)
}
