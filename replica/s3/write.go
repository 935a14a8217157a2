package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// metaWriteID tells a writer its own object from any other of the same name.
const metaWriteID = "ltxfs-write-id"

// WriteLTXFile stores a file: in one PUT if it is smaller than a part, and else in
// parts, many at a time. The object shows once it is whole. Before the method
// returns, it has made sure that the store has what was written, see
// Config.VerifyWrites, unless another writer has replaced it by then.
//
// A reader that can be read at any offset, such as a file, needs no memory; of
// any other, as many parts are in memory as are on their way, and one more.
func (c *ReplicaClient) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	f, err := c.WriteLTXFileVersion(ctx, level, minTXID, maxTXID, r)
	if err != nil {
		return nil, err
	}
	return f.Info(), nil
}

// WriteLTXFileVersion is WriteLTXFile, with the ETag in its result.
func (c *ReplicaClient) WriteLTXFileVersion(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	f, err := c.write(ctx, replica.File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, r, false)
	return f, replica.NewFileError("write", level, minTXID, maxTXID, err)
}

// WriteLTXFileExclusive is WriteLTXFileVersion, but if the store has an object of
// that name, by its own judgement, it is os.ErrExist. It takes a store that knows
// If-None-Match, as most do; another one would replace the object.
func (c *ReplicaClient) WriteLTXFileExclusive(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (replica.File, error) {
	f, err := c.write(ctx, replica.File{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}, r, true)
	return f, replica.NewFileError("write", level, minTXID, maxTXID, err)
}

func (c *ReplicaClient) write(ctx context.Context, f replica.File, r io.Reader, exclusive bool) (written replica.File, err error) {
	ctx, leave, err := c.enter(ctx)
	if err != nil {
		return replica.File{}, err
	}
	defer func() { err = leave(err) }()
	s, _, err := c.fileSession(ctx, f.Level, f.MinTXID, f.MaxTXID)
	if err != nil {
		return replica.File{}, err
	}
	key := s.keyToWrite(f)
	src, err := newSource(ctx, r, c.cfg.PartSize)
	if err != nil {
		return replica.File{}, err
	}
	u := &upload{client: c, session: s, key: key, file: f, src: src, exclusive: exclusive, sums: newSums(), id: newWriteID()}
	began := time.Now()
	defer u.release()
	if err := u.send(ctx); err != nil {
		return replica.File{}, err
	}
	if err := u.verify(ctx); err != nil {
		return replica.File{}, err
	}
	if err := c.settleRoot(ctx, s, f.Level, f.Name()); err != nil {
		return replica.File{}, err
	}
	f = u.file
	f.Size, f.ModTime = u.sums.size, src.time
	c.log().Debug("wrote", "key", key, "size", f.Size, "took", time.Since(began))
	return f, nil
}

func newWriteID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// upload is one write.
type upload struct {
	client    *ReplicaClient
	session   *session
	key       string
	file      replica.File // gets its version
	src       *source
	exclusive bool
	id        string    // tells the object of this write from any other
	sums      *sums     // of all that was sent
	sent      time.Time // by the store's clock
	adopted   bool      // the object is another's, with the same content
	unlock    func()    // gives the name back, once it is held
}

func (u *upload) sendOnce(ctx context.Context) error {
	switch src := u.src; {
	case src.section != nil && src.section.Size() < u.client.cfg.PartSize:
		return u.put(ctx, newSentBody(src.section, 0, src.section.Size()), src.looked)
	case src.whole:
		return u.put(ctx, bytes.NewReader(src.first), bytes.NewReader(src.first))
	}
	return u.multipart(ctx)
}

// put uploads body in one request. looked is the same for the checksums.
func (u *upload) put(ctx context.Context, body io.ReadSeeker, looked io.ReadSeeker) error {
	c := u.client
	if _, err := looked.Seek(0, io.SeekStart); err != nil {
		return err
	}
	digest := c.newBodySums()
	if err := sum(looked, digest); err != nil {
		return err
	}
	if size, err := looked.Seek(0, io.SeekEnd); err != nil {
		return err
	} else if digest.size != size {
		return fmt.Errorf("read what is to be written: %w", errShorter)
	}
	u.sums = digest
	in := &awss3.PutObjectInput{
		Bucket: &c.cfg.Bucket, Key: &u.key, Body: body, ContentLength: aws.Int64(digest.size), ContentMD5: digest.MD5(),
		Metadata: u.metadata(), StorageClass: types.StorageClass(c.cfg.StorageClass), RequestPayer: c.payer(),
	}
	in.SSECustomerAlgorithm, in.SSECustomerKey, in.SSECustomerKeyMD5 = c.customerKey()
	in.ServerSideEncryption, in.SSEKMSKeyId = c.kmsKey()
	if !c.refusesChecksums.Load() {
		in.ChecksumCRC64NVME = aws.String(digest.CRC64NVME())
	}
	in.IfNoneMatch = u.ifNoneMatch()
	if done, err := u.hold(ctx); done || err != nil {
		return err
	}
	out, err := u.session.s3.PutObject(ctx, in, digest.signed)
	if err != nil {
		return u.conflict(ctx, storeError(ctx, "PutObject", err))
	}
	c.sawBucket()
	u.done(out.ETag, out.ResultMetadata)
	return nil
}

// metadata is what is stored with the object.
func (u *upload) metadata() map[string]string {
	return map[string]string{
		metaTimestamp: u.src.time.Format(time.RFC3339Nano),
		metaMinTXID:   strconv.FormatUint(uint64(u.file.MinTXID), 10),
		metaMaxTXID:   strconv.FormatUint(uint64(u.file.MaxTXID), 10),
		metaLevel:     strconv.Itoa(u.file.Level),
		metaWriteID:   u.id,
	}
}

// encrypts reports whether the store is asked to encrypt.
func (c *ReplicaClient) encrypts() bool { return c.cfg.SSECustomerKey != "" || c.cfg.SSEKMSKeyID != "" }

// checkEncryption makes sure that a store says of an object that it is encrypted as
// was asked for. One that doesn't know the header ignores it.
func (c *ReplicaClient) checkEncryption(kind types.ServerSideEncryption, customer *string) error {
	switch {
	case c.cfg.SSECustomerKey != "" && aws.ToString(customer) != c.cfg.SSECustomerAlgorithm:
		return fmt.Errorf("%w: it ignores sseCustomerKey", ErrNotEncrypted)
	case c.cfg.SSEKMSKeyID != "" && kind != types.ServerSideEncryptionAwsKms && kind != types.ServerSideEncryptionAwsKmsDsse:
		return fmt.Errorf("%w: it ignores sseKmsKeyId", ErrNotEncrypted)
	}
	return nil
}

// kmsKey are the parameters of SSE-KMS.
func (c *ReplicaClient) kmsKey() (types.ServerSideEncryption, *string) {
	if c.cfg.SSEKMSKeyID == "" {
		return "", nil
	}
	return types.ServerSideEncryptionAwsKms, aws.String(c.cfg.SSEKMSKeyID)
}
