package remote

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// verifySummary is the last line of verify --json.
type verifySummary struct {
	Result, Open string
	Newest       struct{ TXID string }
	Proven       *struct{ TXID string }
}

func verifyOf(t *testing.T, code int, env []string, args ...string) (s verifySummary) {
	t.Helper()
	cmd := exec.Command(ltxfstest.Binary(), append([]string{"verify", "--json"}, args...)...)
	cmd.Env = append(ltxfstest.Env(), env...)
	r := ltxfstest.RunCmd(t, 2*ltxfstest.Timeout, cmd)
	require.Equal(t, code, r.Code, r)
	lines := ltxfstest.Lines(r.Stdout)
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &s), r)
	return s
}

// The sample is sound in each server.
func TestVerifyCommandInS3(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		putOrders(t, s, bucket, "db", replica.LitestreamS3, true)
		v := verifyOf(t, ltxfstest.ExitOK, s.Env(), "--check=full", "--states=all", s.URL(bucket, "db"))
		require.Equal(t, "sound", v.Result)
		require.Equal(t, v.Newest.TXID, v.Proven.TXID)
	})
}

// A file of up to 128 KiB costs one request, and a larger one, read whole, its bytes once;
// quickly, two requests for its header and its end.
func TestVerifyCommandBudget(t *testing.T) {
	const small = 300
	forEachCounted(t, func(t *testing.T, c *counted) {
		var size int64
		put := func(level int, minTXID, maxTXID ltx.TXID, data []byte) {
			c.put(t, level, minTXID, maxTXID, data)
			size += int64(len(data))
		}
		large := storetest.LTX(t, 1, 1, storetest.PageSize(65536), storetest.Commit(256), storetest.Noise()) // 16 MiB
		put(replica.SnapshotLevel, 1, 1, large)
		for txid := ltx.TXID(2); txid <= small+1; txid++ {
			put(0, txid, txid, storetest.LTX(t, txid, txid, storetest.PageSize(65536), storetest.Commit(256), storetest.Pages(3)))
		}
		url := c.proxy.URL(c.bucket, countedPath)
		costs := func(args ...string) (gets int, bytes int64) {
			t.Helper()
			before := len(c.proxy.Requests())
			v := verifyOf(t, ltxfstest.ExitOK, c.server.Env(), append(args, url)...)
			require.Equal(t, "sound", v.Result)
			lists := 0
			for _, r := range c.proxy.Requests()[before:] {
				switch r.Operation {
				case s3test.GetObject:
					gets++
					bytes += r.Down
				case s3test.ListObjects:
					lists++
				}
			}
			require.LessOrEqual(t, lists, replica.MaxLevel+1+2, "listings of levels, and two to find the replica")
			return gets, bytes
		}
		gets, bytes := costs("--quick")
		require.LessOrEqual(t, gets, small+2)
		require.LessOrEqual(t, bytes, size-int64(len(large))+3*128<<10)
		gets, bytes = costs()
		require.LessOrEqual(t, gets, small+2+len(large)/(4<<20)+1)
		require.LessOrEqual(t, bytes, size+3*128<<10)
	})
}

// What couldn't be asked stays open, and isn't said to be damage.
func TestVerifyCommandUndetermined(t *testing.T) {
	s3test.ForAll(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		putOrders(t, s, bucket, "db", replica.LitestreamS3, true)
		refused := append(s.Env(), "AWS_SECRET_ACCESS_KEY=wrong", "LTXFS_S3_SECRET_ACCESS_KEY=")
		v := verifyOf(t, ltxfstest.ExitUndetermined, refused, s.URL(bucket, "db"))
		require.Equal(t, "undetermined", v.Result)
		require.Contains(t, v.Open, "what the replica holds")
		require.NotContains(t, v.Open, "wrong")

		// What isn't there was named wrongly, which is no open question.
		cmd := exec.Command(ltxfstest.Binary(), "verify", s.URL("no-such-bucket", "db"))
		cmd.Env = append(ltxfstest.Env(), s.Env()...)
		require.Equal(t, ltxfstest.ExitNoReplica, ltxfstest.RunCmd(t, ltxfstest.Timeout, cmd).Code)
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		v := verifyOf(t, ltxfstest.ExitUndetermined, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}, s3test.URL("http://127.0.0.1:1", "bucket", "db"))
		require.Contains(t, v.Open, "connection refused")
	})
}
