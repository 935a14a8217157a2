package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// ErrInside means that the URL names a directory in a replica, and not its root.
var ErrInside = errors.New("this is a directory in a replica")

// region returns the bucket's region: the one given, or for AWS the one that a
// HEAD of the bucket names.
func (c *ReplicaClient) region(ctx context.Context) (string, error) {
	if c.cfg.Region != "" {
		return c.cfg.Region, nil
	}
	if c.cfg.Endpoint != "" || strings.HasPrefix(c.cfg.Bucket, "arn:") {
		return defaultRegion, nil
	}
	client, err := c.connect(ctx, "") // AWS_REGION, or the default one
	if err != nil {
		return "", err
	}
	out, err := client.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: &c.cfg.Bucket})
	if err == nil {
		if region := aws.ToString(out.BucketRegion); region != "" {
			return region, nil
		}
		return defaultRegion, nil
	}
	// AWS names the region even where it refuses the request.
	if answer := answerOf(err); answer != nil {
		if region := answer.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region, nil
		}
	}
	if err = storeError(ctx, "HeadBucket", err); isNotFound(err) {
		err = fmt.Errorf("bucket %s: %w: check its name", c.cfg.Bucket, ErrNoSuchBucket)
	}
	return "", fmt.Errorf("find the bucket's region: %w", err)
}

// answerOf returns the store's answer that an error is about, or nil.
func answerOf(err error) *http.Response {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil {
		return response.Response.Response
	}
	return nil
}

// place is where a replica may be.
type place struct {
	root   string
	layout replica.Layout
}

func (p place) String() string { return fmt.Sprintf("%s at %q", p.layout, p.root) }

// findReplica finds the root and the layout of the replica.
//
// The names below a prefix, as of a file system's directories, tell nearly
// always, at the cost of one request or two. Only where they leave a choice are
// files looked for.
func (c *ReplicaClient) findReplica(ctx context.Context, s *session) error {
	clean := cleanRoot(c.cfg.Path)
	top, err := c.below(ctx, s, clean)
	if err != nil {
		return err
	}
	var places []place
	for _, root := range roots(c.cfg.Path) {
		names := top
		if root != clean {
			// At the root of a bucket, the first names tell of the other forms.
			if clean == "" && !top.more && !top.has(strings.TrimSuffix(root, "/")) {
				continue
			}
			if names, err = c.below(ctx, s, root); refusesKey(err) {
				continue
			} else if err != nil {
				return err
			}
		}
		layouts, err := c.layoutsIn(ctx, s, root, names)
		if err != nil {
			return err
		}
		for _, l := range layouts {
			if c.cfg.Layout.IsZero() || l == c.cfg.Layout {
				places = append(places, place{root, l})
			}
		}
	}
	if len(places) > 1 {
		if places, err = c.withFiles(ctx, s, places); err != nil {
			return err
		}
		places = c.preferred(places)
	}
	switch len(places) {
	case 0:
		if s.layout.IsZero() {
			s.layout = replica.LitestreamS3
		}
		if err := c.chooseRoot(ctx, s); err != nil {
			return err
		}
		return c.nothingThere(top)
	case 1:
		s.layout = places[0].layout
		s.root.Store(&places[0].root)
		return nil
	}
	return fmt.Errorf("detect layout: %w (%s and %s): choose one with --layout, or move the other away",
		replica.ErrMixedLayouts, places[0], places[1])
}

// preferred returns the place that Litestream would use, of several that differ by
// their roots alone.
func (c *ReplicaClient) preferred(places []place) []place {
	own := litestreamRoot(c.cfg.Path)
	for _, p := range places {
		if p.layout != places[0].layout {
			return places
		}
	}
	i := slices.IndexFunc(places, func(p place) bool { return p.root == own })
	if i < 0 {
		return places
	}
	for _, p := range places {
		if p.root != own {
			c.log().Warn("the bucket has LTX files in two places; going on with the one of this URL", "root", own, "other", p.root)
		}
	}
	return places[i : i+1]
}

// nothingThere says what may be wrong where no replica is: the URL may be that
// of a directory in one, or of one above several.
func (c *ReplicaClient) nothingThere(top names) error {
	here := c.cfg.String()
	if top.files && cleanRoot(c.cfg.Path) != "" {
		parent := path.Dir(strings.Trim(c.cfg.Path, "/"))
		if path.Base(parent) == "ltx" {
			parent = path.Dir(parent)
		}
		return fmt.Errorf("%w: did you mean s3://%s", ErrInside, path.Join(c.cfg.Bucket, parent))
	}
	if len(top.dirs) > 0 {
		const most = 3
		below := strings.Join(top.dirs[:min(len(top.dirs), most)], ", ")
		c.log().Warn("no LTX files here, but names below: did you mean one of them?", "replica", here, "below", below)
		return nil
	}
	c.log().Info("the replica has no LTX files yet", "replica", here)
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
func (c *ReplicaClient) below(ctx context.Context, s *session, prefix string) (names, error) {
	in := &awss3.ListObjectsV2Input{Bucket: &c.cfg.Bucket, Delimiter: aws.String("/"), RequestPayer: c.payer()}
	if prefix != "" {
		in.Prefix = &prefix
	}
	out, err := c.listPage(ctx, s, in)
	if err != nil {
		return names{}, err
	}
	n := names{more: aws.ToBool(out.IsTruncated)}
	for _, p := range out.CommonPrefixes {
		if dir, ok := strings.CutPrefix(aws.ToString(p.Prefix), prefix); ok {
			n.dirs = append(n.dirs, strings.TrimSuffix(dir, "/"))
		}
	}
	slices.Sort(n.dirs)
	for _, o := range out.Contents {
		if _, _, err := ltx.ParseFilename(strings.TrimPrefix(aws.ToString(o.Key), prefix)); err == nil {
			n.files = true
		}
	}
	return n, nil
}

// layoutsIn returns the layouts whose directories are below a root.
func (c *ReplicaClient) layoutsIn(ctx context.Context, s *session, root string, top names) ([]replica.Layout, error) {
	dirs := map[string]names{"": top}
	look := func(dir string) (names, error) {
		if n, ok := dirs[dir]; ok {
			return n, nil
		}
		n, err := c.below(ctx, s, root+dir)
		dirs[dir] = n
		return n, err
	}
	if top.more {
		// One page doesn't tell what comes later in the alphabet.
		for _, prefix := range []string{"00", "ltx", "snapshots"} {
			n, err := c.below(ctx, s, root+prefix)
			if err != nil {
				return nil, err
			}
			for _, rest := range n.dirs {
				top.dirs = append(top.dirs, prefix+rest)
			}
		}
		slices.Sort(top.dirs)
	}
	var found []replica.Layout
	for _, l := range replica.Layouts {
		for _, levelDir := range l.LevelDirs() {
			parent, base := path.Split(levelDir)
			if parent != "" && !top.has(strings.TrimSuffix(parent, "/")) {
				continue
			}
			n := top
			if parent != "" {
				var err error
				if n, err = look(parent); err != nil {
					return nil, err
				}
			}
			if n.has(base) {
				found = append(found, l)
				break
			}
		}
	}
	return found, nil
}

// withFiles returns the places that have LTX files.
func (c *ReplicaClient) withFiles(ctx context.Context, s *session, places []place) ([]place, error) {
	var found []place
	for _, p := range places {
		at := newSession(s.s3, p.layout, p.root)
		for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
			it := c.list(ctx, at, level, 0, false)
			ok := it.Next()
			if err := it.Close(); err != nil {
				return nil, err
			}
			if ok {
				found = append(found, p)
				break
			}
		}
	}
	return found, nil
}
