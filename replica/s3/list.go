package s3

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// pageSize is how many objects a page of a listing has. S3 gives no more.
const pageSize = 1000

// list calls yield for each file of a level, until it returns false, in the order in
// which the store lists them. Each page is in order.
func (at *session) list(ctx context.Context, level int, from ltx.TXID, yield func(replica.File) bool) error {
	l := &listing{at: at, ctx: ctx, level: level, from: from}
	l.begin()
	for !l.last {
		page, err := l.next()
		if err != nil {
			return err
		}
		for _, f := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !yield(f) {
				return nil
			}
		}
	}
	return nil
}

// listInOrder is list in the order of names, each once, whatever the store does.
func (at *session) listInOrder(ctx context.Context, level int, from ltx.TXID, yield func(replica.File) bool) error {
	var last replica.Name
	var all []replica.File // once the order is found to be another
	n := 0
	err := at.list(ctx, level, from, func(f replica.File) bool {
		if at.lacks(order) {
			if all = append(all, f); n == 0 {
				return true
			}
			return false
		}
		n++
		last = f.Name
		return yield(f)
	})
	if err != nil || len(all) == 0 {
		return err
	}
	if n > 0 {
		return fmt.Errorf("the store doesn't list in the order of keys: %s after %s: list again", all[0].Base(), last.Base())
	}
	slices.SortStableFunc(all, func(a, b replica.File) int { return a.Compare(b.Name) })
	for i, f := range all {
		// Of one that was listed twice, as a store may while it changes, the last counts.
		if i+1 < len(all) && f.Name == all[i+1].Name {
			continue
		}
		if !yield(f) {
			return nil
		}
	}
	return nil
}

// hasFiles reports whether a level has files.
func (at *session) hasFiles(ctx context.Context, level int) (found bool, err error) {
	err = at.list(ctx, level, 0, func(replica.File) bool {
		found = true
		return false
	})
	return found, err
}

// listing lists a level.
type listing struct {
	at     *session
	ctx    context.Context
	level  int
	from   ltx.TXID
	prefix string

	after string  // the next page begins after this key
	token *string // or where the store says
	last  bool    // there is no next page

	prev  replica.Name // the greatest one listed, to check the order
	any   bool         // prev is one
	count int
}

// maxListed bounds the files of a level, so that a store which lists without end is
// noticed.
const maxListed = 2_000_000

// begin sets where the first page begins.
func (l *listing) begin() {
	l.prefix = l.at.levelPrefix(l.level)
	l.token, l.last, l.after = nil, false, ""
	if l.from > 0 && !l.at.lacks(order) {
		// Before every name that begins with this TXID, and after all others.
		l.after = l.prefix + l.from.String()
	}
}

// next asks for a page, and returns its files.
func (l *listing) next() ([]replica.File, error) {
	at := l.at
	if at.life.Err() != nil {
		return nil, errStoreClosed
	}
	in := &awss3.ListObjectsV2Input{
		Bucket: &at.cfg.Bucket, Prefix: &l.prefix, Delimiter: aws.String("/"), MaxKeys: aws.Int32(pageSize),
		ContinuationToken: l.token,
	}
	if l.token == nil && l.after != "" {
		in.StartAfter = &l.after
	}
	out, err := at.listPage(l.ctx, in)
	if err != nil {
		return nil, err
	}
	if out.ContinuationToken == nil && l.goesRound(out) && !at.lacks(pages) {
		at.learn(pages, nil)
		if out, err = at.listPage(l.ctx, in); err != nil {
			return nil, err
		}
	}
	if l.goesRound(out) {
		return nil, strange("ListObjectsV2", http.StatusOK, "the store lists its first page again: it knows neither continuation tokens nor start-after")
	}
	if moved, err := l.rootMoved(out); err != nil {
		return nil, err
	} else if moved {
		l.begin()
		return nil, nil
	}
	files, err := l.files(out)
	if err != nil {
		return nil, err
	}
	return files, l.turn(out)
}

// goesRound reports whether a page that should come after a key begins no later.
func (l *listing) goesRound(out *awss3.ListObjectsV2Output) bool {
	return l.any && l.token == nil && len(out.Contents) > 0 && !l.at.lacks(order) && aws.ToString(out.Contents[0].Key) <= l.after
}

// listPage asks for a page. What answers may be no store: a web server's page
// must not pass for an empty listing.
func (at *session) listPage(ctx context.Context, in *awss3.ListObjectsV2Input) (*awss3.ListObjectsV2Output, error) {
	ask := at.s3.ListObjectsV2
	if at.lacks(pages) {
		ask = at.listV1
	}
	out, err := ask(ctx, in)
	if err != nil {
		if err = storeError(ctx, "ListObjectsV2", err); isNotFound(err) {
			// Nothing that a listing is of can be missing but the bucket.
			return nil, fmt.Errorf("bucket %s: %w: check its name and the endpoint", at.cfg.Bucket, ErrNoSuchBucket)
		}
		return nil, err
	}
	if out.Name == nil && out.IsTruncated == nil && out.KeyCount == nil && len(out.Contents)+len(out.CommonPrefixes) == 0 {
		return nil, strange("ListObjectsV2", http.StatusOK, "the answer is not a listing: check the endpoint")
	}
	at.sawBucket()
	return out, nil
}

