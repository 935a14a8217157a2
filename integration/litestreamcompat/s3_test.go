package litestreamcompat

import (
	"log/slog"
	"path"
	"testing"

	"github.com/benbjohnson/litestream"
	lss3 "github.com/benbjohnson/litestream/s3"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// bucket is a bucket in a real server, for one test.
type bucket struct {
	server *s3test.Server
	name   string
}

func newBucket(t testing.TB, kind *s3test.Kind) bucket {
	t.Helper()
	server := kind.Shared(t)
	return bucket{server: server, name: server.Bucket(t)}
}

// client is a client of ltxfs at a path. It is closed with the test.
func (b bucket) client(t testing.TB, path string, layout replica.Layout) *s3.ReplicaClient {
	t.Helper()
	store, err := s3.New(config.Config{
		Bucket: b.name, Path: path, Layout: layout,
		Endpoint: b.server.Endpoint, Region: b.server.Region,
		AccessKeyID: b.server.AccessKey, SecretAccessKey: config.Secret(b.server.SecretKey),
		PartSize: 5 << 20,
		Logger:   slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return s3.NewReplicaClient(store)
}

// theirs is Litestream's client at a path.
func (b bucket) theirs(path string) *lss3.ReplicaClient {
	c := lss3.NewReplicaClient()
	c.Bucket, c.Path = b.name, path
	c.Endpoint, c.Region, c.ForcePathStyle = b.server.Endpoint, b.server.Region, true
	c.AccessKeyID, c.SecretAccessKey = b.server.AccessKey, b.server.SecretKey
	return c
}

// openS3 is a store in a server. Litestream knows one of the layouts; for the
// others it gets a copy of the objects.
func openS3(t testing.TB, kind *s3test.Kind, layout replica.Layout) *store {
	const root = "replicas/db"
	b := newBucket(t, kind)
	s := &store{
		client: func(t testing.TB) litestream.ReplicaClient { return b.client(t, root, layout) },
		put:    func(t testing.TB, f ltxFile) { write(t, b.client(t, root, layout), f) },
		theirs: func(t testing.TB) litestream.ReplicaClient { return litestreamReplica(t, b.files(t, root, layout)) },
	}
	if layout == replica.LitestreamS3 {
		theirs := b.theirs(root)
		s.put = func(t testing.TB, f ltxFile) { write(t, theirs, f) }
		s.theirs = func(testing.TB) litestream.ReplicaClient { return b.theirs(root) }
	}
	return s
}

// files are the files of a replica as the server itself has them. There must be
// nothing else.
func (b bucket) files(t testing.TB, root string, layout replica.Layout) []ltxFile {
	t.Helper()
	var files []ltxFile
	for level := replica.MinLevel; level <= replica.MaxLevel; level++ {
		for _, key := range b.server.Keys(t, b.name, path.Join(root, layout.LevelDir(level))+"/") {
			f := ltxFile{level: level, data: b.server.Get(t, b.name, key)}
			var err error
			f.min, f.max, err = ltx.ParseFilename(path.Base(key))
			require.NoError(t, err)
			files = append(files, f)
		}
	}
	require.Len(t, files, len(b.server.Keys(t, b.name, "")))
	return files
}
