package s3

import (
	"context"
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// roots are what may stand before a layout's directories in keys. Litestream joins
// its path, as it is written, and its directories with a slash, so that the path
// "/db" and the root of a bucket have forms of their own: "/db/", "./" and "/".
// S3 keeps such keys. Some other stores take them for paths and clean them, or
// refuse them, so that the clean form may be what is there.
func roots(p string) []string {
	all := []string{cleanRoot(p), litestreamRoot(p)}
	if all[0] == "" {
		all = append(all, "./", "/")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// litestreamRoot is the root in Litestream's keys.
func litestreamRoot(p string) string { return p + "/" }

// cleanRoot is the root without anything that a store may change.
func cleanRoot(p string) string {
	if p = strings.Trim(path.Clean("/"+p), "/"); p == "" {
		return ""
	}
	return p + "/"
}

// chooseRoot chooses the root of a replica that has no files yet: Litestream's, so
// that Litestream finds what is written, unless the store refuses such keys.
func (c *ReplicaClient) chooseRoot(ctx context.Context, s *session) error {
	root, clean := litestreamRoot(c.cfg.Path), cleanRoot(c.cfg.Path)
	if root != clean {
		_, err := c.below(ctx, s, root)
		switch {
		case refusesKey(err):
			root = clean
		case err != nil:
			return err
		default:
			s.doubtful.Store(true)
		}
	}
	s.root.Store(&root)
	return nil
}

// refusesKey reports whether a store refused a key or a prefix as such.
func refusesKey(err error) bool {
	var e *StoreError
	return errors.As(err, &e) && e.Status == http.StatusBadRequest && len(e.is) == 0 && !retryable.code[e.Code]
}

// settleRoot looks, after a write to a doubtful root, under which key the store
// lists the file. Where it lists the clean one, it has cleaned the key, and the
// clean root is the one to use. A store that lists neither yet is asked again next
// time.
func (c *ReplicaClient) settleRoot(ctx context.Context, s *session, level int, name string) error {
	if !s.doubtful.Load() {
		return nil
	}
	dir := s.layout.LevelDir(level) + "/"
	for _, root := range []string{*s.root.Load(), cleanRoot(c.cfg.Path)} {
		ok, err := c.lists(ctx, s, root+dir, root+dir+name)
		if err != nil {
			return err
		}
		if ok {
			c.settle(s, root)
			return nil
		}
	}
	return nil
}

// settleByListing looks, where a listing under a doubtful root has nothing, whether
// there are files under the clean one: another writer's, which the store has
// cleaned the keys of.
func (c *ReplicaClient) settleByListing(ctx context.Context, s *session, level int) (changed bool, err error) {
	if !s.doubtful.Load() {
		return false, nil
	}
	clean := cleanRoot(c.cfg.Path)
	ok, err := c.lists(ctx, s, clean+s.layout.LevelDir(level)+"/", "")
	return ok && c.settleForeign(s, clean), err
}

// rootMoved reports whether a file was not found because the root isn't where it was
// taken to be: then it is to be asked for again, under its new key.
func (c *ReplicaClient) rootMoved(ctx context.Context, s *session, level int, err error) (bool, error) {
	if !isNotFound(err) || !s.doubtful.Load() {
		return false, nil
	}
	return c.settleByListing(ctx, s, level)
}

// settleForeign ends the doubt by what another writer has done, unless this client
// has begun to write: then its own file tells.
func (c *ReplicaClient) settleForeign(s *session, root string) bool {
	s.settling.Lock()
	defer s.settling.Unlock()
	if s.written || !s.doubtful.Load() {
		return false
	}
	c.settle(s, root)
	return true
}

// lists reports whether the store lists a key, or with "" any, below a prefix.
func (c *ReplicaClient) lists(ctx context.Context, s *session, prefix, key string) (bool, error) {
	in := &awss3.ListObjectsV2Input{Bucket: &c.cfg.Bucket, Prefix: &prefix, RequestPayer: c.payer()}
	if key != "" {
		// Not one key at most: MinIO then answers by looking the key up, which
		// tells nothing of how it lists it.
		in.Prefix, in.MaxKeys = &key, aws.Int32(2)
	}
	out, err := c.listPage(ctx, s, in)
	if refusesKey(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	for _, o := range out.Contents {
		found := aws.ToString(o.Key)
		if found == key || key == "" && strings.HasPrefix(found, prefix) {
			return true, nil
		}
	}
	return false, nil
}

// settle ends the doubt.
func (c *ReplicaClient) settle(s *session, root string) {
	if before := *s.root.Load(); before != root {
		c.log().Info("the store changes keys; going on with what it makes of them", "root", before, "becomes", root)
		s.root.Store(&root)
	}
	s.doubtful.Store(false)
}
