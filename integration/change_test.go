package integration

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const (
	// freshness is the flag's default for files.
	freshness = time.Second
	// slack is what a busy machine may take longer.
	slack = 2 * time.Second
)

const (
	name1 = "0000000000000001-0000000000000001.ltx"
	name2 = "0000000000000002-0000000000000002.ltx"
	file1 = "ltx/0000/" + name1
	file2 = "ltx/0000/" + name2
)

// Another writer's work shows within the freshness interval: in listings, in
// attributes, and to an open by name, even of a name that wasn't there before.
func TestForeignChanges(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path1, path2 := filepath.Join(root, "ltx/0", name1), filepath.Join(root, "ltx/0", name2)
	one := storetest.LTX(t, 1, 1)
	old, replaced := storetest.LTX(t, 2, 2, storetest.Seed(1), storetest.Noise()), storetest.LTX(t, 2, 2, storetest.Seed(2), storetest.Noise())
	require.Len(t, replaced, len(old), "only inode and bytes tell the two apart")

	ltxfstest.Store(t, path1, one, storetest.DefaultTime)
	m := ltxfstest.Mount(t, root)
	p := m.Process(t)
	ltxfstest.RequireNames(t, p, "ltx/0000", name1)
	_, err := p.ReadFile(file2)
	require.Equal(t, syscall.ENOENT, err)

	reads := func(want []byte) func() bool {
		return func() bool {
			data, err := p.ReadFile(file2)
			return err == nil && slices.Equal(data, want)
		}
	}
	lists := func(want ...string) func() bool {
		return func() bool {
			names, err := p.ReadDir("ltx/0000")
			return err == nil && slices.Equal(names, want)
		}
	}

	ltxfstest.Store(t, path2, old, storetest.DefaultTime)
	ltxfstest.Eventually(t, freshness+slack, "a new file can be read", reads(old))
	ltxfstest.Eventually(t, slack, "a new file is listed", lists(name1, name2))

	ltxfstest.Store(t, path2, replaced, storetest.DefaultTime)
	ltxfstest.Eventually(t, freshness+slack, "the new content can be read", reads(replaced))

	later := storetest.LTX(t, 2, 2, storetest.Commit(9), storetest.Timestamp(storetest.DefaultTime.Add(time.Hour)))
	ltxfstest.Store(t, path2, later, storetest.DefaultTime.Add(time.Hour))
	ltxfstest.Eventually(t, freshness+slack, "the new size and time show", func() bool {
		st, err := p.Stat(file2)
		return err == nil && st.Size == int64(len(later)) && st.ModTime.Equal(storetest.DefaultTime.Add(time.Hour))
	})
	require.True(t, reads(later)())

	require.NoError(t, os.Remove(path2))
	ltxfstest.Eventually(t, freshness+slack, "a deleted file can't be found", func() bool {
		_, err := p.Stat(file2)
		return err == syscall.ENOENT
	})
	ltxfstest.Eventually(t, slack, "a deleted file isn't listed", lists(name1))
	_, err = p.ReadFile(file2)
	require.Equal(t, syscall.ENOENT, err)
	ltxfstest.RequireNames(t, p, "ltx/0000", name1)
}

// A file that was replaced a moment ago, so that the mount can't know yet, opens
// nevertheless, and is one version or the other.
func TestOpenJustReplaced(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := filepath.Join(root, "ltx/0", name1)
	m := ltxfstest.Mount(t, root, "--freshness=1h")
	p := m.Process(t)
	versions := makeVersions(t, 2)
	for _, prime := range []func() error{
		func() error { _, err := p.Stat(file1); return err },
		func() error { _, err := p.ReadDir("ltx/0000"); return err },
		func() error { _, err := p.ReadFile(file1); return err },
	} {
		ltxfstest.Store(t, path, versions[0], storetest.DefaultTime)
		require.NoError(t, prime())
		ltxfstest.Store(t, path, versions[1], storetest.DefaultTime)
		data, err := p.ReadFile(file1)
		require.NoError(t, err)
		requireOneOf(t, versions, data)
	}
}

