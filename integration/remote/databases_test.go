package remote

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A thousand databases of one configuration, half of them on disk and half in S3, and three
// that are broken, cost nothing before they are used, and are then each its own. They share
// connections and memory. New ones come, and removed ones go.
func TestManyDatabases(t *testing.T) {
	t.Parallel()
	const each, cache = 500, 16 << 20
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	proxy := s3test.NewProxy(t, s.Endpoint)
	refusing := s3test.NewProxy(t, s.Endpoint)
	refusing.Intercept(s3test.Fail(403, "AccessDenied"))
	dir := t.TempDir()
	file := ltx.FormatFilename(1, 1)
	content := func(i int) []byte { return storetest.LTX(t, 1, 1, storetest.Seed(uint64(i))) }
	add := func(name string, i int) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("SQLite format 3\x00"), 0o600))
		if below, ok := strings.CutPrefix(name, "disk/"); ok {
			level := filepath.Join(dir, "replicas", below, "ltx/0")
			require.NoError(t, os.MkdirAll(level, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(level, file), content(i), 0o600))
			return
		}
		s.Put(t, bucket, "many/"+strings.TrimPrefix(name, "s3/")+"/0000/"+file, content(i))
	}
	var names []string
	var filling sync.WaitGroup
	for i := range 2 * each {
		name := fmt.Sprintf("disk/team-%d/%d.db", i%7, i)
		if i%2 == 1 {
			name = fmt.Sprintf("s3/%d.db", i)
		}
		names = append(names, name)
		filling.Go(func() { add(name, i) })
	}
	filling.Wait()
	config := saveConfig(t, strings.NewReplacer("DIR", dir, "BUCKET", bucket,
		"QUERY", "endpoint="+url.QueryEscape(proxy.Endpoint), "REFUSED", "endpoint="+url.QueryEscape(refusing.Endpoint)).Replace(`
dbs:
  - {dir: DIR/disk, pattern: "*.db", recursive: true, watch: true, replica: {path: DIR/replicas}}
  - {dir: DIR/s3, pattern: "*.db", watch: true, replica: {url: "s3://BUCKET/many?QUERY&region=us-east-1"}}
  - {path: DIR/broken/none.db, replica: {path: DIR/none}}
  - {path: DIR/broken/refused.db, replica: {url: "s3://BUCKET/x?REFUSED&region=us-east-1"}}
  - {path: DIR/broken/twice.db, replicas: [{path: /a}, {path: /b}]}
`))
	began := time.Now()
	m := ltxfstest.MountWith(t, config, ltxfstest.MountOptions{Flags: []string{"--all", "--cache-size=16MiB"}, Env: s.Env()})
	mounted, first := time.Since(began), m.Memory(t)
	p := m.Process(t)
	list := func(path string) []string {
		t.Helper()
		names, err := p.ReadDir(path)
		require.NoError(t, err, path)
		return names
	}
	// Looking for databases would wait for itself there.
	require.NoError(t, os.Symlink(m.Path("disk"), filepath.Join(dir, "disk", "all.db")))
	require.NoError(t, os.Symlink(m.Path(names[0], "db/latest.db"), filepath.Join(dir, "disk", "into.db")))
	require.Equal(t, []string{"broken", "disk", "s3"}, list(""))
	require.Len(t, list("s3"), each)
	require.Len(t, list("disk"), 7)
	for _, name := range names {
		stat, err := p.Stat(name)
		require.NoError(t, err, name)
		require.EqualValues(t, syscall.S_IFDIR, stat.Mode&syscall.S_IFMT)
	}
	require.Empty(t, proxy.Requests(), "looking costs nothing")
	require.NotContains(t, m.Log(), "msg=opened")
	looked := m.Memory(t)

	broken := map[string]syscall.Errno{"none": syscall.ENOENT, "refused": syscall.EACCES, "twice": syscall.EIO}
	for name, want := range broken {
		for range 2 {
			_, err := p.ReadDir("broken/" + name + ".db")
			require.Equal(t, want, err, name)
		}
	}

	at := func(name string) string { return filepath.Join(name, ltxfstest.LevelPath(0, file)) }
	got, err := p.ReadFile(at(names[1]))
	require.NoError(t, err)
	require.Equal(t, content(1), got)
	requests := proxy.Requests()
	require.LessOrEqual(t, len(requests), 4, "to find the replica, and the file: %s", describe(requests))
	for i, name := range names {
		got, err := p.ReadFile(at(name))
		require.NoError(t, err, name)
		require.Equal(t, content(i), got, name)
	}
	require.LessOrEqual(t, len(proxy.Requests()), 4*each)
	require.LessOrEqual(t, proxy.MostConnections(), 64, "one pool of connections for all")
	used := m.Memory(t)
	require.LessOrEqual(t, used, int64(cache+64<<20))
	t.Logf("mounted in %v, %d MiB; looked at all, %d MiB; used all, %d MiB, %d requests", mounted, first>>20, looked>>20, used>>20, len(proxy.Requests()))

	add("disk/new/new.db", 1)
	add("s3/new.db", 3)
	require.NoError(t, os.Remove(filepath.Join(dir, names[0])))
	require.NoError(t, os.Remove(filepath.Join(dir, names[1])))
	ltxfstest.Eventually(t, ltxfstest.Timeout, "new ones show", func() bool {
		one, err := p.ReadFile(at("disk/new/new.db"))
		other, err2 := p.ReadFile(at("s3/new.db"))
		return err == nil && err2 == nil && string(one) == string(content(1)) && string(other) == string(content(3))
	})
	for _, name := range names[:2] {
		ltxfstest.Eventually(t, ltxfstest.Timeout, "removed ones go", func() bool {
			_, err := p.Stat(name)
			return err == syscall.ENOENT
		})
		require.NotContains(t, list(filepath.Dir(name)), filepath.Base(name))
	}
	require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	for name := range broken {
		require.Equal(t, 1, strings.Count(m.Log(), "database=broken/"+name+".db error="), "why, once")
	}
}
