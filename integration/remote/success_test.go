package remote

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// An answer of success that is none fails what it answers, at once and with its reason,
// and does so no longer than it comes.
func TestSuccessThatIsNone(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!DOCTYPE html><html><body>Sign in</body></html>")
		return true
	}
	for name, tt := range map[string]struct {
		answer s3test.Interceptor
		errno  syscall.Errno
		says   string
	}{
		"an error":        {s3test.FailSaying(200, "QuotaExceeded", "the bucket is full"), syscall.EIO, "the bucket is full (QuotaExceeded, HTTP status 200)"},
		"denied":          {s3test.Fail(200, "AccessDenied"), syscall.EACCES, "the test wants it so (AccessDenied, HTTP status 200)"},
		"a page":          {page, syscall.EIO, "the answer is no S3 answer: check the endpoint"},
		"one that passes": {s3test.Times(2, s3test.Fail(200, "SlowDown")), 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s3test.MinIO.Shared(t)
			bucket := s.Bucket(t)
			there := ltx.FormatFilename(1, 1)
			s.Put(t, bucket, "db/0000/"+there, storetest.LTX(t, 1, 1))
			proxy := s3test.NewProxy(t, s.Endpoint)
			m := ltxfstest.MountWith(t, proxy.URL(bucket, "db"), ltxfstest.MountOptions{Flags: []string{"--rw"}, Env: s.Env()})
			p := m.Process(t)
			path, data := ltxfstest.LevelPath(0, ltx.FormatFilename(2, 2)), storetest.LTX(t, 2, 2)
			for op, change := range map[s3test.Operation]func() error{
				s3test.PutObject:    func() error { return p.WriteFile(path, data) },
				s3test.DeleteObject: func() error { return p.Unlink(ltxfstest.LevelPath(0, there)) },
			} {
				remove := proxy.Intercept(s3test.On(op, tt.answer))
				began := time.Now()
				err := change()
				require.Less(t, time.Since(began), soon, op)
				if remove(); tt.errno == 0 {
					require.NoError(t, err, op)
					continue
				}
				require.Equal(t, tt.errno, err, op)
				ltxfstest.Eventually(t, ltxfstest.Timeout, "the reason is told", func() bool {
					return strings.Contains(m.Log(), string(op)+": "+tt.says)
				})
				require.NoError(t, change(), op)
			}
			require.Equal(t, []string{"db/0000/" + ltx.FormatFilename(2, 2)}, s.Keys(t, bucket, ""))
			require.Equal(t, data, s.Get(t, bucket, "db/0000/"+ltx.FormatFilename(2, 2)))
		})
	}
}
