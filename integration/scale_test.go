package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
)

const (
	manyFiles = 200_000
	// manyTimeout bounds one listing of them, where all tests run at once.
	manyTimeout = 2 * time.Minute

	// bigFile is larger than any budget below, and has no data on disk.
	bigFile     = 512 << 20
	bigFileName = "0000000000000001-0000000000030d40.ltx"

	// overhead is what a mount may have resident beside its budget.
	overhead = 64 << 20
	// settled is how much more than before a mount may have at the end of many
	// listings: a leak of 16 bytes an entry would be more.
	settled = 16 << 20
)

// The one test with many files in a level: they are all there, with their
// sizes and times, and the daemon's memory stays within the promise while they
// are listed over and over and the cache is full.
func TestScale(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	many := makeMany(t, filepath.Join(root, "ltx", "0"))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "ltx", "9"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "ltx", "9", bigFileName), nil, 0o644))
	require.NoError(t, os.Truncate(filepath.Join(root, "ltx", "9", bigFileName), bigFile))
	cred := ltxfstest.User(t)
	ltxfstest.Give(t, cred, root)

	t.Run("passthrough", func(t *testing.T) {
		t.Parallel()
		m := scaleMount{Mounted: ltxfstest.Mount(t, root), budget: 128 << 20}
		for range 2 {
			many.requireListed(t, m)
		}
		m.requireMemory(t)
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
	// Another user than root has no passthrough: what is read goes through the
	// cache.
	for _, c := range []struct {
		name   string
		budget int64
		flags  []string
		rounds int
	}{
		{name: "full cache", budget: 128 << 20, rounds: 10},
		{name: "full small cache", budget: 16 << 20, flags: []string{"--cache-size=16MiB"}, rounds: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := scaleMount{budget: c.budget, cred: cred}
			m.Mounted = ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Flags: c.flags, Credential: cred})
			m.readBig(t)
			require.Greater(t, m.Memory(t), c.budget, "the cache isn't full")
			many.requireListed(t, m)
			var before int64
			for round := range c.rounds {
				many.requireLongListing(t, m)
				m.requireMemory(t)
				if round == min(2, c.rounds-1) {
					before = m.Memory(t)
				}
			}
			require.LessOrEqual(t, m.Memory(t), before+settled, "memory grows with each listing")
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		})
	}
}

// manyEntries is what a directory of many files must show.
type manyEntries struct {
	names []string // sorted
	lines []string // size, mtime and name of each, as ls has them
}

// makeMany makes the files. They have sizes and times and no data: they are
// only listed.
func makeMany(t *testing.T, dir string) *manyEntries {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	d, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(d)
	many := &manyEntries{}
	for i := range manyFiles {
		name := ltx.FormatFilename(ltx.TXID(i+1), ltx.TXID(i+1))
		size, ts := int64(i)*7919%100_003, unix.Timespec{Sec: int64(1_700_000_000 + i), Nsec: int64(i%1000) * 1e6}
		many.names = append(many.names, name)
		many.lines = append(many.lines, fmt.Sprintf("%d %d.%09d %s", size, ts.Sec, ts.Nsec, name))

		fd, err := unix.Openat(d, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
		if err == nil {
			err = unix.Ftruncate(fd, size)
		}
		if err == nil {
			err = unix.UtimesNanoAt(d, name, []unix.Timespec{ts, ts}, 0)
		}
		if err == nil {
			err = unix.Close(fd)
		}
		require.NoError(t, err, name)
	}
	return many
}

// requireListed checks what ls and find make of the level.
func (many *manyEntries) requireListed(t *testing.T, m scaleMount) {
	t.Helper()
	dir := m.Path("ltx", "0000")
	require.Equal(t, "131072\n", m.output(t, "stat", "-c", "%o", dir), "how much of it the C library reads at once")
	names := ltxfstest.Lines(m.output(t, "ls", "-f", dir))
	requireSame(t, append([]string{".", ".."}, many.names...), names, "ls -f")

	found := ltxfstest.Lines(m.output(t, "find", dir, "-type", "f"))
	for i := range found {
		found[i] = strings.TrimPrefix(found[i], dir+"/")
	}
	requireSame(t, many.names, found, "find")
	many.requireLongListing(t, m)
}

// requireLongListing checks sizes and times.
func (many *manyEntries) requireLongListing(t *testing.T, m scaleMount) {
	t.Helper()
	listed := ltxfstest.Lines(m.output(t, "ls", "-ln", "--time-style=+%s.%N", m.Path("ltx", "0000")))
	require.Regexp(t, "^total ", listed[0])
	listed = listed[1:]
	for i, line := range listed {
		fields := strings.Fields(line)
		if len(fields) != 7 {
			t.Fatalf("ls -l: a line without 7 fields: %q", line)
		}
		listed[i] = strings.Join(fields[4:], " ")
	}
	requireSame(t, many.lines, listed, "ls -l")
}

// requireSame compares long lists in any order, and says of one difference.
func requireSame(t *testing.T, want, got []string, what string) {
	t.Helper()
	want, got = slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(got))
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("%s: entry %d is %q and not %q", what, i, got[i], want[i])
		}
	}
	require.Equal(t, len(want), len(got), "%s: how many entries", what)
}

// scaleMount is a mount of a budget, with whom it lets in.
type scaleMount struct {
	*ltxfstest.Mounted
	budget int64
	cred   *syscall.Credential
}

func (m scaleMount) output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.cred}
	result := ltxfstest.RunCmd(t, manyTimeout, cmd)
	require.Zero(t, result.Code, "%s %s: %s", name, strings.Join(args, " "), result.Stderr)
	return result.Stdout
}

// readBig reads the big file twice, at once, past what the kernel has cached.
func (m scaleMount) readBig(t *testing.T) {
	t.Helper()
	const script = `
		dd if="$1" of=/dev/null bs=1M iflag=direct status=none & first=$!
		dd if="$1" of=/dev/null bs=384K iflag=direct status=none
		wait $first`
	m.output(t, "sh", "-euc", script, "sh", m.Path("ltx", "0009", bigFileName))
}

// requireMemory checks the most memory that the daemon has ever had.
func (m scaleMount) requireMemory(t *testing.T) {
	t.Helper()
	peak := m.Memory(t)
	require.LessOrEqual(t, peak, m.budget+overhead, "peak resident memory: %d MiB with a budget of %d MiB", peak>>20, m.budget>>20)
}
