package s3

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

const testPart = 1000

// inParts answers an upload in parts of data, with what changes it.
func inParts(data []byte, changes answers) answers {
	a := answers{
		"CREATE":   say(200, "<InitiateMultipartUploadResult><UploadId>upload-1</UploadId></InitiateMultipartUploadResult>"),
		"PART":     partAnswer,
		"COMPLETE": say(200, `<CompleteMultipartUploadResult><ETag>&quot;v1-4&quot;</ETag></CompleteMultipartUploadResult>`),
		"ABORT":    say(204, ""),
		"HEAD":     verified(data, "v1-4"),
	}
	for op, answer := range changes {
		a[op] = answer
	}
	return a
}

func partAnswer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"part-`+r.URL.Query().Get("partNumber")+`"`)
}

// smallParts makes a client upload parts that are smaller than S3 takes.
func smallParts(c *Store) *Store {
	c.cfg.PartSize = testPart
	return c
}

// counts are how many requests of each kind there were, those that there were.
func counts(s *server) map[string]int {
	n := map[string]int{}
	for _, c := range s.seen() {
		n[c.op]++
	}
	return n
}

type completed struct {
	Parts []struct {
		PartNumber        int
		ETag              string
		ChecksumCRC64NVME string
	} `xml:"Part"`
}

// Files of a part's size and more go in parts, each with its checksum, and at the
// end that of the whole.
func TestMultipart(t *testing.T) {
	for _, size := range []int{testPart, testPart + 1, 3 * testPart, 3*testPart + 500} {
		data := bytesOf(size)
		for name, r := range map[string]replica.Content{"a file": staged(t, data), "memory": bytes.NewReader(data)} {
			t.Run(fmt.Sprint(name, " of ", size), func(t *testing.T) {
				s := serve(t, inParts(data, nil))
				f, err := write(t, smallParts(s.store(t)), r)
				require.NoError(t, err)
				require.Equal(t, replica.Version{ETag: `"v1-4"`, Modified: modified.Unix(), Size: int64(size)}, f.Version)
				require.Equal(t, int64(size), f.Size)
				n := (size + testPart - 1) / testPart
				require.Equal(t, map[string]int{"CREATE": 1, "PART": n, "COMPLETE": 1, "HEAD": 1}, counts(s))

				create := s.of("CREATE")[0]
				require.Equal(t, fileKey(1), create.key)
				require.Equal(t, "CRC64NVME", create.get("X-Amz-Checksum-Algorithm"))
				require.Equal(t, "FULL_OBJECT", create.get("X-Amz-Checksum-Type"))
				require.Equal(t, "1", create.get("X-Amz-Meta-Min-Txid"))
				require.NotEmpty(t, create.get("X-Amz-Meta-Litestream-Timestamp"))

				bodies := make([][]byte, n)
				for _, part := range s.of("PART") {
					number, err := strconv.Atoi(part.param("partNumber"))
					require.NoError(t, err)
					require.Equal(t, "upload-1", part.param("uploadId"))
					require.Equal(t, checksumOf(part.body), part.get("X-Amz-Checksum-Crc64nvme"))
					require.Empty(t, part.coding)
					require.Empty(t, part.get("X-Amz-Trailer"))
					bodies[number-1] = part.body
				}
				for i, body := range bodies {
					require.True(t, bytes.Equal(data[i*testPart:min(size, (i+1)*testPart)], body), "part %d", i+1)
				}

				complete := s.of("COMPLETE")[0]
				require.Equal(t, checksumOf(data), complete.get("X-Amz-Checksum-Crc64nvme"))
				require.Equal(t, "FULL_OBJECT", complete.get("X-Amz-Checksum-Type"))
				var doc completed
				require.NoError(t, xml.Unmarshal(complete.body, &doc))
				require.Len(t, doc.Parts, n)
				for i, part := range doc.Parts {
					require.Equal(t, i+1, part.PartNumber)
					require.Equal(t, fmt.Sprintf(`"part-%d"`, i+1), part.ETag)
					require.Equal(t, checksumOf(bodies[i]), part.ChecksumCRC64NVME)
				}
			})
		}
	}
}

func TestMultipartHeaders(t *testing.T) {
	data := bytesOf(2500)
	const key = "X-Amz-Server-Side-Encryption-Customer-Key"
	s := serve(t, inParts(data, nil))
	c := smallParts(s.store(t, func(c *config.Config) {
		c.SSECustomerKey, c.RequesterPays, c.PutObjectContentMD5, c.StorageClass, c.NoChecksums = testSSEKey, true, true, "GLACIER_IR", true
	}))
	_, err := c.WriteLTXFile(t.Context(), nth(1), bytes.NewReader(data), replica.WriteOptions{Exclusive: true})
	require.NoError(t, err)
	for _, call := range s.seen() {
		require.Equal(t, testSSEKey, call.get(key), call.op)
		require.Equal(t, "requester", call.get("X-Amz-Request-Payer"), call.op)
		require.Empty(t, call.get("X-Amz-Checksum-Crc64nvme"), call.op)
		require.Empty(t, call.get("X-Amz-Checksum-Algorithm"), call.op)
	}
	for _, part := range s.of("PART") {
		require.Equal(t, md5Of(part.body), part.get("Content-Md5"))
	}
	require.Equal(t, "GLACIER_IR", s.of("CREATE")[0].get("X-Amz-Storage-Class"))
	require.Len(t, s.of("CREATE")[0].get("X-Amz-Meta-Ltxfs-Write-Id"), 32)
	require.Equal(t, "*", s.of("COMPLETE")[0].get("If-None-Match"))

	s = serve(t, inParts(data, nil))
	c = smallParts(s.store(t, func(c *config.Config) { c.SSEKMSKeyID = "key-1" }))
	_, err = write(t, c, bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, "aws:kms", s.of("CREATE")[0].get("X-Amz-Server-Side-Encryption"))
	require.Equal(t, "key-1", s.of("CREATE")[0].get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"))
}

// So many parts are on their way at a time, and no more.
func TestMultipartConcurrency(t *testing.T) {
	const most = 3
	data := bytesOf(12 * testPart)
	sent := newAtOnce(most)
	s := serve(t, inParts(data, answers{"PART": sent.answer(partAnswer)}))
	_, err := write(t, smallParts(s.store(t, func(c *config.Config) { c.Concurrency = most })), bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, int32(most), sent.peak.Load())
}

// Stores that don't know the checksums of an upload.
func TestMultipartChecksumsRefused(t *testing.T) {
	data := bytesOf(2 * testPart)
	refusing := func(then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Amz-Checksum-Algorithm")+r.Header.Get("X-Amz-Checksum-Crc64nvme") != "" {
				refuse(501, "NotImplemented")(w, r)
				return
			}
			then(w, r)
		}
	}
	plain := answers{"HEAD": object(data, "v1-4"), "GET": object(data, "v1-4")}
	good := inParts(data, plain)
	for _, tt := range []struct {
		name   string
		op     string
		counts map[string]int
	}{
		{"at the beginning", "CREATE", map[string]int{"CREATE": 2, "PART": 2, "COMPLETE": 1, "HEAD": 1, "GET": 1}},
		{"at the end", "COMPLETE", map[string]int{"CREATE": 2, "PART": 4, "COMPLETE": 2, "ABORT": 1, "HEAD": 2, "GET": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := inParts(data, plain)
			a[tt.op] = refusing(good[tt.op])
			s := serve(t, a)
			_, err := write(t, smallParts(s.store(t)), bytes.NewReader(data))
			require.NoError(t, err)
			require.Equal(t, tt.counts, counts(s))
		})
	}
	// A store that takes them and ignores them has none in the end.
	s := serve(t, inParts(data, plain))
	_, err := write(t, smallParts(s.store(t)), bytes.NewReader(data))
	require.NoError(t, err)
	require.Len(t, s.of("GET"), 1, "it is read back")
}

func TestMultipartNotBegun(t *testing.T) {
	data := bytesOf(2 * testPart)
	for text, create := range map[string]http.HandlerFunc{
		"AccessDenied": refuse(403, "AccessDenied"), "the store names no upload": say(200, "<InitiateMultipartUploadResult/>"),
	} {
		s := serve(t, inParts(data, answers{"CREATE": create}))
		_, err := write(t, smallParts(s.store(t)), bytes.NewReader(data))
		require.ErrorContains(t, err, text)
		require.Equal(t, "CREATE", s.ops())
	}
}

// Parts grow where there would be too many.
func TestMultipartPartSize(t *testing.T) {
	s := serve(t, nil)
	c := s.store(t)
	const part = config.MinPartSize
	for size, want := range map[int64]int64{
		0: part, part: part, maxParts * part: part, maxParts*part + 1: 6 << 20, maxParts * (6 << 20): 6 << 20, maxParts*(6<<20) + 1: 7 << 20,
		5 << 40: 525 << 20,
	} {
		u := &upload{at: &session{bucket: c.bucket}, content: io.NewSectionReader(strings.NewReader(""), 0, size)}
		got := u.partSize()
		require.Equal(t, want, got, size)
		require.LessOrEqual(t, (size+got-1)/got, int64(maxParts))
	}
	require.Empty(t, s.ops())
}
