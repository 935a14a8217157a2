package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/internal/ltxfile"
	"github.com/ltxfs/ltxfs/replica"
)

// Names of the metadata of an object. The timestamp is Litestream's; the next
// three are those of its guide for implementers.
const (
	metaTimestamp = "litestream-timestamp" // RFC 3339 with nanoseconds
	metaMinTXID   = "min-txid"             // decimal, as the next two
	metaMaxTXID   = "max-txid"
	metaLevel     = "level"

	// metaWriteID tells a writer its own object from any other of the same name.
	metaWriteID = "ltxfs-write-id"
)

// find asks for a file, and once more under its new key if the root has moved, or if the
// bucket was missing only for a moment.
func (at *session) find(ctx context.Context, name replica.Name, ask func(key string) error) error {
	if err := name.Check(); err != nil {
		return err
	}
	err := ask(at.key(name))
	if isNotFound(err) {
		if moved, merr := at.rootByListing(ctx, name.Level); merr != nil {
			return merr
		} else if moved {
			err = ask(at.key(name))
		}
	}
	if err = at.whyMissing(ctx, err); errors.Is(err, errBucketBack) {
		err = ask(at.key(name))
	}
	return err
}

// head asks for what the store knows of an object.
func (at *session) head(ctx context.Context, key string, checksum bool) (*awss3.HeadObjectOutput, error) {
	in := &awss3.HeadObjectInput{Bucket: &at.cfg.Bucket, Key: &key}
	if checksum = checksum && !at.lacks(storedChecksums); checksum {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := at.s3.HeadObject(ctx, in)
	if err = storeError(ctx, "HeadObject", err); checksum && refusesForm(err) {
		out, err = at.s3.HeadObject(ctx, in)
		err = storeError(ctx, "HeadObject", err)
	}
	if checksum && refusesHeaders(err) {
		out, again := at.head(ctx, key, false)
		if again == nil {
			at.learn(storedChecksums, err)
		}
		return out, again
	}
	if err != nil {
		return nil, err
	}
	at.sawBucket()
	if out.ContentLength == nil || *out.ContentLength < 0 {
		return nil, fmt.Errorf("HeadObject: %w", errNoLength)
	}
	return out, nil
}

// errNoLength is that of a HEAD that tells no more than that an object is there.
var errNoLength = errors.New("the store doesn't say how large the object is")

// newFile is a file as a store tells of it. The time is in whole seconds, as all
// answers have it.
func (b *bucket) newFile(name replica.Name, etag *string, modified *time.Time, size int64) replica.File {
	f := replica.File{Name: name, Size: size, Version: b.stored(etag, modified, size)}
	if modified != nil {
		f.ModTime = modified.UTC().Truncate(time.Second)
	}
	return f
}

// errBucketBack means that the whole bucket was missing, and no longer is.
var errBucketBack = errors.New("the bucket was missing for a moment: try again")

// whyMissing returns err, but if it says that an object is missing and the whole bucket
// is, then an error that says why. A HEAD doesn't tell; a listing does, of credentials for
// example, which are renewed then.
func (at *session) whyMissing(ctx context.Context, err error) error {
	if answered(err).Code == "NoSuchKey" {
		at.sawBucket()
	}
	if !isNotFound(err) || at.sawBucketLately() {
		return err
	}
	_, herr := at.s3.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &at.cfg.Bucket})
	switch herr = storeError(ctx, "HeadBucket", herr); {
	case isNotFound(herr):
		_, lerr := at.listPage(ctx, &awss3.ListObjectsV2Input{Bucket: &at.cfg.Bucket, MaxKeys: aws.Int32(1)})
		return cmp.Or(lerr, errBucketBack)
	case herr == nil, errors.Is(herr, os.ErrPermission):
		at.sawBucket()
	}
	return err
}

// exactWindow is how many files a listing may be ahead of the loop, for each HEAD
// that may be under way. It bounds what is in memory.
const exactWindow = 4

// exactFile is a file on its way from a listing to the loop.
type exactFile struct {
	replica.File
	err  error
	done chan struct{} // closed once the time is exact, or can't be
}

