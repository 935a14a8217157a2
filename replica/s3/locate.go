package s3

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// ErrInside means that the URL names a directory in a replica, and not its root.
var ErrInside = errors.New("this is a directory in a replica")

// region returns the bucket's region: the one given, or for AWS the one that a
// HEAD of the bucket names.
func (b *bucket) region(ctx context.Context) (string, error) {
	if b.cfg.Region != "" {
		return b.cfg.Region, nil
	}
	if b.cfg.Endpoint != "" || strings.HasPrefix(b.cfg.Bucket, "arn:") {
		return config.DefaultRegion, nil
	}
	client, err := b.connect(ctx, "") // AWS_REGION, or the default one
	if err != nil {
		return "", err
	}
	out, err := client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &b.cfg.Bucket})
	if err == nil {
		if region := aws.ToString(out.BucketRegion); region != "" {
			return region, nil
		}
		return config.DefaultRegion, nil
	}
	// AWS names the region even where it refuses the request.
	if answer := answerOf(err); answer != nil {
		if region := answer.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region, nil
		}
	}
	if err = storeError(ctx, "HeadBucket", err); isNotFound(err) {
		err = fmt.Errorf("bucket %s: %w: check its name", b.cfg.Bucket, ErrNoSuchBucket)
	}
	return "", fmt.Errorf("find the bucket's region: %w", err)
}

func (at *session) String() string { return fmt.Sprintf("%s at %q", at.layout, at.root) }

