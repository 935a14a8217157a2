package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
)

// pageSize is how many objects a page of a listing has. S3 gives no more.
const pageSize = 1000

// LTXFiles lists a level, a page of 1,000 at a time, as Next gets there: a caller
// that stops early has cost one request. The keys are in the order of TXIDs.
//
// CreatedAt is the time of the last modification, in whole seconds, since that is
// what a HEAD knows of it as well. With useMetadata, it is the LTX timestamp, at
// the cost of a HEAD for each file, many at a time; see StatLTXFileExact.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := replica.CheckLevel(level); err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	s, err := c.init(ctx)
	if err != nil {
		return nil, fmt.Errorf("list level %d: %w", level, err)
	}
	return c.list(ctx, s, level, seek, useMetadata), nil
}

func (c *ReplicaClient) list(ctx context.Context, s *session, level int, seek ltx.TXID, useMetadata bool) *iterator {
	it := &iterator{client: c, session: s, ctx: ctx, level: level, seek: seek, exact: useMetadata, prefix: s.levelPrefix(level)}
	it.begin()
	return it
}

// begin sets where the first page begins.
func (it *iterator) begin() {
	it.token, it.last, it.after = nil, false, ""
	if it.seek > 0 {
		// Before every name that begins with this TXID, and after all others.
		it.after = it.prefix + it.seek.String()
	}
}

var _ replica.VersionIterator = (*iterator)(nil)

// iterator lists a level. It is not for use by many goroutines at once.
type iterator struct {
	client  *ReplicaClient
	session *session
	ctx     context.Context
	level   int
	seek    ltx.TXID
	exact   bool
	prefix  string

	after  string  // the next page begins after this key
	token  *string // or where the store says
	last   bool    // there is no next page
	closed bool

	page []replica.File // listed, those not reached yet
	prev replica.File   // the last one listed, to check the order
	any  bool           // prev is one

	has  bool          // Next has returned true
	file replica.File  // where it stands
	item *ltx.FileInfo // of file, made when asked for
	err  error
}

// Next implements ltx.FileIterator.
func (it *iterator) Next() bool {
	it.file, it.item = replica.File{}, nil
	it.has = false
	if it.closed || it.err != nil {
		return false
	}
	if err := it.ctx.Err(); err != nil {
		it.err = fmt.Errorf("list level %d: %w", it.level, err)
		return false
	}
	for len(it.page) == 0 {
		if it.last {
			return false
		}
		if err := it.nextPage(); err != nil {
			it.err = fmt.Errorf("list level %d: %w", it.level, err)
			return false
		}
	}
	it.file, it.page, it.has = it.page[0], it.page[1:], true
	return true
}

// Item implements ltx.FileIterator.
func (it *iterator) Item() *ltx.FileInfo {
	if it.item == nil && it.has {
		it.item = it.file.Info()
	}
	return it.item
}

// Version implements replica.VersionIterator.
func (it *iterator) Version() replica.Version { return it.file.Version }

// Err implements ltx.FileIterator.
func (it *iterator) Err() error { return it.err }

// Close implements ltx.FileIterator.
func (it *iterator) Close() error {
	it.closed, it.page = true, nil
	return it.err
}

// nextPage asks for a page, and where that is wanted for the timestamps of its
// files.
func (it *iterator) nextPage() error {
	c := it.client
	if c.life.Err() != nil {
		return errClientClosed
	}
	in := &awss3.ListObjectsV2Input{
		Bucket: &c.cfg.Bucket, Prefix: &it.prefix, Delimiter: aws.String("/"), MaxKeys: aws.Int32(pageSize),
		ContinuationToken: it.token, RequestPayer: c.payer(),
	}
	if it.token == nil && it.after != "" {
		in.StartAfter = &it.after
	}
	out, err := c.listPage(it.ctx, it.session, in)
	if err != nil {
		return err
	}
	if !it.any && it.session.doubtful.Load() {
		changed, err := it.settle(out)
		if err != nil {
			return err
		}
		if changed {
			it.prefix = it.session.levelPrefix(it.level)
			it.begin()
			return nil
		}
	}
	if err := it.take(out); err != nil {
		return err
	}
	if it.exact {
		return it.lookUp()
	}
	return nil
}

// listPage asks for a page. What answers may be no store: a web server's page
// must not pass for an empty listing.
func (c *ReplicaClient) listPage(ctx context.Context, s *session, in *awss3.ListObjectsV2Input) (*awss3.ListObjectsV2Output, error) {
	out, err := s.s3.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, c.listError(ctx, err)
	}
	if out.Name == nil && out.IsTruncated == nil && out.KeyCount == nil && len(out.Contents)+len(out.CommonPrefixes) == 0 {
		return nil, &StoreError{Op: "ListObjectsV2", Status: http.StatusOK, text: "the answer is not a listing: check the endpoint"}
	}
	c.sawBucket()
	return out, nil
}

