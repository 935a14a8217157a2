package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
	"github.com/ltxfs/ltxfs/replica/storetest"
)

// verified answers HEAD as a store that has data and its checksum.
func verified(data []byte, etag string, headers ...string) http.HandlerFunc {
	return object(data, etag, append([]string{"X-Amz-Checksum-Crc64nvme", checksumOf(data), "X-Amz-Checksum-Type", "FULL_OBJECT"}, headers...)...)
}

// write writes the first file.
func write(t *testing.T, c *Store, content replica.Content) (replica.File, error) {
	t.Helper()
	return c.WriteLTXFile(within(t, 20*time.Second), nth(1), content, replica.WriteOptions{})
}

// staged is content in a file on disk.
func staged(t *testing.T, data []byte) *io.SectionReader {
	t.Helper()
	path := filepath.Join(t.TempDir(), "staged")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return io.NewSectionReader(f, 0, int64(len(data)))
}

// failingAt is content that can't be read.
type failingAt struct {
	*bytes.Reader
	err error
}

func (r failingAt) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// The timestamp is that of the LTX header, if there is one, and else now.
func TestTimeOf(t *testing.T) {
	file := storetest.LTX(t, 1, 1)
	got, err := timeOf(bytes.NewReader(file))
	require.NoError(t, err)
	require.Equal(t, storetest.DefaultTime, got)
	// A broken header is none.
	for _, data := range [][]byte{file[:99], append([]byte("X"), file[1:]...), make([]byte, 200), nil} {
		got, err := timeOf(bytes.NewReader(data))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), got, time.Minute)
		require.Equal(t, time.UTC, got.Location())
	}
	for _, want := range []error{errors.New("the disk is gone"), io.ErrUnexpectedEOF} {
		_, err := timeOf(failingAt{bytes.NewReader(file), want})
		require.ErrorIs(t, err, want)
	}
}

// A small file is one PUT and one HEAD.
func TestWriteOnce(t *testing.T) {
	data := storetest.LTX(t, 1, 1)
	for name, r := range map[string]replica.Content{"a file": staged(t, data), "memory": bytes.NewReader(data)} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{"PUT": stored("v1"), "HEAD": verified(data, "v1")})
			f, err := write(t, s.store(t), r)
			require.NoError(t, err)
			size := int64(len(data))
			require.Equal(t, replica.File{
				Name: nth(1), Size: size, ModTime: storetest.DefaultTime,
				Version: replica.Version{ETag: `"v1"`, Modified: modified.Unix(), Size: size},
			}, f)
			require.Equal(t, "PUT HEAD", s.ops())
			put, head := s.seen()[0], s.seen()[1]
			require.Equal(t, fileKey(1), put.key)
			require.Equal(t, data, put.body)
			require.Equal(t, checksumOf(data), put.get("X-Amz-Checksum-Crc64nvme"))
			require.Equal(t, "ENABLED", head.get("X-Amz-Checksum-Mode"))
			require.Equal(t, fileKey(1), head.key)

			meta := map[string]string{}
			for name := range put.header {
				if rest, ok := strings.CutPrefix(name, "X-Amz-Meta-"); ok {
					meta[rest] = put.get(name)
				}
			}
			require.Len(t, meta["Ltxfs-Write-Id"], 32)
			delete(meta, "Ltxfs-Write-Id")
			require.Equal(t, map[string]string{
				"Litestream-Timestamp": "2024-02-29T12:34:56.789Z", "Min-Txid": "1", "Max-Txid": "1", "Level": "0",
			}, meta)

			// No body in chunks, nor a trailer, which many stores don't take.
			require.Equal(t, int64(len(data)), put.length)
			require.Empty(t, put.coding)
			require.Empty(t, put.get("Content-Encoding"))
			require.Empty(t, put.get("X-Amz-Trailer"))
			require.NotContains(t, put.get("X-Amz-Content-Sha256"), "STREAMING")
			for _, name := range []string{"Content-Md5", "If-None-Match", "X-Amz-Storage-Class", "X-Amz-Server-Side-Encryption", "X-Amz-Request-Payer"} {
				require.Empty(t, put.get(name), name)
			}
		})
	}
}

