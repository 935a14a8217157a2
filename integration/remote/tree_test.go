package remote

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// The tools that people have read a replica in S3 as they read one on disk.
func TestReadWithTools(t *testing.T) {
	orders := ltxfstest.Orders(t)
	s3test.ForKinds(t, append(slices.Clone(s3test.AllServers), s3test.WithoutETags), func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		putOrders(t, s, bucket, "db", replica.LitestreamS3, true)
		m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--mtime=exact"}, Env: s.Env()})
		ltxfstest.RequireOrders(t, m)
		ltxfstest.ReadOrders(t, m, orders)
		t.Run("df", func(t *testing.T) {
			ltxfstest.Shell(t, `df -B1 --output=fstype,source,target "$1" | tail -n 1 | grep -F "fuse.ltxfs" | grep -F "s3://" | grep -F "$1"`, m.Dir)
		})
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// Without --mtime=exact, a file's time is the store's, but that of what the mount
// has written itself.
func TestFastTimes(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		path, _ := putOne(t, s, bucket, "db/0001")
		m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: s.Env()})
		p := m.Process(t)
		st, err := p.Stat(path)
		require.NoError(t, err)
		require.Equal(t, s.Objects(t, bucket, "db/")[0].LastModified.UTC().Truncate(time.Second), st.ModTime.Truncate(time.Second))

		own, data := ltxfstest.LevelPath(3, ltx.FormatFilename(5, 5)), storetest.LTX(t, 5, 5)
		require.NoError(t, p.WriteFile(own, data))
		st, err = p.Stat(own)
		require.NoError(t, err)
		require.Equal(t, ltxfstest.HeaderTime(t, data), st.ModTime)
	})
}

// Without --rw, nothing can be changed, and nothing changes.
func TestReadOnlyOnS3(t *testing.T) {
	t.Parallel()
	s := s3test.MinIO.Shared(t)
	bucket := s.Bucket(t)
	path, data := putOne(t, s, bucket, "db/0001")
	m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{Env: s.Env()})
	p := m.Process(t)
	for what, err := range map[string]error{
		"write":    p.WriteFile("ltx/0000/new.tmp", data),
		"truncate": p.Truncate(path, 0),
		"unlink":   p.Unlink(path),
		"rename":   p.Rename(path, "ltx/0001/new.tmp", 0),
		"mkdir":    p.Mkdir("ltx/new"),
		"chmod":    p.Chmod(path, 0o600),
		"utimes":   p.Utimes(path, time.Now()),
	} {
		require.Equal(t, syscall.EROFS, err, what)
	}
	_, err := p.Open(path, unix.O_WRONLY, 0)
	require.Equal(t, syscall.EROFS, err)
	requireOne(t, m, path, data)
	require.Len(t, s.Keys(t, bucket, ""), 1)
}

// What another writer does shows within the freshness interval, and until then
// the mount need not look: what it has listed, it lists again.
func TestFreshness(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		mount := func(freshness string) *ltxfstest.Process {
			m := ltxfstest.MountWith(t, s.URL(bucket, "db"), ltxfstest.MountOptions{
				Flags: []string{"--freshness=" + freshness}, Env: s.Env(),
			})
			return m.Process(t)
		}
		first, second := ltx.FormatFilename(1, 1), ltx.FormatFilename(2, 2)
		names := func(p *ltxfstest.Process) []string {
			names, err := p.ReadDir("ltx/0000")
			require.NoError(t, err)
			return names
		}
		s.Put(t, bucket, "db/0000/"+first, storetest.LTX(t, 1, 1))
		soon, late := mount("1s"), mount("1h")
		require.Equal(t, []string{first}, names(soon))
		require.Equal(t, []string{first}, names(late))

		s.Put(t, bucket, "db/0000/"+second, storetest.LTX(t, 2, 2))
		s.Delete(t, bucket, "db/0000/"+first)
		changed := time.Now()
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the change shows", func() bool {
			_, err := soon.Stat("ltx/0000/" + first)
			return err == syscall.ENOENT && slices.Equal([]string{second}, names(soon))
		})
		require.Less(t, time.Since(changed), 4*time.Second, "an interval of 1 s, and what two busy cores add")
		require.Equal(t, []string{first}, names(late))
	})
}
