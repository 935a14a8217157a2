package integration

import (
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// crashes is how often TestKill kills.
const crashes = 30

// tempName is the name that a file which replaces another has for the instant
// between being linked into the directory and being renamed. Nobody lists it,
// what bears it is complete, and the next writer removes it.
var tempName = regexp.MustCompile(`^ltx/0/\.` + name1 + `\.[0-9a-f]{16}\.tmp$`)

// SIGKILL at any moment of writing leaves the replica with old files and new
// ones, each whole, and with nothing else. The next mount takes the dead one's
// place and works.
func TestKill(t *testing.T) {
	t.Parallel()
	root, staging, dir := t.TempDir(), t.TempDir(), ltxfstest.MountPoint(t)
	versions := makeVersions(t, 4)
	sums := map[string]bool{}
	for _, v := range versions {
		sums[ltxfstest.SHA256(v)] = true
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	last := "" // what was published last
	for round := range crashes {
		m := ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Dir: dir, Flags: []string{"--rw", "--staging-dir", staging}})
		require.Len(t, ltxfstest.Mounts(dir), 1, "the dead mount is gone")
		p := m.Process(t)
		var err error
		var writing string
		for i := 0; err == nil; i++ {
			if i == round%3 {
				time.AfterFunc(time.Duration(random.IntN(60))*time.Millisecond, func() {
					_ = syscall.Kill(m.PID, syscall.SIGKILL)
				})
			}
			v := versions[(round+i)%len(versions)]
			writing = ltxfstest.SHA256(v)
			if err = publish(p, round+i, v); err == nil {
				last = writing
			}
		}
		require.Contains(t, []error{syscall.ENOTCONN, syscall.ECONNABORTED, syscall.EIO}, err, "an error other than the kill's")
		m.Kill(t)
		p.Close()
		require.NotContains(t, m.Log(), "level=ERROR")
		require.NotContains(t, m.Log(), `msg="not published"`)

		temps := 0
		held := ""
		for name, sum := range ltxfstest.Tree(t, root) {
			require.Contains(t, sums, sum, "round %d: %s is none of the contents that were published", round, name)
			if tempName.MatchString(name) {
				temps++
				continue
			}
			require.Equal(t, ltxfstest.StorePath(0, name1), name, "round %d: a file that nobody published", round)
			held = sum
		}
		require.LessOrEqual(t, temps, 1, "round %d: the last kill's temporary file is gone", round)
		require.Contains(t, []string{last, writing}, held, "round %d: neither the file published last nor the one being written", round)
		last = held
	}
	require.NotEmpty(t, last)

	m := ltxfstest.MountWith(t, root, ltxfstest.MountOptions{Dir: dir, Flags: []string{"--rw", "--staging-dir", staging}})
	require.NoError(t, m.Process(t).WriteFile(file1, versions[0]))
	requirePublished(t, m, root, map[string][]byte{name1: versions[0]})
	m.Terminate(t)
	requireTree(t, root, map[string][]byte{name1: versions[0]})
}

// publish publishes file1, each time in another way.
func publish(p *ltxfstest.Process, i int, data []byte) error {
	const temp = "ltx/0000/upload.tmp"
	switch i % 3 {
	case 0:
		return p.WriteFile(file1, data)
	case 1:
		if err := p.WriteFile(temp, data); err != nil {
			return err
		}
		return p.Rename(temp, file1, 0)
	default:
		f, err := p.Create(file1)
		if err != nil {
			return err
		}
		if err := f.Write(data); err != nil {
			return err
		}
		if err := f.Fsync(); err != nil {
			return err
		}
		return f.Close()
	}
}

// SIGKILL in the first moments of a mount: the daemon ends, and the mount is dead
// rather than one that hangs.
func TestKillAtStart(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	for round := range 60 {
		m := ltxfstest.Start(t, root, ltxfstest.MountOptions{})
		for len(ltxfstest.Mounts(m.Dir)) == 0 {
			require.NoError(t, syscall.Kill(m.PID, 0))
		}
		// Spun rather than slept, as these are microseconds.
		for end := time.Now().Add(time.Duration(round) * 40 * time.Microsecond); time.Now().Before(end); {
		}
		m.Kill(t)
		result := ltxfstest.Run(t, ltxfstest.Timeout, "ls", m.Dir)
		require.NotZero(t, result.Code, "a dead mount")
		require.Contains(t, result.Stderr, "Transport endpoint is not connected")
	}
}

// What was published before the kill is in the replica, and what was not is in the
// staging directory, of which the next mount tells.
func TestKillKeepsStaged(t *testing.T) {
	t.Parallel()
	root, staging, dir := t.TempDir(), t.TempDir(), ltxfstest.MountPoint(t)
	opts := ltxfstest.MountOptions{Dir: dir, Flags: []string{"--rw", "--staging-dir", staging}}
	_, one := testFile(t, 1)
	_, two := testFile(t, 2)
	m := ltxfstest.MountWith(t, root, opts)
	p := m.Process(t)
	require.NoError(t, p.WriteFile(file1, one))
	require.NoError(t, p.WriteFile("ltx/0000/upload.tmp", two))
	f, err := p.Create(file2)
	require.NoError(t, err)
	require.NoError(t, f.Write(two[:1234]))
	m.Kill(t)
	require.Equal(t, syscall.ENOTCONN, f.Close())

	requireTree(t, root, map[string][]byte{name1: one})
	requireInStaging(t, staging, two, two[:1234])
	next := ltxfstest.MountWith(t, root, opts)
	require.Contains(t, next.Log(), "upload.tmp")
	require.Contains(t, next.Log(), name2)
	require.NoError(t, next.Process(t).WriteFile(file2, two))
	requirePublished(t, next, root, map[string][]byte{name1: one, name2: two})
	next.Terminate(t)
	requireInStaging(t, staging, two, two[:1234])
}

// A kill while a large file is being published, whose copy into the replica takes
// a while.
func TestKillWhilePublishing(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	_, old := testFile(t, 1)
	_, large := testFile(t, 1, storetest.Commit(8000), storetest.Noise())
	ltxfstest.Store(t, filepath.Join(root, ltxfstest.StorePath(0, name1)), old, ltxfstest.HeaderTime(t, old))
	for round := range 8 {
		m := ltxfstest.Mount(t, root, "--rw")
		p := m.Process(t)
		f, err := p.Open(file1, unix.O_WRONLY|unix.O_TRUNC, 0)
		require.NoError(t, err)
		require.NoError(t, f.Write(large))
		time.AfterFunc(time.Duration(round*15)*time.Millisecond, func() {
			_ = syscall.Kill(m.PID, syscall.SIGKILL)
		})
		err = f.Close()
		m.Kill(t)
		if err == nil {
			requireTree(t, root, map[string][]byte{name1: large})
			ltxfstest.Store(t, filepath.Join(root, ltxfstest.StorePath(0, name1)), old, ltxfstest.HeaderTime(t, old))
		}

		for name, sum := range ltxfstest.Tree(t, root) {
			if !tempName.MatchString(name) {
				require.Equal(t, ltxfstest.StorePath(0, name1), name, "round %d: a file that nobody published", round)
			}
			require.Contains(t, []string{ltxfstest.SHA256(old), ltxfstest.SHA256(large)}, sum, "round %d: neither the old file nor the new one", round)
		}
		require.FileExists(t, filepath.Join(root, ltxfstest.StorePath(0, name1)))
	}
}
