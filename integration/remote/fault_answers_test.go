package remote

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

func faultSlowDown(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	r.noticeNothing(func() func() { return r.proxy.FailFraction(http.StatusServiceUnavailable, "SlowDown", 0.1, 1) })
}

func faultRequestCanceled(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	r.noticeNothing(func() func() { return r.proxy.FailFraction(http.StatusRequestTimeout, "RequestCanceled", 0.3, 2) })
}

// A store that gives another part of a file than it was asked for is an error, and
// its bytes are nobody's.
func faultWrongRange(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	r.readsFail(r.proxy.Rewrite(s3test.ShiftRange(128<<10)), 0)
}

// Of a store that gives no ranges, the beginning of a file can be read.
func faultRangesIgnored(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	const first = 1<<20 + 128<<10 // which the first request asks for
	r.readsFail(r.proxy.Intercept(s3test.IgnoreRanges(r.server)), first)
}

// readsFail is for a store that gives no more than the first bytes of a file, until
// remove is called. Writing goes on.
func (r *rig) readsFail(remove func(), first int) {
	r.t.Helper()
	l := r.use(loadOptions{readErrnos: []syscall.Errno{syscall.EIO}})
	got := r.read(r.probe, direct)
	require.Equal(r.t, syscall.EIO, got.errno, got.stderr)
	requireRead(r.t, got, []syscall.Errno{syscall.EIO})
	require.Len(r.t, got.data, first)
	l.goOn(4, 3)
	remove()
	require.Empty(r.t, l.end())
	r.requireRecovered()
}

// What a store doesn't keep as it was sent isn't published. It doesn't stay in the
// bucket either, and once the store is well again, the same file can be published.
func faultDamage(t *testing.T, kind *s3test.Kind) {
	for name, damage := range map[string]func(r *rig) (remove func()){
		"damaged": func(r *rig) func() { return r.proxy.Intercept(damagePuts(r)) },
		"another checksum": func(r *rig) func() {
			return r.proxy.Rewrite(func(resp *http.Response) error {
				if resp.Request.Method == http.MethodHead && resp.Header.Get("X-Amz-Checksum-Crc64nvme") != "" {
					resp.Header.Set("X-Amz-Checksum-Crc64nvme", "AAAAAAAAAAA=")
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, kind, rigOptions{})
			remove := damage(r)
			l := r.use(loadOptions{writeErrnos: []syscall.Errno{syscall.EIO}})
			l.goOn(3, 4)
			failed := l.end()
			require.Len(t, failed, len(l.writes), "every write must fail")
			for _, o := range failed {
				require.NotContains(t, r.server.Keys(t, r.bucket, ""), o.file.key())
			}
			r.requireBucket()
			remove()
			r.publishAll(failed)
			r.requireRecovered()
		})
	}
}

// damagePuts stores what is put with one bit changed, and says that all is well.
func damagePuts(r *rig) s3test.Interceptor {
	client := r.server.Client(r.t)
	return s3test.On(s3test.PutObject, func(w http.ResponseWriter, req *http.Request) bool {
		data, err := io.ReadAll(req.Body)
		if err != nil || len(data) == 0 {
			return false
		}
		data[len(data)/2] ^= 1
		out, err := client.PutObject(req.Context(), &awss3.PutObjectInput{
			Bucket: &r.bucket, Key: aws.String(strings.TrimPrefix(req.URL.Path, "/"+r.bucket+"/")),
			Body: bytes.NewReader(data), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme,
		})
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		w.Header().Set("ETag", aws.ToString(out.ETag))
		return true
	})
}

// deleteMax is the deadline of deleting, with some time for the tool.
const deleteMax = 65 * time.Second

// A store that says that it has deleted, and has not, is found out.
func faultDeleteNothing(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	remove := r.proxy.Intercept(s3test.DeleteNothing)
	l := r.use(loadOptions{})
	f := r.seeds[len(r.seeds)-1]
	result, took := r.run("rm", r.m.Path(f.path()))
	require.Equal(t, syscall.EIO, errnoOf(result), result)
	require.Less(t, took, deleteMax)
	names, o := r.list(seedLevel)
	require.NoError(t, o.err(), o.stderr)
	require.Contains(t, names, f.name())
	r.requireReads(f)
	remove()
	l.goOn(1, 1)
	require.Empty(t, l.end())

	require.Zero(t, ltxfstest.Run(t, ltxfstest.Timeout, "rm", r.m.Path(f.path())).Code)
	require.NotContains(t, r.server.Keys(t, r.bucket, ""), f.key())
	r.forget(f)
	r.seeds = r.seeds[:len(r.seeds)-1]
	r.requireRecovered()
}

// A store that doesn't show at once what it was given is given time.
func faultLag(t *testing.T, kind *s3test.Kind) {
	r := newRig(t, kind, rigOptions{})
	var mu sync.Mutex
	lagging := map[string]int{} // for how many HEADs yet, by path
	r.noticeNothing(func() func() {
		return r.proxy.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			op, path := s3test.OperationOf(req), req.URL.Path
			switch {
			case op == s3test.PutObject:
				lagging[path] = 3
			case op == s3test.HeadObject && lagging[path] > 0:
				lagging[path]--
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			return false
		})
	})
	mu.Lock()
	defer mu.Unlock()
	require.False(t, len(lagging) == 0 || !slices.Contains(values(lagging), 0), "no write has met with a lag: %v", lagging)
}

func values(m map[string]int) []int {
	var v []int
	for _, n := range m {
		v = append(v, n)
	}
	return v
}
