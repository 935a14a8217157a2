package s3

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// countedContent counts the bytes that are read.
type countedContent struct {
	*bytes.Reader
	read atomic.Int64
}

func (c *countedContent) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.Reader.ReadAt(p, off)
	c.read.Add(int64(n))
	return n, err
}

// digested is a digest of data, which came in pieces that no part ends with.
func digested(t *testing.T, s *Store, data []byte) replica.WriteOptions {
	t.Helper()
	d := s.Properties().NewDigest()
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 333)
		written, err := d.Write(rest[:n])
		require.NoError(t, err)
		require.Equal(t, n, written)
		rest = rest[n:]
	}
	return replica.WriteOptions{Digest: d}
}

// Content that comes with its digest is read once, to be sent, beside its header; the
// requests are the same.
func TestDigest(t *testing.T) {
	for _, size := range []int{0, 1, testPart - 1, testPart, testPart + 1, 3*testPart + 500} {
		data := bytesOf(size)
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, %v", size, known), func(t *testing.T) {
				s := serve(t, inParts(data, answers{"PUT": stored("v1-4")}))
				c := smallParts(s.store(t))
				var opts replica.WriteOptions
				reads := int64(2)
				if known {
					opts, reads = digested(t, c, data), 1
				}
				content := &countedContent{Reader: bytes.NewReader(data)}
				_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), content, opts)
				require.NoError(t, err)
				require.Equal(t, reads*int64(size)+min(int64(size), ltx.HeaderSize), content.read.Load())
				for _, sent := range append(s.of("PART"), s.of("PUT")...) {
					require.Equal(t, checksumOf(sent.body), sent.get("X-Amz-Checksum-Crc64nvme"))
				}
				for _, complete := range s.of("COMPLETE") {
					require.Equal(t, checksumOf(data), complete.get("X-Amz-Checksum-Crc64nvme"))
				}
			})
		}
	}
}

// A digest of another size, or another store's, is none of the content.
func TestDigestOfOther(t *testing.T) {
	data := bytesOf(2*testPart + 1)
	s := serve(t, inParts(data, nil))
	c := smallParts(s.store(t))
	for name, opts := range map[string]replica.WriteOptions{
		"shorter":         digested(t, c, data[1:]),
		"another store's": digested(t, smallParts(s.store(t)), data),
		"another's":       {Digest: &bytes.Buffer{}},
	} {
		content := &countedContent{Reader: bytes.NewReader(data)}
		_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), content, opts)
		require.NoError(t, err, name)
		require.Equal(t, int64(2*len(data)+ltx.HeaderSize), content.read.Load(), name)
	}
}

// What has changed since its digest was taken is no success.
func TestDigestOfChanged(t *testing.T) {
	for _, size := range []int{testPart - 1, 3 * testPart} {
		was, is := bytesOf(size), bytesOf(size)
		is[size/2]++
		s := serve(t, inParts(is, answers{"PUT": stored("v1-4"), "DELETE": say(204, "")}))
		c := smallParts(s.store(t))
		_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), bytes.NewReader(is), digested(t, c, was))
		require.ErrorIs(t, err, ErrVerify)
	}
}

// Of a file of more parts than there may be, which then are larger, the digest is none,
// and takes no memory for them.
func TestDigestOfManyParts(t *testing.T) {
	c := smallParts(serve(t, nil).store(t))
	c.cfg.PartSize = 1
	data := bytesOf(maxParts + 1)
	d := digested(t, c, data).Digest.(*digest)
	require.Len(t, d.parts, maxParts)
	require.False(t, d.isOf(&upload{at: &session{bucket: c.bucket}, content: bytes.NewReader(data)}))
}
