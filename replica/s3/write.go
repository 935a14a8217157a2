package s3

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/ltxfs/ltxfs/replica"
)

// write writes a file.
func (at *session) write(ctx context.Context, name replica.Name, content replica.Content, opts replica.WriteOptions) (replica.File, error) {
	u := &upload{at: at, key: at.keyToWrite(name), name: name, content: content, opts: opts, id: newWriteID()}
	var err error
	if u.time, err = timeOf(content); err != nil {
		return replica.File{}, err
	}
	if d, ok := opts.Digest.(*digest); ok && d.isOf(u) {
		u.digest = d
	}
	began := time.Now()
	if err := u.send(ctx); err != nil {
		return replica.File{}, err
	}
	if err := u.verify(ctx); err != nil {
		return replica.File{}, err
	}
	if err := at.rootByWrite(ctx, name); err != nil {
		return replica.File{}, err
	}
	at.log().Debug("wrote", "key", u.key, "size", content.Size(), "took", time.Since(began))
	f := replica.File{Name: name, Size: content.Size(), Version: u.version}
	shown := f
	if u.reworded {
		shown.Version.ETag = "" // a listing tells which it is
	}
	listed, certain, err := at.inListing(ctx, at.key(name), shown, replica.Version{})
	if err != nil {
		// It is written. Under another version than listings show, it is found anew.
		at.log().Debug("can't tell how the file is listed", "key", u.key, "error", err)
	} else if certain && listed.Version != shown.Version {
		f = listed
	}
	f.ModTime = u.time
	return f, nil
}

func newWriteID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// send sends the content. If the store refuses the request because of headers that
// it doesn't know, it leaves them out, and learns which it was. A bare 400 may have
// another reason, and pass: it must come again with the headers. The condition of an
// exclusive write goes last: without it, another's file may be replaced.
func (u *upload) send(ctx context.Context) error {
	var sent []lack // that may be why it is refused
	for _, l := range []lack{uploadChecksums, ifNoneMatch} {
		if !u.lacks(l) && (l != ifNoneMatch || u.opts.Exclusive) {
			sent = append(sent, l)
		}
	}
	err := u.sendOnce(ctx)
	if refusesForm(err) && len(sent) > 0 {
		err = u.sendOnce(ctx)
	}
	refusal := err
	for _, l := range sent {
		if !refusesHeaders(err) {
			break
		}
		u.without[l] = true
		if err = u.sendOnce(ctx); err != nil || l == ifNoneMatch && refusesForm(refusal) && !u.at.refused[l].Swap(true) {
			continue // of a condition, a 400 must come with another write as well: without it, none is exclusive any more
		}
		u.at.learn(l, refusal)
	}
	if err == nil && u.opts.Exclusive && !u.lacks(ifNoneMatch) {
		u.at.refused[ifNoneMatch].Store(false)
	}
	return err
}

// sendOnce sends the content.
func (u *upload) sendOnce(ctx context.Context) error {
	if u.sums = newSums(); u.digest != nil {
		u.sums = u.digest.whole
	}
	if u.content.Size() < u.at.cfg.PartSize {
		return u.put(ctx)
	}
	return u.multipart(ctx)
}

// put sends the content in one request.
func (u *upload) put(ctx context.Context) error {
	at, size := u.at, u.content.Size()
	digest, err := u.sum(0, 0, size)
	if err != nil {
		return err
	}
	if err := u.unchanged(); err != nil {
		return err
	}
	in := &awss3.PutObjectInput{
		Bucket: &at.cfg.Bucket, Key: &u.key, Body: u.body(ctx, 0, digest), ContentLength: aws.Int64(size), ContentMD5: digest.MD5(),
		Metadata: u.metadata(), IfNoneMatch: u.ifNoneMatch(),
	}
	if !u.lacks(uploadChecksums) {
		in.ChecksumCRC64NVME = aws.String(digest.CRC64NVME())
	}
	if done, err := u.lookFirst(ctx); done || err != nil {
		return err
	}
	var out *awss3.PutObjectOutput
	err = at.conns.SendBody(ctx, func() (err error) {
		out, err = at.s3.PutObject(ctx, in, digest.signed)
		return err
	})
	if _, cut := errors.AsType[*contentError](err); cut {
		return u.cutShort(ctx, storeError(ctx, "PutObject", err))
	}
	if err != nil {
		return u.conflict(ctx, storeError(ctx, "PutObject", err))
	}
	at.sawBucket()
	u.done(out.ETag, out.ResultMetadata)
	return nil
}

