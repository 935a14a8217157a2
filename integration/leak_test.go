package integration

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const (
	// leakOpens and leakPublications are how often a round opens a file, and
	// makes, publishes and removes one.
	leakOpens        = 10_000
	leakPublications = 1_000
	leakStagings     = 5_000 // makes a file and removes it unpublished

	// leakMemory is by how much the resident memory may differ between two
	// rounds that do the same. A leak of an inode each would be more.
	leakMemory = 3 << 20

	// leakGoroutines is by how much the number of goroutines may differ: those
	// that wait for the kernel's requests come and go.
	leakGoroutines = 8
)

// What opens, reads, writes and deletes leave behind in the daemon after a first
// round of them is there after a second, and no more: descriptors, threads,
// goroutines, memory with the inodes in it, staged files.
func TestLeaks(t *testing.T) {
	for name, cred := range map[string]*syscall.Credential{"ourselves": nil, "user": ltxfstest.User(t)} {
		t.Run("reading as "+name, func(t *testing.T) {
			t.Parallel()
			root := ltxfstest.Orders(t)
			files := ltxfstest.OrdersFiles(t)
			opens := func(p *ltxfstest.Process, n int) {
				for i := range n {
					f := files[i%len(files)]
					data, err := p.ReadFile(f.Path())
					require.NoError(t, err)
					require.Len(t, data, int(f.Size))
				}
			}
			requireNoLeak(t, root, cred, func(p *ltxfstest.Process) { opens(p, len(files)) }, func(p *ltxfstest.Process) { opens(p, leakOpens) })
		})
		t.Run("writing as "+name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			txid := ltx.TXID(0)
			writes := func(p *ltxfstest.Process, publications, stagings int) {
				for range publications {
					txid++
					publishAndDelete(t, p, txid)
				}
				for i := range stagings {
					path := fmt.Sprintf("ltx/0000/upload-%d", i)
					require.NoError(t, p.WriteFile(path, []byte("no LTX")))
					require.NoError(t, p.Unlink(path))
				}
			}
			m := requireNoLeak(t, root, cred, func(p *ltxfstest.Process) { writes(p, 10, 10) },
				func(p *ltxfstest.Process) { writes(p, leakPublications, leakStagings) })
			require.Empty(t, ltxfstest.Tree(t, root), "the replica")
			for path := range ltxfstest.Tree(t, m.Staging) {
				require.True(t, strings.HasSuffix(path, ".lock"), "%s is left in the staging directory", path)
			}
		})
	}
}

// publishAndDelete takes a file through its whole life, by one of two ways.
func publishAndDelete(t *testing.T, p *ltxfstest.Process, txid ltx.TXID) {
	t.Helper()
	data := storetest.LTX(t, txid, txid, storetest.PageSize(512), storetest.Commit(1))
	path := "ltx/0000/" + ltx.FormatFilename(txid, txid)
	if txid%2 == 0 {
		require.NoError(t, p.WriteFile(path, data))
	} else {
		require.NoError(t, p.WriteFile(path+".tmp", data))
		require.NoError(t, p.Rename(path+".tmp", path, 0))
	}
	got, err := p.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, p.Unlink(path))
}

// requireNoLeak mounts a replica, warms the daemon up, and compares it after two
// rounds with what it was before them. The daemon is gone when it returns.
func requireNoLeak(t *testing.T, root string, cred *syscall.Credential, warmUp, round func(*ltxfstest.Process)) *ltxfstest.Mounted {
	t.Helper()
	ltxfstest.Give(t, cred, root)
	opts := ltxfstest.MountOptions{Flags: []string{"--rw", "--log-level=warn"}, Credential: cred}
	begin := func() (*ltxfstest.Mounted, *ltxfstest.Process) {
		m := ltxfstest.MountWith(t, root, opts)
		p := ltxfstest.NewProcess(t, m.Dir, cred)
		warmUp(p)
		return m, p
	}
	idle, _ := begin()
	goroutines, byStart := idle.Goroutines(t)

	m, p := begin()
	before := idleDescriptors(t, m, root)
	round(p)
	threads, resident := m.Threads(t), m.Resident(t)
	round(p)

	require.Equal(t, before, idleDescriptors(t, m, root), "what the daemon has open")
	residentNow, threadsNow := m.Resident(t), m.Threads(t)
	require.LessOrEqual(t, threadsNow, threads+leakGoroutines, "threads")
	require.LessOrEqual(t, residentNow, resident+leakMemory, "resident memory, after a first round %d", resident)
	goroutinesNow, byStartNow := m.Goroutines(t)
	require.LessOrEqual(t, goroutinesNow, goroutines+leakGoroutines, "goroutines, by what started them: %v\nof a mount that has done little: %v", byStartNow, byStart)
	t.Logf("descriptors %d, threads %d → %d, resident %.1f → %.1f MiB, goroutines %d → %d",
		len(before), threads, threadsNow, float64(resident)/(1<<20), float64(residentNow)/(1<<20), goroutines, goroutinesNow)
	return m
}

// idleDescriptors is what a daemon has open once it has let go of all files of the
// replica and of all staged ones: the kernel tells of the last close of a file
// when close has returned.
func idleDescriptors(t *testing.T, m *ltxfstest.Mounted, root string) []string {
	t.Helper()
	var open []string
	ltxfstest.Eventually(t, ltxfstest.Timeout, "the daemon has let go of all files", func() bool {
		open = m.Descriptors(t)
		return !slices.ContainsFunc(open, func(path string) bool {
			return strings.HasPrefix(path, root) || strings.HasPrefix(path, m.Staging) && !strings.HasSuffix(path, ".lock")
		})
	})
	for i, path := range open {
		if name, _, ok := strings.Cut(path, ":["); ok {
			open[i] = name // without the number of a pipe or a socket
		}
	}
	return open
}
