package remote

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// What a mount asks of the store is counted, not timed, at a proxy between the
// two. The tests of reading, of writing and of exact times are in the files beside
// this one.

// countedPath is where the replicas are in their buckets.
const countedPath = "orders"

// counted is an empty replica in a bucket of its own, behind a proxy that counts.
type counted struct {
	proxy  *s3test.Proxy
	server *s3test.Server
	bucket string
	layout replica.Layout // of what put stores
}

// forEachCounted runs a test on each server.
func forEachCounted(t *testing.T, test func(t *testing.T, c *counted)) {
	t.Helper()
	s3test.ForEach(t, func(t *testing.T, kind *s3test.Kind) {
		test(t, newCounted(t, kind, replica.LitestreamS3))
	})
}

func newCounted(t *testing.T, kind *s3test.Kind, layout replica.Layout) *counted {
	t.Helper()
	server := kind.Shared(t)
	return &counted{
		proxy: s3test.NewProxy(t, server.Endpoint), server: server, bucket: server.Bucket(t), layout: layout,
	}
}

// mount mounts the replica. Its freshness interval is longer than any test, so
// that a slow machine makes no more requests than a fast one.
func (c *counted) mount(t *testing.T, flags ...string) *ltxfstest.Mounted {
	t.Helper()
	return ltxfstest.MountWith(t, c.proxy.URL(c.bucket, countedPath), ltxfstest.MountOptions{
		Flags: append([]string{"--freshness=10m"}, flags...), Env: c.env(),
	})
}

// env is the environment of a client that asks nothing again because it is late: what is
// late on a machine that is busy isn't the same each time. TestStalledRequests counts what is.
func (c *counted) env() []string { return append(c.server.Env(), "LTXFS_S3_HEDGE=false") }

// key is that of a file in the bucket.
func (c *counted) key(level int, minTXID, maxTXID ltx.TXID) string {
	return path.Join(countedPath, c.layout.LevelDir(level), ltx.FormatFilename(minTXID, maxTXID))
}

// put stores a file past the mount, and the proxy.
func (c *counted) put(t *testing.T, level int, minTXID, maxTXID ltx.TXID, data []byte) {
	t.Helper()
	c.server.Put(t, c.bucket, c.key(level, minTXID, maxTXID), data)
}

// putOrders stores the sample replica.
func (c *counted) putOrders(t *testing.T) {
	t.Helper()
	for _, f := range ltxfstest.OrdersFiles(t) {
		key := path.Join(countedPath, c.layout.LevelDir(f.Level), f.Name)
		c.server.Put(t, c.bucket, key, ltxfstest.OrdersData(t, f))
	}
}

// costs are numbers of requests.
type costs map[s3test.Operation]int

// requireCosts fails the test unless what do does costs exactly these requests, and
// returns them. What do starts must have ended when it returns.
//
// One HEAD of the bucket is passed over: where an object is missing, and for five
// seconds nothing has shown that the bucket is there, the client looks.
func (c *counted) requireCosts(t *testing.T, what string, want costs, do func()) []s3test.Request {
	t.Helper()
	c.proxy.Reset()
	do()
	requests := c.proxy.Requests()
	got := costs{}
	for _, r := range requests {
		got[r.Operation]++
	}
	if got[s3test.HeadBucket] == 1 {
		delete(got, s3test.HeadBucket)
	}
	if !maps.Equal(want, got) {
		t.Fatalf("%s costs %v, and not %v:\n%s", what, got, want, describe(requests))
	}
	return requests
}

// requireEndForFree unmounts. Nothing may come late, and the end itself has nothing
// to ask for.
func (c *counted) requireEndForFree(t *testing.T, m *ltxfstest.Mounted) {
	t.Helper()
	c.requireCosts(t, "the end of the mount", costs{}, func() {
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
	})
}

// describe lists requests for who has to find out where they come from.
func describe(requests []s3test.Request) string {
	var b strings.Builder
	for _, r := range requests {
		fmt.Fprintf(&b, "%s %s %s %s: status %d, %d bytes up, %d down\n",
			r.Operation, r.Path, r.Query.Encode(), r.Range, r.Status, r.Up, r.Down)
	}
	return b.String()
}

