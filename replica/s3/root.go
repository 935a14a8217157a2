package s3

import (
	"context"
	"path"
	"slices"
	"strings"
	"sync"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3/document"
)

// session is what is known of a store once it is ready.
type session struct {
	*bucket
	s3     *awss3.Client
	layout replica.Layout

	mu   sync.Mutex // guards the rest
	root string     // what stands before a layout's directories in keys

	// doubtful is set while root is one that some stores change, and nothing
	// has shown yet what this store does. written is set once this store has
	// begun to write under it.
	doubtful, written bool

	// abandoned are uploads that could not be aborted, for the next try.
	undone    sync.Mutex
	abandoned []unfinished
}

// with is a session for another place in the bucket.
func (at *session) with(layout replica.Layout, root string) *session {
	return &session{bucket: at.bucket, s3: at.s3, layout: layout, root: root}
}

// levelPrefix is what the keys of a level's files begin with.
func (at *session) levelPrefix(level int) string {
	root, _ := at.rootNow()
	return root + at.layout.LevelDir(level) + "/"
}

// key is the key of a file.
func (at *session) key(name replica.Name) string { return at.levelPrefix(name.Level) + name.Base() }

// keyToWrite is the key of a file that is to be written. The root stays what it is
// then, until it is seen where the file has come to be.
func (at *session) keyToWrite(name replica.Name) string {
	at.mu.Lock()
	at.written = true
	at.mu.Unlock()
	return at.key(name)
}

// rootNow is the root as it is now.
func (at *session) rootNow() (root string, doubtful bool) {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.root, at.doubtful
}

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

// rootByWrite looks, after a write to a doubtful root, under which key the store
// lists the file. Where it lists the clean one, it has cleaned the key, and the
// clean root is the one to use. A store that lists neither yet is asked again next
// time.
func (at *session) rootByWrite(ctx context.Context, name replica.Name) error {
	root, doubtful := at.rootNow()
	if !doubtful {
		return nil
	}
	for _, root := range []string{root, cleanRoot(at.cfg.Path)} {
		key := root + at.layout.LevelDir(name.Level) + "/" + name.Base()
		o, err := at.listOne(ctx, key)
		if refusesForm(err) {
			continue
		} else if err != nil {
			return err
		}
		if o != nil {
			at.mu.Lock()
			defer at.mu.Unlock()
			at.endDoubt(root)
			return nil
		}
	}
	return nil
}

// rootByListing looks, where there is nothing under a doubtful root, whether there
// are files under the clean one: another writer's, which the store has cleaned the
// keys of. moved is true if so: then what wasn't found has another key now.
func (at *session) rootByListing(ctx context.Context, level int) (moved bool, err error) {
	if _, doubtful := at.rootNow(); !doubtful {
		return false, nil
	}
	ok, err := at.with(at.layout, cleanRoot(at.cfg.Path)).hasFiles(ctx, level)
	if refusesForm(err) {
		err = nil
	}
	return ok && at.rootByOther(), err
}

// rootMoved looks whether the first page shows that the store cleans keys: it has
// nothing while there is something under the clean root, or it has the clean keys.
func (l *listing) rootMoved(page *document.Listing) (bool, error) {
	if _, doubtful := l.at.rootNow(); l.going || !doubtful {
		return false, nil
	}
	if len(page.Contents) == 0 {
		return l.at.rootByListing(l.ctx, l.level)
	}
	key := page.Contents[0].Key
	clean := cleanRoot(l.at.cfg.Path) + l.at.layout.LevelDir(l.level) + "/"
	return !strings.HasPrefix(key, l.prefix) && strings.HasPrefix(key, clean) && l.at.rootByOther(), nil
}

// rootByOther ends the doubt by what another writer has under the clean root,
// unless this store has begun to write: then its own file tells.
func (at *session) rootByOther() (moved bool) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.written || !at.doubtful {
		return false
	}
	at.endDoubt(cleanRoot(at.cfg.Path))
	return true
}

// endDoubt is called with at locked.
func (at *session) endDoubt(root string) {
	if at.root != root {
		at.log().Info("the store changes keys; going on with what it makes of them", "root", at.root, "becomes", root)
	}
	at.root, at.doubtful = root, false
}
