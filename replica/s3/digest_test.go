package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
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

// Another store's digest, or one of another size, lacks the checksums of parts: content is
// read for them, and compared with the digest all the same.
func TestDigestOfOther(t *testing.T) {
	for _, size := range []int{testPart - 1, 2*testPart + 1} {
		data := bytesOf(size)
		s := serve(t, inParts(data, answers{"PUT": stored("v1-4")}))
		c := smallParts(s.store(t))
		plain := replica.NewDigest()
		_, _ = plain.Write(data)
		for name, opts := range map[string]replica.WriteOptions{
			"another store's": digested(t, smallParts(s.store(t)), data),
			"another's":       {Digest: plain},
		} {
			content := &countedContent{Reader: bytes.NewReader(data)}
			_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), content, opts)
			require.NoError(t, err, name)
			require.Equal(t, int64(2*size+ltx.HeaderSize), content.read.Load(), name)
		}
		done := s.whole()
		_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), bytes.NewReader(data), digested(t, c, data[1:]))
		require.ErrorIs(t, err, replica.ErrChanged)
		require.Equal(t, done, s.whole())
	}
}

// whole is how many objects a store would have made of what it was sent.
func (s *server) whole() (n int) {
	for _, c := range append(s.of("PUT"), s.of("COMPLETE")...) {
		if int64(len(c.body)) == c.length {
			n++
		}
	}
	return n
}

// A store never has the whole of what has changed since it was verified, whether it compares
// checksums or not, whichever byte it is, and however writes are verified.
func TestDigestOfChanged(t *testing.T) {
	for _, mode := range []config.VerifyMode{config.VerifyAuto, config.VerifyFull, config.VerifyChecksum, config.VerifySize} {
		for _, signed := range []bool{true, false} {
			for _, size := range []int{1, testPart - 1, testPart, 3*testPart + 500} {
				was := bytesOf(size)
				for _, at := range []int{0, size / 2, size - 1} {
					is := bytes.Clone(was)
					is[at]++
					s := serve(t, inParts(is, answers{"PUT": stored("v1-4"), "GET": object(is, "v1-4")}))
					c := smallParts(s.store(t, func(c *config.Config) { c.VerifyWrites, c.SignPayload = mode, &signed }))
					content := &countedContent{Reader: bytes.NewReader(is)}
					_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), content, digested(t, c, was))
					require.ErrorIs(t, err, replica.ErrChanged)
					require.ErrorContains(t, err, "write level 0 "+fileName(1))
					require.Zero(t, s.whole(), "the store has it: %v, %v, byte %d of %d", mode, signed, at, size)
					require.LessOrEqual(t, content.read.Load(), int64(size+ltx.HeaderSize))
					require.Len(t, s.of("ABORT"), 2*len(s.of("CREATE")), "once more for what was cut short")
				}
			}
		}
	}
}

// Of a body that had an error in place of its end, poor stores keep what they have got: it is
// deleted. If they have taken all of an earlier attempt, whose answer was lost, the file is there.
func TestWriteCutShort(t *testing.T) {
	was := bytesOf(testPart - 1)
	changed := bytes.Clone(was)
	changed[0]++
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		later replica.Content // than the first attempt
		pace  error
		want  error
	}{
		"changed":    {later: bytes.NewReader(changed), want: replica.ErrChanged},
		"unreadable": {later: &unreadable{bytes.NewReader(was), broken}, want: broken},
		"no pace":    {later: bytes.NewReader(was), pace: broken, want: broken},
	} {
		for _, has := range []string{"a part", "all", "another's", "nothing", "no answer"} {
			t.Run(name+", "+has, func(t *testing.T) {
				content := &turning{Content: bytes.NewReader(was)}
				if has != "all" {
					content.turn(tt.later)
				}
				put := make(chan string, 10) // its ID
				s := serve(t, answers{
					"PUT": func(_ http.ResponseWriter, r *http.Request) {
						put <- r.Header.Get("X-Amz-Meta-Ltxfs-Write-Id")
						if content.turn(tt.later); has == "all" {
							panic(http.ErrAbortHandler) // its answer is lost
						}
					},
					"HEAD": func(w http.ResponseWriter, r *http.Request) {
						id := <-put
						put <- id
						switch has {
						case "a part":
							object(was[:9], "cut", "X-Amz-Meta-Ltxfs-Write-Id", id)(w, r)
						case "all":
							object(was, "whole", "X-Amz-Meta-Ltxfs-Write-Id", id)(w, r)
						case "another's":
							object(was, "other", "X-Amz-Meta-Ltxfs-Write-Id", "other")(w, r)
						case "nothing":
							say(404, "")(w, r)
						default:
							say(403, "")(w, r)
						}
					},
					"DELETE": say(204, ""),
				})
				c := smallParts(s.store(t, func(c *config.Config) { c.VerifyWrites = config.VerifySize }))
				opts := digested(t, c, was)
				opts.Pace = func(context.Context, int) error {
					if content.turned.Load() != nil {
						return tt.pace
					}
					return nil
				}
				_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), content, opts)
				deleted := s.of("DELETE")
				switch has {
				case "all":
					require.NoError(t, err)
				case "a part":
					require.Len(t, deleted, 1)
					require.Equal(t, `"cut"`, deleted[0].get("If-Match"))
					deleted = nil
					require.ErrorIs(t, err, tt.want)
				case "no answer":
					require.ErrorContains(t, err, "whether the store has a part of it is unknown")
					require.ErrorIs(t, err, tt.want)
				default:
					require.ErrorIs(t, err, tt.want)
				}
				require.Empty(t, deleted)
			})
		}
	}
}

// turning is content that becomes another.
type turning struct {
	replica.Content
	turned atomic.Pointer[replica.Content]
}

func (c *turning) turn(to replica.Content) { c.turned.Store(&to) }

// ReadAt implements io.ReaderAt.
func (c *turning) ReadAt(p []byte, off int64) (int, error) {
	if to := c.turned.Load(); to != nil {
		return (*to).ReadAt(p, off)
	}
	return c.Content.ReadAt(p, off)
}

// unreadable is content whose last byte can't be read.
type unreadable struct {
	*bytes.Reader
	err error
}

// ReadAt implements io.ReaderAt.
func (u *unreadable) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) >= u.Size() {
		return 0, u.err
	}
	return u.Reader.ReadAt(p, off)
}

// A request that is sent again is checked from its beginning.
func TestDigestOfRetried(t *testing.T) {
	for _, size := range []int{testPart - 1, 3*testPart + 500} {
		data := bytesOf(size)
		s := serve(t, inParts(data, answers{
			"PUT": inTurn(refuse(503, "SlowDown"), stored("v1-4")), "PART": inTurn(refuse(503, "SlowDown"), partAnswer),
		}))
		c := smallParts(s.store(t))
		_, err := c.WriteLTXFile(within(t, 20*time.Second), nth(1), bytes.NewReader(data), digested(t, c, data))
		require.NoError(t, err)
		require.Equal(t, 1, len(s.of("PUT"))/2+len(s.of("PART"))/5)
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