// listV1 asks for a page by the first version of the request, which the store answers
// all others as.
func (at *session) listV1(ctx context.Context, in *awss3.ListObjectsV2Input, opts ...func(*awss3.Options)) (*awss3.ListObjectsV2Output, error) {
	out, err := at.s3.ListObjects(ctx, &awss3.ListObjectsInput{
		Bucket: in.Bucket, Prefix: in.Prefix, Delimiter: in.Delimiter, MaxKeys: in.MaxKeys, Marker: in.StartAfter,
	}, opts...)
	if err != nil {
		return nil, err
	}
	return &awss3.ListObjectsV2Output{
		Name: out.Name, IsTruncated: out.IsTruncated, Contents: out.Contents, CommonPrefixes: out.CommonPrefixes,
	}, nil
}

// listOne asks for a key as a listing shows it, or nil.
func (at *session) listOne(ctx context.Context, key string) (*types.Object, error) {
	// Not one key at most: MinIO then answers by looking the key up, which tells
	// nothing of how it lists it.
	in := &awss3.ListObjectsV2Input{Bucket: &at.cfg.Bucket, Prefix: &key, MaxKeys: aws.Int32(2)}
	out, err := at.listPage(ctx, in)
	if err != nil {
		return nil, err
	}
	for _, o := range out.Contents {
		if aws.ToString(o.Key) == key {
			return &o, nil
		}
	}
	return nil, nil
}

// rootMoved looks whether the first page shows that the store cleans keys: it has
// nothing while there is something under the clean root, or it has the clean keys.
func (l *listing) rootMoved(out *awss3.ListObjectsV2Output) (bool, error) {
	if _, doubtful := l.at.rootNow(); l.any || !doubtful {
		return false, nil
	}
	if len(out.Contents) == 0 {
		return l.at.rootByListing(l.ctx, l.level)
	}
	key := aws.ToString(out.Contents[0].Key)
	clean := cleanRoot(l.at.cfg.Path) + l.at.layout.LevelDir(l.level) + "/"
	return !strings.HasPrefix(key, l.prefix) && strings.HasPrefix(key, clean) && l.at.rootByOther(), nil
}

// files are those of a page, in order.
func (l *listing) files(out *awss3.ListObjectsV2Output) ([]replica.File, error) {
	files := make([]replica.File, 0, len(out.Contents))
	for _, o := range out.Contents {
		f, ok, err := l.fileOf(o)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if l.any && f.Compare(l.prev) <= 0 {
			l.at.learn(order, fmt.Errorf("it lists %s after %s", f.Base(), l.prev.Base()))
		} else {
			l.prev, l.any = f.Name, true
		}
		if l.count++; l.count > maxListed {
			return nil, strange("ListObjectsV2", http.StatusOK, "the store lists more than %d files in level %d", maxListed, l.level)
		}
		if f.MinTXID >= l.from { // some stores don't know StartAfter
			files = append(files, f)
		}
	}
	slices.SortStableFunc(files, func(a, b replica.File) int { return a.Compare(b.Name) })
	return files, nil
}

// fileOf is the file that an object is, or false if it isn't one: what lies
// deeper, or has another name, isn't the replica's.
func (l *listing) fileOf(o types.Object) (replica.File, bool, error) {
	base, ok := strings.CutPrefix(aws.ToString(o.Key), l.prefix)
	if !ok {
		return replica.File{}, false, fmt.Errorf("the store lists %q, which isn't below %q", clip(aws.ToString(o.Key)), l.prefix)
	}
	name, ok := replica.ParseName(l.level, base)
	if !ok || name.Check() != nil {
		return replica.File{}, false, nil
	}
	if o.Size == nil || *o.Size < 0 || o.LastModified == nil {
		return replica.File{}, false, fmt.Errorf("the store lists %s without its size or time", base)
	}
	f, err := l.at.asTold(l.ctx, l.at.newFile(name, o.ETag, o.LastModified, *o.Size))
	return f, true, err
}

// turn sets where the page after this one begins.
func (l *listing) turn(out *awss3.ListObjectsV2Output) error {
	if !aws.ToBool(out.IsTruncated) {
		l.last = true
		return nil
	}
	var lastKey string
	for _, o := range out.Contents {
		lastKey = max(lastKey, aws.ToString(o.Key))
	}
	switch token := aws.ToString(out.NextContinuationToken); {
	case token != "" && token != aws.ToString(l.token):
		l.token = &token
	case lastKey > l.after && !l.at.lacks(order):
		// A store without tokens.
		l.token, l.after = nil, lastKey
	default:
		return strange("ListObjectsV2", http.StatusOK, "the store says that the listing goes on, but not from where")
	}
	return nil
}
