package remote

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// A staged file that its disk damages after it was verified is refused as one that is
// damaged before, in one request or in parts, also where the store compares nothing and its
// size is all that is asked for. It stays, and is named.
func TestStagedDamage(t *testing.T) {
	files := map[string][]byte{
		smallName: storetest.LTX(t, 1, 9, storetest.Commit(765), storetest.Noise()),   // 3 MiB
		largeName: storetest.LTX(t, 1, 10, storetest.Commit(3000), storetest.Noise()), // 12 MiB, three parts
	}
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		for _, how := range []struct{ verify, sign string }{{"auto", "true"}, {"full", "false"}, {"size", "false"}} {
			c := newCounted(t, kind, replica.LitestreamS3)
			if how.verify == "size" {
				c.proxy.Intercept(s3test.RefuseChecksums)
			}
			m := ltxfstest.MountWith(t, c.proxy.URL(c.bucket, countedPath, "signPayload="+how.sign), ltxfstest.MountOptions{
				Flags: []string{"--rw", "--verify-writes=" + how.verify}, Env: c.server.Env(),
			})
			p := m.Process(t)
			damage := func(name string, at int) {
				staged, err := m.WriteDamaged(t, p, ltxfstest.LevelPath(0, name), files[name], at)
				require.Equal(t, syscall.EBADMSG, err, "%v, byte %d", how, at)
				require.Empty(t, c.server.Keys(t, c.bucket, ""))
				require.Empty(t, c.server.Uploads(t, c.bucket))
				got, err := p.ReadFile(ltxfstest.LevelPath(0, name))
				require.NoError(t, err)
				require.Equal(t, ltxfstest.SHA256(staged), ltxfstest.SHA256(got))
			}
			for name, data := range files {
				for _, at := range []int{100, len(data) / 2, storetest.LastPage(data)} {
					damage(name, at)
					require.NoError(t, p.Unlink(ltxfstest.LevelPath(0, name)))
				}
			}
			require.Equal(t, 3*len(files), strings.Count(m.Log(), "the bytes have changed since they were verified"))
			damage(smallName, 100)
			require.NoError(t, p.WriteFile(ltxfstest.LevelPath(0, largeName), files[largeName]))
			require.Equal(t, files[largeName], c.server.Get(t, c.bucket, c.key(0, 1, 10)))
			require.Equal(t, ltxfstest.ExitUnpublished, m.Terminate(t), m.Log())
			require.Contains(t, m.Log(), smallName)
		}
	})
}