// cutShort makes sense of a body that had an error in place of its end. The store may have
// taken all of an earlier attempt, whose answer was lost: then the upload is done. Poor stores
// keep what they have got: once they have seen that it is cut short, it is deleted.
func (u *upload) cutShort(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.at.cfg.Timeouts.CleanUp)
	defer cancel()
	_ = wait(ctx, u.at.cfg.Retry.MinBackoff)
	out, herr := u.look(ctx)
	switch {
	case isNotFound(herr):
		return err
	case herr != nil:
		return fmt.Errorf("%w; and whether the store has a part of it is unknown: %v", err, herr)
	case out.Metadata[metaWriteID] != u.id:
		return err
	case *out.ContentLength == u.sums.size:
		u.done(out.ETag, out.ResultMetadata)
		return nil
	default:
		return u.discard(ctx, err)
	}
}

// upload is one write.
type upload struct {
	at      *session
	key     string
	name    replica.Name
	content replica.Content
	opts    replica.WriteOptions
	id      string           // tells the object of this write from any other
	time    time.Time        // of the header, or of now
	digest  *digest          // of the content, nil if it must be read for it
	sums    *sums            // of all that was sent
	sent    time.Time        // by the store's clock
	version replica.Version  // that the store gave it
	adopted bool             // the object is another's, with the same content
	without [len(lacks)]bool // what is tried without

	reworded bool // the store's answers show it with different ETags
}

// lacks reports whether the store can't do something, or is tried without.
func (u *upload) lacks(l lack) bool { return u.without[l] || u.at.lacks(l) }

// body is the section of the content at off, which has these checksums.
func (u *upload) body(ctx context.Context, off int64, has *sums) *requestBody {
	b := &requestBody{SectionReader: io.NewSectionReader(u.content, off, has.size), sum: has.crc64.Sum64()}
	if u.opts.Pace != nil {
		b.pace = func(n int) error { return u.opts.Pace(ctx, n) }
	}
	return b
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
	if !u.opts.Exclusive || u.lacks(ifNoneMatch) {
		return nil
	}
	return aws.String("*")
}

// lookFirst looks whether the name is free, for an exclusive write to a store that
// knows no conditions. done is true if it has this content already.
func (u *upload) lookFirst(ctx context.Context) (done bool, err error) {
	if !u.opts.Exclusive || !u.lacks(ifNoneMatch) {
		return false, nil
	}
	out, err := u.look(ctx)
	if isNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, u.adopt(ctx, out)
}

// look asks for the object that bears the name.
func (u *upload) look(ctx context.Context) (*awss3.HeadObjectOutput, error) {
	return u.at.head(ctx, u.key, !u.lacks(uploadChecksums))
}

// adopt takes an object for this write's. It may be its own, where the answer to an
// earlier attempt was lost. It may be an earlier write's with the same content, which
// nobody could tell in time had succeeded. Any other is os.ErrExist.
func (u *upload) adopt(ctx context.Context, out *awss3.HeadObjectOutput) error {
	own := out.Metadata[metaWriteID] == u.id
	same, known := u.sums.ofStore(out)
	if !own && !known && *out.ContentLength == u.sums.size {
		err := u.readBack(ctx, true)
		if err != nil && !errors.Is(err, ErrVerify) {
			return err
		}
		same = err == nil
	}
	if !own && !(*out.ContentLength == u.sums.size && same) {
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
		return u.adopt(ctx, out)
	}
	// As text: it is neither there nor known to be missing.
	return fmt.Errorf("another write or deletion of the file is under way: %v; %v", err, herr)
}

// done notes what the store said of a finished upload.
func (u *upload) done(etag *string, metadata middleware.Metadata) {
	u.version = replica.Version{Size: u.sums.size}
	if !u.at.lacks(goodETags) {
		u.version.ETag = quoted(etag)
	}
	if t, ok := awsmiddleware.GetServerTime(metadata); ok {
		u.sent, u.version.Modified = t, t.Unix() // a guess, until the file is verified
	}
}
