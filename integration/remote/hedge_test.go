package remote

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const (
	// stallFor is how long a request stalls, and stallEach of how many one does.
	stallFor, stallEach = 5 * time.Second, 100

	// stallBodyFor and stallBodyEach are the same of bodies: too many for all to be made again.
	stallBodyFor, stallBodyEach = time.Second, 4
)

// GETs that stall before their answer or within are made again, and nobody reads a wrong byte. What is made again is
// counted, and is one GET in 20 at most, however many stall.
func TestStalledRequests(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		const size, page = 96 << 20, 4096
		data := storetest.Bytes(1, size)
		c.server.Put(t, c.bucket, c.key(9, 1, 9), data)
		path := ltxfstest.LevelPath(9, ltx.FormatFilename(1, 9))
		m := ltxfstest.MountWith(t, c.proxy.URL(c.bucket, countedPath), ltxfstest.MountOptions{
			Flags: []string{"--freshness=10m", "--no-db", "--cache-size=8MiB", "--http=127.0.0.1:0"}, Env: c.server.Env(),
		})
		f, err := m.Process(t).Open(path, unix.O_RDONLY, 0)
		require.NoError(t, err)
		// No block twice, and no two that follow each other.
		blocks := rand.New(rand.NewPCG(1, 0)).Perm(size / maxBlock / 2)
		read := func(n int) {
			for _, block := range blocks[:n] {
				off := int64(block) * 2 * maxBlock
				got, err := f.ReadAt(page, off)
				require.NoError(t, err)
				require.True(t, bytes.Equal(data[off:off+page], got), "other bytes at %d", off)
			}
			blocks = blocks[n:]
		}
		read(60)
		c.requireHedges(t, m)

		stop := c.proxy.Intercept(s3test.On(s3test.GetObject, c.proxy.Stall(stallEach, stallFor)))
		read(200)
		require.Equal(t, ltxfstest.SHA256(data), strings.Fields(ltxfstest.MustRun(t, "sha256sum", m.Path(path)))[0])
		hedges, won := c.requireHedges(t, m)
		stop()
		require.Positive(t, won)
		require.True(t, slices.ContainsFunc(c.gets(), func(r s3test.Request) bool { return r.Intercepted }), "none that stalled was given up")

		ltxfstest.Shell(t, `dd if="$1" iflag=nocache count=0 status=none`, m.Path(path))
		var answers, stalls atomic.Int64
		c.proxy.Rewrite(s3test.AnswersTo(s3test.GetObject, func(resp *http.Response) error {
			if answers.Add(1)%stallBodyEach == 0 {
				stalls.Add(1)
				resp.Body = &stalledBody{ReadCloser: resp.Body, left: maxBlock / 2, ended: resp.Request.Context().Done()}
			}
			return nil
		}))
		read(100)
		more, wonMore := c.requireHedges(t, m)
		require.Greater(t, wonMore, won)
		require.Less(t, more-hedges, float64(stalls.Load()), "all that stalled were made again, though they were more than one in 20")
		require.NoError(t, f.Close())
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// gets are the GETs that have come.
func (c *counted) gets() []s3test.Request {
	return slices.DeleteFunc(c.proxy.Requests(), func(r s3test.Request) bool { return r.Operation != s3test.GetObject })
}

// requireHedges holds what a mount says that it has made again, and of that has taken, against what the proxy has seen,
// once all reads have ended.
func (c *counted) requireHedges(t *testing.T, m *ltxfstest.Mounted) (hedges, won float64) {
	t.Helper()
	var reads, gets float64
	ltxfstest.Eventually(t, ltxfstest.Timeout, "each GET is one of a read, or made again", func() bool {
		now, _ := m.Metrics(t)
		reads, hedges = now.Sum("ltxfs_store_operation_seconds", "operation=read"), now.Sum("ltxfs_s3_hedges_total")
		gets, won = float64(len(c.gets())), now.Sum("ltxfs_s3_hedges_won_total")
		require.Zero(t, now.Sum("ltxfs_s3_resumes_total"))
		require.Zero(t, now.Sum("ltxfs_s3_retries_total"))
		return gets == reads+hedges && now.Sum("ltxfs_s3_requests_total", "request=GetObject") == gets
	})
	require.LessOrEqual(t, won, hedges)
	require.LessOrEqual(t, 20*hedges, reads)
	return hedges, won
}

// stalledBody is a body that stalls within.
type stalledBody struct {
	io.ReadCloser
	left  int64 // until it does
	ended <-chan struct{}
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.left = -1
		select {
		case <-time.After(stallBodyFor):
		case <-b.ended:
		}
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	return n, err
}
