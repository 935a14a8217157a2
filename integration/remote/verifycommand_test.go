package remote

import (
	"encoding/json"
	"net/http"
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
	Unread       int
	Stages       []struct {
		Stage    string
		Done, Of int
	}
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
			v := verifyOf(t, ltxfstest.ExitOK, c.env(), append(args, url)...)
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
		for _, bucket := range []string{"no-such-bucket", "No_Such"} {
			cmd := exec.Command(ltxfstest.Binary(), "verify", s.URL(bucket, "db"))
			cmd.Env = append(ltxfstest.Env(), s.Env()...)
			r := ltxfstest.RunCmd(t, ltxfstest.Timeout, cmd)
			require.Equal(t, ltxfstest.ExitNoReplica, r.Code, r)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		v := verifyOf(t, ltxfstest.ExitUndetermined, []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}, s3test.URL("http://127.0.0.1:1", "bucket", "db"))
		require.Contains(t, v.Open, "connection refused")
	})
}

// A file that can't be read stays open, and the others are looked at.
func TestVerifyCommandUnread(t *testing.T) {
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		s := kind.Shared(t)
		bucket := s.Bucket(t)
		putOrders(t, s, bucket, "db", replica.LitestreamS3, true)
		p := s3test.NewProxy(t, s.Endpoint)
		const bad = "0000000000000018-0000000000000018.ltx"
		p.Intercept(s3test.On(s3test.All(s3test.GetObject, s3test.KeyEnds(bad)), s3test.Fail(http.StatusForbidden, "AccessDenied")))
		v := verifyOf(t, ltxfstest.ExitUndetermined, s.Env(), p.URL(bucket, "db"))
		require.Equal(t, 1, v.Unread)
		require.Equal(t, "0000000000000018", v.Proven.TXID, "from the file in level 1")
		require.Equal(t, "whether 1 file is sound that couldn't be read", v.Open)
		require.Equal(t, "bytes", v.Stages[3].Stage)
		require.Equal(t, v.Stages[3].Of-1, v.Stages[3].Done)
	})
}
