package integration

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// notAsUser are the tests that TestAsUser leaves out, and why.
var notAsUser = map[string]string{
	"TestAsUser":               "this one",
	"TestSetAttributes":        "it gives a file to another user, as only root may",
	"TestOwnerAndMode":         "it gives the mount to another user, and can then not enter it",
	"TestStagingDiskFull":      "it mounts a small disk",
	"TestReplicaDiskFull":      "it mounts a small disk",
	"TestLeaks":                "it mounts as both",
	"TestPosix":                "it mounts as both",
	"TestProperty":             "it mounts as both",
	"TestConcurrent":           "it mounts as both",
	"TestSmallCache":           "it mounts as a user",
	"TestAutomount":            "it arms a trigger, and mounts as both",
	"TestReplicaOnFUSE":        "it mounts as both",
	"TestReplicaNoMoreOnFUSE":  "it mounts as root",
	"TestContainer":            "it makes a mount namespace",
	"TestContextRefused":       "fusermount3 takes no contexts",
	"TestJournal":              "it builds another ltxfs",
	"TestReplicate":            "it takes more than a minute, and is about Litestream",
	"TestReplicateThroughKill": "the same",
	"TestGolden":               "it mounts nothing",
	"TestSchemaCodes":          "it mounts nothing",
	"TestSchemaDescribes":      "it mounts nothing",
	"TestSchemaRefuses":        "it mounts nothing",
	"TestTypos":                "it mounts nothing",
	"TestAlerts":               "it mounts nothing",
	"TestDashboard":            "it mounts nothing",
	"TestVerifyCommand":        "it mounts nothing",
	"TestVerifyCommandDamaged": "it mounts nothing",
	"TestVerifyCommandLive":    "it mounts nothing",
	"TestVerifyDatabases":      "it mounts nothing",
	"TestVerifyMetrics":        "it mounts nothing",
	"TestVerifyProgress":       "it mounts nothing",
	"TestScale":                "it is about the number of files",
	"TestStatesInSQLite":       "it opens them as both",
	"TestStatesLive":           "it takes a minute, and is about Litestream",
	"TestStateManyPages":       "it is about the number of pages",
	"TestStateLockPage":        "it is about the size",
	"TestStatePageSizes":       "it is about the pages",
}

// A user who isn't root mounts through fusermount3, and the kernel grants no
// passthrough: everything is read through the cache. All else is the same, and
// so are the tests.
func TestAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then all tests are run so
	}
	t.Parallel()
	cred := ltxfstest.User(t)
	root := ltxfstest.Orders(t)
	ltxfstest.Give(t, cred, root)
	requirePassthrough(t, ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Credential: cred}), false)

	ltxfstest.RunAsUser(t, cred, 5*time.Minute, func(test string) bool { return notAsUser[test] != "" })
}

// smallCache is the smallest cache that ltxfs takes, and smallCacheRest what it
// may have resident beyond that.
const (
	smallCache     = 4 << 20
	smallCacheRest = 64 << 20
)