// settle looks whether a page shows that the store cleans keys: it has nothing while
// there is something under the clean root, or it has the clean keys.
func (it *iterator) settle(out *awss3.ListObjectsV2Output) (changed bool, err error) {
	c := it.client
	if len(out.Contents) == 0 {
		return c.settleByListing(it.ctx, it.session, it.level)
	}
	clean := cleanRoot(c.cfg.Path)
	key := aws.ToString(out.Contents[0].Key)
	if !strings.HasPrefix(key, it.prefix) && strings.HasPrefix(key, clean+it.session.layout.LevelDir(it.level)+"/") {
		return c.settleForeign(it.session, clean), nil
	}
	return false, nil
}

// take keeps the files of a page, and where the next one begins.
func (it *iterator) take(out *awss3.ListObjectsV2Output) error {
	for _, o := range out.Contents {
		f, ok, err := it.fileOf(o)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if it.any && compareFiles(f, it.prev) <= 0 {
			return fmt.Errorf("the store doesn't list in the order of keys: %s after %s", f.Name(), it.prev.Name())
		}
		it.prev, it.any = f, true
		if f.MinTXID >= it.seek { // some stores don't know StartAfter
			it.page = append(it.page, f)
		}
	}
	if !aws.ToBool(out.IsTruncated) {
		it.last = true
		return nil
	}
	next := out.NextContinuationToken
	switch {
	case next != nil && *next != "" && (it.token == nil || *it.token != *next):
		it.token = next
	case len(out.Contents) > 0 && aws.ToString(out.Contents[len(out.Contents)-1].Key) > it.after:
		// A store without tokens.
		it.token, it.after = nil, aws.ToString(out.Contents[len(out.Contents)-1].Key)
	default:
		return errors.New("the store says that the listing goes on, but not from where")
	}
	return nil
}

// fileOf is the file that an object is, or false if it isn't one: what lies
// deeper, or has another name, isn't the replica's.
func (it *iterator) fileOf(o types.Object) (replica.File, bool, error) {
	name, ok := strings.CutPrefix(aws.ToString(o.Key), it.prefix)
	if !ok {
		return replica.File{}, false, fmt.Errorf("the store lists %q, which isn't below %q", clip(aws.ToString(o.Key)), it.prefix)
	}
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil || minTXID > maxTXID || (replica.File{MinTXID: minTXID, MaxTXID: maxTXID}).Name() != name {
		return replica.File{}, false, nil
	}
	if o.Size == nil || *o.Size < 0 || o.LastModified == nil {
		return replica.File{}, false, fmt.Errorf("the store lists %s without its size or time", name)
	}
	return replica.File{
		Level: it.level, MinTXID: minTXID, MaxTXID: maxTXID,
		Size: *o.Size, ModTime: o.LastModified.UTC().Truncate(time.Second), Version: version(o.ETag),
	}, true, nil
}

// lookUp finds the timestamps of a page's files. What has vanished since it was
// listed is passed over.
func (it *iterator) lookUp() error {
	g, ctx := errgroup.WithContext(it.ctx)
	g.SetLimit(it.client.cfg.MetadataConcurrency)
	gone := make([]bool, len(it.page))
	for i := range it.page {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			f := &it.page[i]
			got, err := it.client.StatLTXFileExact(ctx, f.Level, f.MinTXID, f.MaxTXID)
			if errors.Is(err, os.ErrNotExist) {
				gone[i] = true
				return nil
			}
			if err == nil {
				*f = got
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		if cause := it.ctx.Err(); cause != nil {
			return cause
		}
		return err
	}
	if err := it.ctx.Err(); err != nil {
		return err
	}
	kept := it.page[:0]
	for i, f := range it.page {
		if !gone[i] {
			kept = append(kept, f)
		}
	}
	it.page = kept
	return nil
}

// compareFiles orders files by level, and then as the keys of a level are.
func compareFiles(a, b replica.File) int {
	return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.MaxTXID, b.MaxTXID))
}

// listError is an error of a listing. Nothing that a listing is of can be
// missing but the bucket.
func (c *ReplicaClient) listError(ctx context.Context, err error) error {
	err = storeError(ctx, "ListObjectsV2", err)
	if isNotFound(err) {
		return fmt.Errorf("bucket %s: %w: check its name and the endpoint", c.cfg.Bucket, ErrNoSuchBucket)
	}
	return err
}

// version is an ETag as a replica.Version: without its quotes, which a strong
// one always has.
func version(etag *string) replica.Version {
	v := aws.ToString(etag)
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return replica.Version(v)
}

// etag is the inverse of version, as If-Match takes it.
func etag(v replica.Version) *string {
	switch {
	case v == "":
		return nil
	case strings.HasPrefix(string(v), "W/"):
		return aws.String(string(v))
	}
	return aws.String(`"` + string(v) + `"`)
}