// Mounting costs one request to see which directories there are, and one more
// where they are below ltx/. Neither the mount nor its end asks for anything else.
func TestMountBudget(t *testing.T) {
	t.Parallel()
	for _, kind := range s3test.Servers {
		for _, test := range []struct {
			name   string
			layout replica.Layout
			fill   bool
			flags  []string
			want   int
		}{
			{name: "empty", layout: replica.LitestreamS3, want: 1},
			{name: "litestream-s3", layout: replica.LitestreamS3, fill: true, want: 1},
			{name: "litestream-file", layout: replica.LitestreamFile, fill: true, want: 2},
			{name: "guide", layout: replica.Guide, fill: true, want: 2},
			{name: "layout is given", layout: replica.Guide, fill: true, flags: []string{"--layout=guide"}, want: 2},
			{name: "read-write", layout: replica.LitestreamS3, fill: true, flags: []string{"--rw"}, want: 1},
		} {
			t.Run(kind.Name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				c := newCounted(t, kind, test.layout)
				if test.fill {
					c.putOrders(t)
				}
				requests := c.requireCosts(t, "mounting", costs{s3test.ListObjects: test.want}, func() {
					m := c.mount(t, test.flags...)
					require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
				})
				require.LessOrEqual(t, len(requests), 3, "the promise is broken:\n%s", describe(requests))
			})
		}
	}
}

// Directories and the file system itself have attributes that nobody is asked for.
func TestAttributeBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		c.putOrders(t)
		m := c.mount(t, "--rw")
		for _, what := range []string{
			"ls -la $1",
			"ls -la $1/ltx",
			"ls -ld $1/ltx/0000 $1/ltx/0009 $1/ltx/5 $1/snapshots",
			"stat $1 $1/ltx $1/ltx/0000",
			"stat -L $1/snapshots",
			"find $1 -maxdepth 2",
			"stat -f $1/ltx/0000",
			"df $1 $1/ltx", // which opens them
			"test -w $1/ltx/0000",
			"touch $1/ltx/0000",
		} {
			c.requireCosts(t, what, costs{}, func() { ltxfstest.Shell(t, what, m.Dir) })
		}
		c.requireEndForFree(t, m)
	})
}

// listedFiles fill three pages of a listing.
const listedFiles = 2500

// To list many files costs a request for each thousand, and none for each file;
// again, and for all that looks at the same level meanwhile, none at all.
func TestListBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		var names, sizes []string
		for i, size := range c.putMany(t) {
			names = append(names, ltx.FormatFilename(ltx.TXID(i+1), ltx.TXID(i+1)))
			sizes = append(sizes, fmt.Sprint(size))
		}
		for _, row := range []string{"ls -f $1", "ls -ln $1", "find $1 -type f"} {
			m := c.mount(t)
			dir := m.Path("ltx", "0000")
			list := func() {
				var got, gotSizes []string
				for line := range strings.Lines(ltxfstest.Shell(t, row, dir)) {
					fields := strings.Fields(line)
					if name := path.Base(fields[len(fields)-1]); strings.HasSuffix(name, ".ltx") {
						got = append(got, name)
					}
					if len(fields) > 4 {
						gotSizes = append(gotSizes, fields[4])
					}
				}
				slices.Sort(got) // not all programs do
				require.Equal(t, names, got, row)
				if gotSizes != nil {
					require.Equal(t, sizes, gotSizes, row)
				}
			}
			requests := c.requireCosts(t, row, costs{s3test.ListObjects: 3}, list)
			for _, r := range requests {
				require.Equal(t, countedPath+"/"+c.layout.LevelDir(0)+"/", r.Query.Get("prefix"))
			}
			c.requireCosts(t, row+" again", costs{}, list)
			c.requireCosts(t, "find and stat after it", costs{}, func() {
				ltxfstest.MustRun(t, "find", dir, "-name", "*.ltx", "-size", "+1M")
				ltxfstest.MustRun(t, "stat", m.Path("ltx", "0000", ltx.FormatFilename(7, 7)))
				missing := ltxfstest.Run(t, ltxfstest.Timeout, "stat", m.Path("ltx", "0000", ltx.FormatFilename(7, 8)))
				require.NotZero(t, missing.Code, "the listing doesn't have it")
			})
			c.requireCosts(t, "ls -l of an empty level", costs{s3test.ListObjects: 1}, func() {
				require.Equal(t, "total 0\n", ltxfstest.MustRun(t, "ls", "-ln", m.Path("ltx", "0003")))
			})
			c.requireEndForFree(t, m)
		}
	})
}

// putMany stores small files of some different sizes.
func (c *counted) putMany(t *testing.T) (sizes []int) {
	t.Helper()
	client := c.server.Client(t)
	var g errgroup.Group
	g.SetLimit(16)
	for i := range listedFiles {
		txid := ltx.TXID(i + 1)
		data := storetest.LTX(t, txid, txid, storetest.PageSize(512), storetest.Commit(uint32(1+i%5)))
		sizes = append(sizes, len(data))
		key := c.key(0, txid, txid)
		g.Go(func() error {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &c.bucket, Key: &key, Body: bytes.NewReader(data)})
			return err
		})
	}
	require.NoError(t, g.Wait())
	return sizes
}