func TestWriteLTXFile(t *testing.T) {
	data := bytesOf(10)
	s := serve(t, answers{"PUT": stored("v1"), "HEAD": verified(data, "v1")})
	c := s.store(t)
	info, err := c.WriteLTXFile(t.Context(), replica.Name{Level: 9, MinTXID: 1, MaxTXID: 0x20}, bytes.NewReader(data), replica.WriteOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(10), info.Size)
	require.Equal(t, 9, info.Level)
	require.WithinDuration(t, time.Now(), info.ModTime, time.Minute)
	require.Equal(t, "db/0009/0000000000000001-0000000000000020.ltx", s.seen()[0].key)
	require.Equal(t, "32", s.seen()[0].get("X-Amz-Meta-Max-Txid"))
	require.Equal(t, "9", s.seen()[0].get("X-Amz-Meta-Level"))

	_, err = c.WriteLTXFile(t.Context(), replica.Name{Level: 10, MinTXID: 1, MaxTXID: 1}, nil, replica.WriteOptions{})
	require.ErrorIs(t, err, os.ErrInvalid)
	_, err = c.WriteLTXFile(t.Context(), replica.Name{Level: 0, MinTXID: 2, MaxTXID: 1}, nil, replica.WriteOptions{})
	require.ErrorIs(t, err, os.ErrInvalid)
	require.Equal(t, "PUT HEAD", s.ops())
}

func TestWriteHeaders(t *testing.T) {
	data := bytesOf(100)
	for _, tt := range []struct {
		name   string
		change func(*config.Config)
		put    map[string]string
	}{
		{"storage class", func(c *config.Config) { c.StorageClass = "STANDARD_IA" }, map[string]string{"X-Amz-Storage-Class": "STANDARD_IA"}},
		{"requester pays", func(c *config.Config) { c.RequesterPays = true }, map[string]string{"X-Amz-Request-Payer": "requester"}},
		{"Content-MD5", func(c *config.Config) { c.PutObjectContentMD5 = true }, map[string]string{"Content-Md5": md5Of(data)}},
		{"KMS", func(c *config.Config) { c.SSEKMSKeyID = "key-1" }, map[string]string{
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "key-1",
		}},
		{"SSE-C", func(c *config.Config) { c.SSECustomerKey = testSSEKey }, map[string]string{
			"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256", "X-Amz-Server-Side-Encryption-Customer-Key": testSSEKey,
		}},
		{"no checksums", func(c *config.Config) { c.NoChecksums = true }, map[string]string{"X-Amz-Checksum-Crc64nvme": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"PUT": stored("v1"), "HEAD": verified(data, "v1")})
			_, err := write(t, s.store(t, tt.change), bytes.NewReader(data))
			require.NoError(t, err)
			require.Equal(t, "PUT HEAD", s.ops())
			for name, want := range tt.put {
				require.Equal(t, want, s.seen()[0].get(name), name)
			}
			key := s.seen()[0].get("X-Amz-Server-Side-Encryption-Customer-Key")
			require.Equal(t, key, s.seen()[1].get("X-Amz-Server-Side-Encryption-Customer-Key"))
		})
	}
}

// A store that refuses checksums in headers gets none from then on.
func TestWriteChecksumsRefused(t *testing.T) {
	data := bytesOf(100)
	for name, refusal := range map[string]http.HandlerFunc{
		"not implemented": refuse(501, "NotImplemented"),
		"other words":     refuse(400, "InvalidArgument"),
		"no words":        refuse(400, ""),
		"unknown header":  say(400, "<Error><Code>InvalidArgument</Code><Message>Unsupported header x-amz-checksum-crc64nvme</Message></Error>"),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answers{
				"PUT": func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("X-Amz-Checksum-Crc64nvme") != "" {
						refusal(w, r)
						return
					}
					stored("v1")(w, r)
				},
				"HEAD": object(data, "v1"), "GET": object(data, "v1"),
			})
			c, log := s.logging(t)
			_, err := write(t, c, bytes.NewReader(data))
			require.NoError(t, err)
			first := "PUT PUT HEAD GET"
			if name != "not implemented" {
				first = "PUT PUT PUT HEAD GET" // a bare 400 may pass
			}
			require.Equal(t, first, s.ops())
			_, err = write(t, c, bytes.NewReader(data))
			require.NoError(t, err)
			require.Equal(t, first+" PUT GET", s.ops(), "it has learned")
			require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log)
		})
	}
}