// findReplica finds the root and the layout of the replica.
//
// The names below a prefix, as of a file system's directories, tell nearly
// always, at the cost of one request or two. Only where they leave a choice are
// files looked for.
func (at *session) findReplica(ctx context.Context) (*session, error) {
	clean := cleanRoot(at.cfg.Path)
	top, err := at.below(ctx, clean)
	if err != nil {
		return nil, err
	}
	var places []*session
	for _, root := range roots(at.cfg.Path) {
		names := top
		if root != clean {
			// At the root of a bucket, the first names tell of the other forms.
			if clean == "" && !top.more && !top.has(strings.TrimSuffix(root, "/")) {
				continue
			}
			if names, err = at.below(ctx, root); refusesForm(err) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		layouts, err := at.layoutsIn(ctx, root, names)
		if err != nil {
			return nil, err
		}
		for _, l := range layouts {
			if at.cfg.Layout.IsZero() || l == at.cfg.Layout {
				places = append(places, at.with(l, root))
			}
		}
	}
	// A generation of Litestream 0.3 has the directory snapshots, too.
	if _, in03 := replica.Root03(clean); in03 || len(places) > 1 {
		if places, err = at.withFiles(ctx, places); err != nil {
			return nil, err
		}
	}
	switch len(places) {
	case 0:
		empty, err := at.emptyReplica(ctx)
		if err == nil {
			err = at.nothingThere(ctx, top)
		}
		return empty, err
	case 1:
		return places[0], nil
	}
	return nil, fmt.Errorf("detect layout: %w (%s and %s): choose one with --layout, or move the other away",
		replica.ErrMixedLayouts, places[0], places[1])
}

// withFiles returns the places that have LTX files. Of several that differ by their
// roots alone, it is the one that Litestream would use.
func (at *session) withFiles(ctx context.Context, places []*session) (found []*session, err error) {
	mixed, own := false, -1
	for _, place := range places {
		ok := false
		for level := replica.MinLevel; level <= replica.MaxLevel && !ok; level++ {
			if ok, err = place.hasFiles(ctx, level); err != nil {
				return nil, err
			}
		}
		if !ok {
			continue
		}
		if place.root == litestreamRoot(at.cfg.Path) {
			own = len(found)
		}
		found = append(found, place)
		mixed = mixed || place.layout != found[0].layout
	}
	if len(found) < 2 || mixed || own < 0 {
		return found, nil
	}
	at.log().Warn("the bucket has LTX files in several places; going on with the one of this URL", "root", found[own].root, "all", found)
	return found[own : own+1], nil
}

// hasFiles reports whether a level has files.
func (at *session) hasFiles(ctx context.Context, level int) (found bool, err error) {
	err = at.list(ctx, level, 0, nil, func(replica.File) bool {
		found = true
		return false
	})
	return found, err
}

// emptyReplica is a replica that has no files yet. Its root is Litestream's, so
// that Litestream finds what is written, unless the store refuses such keys.
func (at *session) emptyReplica(ctx context.Context) (*session, error) {
	layout := at.cfg.Layout
	if layout.IsZero() {
		layout = replica.LitestreamS3
	}
	empty, clean := at.with(layout, litestreamRoot(at.cfg.Path)), cleanRoot(at.cfg.Path)
	if empty.root == clean {
		return empty, nil
	}
	_, err := at.below(ctx, empty.root)
	if refusesForm(err) {
		empty.root, err = clean, nil
	} else {
		empty.doubtful = true
	}
	return empty, err
}

// nothingThere says what may be wrong where no replica is: the URL may be that
// of a directory in one, of one above several, or of one that has no LTX files.
func (at *session) nothingThere(ctx context.Context, top names) error {
	here := at.cfg.String()
	if root, in := replica.Root03(cleanRoot(at.cfg.Path)); in || top.more || top.has(replica.Generations03) {
		n, err := at.below(ctx, cleanRoot(root)+replica.Generations03+"/")
		if err == nil && slices.ContainsFunc(n.dirs, replica.IsGeneration03) {
			err = replica.ErrLitestream03
		}
		if err != nil {
			return err
		}
	}
	if top.files && cleanRoot(at.cfg.Path) != "" {
		parent := path.Dir(strings.Trim(at.cfg.Path, "/"))
		if path.Base(parent) == "ltx" {
			parent = path.Dir(parent)
		}
		return fmt.Errorf("%w: did you mean s3://%s", ErrInside, path.Join(at.cfg.Bucket, parent))
	}
	if len(top.dirs) > 0 {
		const most = 3
		below := strings.Join(top.dirs[:min(len(top.dirs), most)], ", ")
		at.log().Warn("no LTX files here, but names below: did you mean one of them?", "replica", here, "below", below)
		return nil
	}
	at.log().Info("the replica has no LTX files yet", "replica", here)
	return nil
}

// names are what a prefix has below it.
type names struct {
	dirs  []string // sorted, without a slash
	files bool     // there are LTX files
	more  bool     // and there is more than fits one answer
}

func (n names) has(dir string) bool {
	_, ok := slices.BinarySearch(n.dirs, dir)
	return ok
}

// below lists one page of what a prefix has below it.
func (at *session) below(ctx context.Context, prefix string) (names, error) {
	in := &awss3.ListObjectsV2Input{Bucket: &at.cfg.Bucket, Delimiter: aws.String("/")}
	if prefix != "" {
		in.Prefix = &prefix
	}
	page, err := at.listPage(ctx, in)
	if err != nil {
		return names{}, err
	}
	n := names{more: page.Truncated}
	for _, p := range page.CommonPrefixes {
		if dir, ok := strings.CutPrefix(p, prefix); ok {
			n.dirs = append(n.dirs, strings.TrimSuffix(dir, "/"))
		}
	}
	slices.Sort(n.dirs)
	for _, o := range page.Contents {
		if _, ok := replica.ParseName(0, strings.TrimPrefix(o.Key, prefix)); ok {
			n.files = true
		}
	}
	return n, nil
}

// layoutsIn returns the layouts whose directories are below a root.
func (at *session) layoutsIn(ctx context.Context, root string, top names) ([]replica.Layout, error) {
	if top.more {
		// One page doesn't tell what comes later in the alphabet.
		for _, prefix := range []string{"00", "ltx", "snapshots"} {
			n, err := at.below(ctx, root+prefix)
			if err != nil {
				return nil, err
			}
			for _, rest := range n.dirs {
				top.dirs = append(top.dirs, prefix+rest)
			}
		}
		slices.Sort(top.dirs)
	}
	dirs := map[string]names{"": top} // below which some have been looked for
	look := func(dir string) (names, error) {
		if n, ok := dirs[dir]; ok {
			return n, nil
		}
		n, err := at.below(ctx, root+dir)
		dirs[dir] = n
		return n, err
	}
	var found []replica.Layout
	for _, l := range replica.Layouts {
		for _, levelDir := range l.LevelDirs() {
			parent, base := path.Split(levelDir)
			if parent != "" && !top.has(strings.TrimSuffix(parent, "/")) {
				continue
			}
			n, err := look(parent)
			if err != nil {
				return nil, err
			}
			if n.has(base) {
				found = append(found, l)
				break
			}
		}
	}
	return found, nil
}
