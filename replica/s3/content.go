package s3

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/minio/crc64nvme"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// timeOf is the timestamp in the header of content, or now if there is none.
func timeOf(content replica.Content) (time.Time, error) {
	head := make([]byte, min(content.Size(), ltx.HeaderSize))
	if _, err := content.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return time.Time{}, fmt.Errorf("read what is to be written: %w", err)
	}
	if t, ok := ltxfile.HeaderTime(head); ok {
		return t, nil
	}
	return time.Now().UTC(), nil
}

// errShorter means that there is less to write than there was at first.
var errShorter = fmt.Errorf("%w: it has become shorter", io.ErrUnexpectedEOF)

// contentError is an error of what is to be written, on its way through the SDK,
// which would take it for one of the connection and try again.
type contentError struct{ err error }

func (e *contentError) Error() string { return e.err.Error() }

func (e *contentError) Unwrap() error { return e.err }

// requestBody is a section of content as it is sent: at the pace of the write, and
// with errors that are contentErrors. What has changed since its checksum was taken has
// no end, so that no store takes it for whole.
type requestBody struct {
	*io.SectionReader
	sum     uint64
	checked io.Reader // since the last time that it was rewound
	pace    func(n int) error
}

// Seek implements io.Seeker.
func (b *requestBody) Seek(offset int64, whence int) (int64, error) {
	at, err := b.SectionReader.Seek(offset, whence)
	if at == 0 {
		b.checked = replica.CheckReader(b.SectionReader, b.Size(), b.sum)
	}
	return at, err
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	at, err := b.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), b.Size()-at)]
	if len(p) == 0 {
		return 0, io.EOF
	}
	if b.pace != nil {
		if err := b.pace(len(p)); err != nil {
			return 0, &contentError{err}
		}
	}
	n, err := b.checked.Read(p)
	switch {
	case err == nil, n == len(p):
		return n, nil
	case errors.Is(err, io.EOF):
		err = errShorter
	}
	return n, &contentError{fmt.Errorf("read what is to be written: %w", err)}
}

// errDigest means that the store has got other bytes than were sent.
var errDigest = errors.New("the bytes were damaged on their way to the store")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sums are the checksums of some bytes.
type sums struct {
	crc64  hash.Hash64
	crc32c hash.Hash32 // nil for the body of a request: only of an object may a store tell it
	md5    hash.Hash   // nil unless wanted
	sha256 hash.Hash   // nil unless wanted
	size   int64
}

// newSums is for content that is compared, by those checksums that stores may tell of an
// object.
func newSums() *sums {
	return &sums{crc64: crc64nvme.New(), crc32c: crc32.New(castagnoli)}
}

// newBodySums is for the body of a request.
func (b *bucket) newBodySums() *sums {
	d := &sums{crc64: crc64nvme.New()}
	if b.cfg.PutObjectContentMD5 {
		d.md5 = md5.New()
	}
	if *b.cfg.SignPayload && strings.HasPrefix(b.cfg.Endpoint, "http://") {
		// Over TLS, the SDK leaves the body out of the signature.
		d.sha256 = sha256.New()
	}
	return d
}

// Write implements io.Writer.
func (s *sums) Write(p []byte) (int, error) {
	_, _ = s.crc64.Write(p) // a hash has no errors
	if s.crc32c != nil {
		_, _ = s.crc32c.Write(p)
	}
	for _, h := range []hash.Hash{s.md5, s.sha256} {
		if h != nil {
			_, _ = h.Write(p)
		}
	}
	s.size += int64(len(p))
	return len(p), nil
}

// CRC64NVME is that checksum as S3 writes it.
func (s *sums) CRC64NVME() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, s.crc64.Sum64()))
}

// CRC32C is that checksum as S3 writes it.
func (s *sums) CRC32C() string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, s.crc32c.Sum32()))
}

// MD5 is that checksum as Content-MD5 has it, or nil.
func (s *sums) MD5() *string {
	if s.md5 == nil {
		return nil
	}
	return aws.String(base64.StdEncoding.EncodeToString(s.md5.Sum(nil)))
}

// signed gives a request the hash of its body for the signature, which the SDK would
// else read the body for.
func (s *sums) signed(o *awss3.Options) {
	if s.sha256 == nil {
		return
	}
	digest := hex.EncodeToString(s.sha256.Sum(nil))
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("PayloadHash",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, digest), in)
			}), middleware.Before)
	})
}

// sum reads a section of content into all of the sums.
func sum(content io.ReaderAt, off, size int64, into ...io.Writer) error {
	section := struct{ io.Reader }{io.NewSectionReader(content, off, size)}
	n, err := io.CopyBuffer(io.MultiWriter(into...), section, make([]byte, copyBuffer))
	if err == nil && n != size {
		err = errShorter
	}
	if err != nil {
		return fmt.Errorf("read what is to be written: %w", err)
	}
	return nil
}

// copyBuffer is the size of a buffer to read through, in bytes.
const copyBuffer = 64 << 10

// ofStore compares with the checksum that the store has of a whole object. known
// is false if it has none.
func (s *sums) ofStore(out *awss3.HeadObjectOutput) (same, known bool) {
	// A checksum of checksums of parts says nothing that could be compared. It
	// has the number of parts behind it where its type isn't told.
	whole := func(v *string) bool {
		return aws.ToString(v) != "" && out.ChecksumType != types.ChecksumTypeComposite && !strings.Contains(*v, "-")
	}
	switch {
	case whole(out.ChecksumCRC64NVME):
		return *out.ChecksumCRC64NVME == s.CRC64NVME(), true
	case whole(out.ChecksumCRC32C):
		return *out.ChecksumCRC32C == s.CRC32C(), true
	}
	return false, false
}

// digest is the checksums that writing some content takes, as whoever reads it in order
// anyway can take them.
type digest struct {
	bucket *bucket
	whole  *sums
	parts  []*sums // as far as an upload can have parts of the configured size
}

func (s *Store) newDigest() replica.Digest { return &digest{bucket: s.bucket, whole: newSums()} }

// Write implements io.Writer.
func (d *digest) Write(p []byte) (int, error) {
	_, _ = d.whole.Write(p) // it has no errors
	n, size := len(p), d.bucket.cfg.PartSize
	for len(p) > 0 {
		last := len(d.parts) - 1
		if last < 0 || d.parts[last].size == size {
			if last+1 == maxParts {
				break
			}
			d.parts = append(d.parts, d.bucket.newBodySums())
			last++
		}
		most := min(int64(len(p)), size-d.parts[last].size)
		_, _ = d.parts[last].Write(p[:most])
		p = p[most:]
	}
	return n, nil
}

// Sum64 implements replica.Digest.
func (d *digest) Sum64() uint64 { return d.whole.crc64.Sum64() }

// isOf reports whether the digest is of what is uploaded, by its size and its parts'.
func (d *digest) isOf(u *upload) bool {
	return d.bucket == u.at.bucket && d.whole.size == u.content.Size() && d.whole.size > 0 && u.partSize() == u.at.cfg.PartSize
}

// sum returns the checksums of the i-th part of the content, and has those of the whole
// know it.
func (u *upload) sum(i int, off, size int64) (*sums, error) {
	if u.digest != nil {
		return u.digest.parts[i], nil
	}
	part := u.at.newBodySums()
	return part, sum(u.content, off, size, part, u.sums)
}

// unchanged returns an error if the content, now that the whole has its sums, isn't what
// the write's digest was given.
func (u *upload) unchanged() error {
	if d := u.opts.Digest; d != nil && d.Sum64() != u.sums.crc64.Sum64() {
		return replica.ErrChanged
	}
	return nil
}