// All that are under way when the first refusal comes go on without.
func TestWriteChecksumsRefusedAtOnce(t *testing.T) {
	data := bytesOf(100)
	both := newMeeting(2)
	s := serve(t, answers{
		"PUT": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Amz-Checksum-Crc64nvme") != "" {
				both.join()
				both.wait(r)
				refuse(501, "NotImplemented")(w, r)
				return
			}
			stored("v1")(w, r)
		},
		"HEAD": object(data, "v1"), "GET": object(data, "v1"),
	})
	c := s.store(t)
	done := make(chan error, 2)
	for n := range 2 {
		go func() {
			_, err := c.WriteLTXFile(t.Context(), replica.Name{Level: n, MinTXID: 1, MaxTXID: 1}, bytes.NewReader(data), replica.WriteOptions{})
			done <- err
		}()
	}
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.Len(t, s.of("PUT"), 4)
}

// A refusal for another reason is an error, and teaches nothing.
func TestWriteRefused(t *testing.T) {
	data := bytesOf(100)
	for _, tt := range []struct {
		answer http.HandlerFunc
		is     []error
		puts   int
	}{
		{refuse(403, "AccessDenied"), []error{os.ErrPermission}, 1},
		{refuse(404, "NoSuchBucket"), []error{ErrNoSuchBucket}, 1},
		{refuse(400, "BadDigest"), []error{errDigest}, 1},
		{refuse(400, "InvalidArgument"), nil, 3},
		{refuse(501, "NotImplemented"), nil, 2},
		{refuse(507, "InsufficientStorage"), nil, 1},
		{refuse(503, "SlowDown"), nil, 3},
	} {
		s := serve(t, answers{"PUT": tt.answer})
		c := s.store(t)
		_, err := write(t, c, bytes.NewReader(data))
		requireKinds(t, err, tt.is...)
		require.ErrorContains(t, err, "write level 0 "+fileName(1))
		require.ErrorContains(t, err, "PutObject")
		require.Len(t, s.of("PUT"), tt.puts)
		require.Equal(t, tt.puts, len(s.seen()))
		require.False(t, c.lacks(uploadChecksums))
	}
}

// An error of the reader is the write's, and the store has no part in it.
func TestWriteReaderError(t *testing.T) {
	data := bytesOf(1000)
	for _, want := range []error{errors.New("the disk is gone"), io.ErrUnexpectedEOF} {
		s := serve(t, nil)
		_, err := write(t, s.store(t), &changing{Reader: bytes.NewReader(data), reads: 1, err: want})
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, "write level 0 "+fileName(1))
		require.Empty(t, s.ops())
	}
}

// changing is a file of which more and more reads fail: those after the first few.
type changing struct {
	*bytes.Reader
	mu    sync.Mutex
	reads int // that succeed
	err   error
}

func (r *changing) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reads--; r.reads < 0 {
		return 0, r.err
	}
	return r.Reader.ReadAt(p, off)
}

// A file that becomes shorter, or unreadable, while it is written is never
// written as it is by then, nor tried again.
func TestWriteFileChanges(t *testing.T) {
	data := bytesOf(1000)
	odd := errors.New("the disk is gone")
	for _, tt := range []struct {
		name  string
		reads int
		err   error
		is    error
	}{
		{"shorter at once", 1, io.EOF, io.ErrUnexpectedEOF},
		{"shorter when it is sent", 2, io.EOF, io.ErrUnexpectedEOF},
		{"unreadable at once", 0, odd, odd},
		{"unreadable for its checksum", 1, odd, odd},
		{"unreadable when it is sent", 2, odd, odd},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"PUT": stored("v1")})
			c := s.store(t, func(c *config.Config) { c.SignPayload = new(false) })
			// One read for the header, one for the checksums, the rest to send it.
			_, err := write(t, c, &changing{Reader: bytes.NewReader(data), reads: tt.reads, err: tt.err})
			require.ErrorIs(t, err, tt.is)
			require.ErrorContains(t, err, "write level 0 "+fileName(1))
			require.LessOrEqual(t, len(s.of("PUT")), 1)
			for _, put := range s.of("PUT") {
				require.Less(t, len(put.body), len(data), "the request was not whole")
			}
			looked := 0 // for what the store has of it
			if tt.reads > 1 {
				looked = 1
			}
			require.Len(t, s.of("HEAD"), looked)
			require.Len(t, s.seen(), len(s.of("PUT"))+looked)
		})
	}
}

