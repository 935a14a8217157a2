package remote

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// copiesRig is a replica of some states, whose copies a disk cache is to keep.
type copiesRig struct {
	*counted
	*storetest.History
	dir string // the cache
}

// statePages are those of each state of a copiesRig. No file has as many bytes.
const statePages = 1000

func newCopiesRig(t *testing.T, c *counted) *copiesRig {
	t.Helper()
	r := &copiesRig{c, storetest.NewHistory(t, 1, 4096), filepath.Join(t.TempDir(), "cache")}
	r.Put = func(n replica.Name, data []byte) { c.put(t, n.Level, n.MinTXID, n.MaxTXID, data) }
	r.Commit(statePages, 0)
	for range 5 {
		r.Commit(statePages, 60)
	}
	return r
}

func forEachCopiesRig(t *testing.T, test func(t *testing.T, r *copiesRig)) {
	t.Helper()
	forEachCounted(t, func(t *testing.T, c *counted) { test(t, newCopiesRig(t, c)) })
}

func (r *copiesRig) mountCached(t *testing.T, flags ...string) *ltxfstest.Mounted {
	t.Helper()
	return r.mount(t, append([]string{"--db-bytes=exact", "--http=127.0.0.1:0", "--disk-cache", r.dir, "--disk-cache-size=1GiB"}, flags...)...)
}

func statePath(txid ltx.TXID) string { return "db/at/" + txid.String() + ".db" }

// requireState reads all of a state.
func (r *copiesRig) requireState(t *testing.T, p *ltxfstest.Process, txid ltx.TXID) {
	t.Helper()
	got, err := p.ReadFile(statePath(txid))
	require.NoError(t, err)
	require.True(t, bytes.Equal(r.File(txid), got), "state %s", txid)
}

// copies are the copies in the cache that are whole, and those that are being made.
func (r *copiesRig) copies(t *testing.T) (whole, begun []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(r.dir, "v1", "*"))
	require.NoError(t, err)
	for _, path := range paths {
		st, err := os.Stat(path)
		if err != nil {
			continue // it has gone meanwhile
		}
		switch suffix := filepath.Ext(path); {
		case suffix == "" && st.Size() == statePages*4096:
			whole = append(whole, path)
		case suffix == ".part" && st.Size() > statePages*4096:
			begun = append(begun, path)
		}
	}
	return whole, begun
}

// copied waits until the cache has n copies.
func (r *copiesRig) copied(t *testing.T, n int) (whole []string) {
	t.Helper()
	ltxfstest.Eventually(t, ltxfstest.Timeout, fmt.Sprint(n, " copies are whole"), func() bool {
		var begun []string
		whole, begun = r.copies(t)
		return len(whole) == n && len(begun) == 0
	})
	return whole
}

