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
	return errors.As(err, &e) && e.Status == http.StatusBadRequest
}

// settleRoot makes sure, after the first write to a doubtful root, that the store
// lists the file under the key that it was given. If not, it has cleaned the key,
// and the clean root is the one to use.
func (c *ReplicaClient) settleRoot(ctx context.Context, s *session, key string) error {
	if !s.doubtful.Load() {
		return nil
	}
	// Not one key at most: MinIO then answers by looking the key up, which tells
	// nothing of how it lists it.
	in := &awss3.ListObjectsV2Input{Bucket: &c.cfg.Bucket, Prefix: &key, MaxKeys: aws.Int32(2), RequestPayer: c.payer()}
	out, err := s.s3.ListObjectsV2(ctx, in)
	if err != nil && !refusesKey(storeError(ctx, "ListObjectsV2", err)) {
		return c.listError(ctx, err)
	}
	if err != nil || len(out.Contents) == 0 || aws.ToString(out.Contents[0].Key) != key {
		clean := cleanRoot(c.cfg.Path)
		c.log().Info("the store changes keys; going on with what it makes of them", "root", *s.root.Load(), "becomes", clean)
		s.root.Store(&clean)
	}
	s.doubtful.Store(false)
	return nil
}
