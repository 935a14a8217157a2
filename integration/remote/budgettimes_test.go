package remote

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// --mtime=exact costs a HEAD for each file that is new, and none for the others.
// What was copied into the store without Litestream's metadata has its time in its
// header, which is one GET more.
func TestExactTimesBudget(t *testing.T) {
	const files = 20
	forEachCounted(t, func(t *testing.T, c *counted) {
		want := map[string]time.Time{}
		put := func(level, i int, metadata map[string]string) {
			txid := ltx.TXID(i + 1)
			ts := storetest.DefaultTime.Add(time.Duration(i) * time.Minute)
			data := storetest.LTX(t, txid, txid, storetest.Timestamp(ts))
			key := c.key(level, txid, txid)
			_, err := c.server.Client(t).PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: &c.bucket, Key: &key, Body: bytes.NewReader(data), Metadata: metadata,
			})
			require.NoError(t, err)
			want[ltxfstest.LevelPath(level, ltx.FormatFilename(txid, txid))] = ts
		}
		timestamp := func(i int) map[string]string {
			ts := storetest.DefaultTime.Add(time.Duration(i) * time.Minute)
			return map[string]string{"litestream-timestamp": ts.Format(time.RFC3339Nano)}
		}
		for i := range files {
			put(0, i, timestamp(i))
			put(1, i, nil)
		}
		list := func(m *ltxfstest.Mounted, level string) func() {
			return func() {
				out := ltxfstest.MustRun(t, "ls", "-ln", "--time-style=+%s", m.Path("ltx", level))
				for _, line := range strings.Split(strings.TrimSpace(out), "\n")[1:] {
					fields := strings.Fields(line)
					require.Equal(t, fmt.Sprint(want[path.Join("ltx", level, fields[6])].Unix()), fields[5], line)
				}
			}
		}
		m := c.mount(t, "--mtime=exact")
		c.requireCosts(t, "ls -l", costs{s3test.ListObjects: 1, s3test.HeadObject: files}, list(m, "0000"))
		c.requireCosts(t, "ls -l again", costs{}, list(m, "0000"))
		c.requireCosts(t, "ls -l without metadata",
			costs{s3test.ListObjects: 1, s3test.HeadObject: files, s3test.GetObject: files}, list(m, "0001"))
		c.requireCosts(t, "ls -l without metadata again", costs{}, list(m, "0001"))

		// In a mount that looks for changes, only the new file costs more.
		c.proxy.Reset()
		m = c.mount(t, "--mtime=exact", "--freshness=100ms")
		p := m.Process(t)
		names, err := p.ReadDir("ltx/0000")
		require.NoError(t, err)
		require.Len(t, names, files)
		put(0, files, timestamp(files))
		ltxfstest.Eventually(t, ltxfstest.Timeout, "the new file is listed", func() bool {
			names, err := p.ReadDir("ltx/0000")
			require.NoError(t, err)
			return len(names) == files+1
		})
		heads := map[string]int{}
		for _, r := range c.proxy.Requests() {
			if r.Operation == s3test.HeadObject {
				heads[r.Key]++
			}
		}
		require.Len(t, heads, files+1)
		for key, n := range heads {
			require.Equal(t, 1, n, "HEADs of %s:\n%s", key, describe(c.proxy.Requests()))
		}
	})
}