// listExact is list with exact times. HEADs run ahead of the loop, and the listing
// ahead of the HEADs. A file that has vanished is left out, and one that was replaced
// is what was found. One that the store refuses to show has the time that is listed. Any
// error ends the listing: another time in the place of the exact one would be a wrong one.
func (at *session) listExact(ctx context.Context, level int, opts replica.ListOptions, yield func(replica.File) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heads := at.cfg.MetadataConcurrency
	var g errgroup.Group
	g.SetLimit(heads + 1) // and the listing
	queue := make(chan *exactFile, exactWindow*heads)
	g.Go(func() error {
		defer close(queue)
		list := at.listInOrder
		if opts.AnyOrder {
			list = at.list
		}
		return list(ctx, level, opts.From, opts.Stray, func(f replica.File) bool {
			e := &exactFile{File: f, done: make(chan struct{})}
			if opts.SetKnownTime(&e.File) {
				close(e.done)
			} else {
				g.Go(func() error {
					defer close(e.done)
					got, err := at.stat(ctx, f.Name, replica.StatOptions{ExactTime: true, Known: f.Version})
					if err == nil {
						e.File = got
					}
					e.err = replica.NewFileError("stat", f.Name, err)
					return nil
				})
			}
			select {
			case queue <- e:
				return true
			case <-ctx.Done():
				return false
			}
		})
	})
	var stopped bool
	var err error
	for e := range queue { // to its end, so that nothing is under way afterwards
		<-e.done
		if stopped || err != nil || errors.Is(e.err, os.ErrNotExist) {
			continue
		}
		if err = e.err; err == nil {
			stopped = !yield(e.File)
		}
		if stopped || err != nil {
			cancel()
		}
	}
	listErr := g.Wait()
	if stopped || err != nil {
		return err
	}
	// The listing ends without an error where it waits for the loop.
	return cmp.Or(listErr, ctx.Err())
}

// stat asks for a file. An answer to HEAD that shows a version in other words than
// listings do, or without a time, it puts in theirs.
func (at *session) stat(ctx context.Context, name replica.Name, opts replica.StatOptions) (f replica.File, err error) {
	// A file may be replaced between two requests, but hardly again and again.
	for range 3 {
		if f, err = at.statOnce(ctx, name, opts); !errors.Is(err, replica.ErrReplaced) {
			break
		}
	}
	return f, err
}

func (at *session) statOnce(ctx context.Context, name replica.Name, opts replica.StatOptions) (f replica.File, err error) {
	var exact time.Time
	err = at.find(ctx, name, func(key string) error {
		f, exact, err = at.statKey(ctx, key, name, opts.Known)
		return err
	})
	if err != nil {
		return replica.File{}, err
	}
	if !opts.ExactTime {
		return f, nil
	}
	if exact.IsZero() {
		exact, err = at.headerTime(ctx, f)
	}
	switch {
	case err == nil:
		f.ModTime = exact
	case refusesFile(err):
		at.learn(exactTimes, fmt.Errorf("%s: %w", name.Base(), err))
	default:
		return replica.File{}, err
	}
	return f, nil
}

// statKey asks for an object, with the exact time if its metadata has it. One that the
// store refuses to show, or whose size it doesn't tell, is as a listing shows it; so is one
// that is known, and not found.
func (at *session) statKey(ctx context.Context, key string, name replica.Name, known replica.Version) (f replica.File, exact time.Time, err error) {
	out, err := at.head(ctx, key, false)
	if refusesFile(err) || errors.Is(err, errNoLength) || isNotFound(err) && !known.IsZero() {
		o, lerr := at.listOne(ctx, key)
		if lerr != nil || o == nil || o.Size == nil || o.LastModified == nil {
			return replica.File{}, time.Time{}, err
		}
		f, err = at.listedFile(ctx, name, o)
		return f, time.Time{}, err
	}
	if err != nil {
		return replica.File{}, time.Time{}, err
	}
	f, certain, err := at.inListing(ctx, key, at.newFile(name, out.ETag, out.LastModified, *out.ContentLength), known)
	if t, perr := time.Parse(time.RFC3339Nano, out.Metadata[metaTimestamp]); perr == nil && certain {
		exact = t.UTC()
	}
	return f, exact, err
}

// refusesFile reports whether an error is the store's refusal to show one object, which
// may be archived, denied, or encrypted by another key. A refusal of the credentials is
// none, though a HEAD of an object tells no difference.
func refusesFile(err error) bool {
	e := answered(err)
	return e.Status >= 400 && e.Status < 500 && !retryable.status[e.Status] && !retryable.code[e.Code] &&
		e.Status != http.StatusUnauthorized && !ofCredentials[e.Code] && !isNotFound(err) && !errors.Is(err, replica.ErrReplaced)
}

// ofCredentials are the codes with which a store refuses a request whatever it is for.
var ofCredentials = map[string]bool{
	"InvalidAccessKeyId": true, "InvalidToken": true, "InvalidTokenId": true, "ExpiredToken": true, "SignatureDoesNotMatch": true,
	"AccountProblem": true, "AllAccessDisabled": true, "XAdminUserNotFound": true,
}

// headerTime reads the timestamp in a file's header, or returns the file's time if
// it has none.
func (at *session) headerTime(ctx context.Context, f replica.File) (time.Time, error) {
	if f.Size < ltx.HeaderSize {
		return f.ModTime, nil
	}
	r, err := at.open(ctx, f, 0, ltx.HeaderSize)
	if err != nil {
		return time.Time{}, err
	}
	defer r.Close()
	head := make([]byte, ltx.HeaderSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return time.Time{}, fmt.Errorf("read the header: %w", err)
	}
	if t, ok := ltxfile.HeaderTime(head); ok {
		return t, nil
	}
	return f.ModTime, nil
}