// All opens of a state go one way until the last of them has ended, though there is a copy of it meanwhile.
func TestDiskCacheStateBecomesWhole(t *testing.T) {
	forEachCopiesRig(t, func(t *testing.T, r *copiesRig) {
		m := r.mountCached(t)
		p := m.Process(t)
		want := r.File(6)
		open := func() *ltxfstest.File {
			f, err := p.Open(statePath(6), os.O_RDONLY|syscall.O_DIRECT, 0) // past what the kernel has
			require.NoError(t, err)
			return f
		}
		requireAt := func(f *ltxfstest.File, off, n int) {
			got, err := f.ReadAt(n, int64(off))
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[off:off+n], got), "at %d", off)
		}
		reads := func() int { return metric(t, m, "fuse_request_seconds", "operation=READ") }
		first := open()
		requireAt(first, 0, 4096)
		r.requireState(t, p, 6)
		r.copied(t, 1)
		second := open()
		before := reads()
		for off := 0; off < len(want); off += 512 << 10 {
			requireAt(first, off, 4096)
			requireAt(second, off, 8192)
		}
		require.Greater(t, reads(), before, "of both, the daemon")
		require.NoError(t, first.Close())
		require.NoError(t, second.Close())
		// The kernel tells of a close when it has returned.
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the kernel reads it by itself", func() bool {
			before := reads()
			f := open()
			requireAt(f, 1<<20, 4096)
			require.NoError(t, f.Close())
			return reads() == before
		})
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// A copy that is damaged costs requests, and no byte: the state is read from its files, and kept again.
func TestDiskCacheDamagedCopies(t *testing.T) {
	forEachCopiesRig(t, func(t *testing.T, r *copiesRig) {
		for round, suffix := range []string{"", ".sums", ""} {
			m := r.mountCached(t, "--disk-cache-check=always")
			r.requireState(t, m.Process(t), 6)
			path := r.copied(t, 1)[0]
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			flipByte(t, path+suffix, int64(8+round*200))

			m = r.mountCached(t, "--disk-cache-check=always")
			p := m.Process(t)
			r.requireState(t, p, 6)
			require.Equal(t, 1, metric(t, m, "disk_cache_damaged_total"))
			completed(t, m, 1)
			data, err := os.ReadFile(r.copied(t, 1)[0])
			require.NoError(t, err)
			require.True(t, bytes.Equal(r.File(6), data))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}

// A copy that goes while it is open, whoever reads it, is read to its end.
func TestDiskCacheEvictedCopies(t *testing.T) {
	forEachCopiesRig(t, func(t *testing.T, r *copiesRig) {
		for _, check := range []string{"once", "always"} {
			m := r.mountCached(t)
			r.requireState(t, m.Process(t), 6)
			r.copied(t, 1)
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())

			m = r.mountCached(t, "--disk-cache-check="+check)
			p := m.Process(t)
			f, err := p.Open(statePath(6), os.O_RDONLY, 0)
			require.NoError(t, err)
			require.NoError(t, os.RemoveAll(filepath.Join(r.dir, "v1")))
			r.proxy.Reset()
			got, err := f.ReadAt(statePages*4096, 0)
			require.NoError(t, err)
			require.True(t, bytes.Equal(r.File(6), got))
			require.Zero(t, r.proxy.Counts()[s3test.GetObject], describe(r.proxy.Requests()))
			r.requireState(t, p, 6) // opened while it is open
			require.NoError(t, f.Close())
			for txid := ltx.TXID(1); txid <= 6; txid++ {
				r.requireState(t, p, txid)
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			require.NoError(t, os.RemoveAll(r.dir))
		}
	})
}

// Mounts that make the same copies in a directory with room for few of them take them, and what they
// are made of, away from each other.
func TestDiskCacheSharedCopies(t *testing.T) {
	forEachCopiesRig(t, func(t *testing.T, r *copiesRig) {
		files := 0
		for _, data := range r.Files {
			files += len(data)
		}
		flags := []string{fmt.Sprintf("--disk-cache-size=%d", 2*(statePages*4096+files)+1<<20), "--cache-size=4MiB"}
		var mounts []*ltxfstest.Mounted
		for range 2 {
			mounts = append(mounts, r.mountCached(t, flags...))
		}
		t.Run("readers", func(t *testing.T) {
			for i, m := range mounts {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					p := m.Process(t)
					for round := range 5 {
						for j := range 6 {
							r.requireState(t, p, ltx.TXID(1+(j*(1+4*i)+round)%6))
						}
					}
				})
			}
		})
		evictions, completed := 0, 0
		for _, m := range mounts {
			evictions += metric(t, m, "disk_cache_evictions_total")
			completed += metric(t, m, "disk_cache_completed_total")
			require.Zero(t, metric(t, m, "disk_cache_damaged_total"))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
		require.Positive(t, evictions)
		require.Greater(t, completed, 6)
	})
}

// An end at any moment while copies are made, by a kill or not, leaves nothing that is wrong.
func TestDiskCacheEndsWhileCopying(t *testing.T) {
	forEachCopiesRig(t, func(t *testing.T, r *copiesRig) {
		byPath := map[string]ltx.TXID{}
		for round := range 18 {
			txid := ltx.TXID(1 + round%6)
			m := r.mountCached(t, "--cache-size=4MiB")
			r.requireState(t, m.Process(t), txid)
			ltxfstest.Eventually(t, ltxfstest.Timeout, "it is time for an end", func() bool {
				whole, begun := r.copies(t)
				return round%3 == 0 || len(whole) > len(byPath) || round%3 == 1 && len(begun) > 0 || round >= 6
			})
			if round%2 == 0 {
				m.Kill(t)
			} else {
				require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			}
			whole, _ := r.copies(t)
			for _, path := range whole {
				if byPath[path] == 0 {
					byPath[path] = txid
				}
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				require.True(t, bytes.Equal(r.File(byPath[path]), data), "state %s", byPath[path])
			}
		}
		m := r.mountCached(t, "--disk-cache-check=always")
		p := m.Process(t)
		for txid := ltx.TXID(1); txid <= 6; txid++ {
			r.requireState(t, p, txid)
		}
		r.copied(t, 6)
		require.Zero(t, metric(t, m, "disk_cache_damaged_total"))
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// A state that was opened costs the next mount no request, however large its files are: also where
// both a file's header and its end are in the same block.
func TestDiskCacheOfLargerLookups(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		r := &copiesRig{c, storetest.NewHistory(t, 1, 4096), filepath.Join(t.TempDir(), "cache")}
		r.Put = func(n replica.Name, data []byte) { c.put(t, n.Level, n.MinTXID, n.MaxTXID, data) }
		blocks := map[int]int{}
		for _, pages := range []uint32{20, 50, 75, 110, 280} {
			r.Commit(pages, 10_000)
			blocks[len(r.Files[replica.Name{MinTXID: r.Last(), MaxTXID: r.Last()}])/(64<<10)]++
		}
		require.Equal(t, map[int]int{0: 1, 1: 1, 2: 1, 3: 1, 9: 1}, blocks, "files by how often they have 64 KiB")
		for round := range 2 {
			m := r.mountCached(t)
			r.proxy.Reset()
			for txid := ltx.TXID(1); txid <= r.Last(); txid++ {
				f, err := m.Process(t).Open(statePath(txid), os.O_RDONLY, 0)
				require.NoError(t, err)
				require.NoError(t, f.Close())
			}
			require.Equal(t, round == 0, r.proxy.Counts()[s3test.GetObject] > 0, describe(r.proxy.Requests()))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}

// A hundred thousand opens of states, of which there are copies and aren't, leave nothing behind.
func TestDiskCacheLeaksOfStates(t *testing.T) {
	r := newCopiesRig(t, newCounted(t, s3test.MinIO, replica.LitestreamS3))
	m := r.mountCached(t)
	p := m.Process(t)
	r.requireState(t, p, 6)
	r.copied(t, 1)
	opens := func(n int) (descriptors []string, goroutines int) {
		var users sync.WaitGroup
		for _, txid := range []ltx.TXID{6, 5} {
			p := m.Process(t)
			users.Go(func() {
				for i := range n {
					f, err := p.Open(statePath(txid), os.O_RDONLY, 0)
					if err == nil && i%100 == 0 {
						_, err = f.ReadAt(1, 0)
					}
					if err == nil {
						err = f.Close()
					}
					if err != nil {
						t.Errorf("state %s: %v", txid, err)
						return
					}
				}
			})
		}
		users.Wait()
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the last open is released", func() bool {
			descriptors = m.Descriptors(t)
			return !slices.ContainsFunc(descriptors, func(path string) bool { return strings.HasPrefix(path, r.dir) })
		})
		for i, path := range descriptors {
			descriptors[i], _, _ = strings.Cut(path, ":[")
		}
		descriptors = slices.DeleteFunc(descriptors, func(name string) bool { return name == "socket" })
		all, _ := m.Metrics(t)
		return descriptors, int(all.Sum("go_goroutines"))
	}
	descriptors, goroutines := opens(500)
	descriptorsNow, goroutinesNow := opens(50_000)
	require.Equal(t, descriptors, descriptorsNow)
	_, profile := m.HTTP(t, "/debug/pprof/goroutine?debug=1")
	require.LessOrEqual(t, goroutinesNow, goroutines+goroutinesMore, profile)
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}
