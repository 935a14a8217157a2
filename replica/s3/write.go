package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/replica"
)

// WriteLTXFile sends a file in one PUT if it is smaller than a part, and else in
// parts, many at a time. The object shows once it is whole. Before the method
// returns, it has made sure that the store has what was written, see
// Config.VerifyWrites, unless another writer has replaced it by then. Content is
// read for its checksum, and again when it is sent, so that it needs no memory.
//
// Whether there is a file already, the store decides, if it knows If-None-Match, as
// most do. In another one, another writer may come between.
func (s *Store) WriteLTXFile(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	f, err := s.write(ctx, name, content, opts)
	return f, replica.NewFileError("write", name, err)
}

func (s *Store) write(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (_ replica.File, err error) {
	if err := name.Check(); err != nil {
		return replica.File{}, err
	}
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return replica.File{}, err
	}
	defer func() { err = leave(err) }()
	at, err := s.init(ctx)
	if err != nil {
		return replica.File{}, err
	}
	u := &upload{store: s, at: at, key: at.keyToWrite(name), name: name, content: content, opts: opts, id: newWriteID()}
	if u.time, err = timeOf(content); err != nil {
		return replica.File{}, err
	}
	began := time.Now()
	if err := u.send(ctx); err != nil {
		return replica.File{}, err
	}
	if err := u.verify(ctx); err != nil {
		return replica.File{}, err
	}
	if err := s.rootByWrite(ctx, at, name); err != nil {
		return replica.File{}, err
	}
	s.log().Debug("wrote", "key", u.key, "size", content.Size(), "took", time.Since(began))
	return replica.File{Name: name, Size: content.Size(), ModTime: u.time, Version: u.version}, nil
}

func newWriteID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// upload is one write.
type upload struct {
	store   *Store
	at      *session
	key     string
	name    replica.Name
	content replica.Content
	opts    replica.WriteOptions
	id      string          // tells the object of this write from any other
	time    time.Time       // of the header, or of now
	sums    *sums           // of all that was sent
	sent    time.Time       // by the store's clock
	version replica.Version // that the store gave it
	adopted bool            // the object is another's, with the same content
}

// send sends the content. If the store refuses the request because of headers that
// it doesn't know, it leaves them out, and remembers which it was. The condition of
// an exclusive write goes last: without it, another's file may be replaced.
func (u *upload) send(ctx context.Context) error {
	s := u.store
	headers := []struct {
		out  *atomic.Bool
		sent bool
		what string
	}{
		{&s.refusesChecksums, !s.refusesChecksums.Load(), "checksums with uploads"},
		{&s.refusesConditions, u.opts.Exclusive && !s.refusesConditions.Load(), "conditional writes, so that another writer may come between"},
	}
	err := u.sendOnce(ctx)
	first := err
	var left []*atomic.Bool // out, and not known to be why
	for _, header := range headers {
		if !header.sent || !refusesHeaders(err) {
			continue
		}
		mine := !header.out.Swap(true) // or another write has found out meanwhile
		if err = u.sendOnce(ctx); err == nil {
			s.log().Warn("the store doesn't know "+header.what+"; going on without", "error", first)
			break
		}
		if mine {
			left = append(left, header.out)
		}
	}
	for _, flag := range left {
		flag.Store(false) // it was something else
	}
	return err
}

// sendOnce sends the content.
func (u *upload) sendOnce(ctx context.Context) error {
	u.sums = newSums()
	if u.content.Size() < u.store.cfg.PartSize {
		return u.put(ctx)
	}
	return u.multipart(ctx)
}

// put sends the content in one request.
func (u *upload) put(ctx context.Context) error {
	s, size := u.store, u.content.Size()
	digest := s.newBodySums()
	if err := sum(u.content, 0, size, digest); err != nil {
		return err
	}
	u.sums = digest
	in := &awss3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: &u.key, Body: u.body(ctx, 0, size), ContentLength: aws.Int64(size), ContentMD5: digest.MD5(),
		Metadata: u.metadata(), IfNoneMatch: u.ifNoneMatch(),
	}
	if !s.refusesChecksums.Load() {
		in.ChecksumCRC64NVME = aws.String(digest.CRC64NVME())
	}
	if done, err := u.lookFirst(ctx); done || err != nil {
		return err
	}
	out, err := u.at.s3.PutObject(ctx, in, digest.signed)
	if err != nil {
		return u.conflict(ctx, storeError(ctx, "PutObject", err))
	}
	s.sawBucket()
	u.done(out.ETag, out.ResultMetadata)
	return nil
}

// metadata is what is stored with the object.
func (u *upload) metadata() map[string]string {
	return map[string]string{
		metaTimestamp: u.time.Format(time.RFC3339Nano),
		metaMinTXID:   strconv.FormatUint(uint64(u.name.MinTXID), 10),
		metaMaxTXID:   strconv.FormatUint(uint64(u.name.MaxTXID), 10),
		metaLevel:     strconv.Itoa(u.name.Level),
		metaWriteID:   u.id,
	}
}

// ifNoneMatch makes a request of an exclusive write fail if there is an object, in
// a store that knows such conditions.
func (u *upload) ifNoneMatch() *string {
	if !u.opts.Exclusive || u.store.refusesConditions.Load() {
		return nil
	}
	return aws.String("*")
}

// lookFirst looks whether the name is free, for an exclusive write to a store that
// knows no conditions. done is true if it has this content already.
func (u *upload) lookFirst(ctx context.Context) (done bool, err error) {
	if !u.opts.Exclusive || !u.store.refusesConditions.Load() {
		return false, nil
	}
	out, err := u.look(ctx)
	if isNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, u.adopt(out)
}

// look asks for the object that bears the name.
func (u *upload) look(ctx context.Context) (*awss3.HeadObjectOutput, error) {
	return u.store.head(ctx, u.at, u.key, !u.store.refusesChecksums.Load())
}

// adopt takes an object for this write's. It may be its own, where the answer to an
// earlier attempt was lost. It may be an earlier write's with the same content, which
// nobody could tell in time had succeeded. Any other is os.ErrExist.
func (u *upload) adopt(out *awss3.HeadObjectOutput) error {
	own := out.Metadata[metaWriteID] == u.id
	same, known := u.sums.ofStore(out)
	if !own && !(*out.ContentLength == u.sums.size && same && known) {
		return fmt.Errorf("the store has such a file: %w", os.ErrExist)
	}
	u.adopted = !own
	u.done(out.ETag, out.ResultMetadata)
	return nil
}

// conflict makes sense of a failed request of an exclusive write.
func (u *upload) conflict(ctx context.Context, err error) error {
	if !u.opts.Exclusive || !errors.Is(err, errPrecondition) && !errors.Is(err, errNoSuchUpload) {
		return err
	}
	out, herr := u.look(ctx)
	if herr == nil {
		return u.adopt(out)
	}
	// As text: it is neither there nor known to be missing.
	return fmt.Errorf("another write or deletion of the file is under way: %v; %v", err, herr)
}
