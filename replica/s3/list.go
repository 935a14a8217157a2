package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/document"
	"github.com/ltxfs/ltxfs/replica/s3/transport"
)

const (
	pageSize  = 1000      // objects of a page: S3 gives no more
	maxListed = 2_000_000 // files of a level: a store may list without end
)

// list calls yield for each file of a level, until it returns false, in the order in
// which the store lists them. Each page is in order.
// stray, if not nil, is called with each other name.
func (at *session) list(ctx context.Context, level int, from ltx.TXID, stray func(string), yield func(replica.File) bool) error {
	l := &listing{at: at, ctx: ctx, level: level, from: from, stray: stray, heads: at.cfg.MetadataConcurrency}
	l.begin()
	return l.list(yield)
}

func (l *listing) list(yield func(replica.File) bool) error {
	for !l.last {
		if l.splits() {
			return l.listSpans(yield)
		}
		page, err := l.next()
		if err != nil {
			return err
		}
		for _, f := range page {
			if err := l.ctx.Err(); err != nil {
				return err
			}
			if l.given != nil && f.Compare(*l.given) <= 0 {
				continue
			}
			if !yield(f) {
				return nil
			}
		}
	}
	return nil
}

// listInOrder is list in the order of names, each once, whatever the store does.
func (at *session) listInOrder(ctx context.Context, level int, from ltx.TXID, stray func(string), yield func(replica.File) bool) error {
	var last replica.Name
	var all []replica.File // once the order is found to be another
	n := 0
	err := at.list(ctx, level, from, stray, func(f replica.File) bool {
		if at.lacks(keyOrder) {
			all = append(all, f)
			return n == 0
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

// listing lists a level, or a part of it.
type listing struct {
	at      *session
	ctx     context.Context
	level   int
	from    ltx.TXID
	until   string // it ends after this base name, or with the level
	stray   func(base string)
	prefix  string
	heads   int           // at a time, of files that are listed incompletely
	follows bool          // it is a span after another
	whole   bool          // it isn't to be split
	given   *replica.Name // the last file that was given before it began anew

	after   string  // the next page begins after this key
	token   *string // or where the store says
	seeks   bool    // the first page began after the files before from
	going   bool    // there was a page
	reached string  // its greatest key
	last    bool    // there is no next page
	over    bool    // the last page came to until
	pages   int
	fastest time.Duration // that one took

	count  int           // of files
	prev   replica.Name  // the greatest of them, to check the order
	first  replica.Name  // of the last page
	names  int           // of the last page
	beyond *replica.Name // the first one after until
	strays []string      // that are after until
}

// begin makes the next page the first.
func (l *listing) begin() {
	*l = listing{
		at: l.at, ctx: l.ctx, level: l.level, from: l.from, stray: l.stray, heads: l.heads, whole: l.whole, given: l.given,
		prefix: l.at.levelPrefix(l.level),
	}
	if l.at.lacks(keyOrder) {
		l.given = nil // any file may come after it
	} else if l.from > 0 && !l.at.lacks(startAfter) {
		// Before every name that begins with this TXID, and after all others.
		l.after, l.seeks = l.prefix+l.from.String(), true
	}
}

// next asks for a page, and returns its files.
func (l *listing) next() ([]replica.File, error) {
	began := time.Now()
	page, err := l.ask()
	if err != nil {
		return nil, err
	}
	if took := time.Since(began); l.pages == 0 || took < l.fastest {
		l.fastest = took
	}
	l.pages++
	if moved, err := l.rootMoved(page); err != nil || moved {
		l.begin()
		return nil, err
	}
	files, err := l.files(page)
	if err != nil {
		return nil, err
	}
	if (l.seeks || l.given != nil) && l.at.lacks(keyOrder) {
		// In another order, anything may lie before the key that it began after.
		if l.going {
			return nil, errors.New("the store doesn't list in the order of keys: list again")
		}
		l.begin()
		return nil, nil
	}
	l.going = true
	l.over = l.until != "" && page.GreatestFile(l.prefix) > l.prefix+l.until
	return files, l.turn(page, page.Greatest(l.prefix))
}

// ask asks for a page. A store that gives its first one again may know how to go on by
// the first version of the request.
func (l *listing) ask() (*document.Listing, error) {
	at := l.at
	if at.life.Err() != nil {
		return nil, transport.ErrClosed
	}
	in := &awss3.ListObjectsV2Input{
		Bucket: &at.cfg.Bucket, Prefix: &l.prefix, Delimiter: aws.String("/"), MaxKeys: aws.Int32(pageSize),
		ContinuationToken: l.token,
	}
	if l.token == nil && l.after != "" {
		in.StartAfter = &l.after
	}
	page, err := at.listPage(l.ctx, in)
	switch {
	case l.pages == 0 && in.StartAfter != nil && refusesHeaders(err):
		return l.askFromBeginning(err)
	case err != nil || !l.goesRound(page):
		return page, err
	}
	if l.follows {
		at.learn(startAfter, fmt.Errorf("it lists what comes before %q again", l.after))
		return nil, errNoSpans
	}
	if page, err = at.askPage(l.ctx, in, true); err != nil {
		return nil, err
	}
	if l.goesRound(page) {
		return nil, strange("ListObjectsV2", http.StatusOK, "the store lists its first page again: it knows neither continuation tokens, start-after nor markers")
	}
	at.learn(listV2, nil)
	return page, nil
}

// askFromBeginning asks for the first page of all where a store refused to begin after a key.
func (l *listing) askFromBeginning(refusal error) (page *document.Listing, err error) {
	if l.follows {
		return nil, fmt.Errorf("%w: %w", errNoSpans, refusal)
	}
	l.after, l.seeks = "", false
	if page, err = l.ask(); err == nil {
		l.at.learn(startAfter, refusal)
	}
	return page, err
}

// goesRound reports whether a page that should come after a key begins no later.
func (l *listing) goesRound(page *document.Listing) bool {
	return l.going && l.token == nil && !l.at.lacks(keyOrder) && page.BeginsBy(l.prefix, l.reached)
}

// listPage asks for a page. A listing that has a token goes on where it was given.
func (at *session) listPage(ctx context.Context, in *awss3.ListObjectsV2Input) (*document.Listing, error) {
	return at.askPage(ctx, in, at.lacks(listV2) && in.ContinuationToken == nil)
}

// askPage asks for a page, by the first version of the request or the second.
func (at *session) askPage(ctx context.Context, in *awss3.ListObjectsV2Input, first bool) (page *document.Listing, err error) {
	asking := context.WithValue(ctx, listingKey{}, &page)
	if first {
		_, err = at.s3.ListObjects(asking, &awss3.ListObjectsInput{
			Bucket: in.Bucket, Prefix: in.Prefix, Delimiter: in.Delimiter, MaxKeys: in.MaxKeys, Marker: in.StartAfter,
		})
	} else {
		_, err = at.s3.ListObjectsV2(asking, in)
	}
	if err = storeError(ctx, "ListObjectsV2", err); isNotFound(err) {
		// Nothing that a listing is of can be missing but the bucket.
		return nil, fmt.Errorf("bucket %s: %w: check its name and the endpoint", at.cfg.Bucket, ErrNoSuchBucket)
	} else if err != nil {
		return nil, err
	}
	at.sawBucket()
	return page, nil
}

// listOne asks for a key as a listing shows it, or nil.
func (at *session) listOne(ctx context.Context, key string) (*document.Object, error) {
	// Not one key at most: MinIO then answers by looking the key up, which tells
	// nothing of how it lists it.
	in := &awss3.ListObjectsV2Input{Bucket: &at.cfg.Bucket, Prefix: &key, MaxKeys: aws.Int32(2)}
	page, err := at.listPage(ctx, in)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(page.Contents, func(o document.Object) bool { return o.Key == key })
	if i < 0 {
		return nil, nil
	}
	return &page.Contents[i], nil
}

// files are those of a page, in order. What lies deeper, or has another name, isn't the
// replica's.
func (l *listing) files(page *document.Listing) ([]replica.File, error) {
	files := make([]replica.File, 0, len(page.Contents))
	l.names = 0
	for _, o := range page.Contents {
		base, ok := strings.CutPrefix(o.Key, l.prefix)
		if !ok {
			return nil, fmt.Errorf("the store lists %q, which isn't below %q", clip(o.Key), l.prefix)
		}
		beyond := l.until != "" && base > l.until
		name, ok := replica.ParseName(l.level, base)
		if !ok || name.Check() != nil {
			switch {
			case l.stray == nil || base == "": // the directory itself
			case beyond:
				l.strays = append(l.strays, base)
			default:
				l.stray(base)
			}
			continue
		}
		switch c := name.Compare(l.prev); {
		case l.count == 0 || c > 0:
			l.prev = name
		case c == 0:
			continue // some list one twice while it changes
		default:
			l.at.learn(keyOrder, fmt.Errorf("it lists %s after %s", base, l.prev.Base()))
		}
		if l.count++; l.count > maxListed {
			return nil, tooMany(l.level)
		}
		if l.names++; l.names == 1 {
			l.first = name
		}
		switch {
		case name.MinTXID < l.from: // some stores don't know StartAfter
			continue
		case beyond:
			if l.beyond == nil {
				l.beyond = &name
			}
			continue
		}
		if o.Size == nil || o.LastModified == nil {
			l.at.learn(listTimes, fmt.Errorf("it lists %s with size %q and time %q", base, clip(o.SizeText), clip(o.TimeText)))
			files = append(files, replica.File{Name: name}) // to be asked for
			continue
		}
		f, err := l.at.listedFile(l.ctx, name, &o)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b replica.File) int { return a.Compare(b.Name) })
	return l.statIncomplete(files)
}

func tooMany(level int) error {
	return strange("ListObjectsV2", http.StatusOK, "the store lists more than %d files in level %d", maxListed, level)
}

// statIncomplete asks for the files that a page doesn't tell the versions of. One that has vanished
// meanwhile is left out.
func (l *listing) statIncomplete(files []replica.File) ([]replica.File, error) {
	g, ctx := errgroup.WithContext(l.ctx)
	g.SetLimit(l.heads)
	for i, f := range files {
		if !f.Version.IsZero() {
			continue
		}
		g.Go(func() (err error) {
			if files[i], err = l.at.statListed(ctx, f.Name); isNotFound(err) {
				return nil
			}
			return replica.NewFileError("stat", f.Name, err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(files, func(f replica.File) bool { return f.Version.IsZero() }), nil
}

// statListed is stat of a file that is listed without its size or time.
func (at *session) statListed(ctx context.Context, name replica.Name) (replica.File, error) {
	f, err := at.stat(ctx, name, replica.StatOptions{})
	if err != nil || f.Version.Modified != 0 {
		return f, err
	}
	if f.Version.ETag == "" {
		return replica.File{}, errors.New("no answer has an ETag or a time of modification that can be understood, so that nothing tells its versions apart")
	}
	f.ModTime, err = at.headerTime(ctx, f)
	return f, err
}

// turn sets where the page after this one begins. greatest is its greatest key.
func (l *listing) turn(page *document.Listing, greatest string) error {
	if l.last = !page.Truncated; l.last {
		return nil
	}
	marker := page.NextMarker
	onwards := marker != l.after && document.IsExact(l.prefix, marker)
	if !onwards && greatest > l.reached && !l.at.lacks(keyOrder) {
		marker, onwards = greatest, true
	}
	l.reached = max(l.reached, greatest)
	switch token := page.NextContinuationToken; {
	case token != "" && token != aws.ToString(l.token):
		l.token = &token
	case onwards:
		l.token, l.after = nil, marker // a store without tokens
	default:
		return strange("ListObjectsV2", http.StatusOK, "the store says that the listing goes on, but not from where")
	}
	return nil
}
