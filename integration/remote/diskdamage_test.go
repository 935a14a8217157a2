package remote

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
)

// A byte that is another one, in whatever file of the cache and wherever there, is noticed, and
// costs a request at most.
func TestDiskCacheDamage(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		r := newDiskRig(t, kind)
		m := r.mountCached("--disk-cache-check=always")
		p := m.Process(t)
		for i, f := range r.files {
			if i%2 == 0 {
				requireReadOf(t, p, f, 1<<20)
			} else { // so that it isn't whole
				file, err := p.Open(f.path(), os.O_RDONLY|syscall.O_DIRECT, 0)
				require.NoError(t, err)
				_, err = file.ReadAt(1, maxBlock)
				require.NoError(t, err)
				require.NoError(t, file.Close())
			}
		}
		completed(t, m, len(r.files)/2)
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		all := r.entries()
		require.Len(t, all[""], len(r.files)/2)
		require.Len(t, all[".sums"], len(r.files)/2)
		require.Len(t, all[".part"], len(r.files)/2)
		good := r.dir + ".good"
		require.NoError(t, os.Rename(r.dir, good))
		for suffix, paths := range all {
			for i, path := range paths {
				ltxfstest.MustRun(t, "cp", "-a", good, r.dir)
				at, damaged := damageTo(t, path, suffix, i)
				flipByte(t, path, at)
				m := r.mountCached("--disk-cache-check=always")
				r.requireRead(m.Process(t), 1<<20)
				require.Equal(t, damaged, metric(t, m, "disk_cache_damaged_total") > 0, "%s at %d", path, at)
				require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
				require.NoError(t, os.RemoveAll(r.dir))
			}
		}
	})
}

// damageTo is a place in an entry, another one for each i, and whether damage there is noticed,
// or makes what is there unknown.
func damageTo(t *testing.T, path, suffix string, i int) (at int64, noticed bool) {
	t.Helper()
	st, err := os.Stat(path)
	require.NoError(t, err)
	const record, toSum = 16, 8
	switch suffix {
	case "":
		return []int64{0, st.Size() / 2, st.Size() - 1}[i%3], true
	case ".sums":
		return []int64{0, 4, toSum}[i%3], true
	}
	blocks := int64(1) // of which the second is there
	for (st.Size()-record*blocks+maxBlock-1)/maxBlock > blocks {
		blocks++
	}
	second := st.Size() - record*blocks + record
	return []int64{maxBlock + 7, second, second + toSum}[i%3], i%3 != 1
}

func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// A wrong byte in a page, which has no checksum of its own, isn't kept in a copy of the state: the next
// mount gives the right one.
func TestDiskCacheOfWrongAnswers(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		f := newFile(t, replica.SnapshotLevel, 1, 512)
		c.put(t, f.level, f.min, f.max, f.data)
		dir, copied := filepath.Join(t.TempDir(), "cache"), filepath.Join(t.TempDir(), "copy.db")
		copyOf := func(m *ltxfstest.Mounted) string {
			ltxfstest.MustRun(t, "cp", m.Path("db/latest.db"), copied)
			return ltxfstest.MustRun(t, "sha256sum", copied)[:64]
		}
		plain := c.mount(t)
		right := copyOf(plain)

		m := c.mount(t, "--disk-cache", dir, "--disk-cache-size=1GiB", "--log-level=debug")
		ltxfstest.MustRun(t, "stat", "-L", m.Path("db/latest.db"))
		remove := c.proxy.Rewrite(s3test.AnswersTo(s3test.GetObject, s3test.MapBody(func(body []byte) ([]byte, error) {
			if len(body) > maxBlock {
				body[maxBlock/2] ^= 1
			}
			return body, nil
		})))
		require.NotEqual(t, right, copyOf(m))
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the state isn't kept", func() bool {
			return strings.Contains(m.Log(), `msg="not kept"`)
		})
		remove()
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		for range 2 {
			m := c.mount(t, "--disk-cache", dir)
			require.Equal(t, right, copyOf(m))
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}