// A reader that has a file open gets its bytes whole, or ESTALE, whatever others
// do to the file.
func TestReplacedUnderReader(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, path string, data []byte){
		"replaced": func(t *testing.T, path string, data []byte) {
			ltxfstest.Store(t, path, data, storetest.DefaultTime)
		},
		"replaced by a shorter one": func(t *testing.T, path string, data []byte) {
			ltxfstest.Store(t, path, storetest.LTX(t, 1, 1), storetest.DefaultTime)
		},
		"deleted": func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "ltx/0", name1)
			versions := makeVersions(t, 2)
			ltxfstest.Store(t, path, versions[0], storetest.DefaultTime)
			m := ltxfstest.Mount(t, root)
			p := m.Process(t)

			untouched, err := p.Open(file1, unix.O_RDONLY, 0)
			require.NoError(t, err)
			begun, err := p.Open(file1, unix.O_RDONLY, 0)
			require.NoError(t, err)
			head, err := begun.ReadAt(10_000, 0)
			require.NoError(t, err)
			require.Equal(t, versions[0][:10_000], head)

			change(t, path, versions[1])
			// Once the mount itself has seen the change, the old handles must
			// still not see it.
			ltxfstest.Eventually(t, freshness+slack, "the change shows", func() bool {
				data, err := p.ReadFile(file1)
				return err == syscall.ENOENT || err == nil && !slices.Equal(data, versions[0])
			})
			for _, f := range []*ltxfstest.File{begun, untouched} {
				data, err := f.ReadAt(len(versions[0])+1, 0)
				if err == nil {
					require.Equal(t, ltxfstest.SHA256(versions[0]), ltxfstest.SHA256(data))
				} else {
					require.Equal(t, syscall.ESTALE, err)
					require.Equal(t, versions[0][:len(data)], data)
				}
				require.NoError(t, f.Close())
			}
		})
	}
}

// Readers never see two versions in one open file, while another writer replaces
// it again and again.
func TestNeverMixed(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := filepath.Join(root, "ltx/0", name1)
	versions := makeVersions(t, 6)
	ltxfstest.Store(t, path, versions[0], storetest.DefaultTime)
	m := ltxfstest.Mount(t, root, "--freshness=10ms")
	p := m.Process(t)

	stop := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 1; ; i++ {
			pause := 7 * time.Millisecond
			if i%20 == 0 {
				pause = 250 * time.Millisecond // enough to read it whole on a busy machine
			}
			select {
			case <-stop:
				return
			case <-time.After(pause):
				ltxfstest.Store(t, path, versions[i%len(versions)], storetest.DefaultTime)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()

	seen := map[int]int{}
	stale := 0
	began := time.Now()
	for time.Since(began) < 3*time.Second || len(seen) < 2 && time.Since(began) < ltxfstest.Timeout {
		f, err := p.Open(file1, unix.O_RDONLY, 0)
		if err == syscall.ESTALE {
			stale++
			continue
		}
		require.NoError(t, err)
		const piece = 50_000
		var data []byte
		for err == nil && len(data) < len(versions[0]) {
			var part []byte
			part, err = f.ReadAt(piece, int64(len(data)))
			if len(part) == 0 {
				break
			}
			data = append(data, part...)
		}
		if err == syscall.ESTALE {
			stale++
			require.True(t, slices.ContainsFunc(versions, func(v []byte) bool { return slices.Equal(v[:len(data)], data) }), "what came before ESTALE is of one version")
		} else {
			require.NoError(t, err)
			seen[requireOneOf(t, versions, data)]++
		}
		require.NoError(t, f.Close())
	}
	t.Logf("whole reads by version %v, ESTALE %d times", seen, stale)
	require.Greater(t, len(seen), 1, "the readers have seen the file change")
}

// makeVersions makes n files of one size for file1, which all bytes tell apart.
func makeVersions(t *testing.T, n int) [][]byte {
	t.Helper()
	versions := make([][]byte, n)
	for i := range versions {
		versions[i] = storetest.LTX(t, 1, 1, storetest.Seed(uint64(i)), storetest.Commit(64), storetest.Noise())
		require.Len(t, versions[i], len(versions[0]))
	}
	return versions
}

// requireOneOf returns which of the versions data is.
func requireOneOf(t *testing.T, versions [][]byte, data []byte) int {
	t.Helper()
	i := slices.IndexFunc(versions, func(v []byte) bool { return slices.Equal(v, data) })
	require.GreaterOrEqual(t, i, 0, "%d bytes that are none of the %d versions", len(data), len(versions))
	return i
}