// A write is paced by what is sent, again when it is sent again, and not by what is
// read for checksums. The pace's error is the write's.
func TestWritePace(t *testing.T) {
	data := bytesOf(3*testPart + 500)
	for name, change := range map[string]func(*Store) *Store{
		"whole": func(s *Store) *Store { return s }, "in parts": smallParts,
	} {
		t.Run(name, func(t *testing.T) {
			var paced atomic.Int64
			opts := replica.WriteOptions{Pace: func(_ context.Context, n int) error {
				paced.Add(int64(n))
				return nil
			}}
			s := serve(t, inParts(data, answers{
				"PUT":  inTurn(refuse(503, "SlowDown"), stored("v1-4")),
				"PART": inTurn(refuse(503, "SlowDown"), partAnswer),
			}))
			c := change(s.store(t, func(c *config.Config) { c.Concurrency = 1 }))
			_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(data), opts)
			require.NoError(t, err)
			sent := 0
			for _, call := range append(s.of("PUT"), s.of("PART")...) {
				sent += len(call.body)
			}
			require.Greater(t, sent, len(data))
			require.Equal(t, int64(sent), paced.Load())

			tired := errors.New("not today")
			opts.Pace = func(context.Context, int) error { return tired }
			before := len(s.seen())
			_, err = c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(data), opts)
			require.ErrorIs(t, err, tired)
			require.LessOrEqual(t, len(s.seen())-before, 5, "it is tried again")
		})
	}
}

func TestWriteContext(t *testing.T) {
	data := bytesOf(100)
	s := serve(t, answers{"PUT": hang})
	c := s.store(t)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := c.WriteLTXFile(ctx, nth(1), bytes.NewReader(data), replica.WriteOptions{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = c.WriteLTXFile(ctx, nth(1), bytes.NewReader(data), replica.WriteOptions{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, "PUT", s.ops())
}

// An exclusive write asks for it, and tells its own object from another's.
func TestWriteExclusive(t *testing.T) {
	data := bytesOf(100)
	var o owner
	mine, keep := o.own(verified(data, "v1")), o.upload
	precondition := refuse(412, "PreconditionFailed")
	for _, tt := range []struct {
		name string
		put  http.HandlerFunc
		head http.HandlerFunc
		ops  string
		is   []error
	}{
		{"the first", keep(stored("v1")), mine, "PUT HEAD", nil},
		{"another's is there", keep(precondition), verified(flipped(data), "v0", "X-Amz-Meta-Ltxfs-Write-Id", "other"), "PUT HEAD", []error{os.ErrExist}},
		{"another's, with the same content", keep(precondition), verified(data, "v0", "X-Amz-Meta-Ltxfs-Write-Id", "other"), "PUT HEAD HEAD", nil},
		{"another's, of another program", keep(precondition), verified(flipped(data), "v0"), "PUT HEAD", []error{os.ErrExist}},
		{"another's has gone again", keep(precondition), refuse(404, ""), "PUT HEAD", []error{}},
		{"its own, whose answer was lost", inTurn(keep(reset), precondition), mine, "PUT PUT HEAD HEAD", nil},
		{"a conflict that passes", inTurn(keep(refuse(409, "ConditionalRequestConflict")), stored("v1")), mine, "PUT PUT HEAD", nil},
		{"a conflict that stays", keep(refuse(409, "ConditionalRequestConflict")), refuse(404, ""), "PUT PUT PUT HEAD", []error{}},
		{"who knows", keep(precondition), refuse(403, ""), "PUT HEAD", []error{}},
		{"an error", keep(refuse(403, "AccessDenied")), nil, "PUT", []error{os.ErrPermission}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, answers{"PUT": tt.put, "HEAD": tt.head})
			f, err := s.store(t).WriteLTXFile(within(t, 10*time.Second), nth(1), bytes.NewReader(data), replica.WriteOptions{Exclusive: true})
			require.Equal(t, tt.ops, s.ops())
			for _, put := range s.of("PUT") {
				require.Equal(t, "*", put.get("If-None-Match"))
				require.Equal(t, o.id.Load(), put.get("X-Amz-Meta-Ltxfs-Write-Id"))
			}
			if tt.is != nil {
				requireKinds(t, err, tt.is...)
				require.Zero(t, f)
				return
			}
			require.NoError(t, err)
			require.NotEmpty(t, f.Version.ETag)
		})
	}
	require.NotEqual(t, newWriteID(), newWriteID())
}
