package remote

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

const (
	// hugeSize is the size of a file of which hardly anything is read.
	hugeSize = 1 << 30
	hugePart = 64 << 20

	// maxBlock is the most that a small read may have the store send.
	maxBlock = 128 << 10
)

// A look at the beginning of a huge file, or a page in the middle of it, costs what
// is near, and not the file.
func TestHugeFileBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		part := c.putHuge(t)
		path := ltxfstest.LevelPath(9, ltx.FormatFilename(1, 9))
		m := c.mount(t)
		c.proxy.Reset()
		require.Equal(t, string(part[:100]), ltxfstest.MustRun(t, "head", "-c", "100", m.Path(path)))
		// What the kernel reads ahead nobody waits for, so it is counted once the
		// mount has ended.
		require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		_, down := c.proxy.Bytes()
		t.Logf("head -c 100 of %d MiB: %d KiB", hugeSize>>20, down>>10)
		require.LessOrEqual(t, down, int64(2<<20), "head -c 100:\n%s", describe(c.proxy.Requests()))
		require.Equal(t, 1, c.proxy.Counts()[s3test.HeadObject], "to look up the name")

		m = c.mount(t)
		p := m.Process(t)
		c.requireCosts(t, "looking up the name", costs{s3test.HeadObject: 1}, func() {
			st, err := p.Stat(path)
			require.NoError(t, err)
			require.Equal(t, int64(hugeSize), st.Size)
		})
		var f *ltxfstest.File
		c.requireCosts(t, "opening", costs{}, func() {
			var err error
			f, err = p.Open(path, unix.O_RDONLY, 0)
			require.NoError(t, err)
		})
		const reads, page = 10, 4096
		rng := rand.New(rand.NewPCG(4, 2))
		cold := map[int64]bool{}
		for len(cold) < reads {
			// Never the first page, which the kernel takes for the beginning of
			// a sequence, and no block twice.
			off := (1 + rng.Int64N(hugeSize/page-1)) * page
			if block := off / maxBlock; cold[block] {
				continue
			} else {
				cold[block] = true
			}
			requests := c.requireCosts(t, fmt.Sprintf("4 KiB at %d", off), costs{s3test.GetObject: 1}, func() {
				data, err := f.ReadAt(page, off)
				require.NoError(t, err)
				at := off % hugePart
				require.True(t, bytes.Equal(part[at:at+page], data), "other bytes at %d", off)
			})
			require.LessOrEqual(t, requests[0].Down, int64(maxBlock))
			require.NotEmpty(t, requests[0].Header.Get("If-Match"), "it would read any version")
		}
		// Around a page fault, the kernel reads as much as it reads ahead.
		for _, off := range []int64{60_001 * page, 150_003 * page, 250_007 * page} {
			requests := c.requireCosts(t, fmt.Sprintf("a page fault at %d", off), costs{s3test.GetObject: 1}, func() {
				data, err := p.Mmap(path, page, off)
				require.NoError(t, err)
				at := off % hugePart
				require.True(t, bytes.Equal(part[at:at+page], data), "other bytes at %d", off)
			})
			require.LessOrEqual(t, requests[0].Down, int64(3*maxBlock))
		}
		p.Close()
		c.requireEndForFree(t, m)
	})
}

// A file that is read from the beginning to the end, by one reader or by several, is
// fetched once, in few requests, and then comes from the kernel's cache.
func TestSequentialBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		const size = 48 << 20
		for i, readers := range []int{1, 4} {
			txid := ltx.TXID(i + 1)
			data := storetest.Bytes(uint64(txid), size)
			c.server.Put(t, c.bucket, c.key(9, txid, txid), data)
			m := c.mount(t)
			file := m.Path(ltxfstest.LevelPath(9, ltx.FormatFilename(txid, txid)))
			read := func() {
				var g errgroup.Group
				for range readers {
					g.Go(func() error {
						result := ltxfstest.Run(t, ltxfstest.Timeout, "sha256sum", file)
						if result.Code != 0 || !strings.HasPrefix(result.Stdout, ltxfstest.SHA256(data)) {
							return errors.New(result.String())
						}
						return nil
					})
				}
				require.NoError(t, g.Wait())
			}
			c.proxy.Reset()
			read()
			_, down := c.proxy.Bytes()
			gets := c.proxy.Counts()[s3test.GetObject]
			t.Logf("%d readers of %d MiB: %d requests, %d KiB", readers, size>>20, gets, down>>10)
			require.LessOrEqual(t, gets, 64, describe(c.proxy.Requests()))
			require.GreaterOrEqual(t, down, int64(size))
			require.LessOrEqual(t, down, int64(size+64<<10), "bytes that nobody asked for, or twice")
			c.requireCosts(t, "reading again", costs{}, read)
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
		}
	})
}