// With the smallest cache, many who read a much larger file at once, in sequence
// and at random, past the kernel's cache and through it, all get its bytes. So
// does who writes it. It goes away under the last of them.
func TestSmallCache(t *testing.T) {
	t.Parallel()
	cred := ltxfstest.User(t)
	root := t.TempDir()
	large := storetest.LTX(t, 1, 1, storetest.Noise(), storetest.PageSize(65536), storetest.Commit(1100))
	require.Greater(t, len(large), 15*smallCache)
	path := filepath.Join(root, ltxfstest.StorePath(0, name1))
	ltxfstest.Store(t, path, large, ltxfstest.HeaderTime(t, large))
	second := storetest.LTX(t, 1, 1, storetest.Noise(), storetest.PageSize(65536), storetest.Commit(1100), storetest.Seed(2))
	copied := saveFile(t, name1, second)
	ltxfstest.Give(t, cred, root, filepath.Dir(copied))
	m := ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Credential: cred, Flags: []string{"--rw", "--cache-size=4MiB"}})
	requirePassthrough(t, m, false)

	readAll(t, m, cred, large)
	require.Less(t, m.Memory(t), int64(smallCache+smallCacheRest))

	// A reader keeps the version that it has opened, or nothing.
	reader := ltxfstest.NewProcess(t, m.Dir, cred)
	f, err := reader.Open(file1, unix.O_RDONLY|unix.O_DIRECT, 0)
	require.NoError(t, err)
	head, err := f.ReadAt(1<<20, 0)
	require.NoError(t, err)
	require.Equal(t, ltxfstest.SHA256(large[:1<<20]), ltxfstest.SHA256(head))

	as(t, cred, "cp", copied, m.Path(file1))
	requireReplicaFile(t, path, second)
	readAll(t, m, cred, second)
	for off := 0; off < len(large); off += 5 << 20 {
		data, err := f.ReadAt(100_000, int64(off))
		if err != nil {
			require.Equal(t, syscall.ESTALE, err)
		}
		require.True(t, slices.Equal(large[off:off+len(data)], data), "%d bytes at %d", len(data), off)
	}
	_, err = f.ReadAt(1, int64(len(large))-1)
	require.Equal(t, syscall.ESTALE, err, "what isn't in the cache is gone")
	require.NoError(t, f.Close())

	require.NoError(t, os.Remove(path))
	ltxfstest.Eventually(t, freshness+slack, "the file is gone", func() bool {
		_, err := reader.Stat(file1)
		return err == syscall.ENOENT
	})
	require.Less(t, m.Memory(t), int64(smallCache+smallCacheRest))
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
}

// readAll reads a file of a mount in many ways at the same time.
func readAll(t *testing.T, m *ltxfstest.Mounted, cred *syscall.Credential, want []byte) {
	t.Helper()
	var readers sync.WaitGroup
	defer readers.Wait()
	for i, flags := range []int{0, 0, unix.O_DIRECT, unix.O_DIRECT} {
		p := ltxfstest.NewProcess(t, m.Dir, cred)
		rng := rand.New(rand.NewPCG(uint64(i), 0))
		readers.Go(func() {
			f, err := p.Open(file1, unix.O_RDONLY|flags, 0)
			if err != nil {
				t.Errorf("reader %d: %v", i, err)
				return
			}
			for range 150 {
				off, n := rng.IntN(len(want)), 1+rng.IntN(300_000)
				data, err := f.ReadAt(n, int64(off))
				if err != nil || !slices.Equal(data, want[off:min(off+n, len(want))]) {
					t.Errorf("reader %d: %d bytes at %d: %v, %d bytes, of which the first %d are right",
						i, n, off, err, len(data), commonPrefix(data, want[off:]))
					return
				}
			}
			if err := f.Close(); err != nil {
				t.Errorf("reader %d: close: %v", i, err)
			}
		})
	}
	for _, script := range []string{
		`sha256sum "$1"`,
		`dd if="$1" iflag=direct bs=3M status=none | sha256sum`,
		`dd if="$1" bs=7777 status=none | sha256sum`,
	} {
		readers.Go(func() {
			if got := as(t, cred, "bash", "-euo", "pipefail", "-c", script, "bash", m.Path(file1)); got[:64] != ltxfstest.SHA256(want) {
				t.Errorf("%s: %s", script, got)
			}
		})
	}
}

// requireReplicaFile checks a file on disk.
func requireReplicaFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, ltxfstest.SHA256(want), ltxfstest.SHA256(got))
}

// as runs a program as a user. It must exit with 0. as returns its standard
// output.
func as(t *testing.T, cred *syscall.Credential, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	result := ltxfstest.RunCmd(t, 2*time.Minute, cmd)
	if result.Code != 0 {
		t.Fatal(result)
	}
	return result.Stdout
}
