package remote

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// Another writer replaces a file after it was written, and before it is verified.
// The last writer wins: the mount has written, and never writes again over what
// came later.
func TestSuperseded(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		proxy := s3test.NewProxy(t, s.Endpoint)
		m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{
			Env: s.Env(), Flags: []string{"--rw", "--freshness=100ms"},
		})
		name := ltx.FormatFilename(3, 3)
		key := "db/0000/" + name
		ours, theirs := storetest.LTX(t, 3, 3, storetest.Seed(1)), storetest.LTX(t, 3, 3, storetest.Seed(2), storetest.Commit(5))

		var once sync.Once
		replace := func() {
			began := time.Now()
			for later := false; !later && time.Since(began) < ltxfstest.Timeout; time.Sleep(50 * time.Millisecond) {
				s.Put(t, bucket, key, theirs)
				// The store's clock counts whole seconds.
				later = s.Objects(t, bucket, key)[0].LastModified.After(began.Add(2 * time.Second))
			}
		}
		remove := proxy.Intercept(s3test.On(s3test.HeadObject, func(http.ResponseWriter, *http.Request) bool {
			if len(s.Keys(t, bucket, key)) > 0 {
				once.Do(replace)
			}
			return false
		}))

		p := m.Process(t)
		f, err := p.Open(ltxfstest.LevelPath(0, name), unix.O_WRONLY|unix.O_CREAT, 0o644)
		require.NoError(t, err)
		require.NoError(t, f.Write(ours))
		require.NoError(t, f.Fsync())
		require.NoError(t, f.Close())
		remove()
		require.Equal(t, theirs, s.Get(t, bucket, key))
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the mount shows the later file", func() bool {
			got, err := p.ReadFile(ltxfstest.LevelPath(0, name))
			return err == nil && string(got) == string(theirs)
		})
		require.Contains(t, m.Log(), "another writer has replaced a file")
		p.Close()
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		require.Equal(t, theirs, s.Get(t, bucket, key))
	})
}