// putHuge stores a file of hugeSize by having the store copy one part many times,
// and returns that part.
func (c *counted) putHuge(t *testing.T) (part []byte) {
	t.Helper()
	part = storetest.Bytes(1, hugePart)
	source, key := "part", c.key(9, 1, 9)
	c.server.Put(t, c.bucket, source, part)
	client := c.server.Client(t)
	up, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &c.bucket, Key: &key})
	require.NoError(t, err)
	parts := make([]types.CompletedPart, hugeSize/hugePart)
	var g errgroup.Group
	g.SetLimit(4)
	for i := range parts {
		g.Go(func() error {
			n := aws.Int32(int32(i + 1))
			out, err := client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
				Bucket: &c.bucket, Key: &key, UploadId: up.UploadId, PartNumber: n, CopySource: aws.String(c.bucket + "/" + source),
			})
			if err == nil {
				parts[i] = types.CompletedPart{PartNumber: n, ETag: out.CopyPartResult.ETag}
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	_, err = client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
		Bucket: &c.bucket, Key: &key, UploadId: up.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	require.NoError(t, err)
	return part
}

// Nothing of a file is asked for twice while there is memory for it: not by who
// reads it again, and not by many who read it at once.
func TestRereadBudget(t *testing.T) {
	forEachCounted(t, func(t *testing.T, c *counted) {
		data := storetest.LTX(t, 1, 9, storetest.Commit(1500), storetest.Noise())
		require.Greater(t, len(data), 40*maxBlock)
		c.put(t, 9, 1, 9, data)
		sum := ltxfstest.SHA256(data)
		path := ltxfstest.LevelPath(9, ltx.FormatFilename(1, 9))
		const (
			read   = `sha256sum < "$1"`
			atOnce = `for i in 1 2 3 4 5 6 7 8; do sha256sum < "$1" & done; wait`
			// Drops what the kernel has of the file.
			drop = `dd if="$1" iflag=nocache count=0 status=none`
		)
		for _, test := range []struct{ name, script string }{
			{"one after the other", read + "\n" + read},
			{"past the kernel's cache", read + "\n" + drop + "\n" + read},
			{"at once", atOnce},
			{"in small pieces", `dd if="$1" bs=5000 status=none | sha256sum`},
			{"at once and again", atOnce + "\n" + drop + "\n" + atOnce},
		} {
			m := c.mount(t)
			c.proxy.Reset()
			for _, line := range bytes.Fields([]byte(ltxfstest.Shell(t, test.script, m.Path(path)))) {
				if got := string(line); got != "-" {
					require.Equal(t, sum, got, test.name)
				}
			}
			require.Equal(t, ltxfstest.ExitOK, m.Terminate(t), m.Log())
			requests := c.proxy.Requests()
			requireEachByteOnce(t, requests, int64(len(data)), test.name)
			require.Equal(t, s3test.HeadObject, requests[0].Operation, "to look up the name")
			for _, r := range requests[1:] {
				require.Equal(t, s3test.GetObject, r.Operation, "%s:\n%s", test.name, describe(requests))
			}
		}
	})
}

// requireEachByteOnce fails the test unless the ranges of all GETs together are
// the file.
func requireEachByteOnce(t *testing.T, requests []s3test.Request, size int64, what string) {
	t.Helper()
	type span struct{ first, last int64 }
	var spans []span
	for _, r := range requests {
		if r.Operation != s3test.GetObject {
			continue
		}
		var s span
		_, err := fmt.Sscanf(r.Range, "bytes=%d-%d", &s.first, &s.last)
		require.NoError(t, err, r.Range)
		require.Equal(t, s.last-s.first+1, r.Down, "%s of %s", r.Range, what)
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	next := int64(0)
	for _, s := range spans {
		require.Equal(t, next, s.first, "%s: asked for twice, or not at all:\n%s", what, describe(requests))
		next = s.last + 1
	}
	require.Equal(t, size, next, what)
}
