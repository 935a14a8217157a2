package litestreamcompat

import (
	"log/slog"
	"testing"

	lss3 "github.com/benbjohnson/litestream/s3"
	"github.com/stretchr/testify/require"
	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/integration/s3test"
	"github.com/ltxfs/ltxfs/replica"
	"github.com/ltxfs/ltxfs/replica/s3"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// oddPaths are paths whose keys many stores take as they are, as AWS does, and
// others change or refuse. The first two come from URLs without a path, and the
// others from litestream.yml, whose path Litestream takes as it is.
var oddPaths = []string{".", "", "/db", "db/", "a//b"}

// Where Litestream keeps a replica, ltxfs finds it by itself, and writes to it.
func TestPaths(t *testing.T) {
	t.Parallel()
	files := ordersFiles(t)[:3]
	for _, kind := range s3test.Servers {
		for _, path := range []string{"db", "a/b/c", "with space/ü+%20"} {
			t.Run(kind.Name+" "+path, func(t *testing.T) {
				t.Parallel()
				b := newBucket(t, kind)
				theirs := b.theirs(path)
				for _, f := range files[:2] {
					write(t, theirs, f)
				}
				require.Len(t, contents(t, theirs), 2)
				c := b.client(t, path, replica.Layout{})
				require.Equal(t, contents(t, theirs), contents(t, c))
				write(t, c, files[2])
				require.Len(t, contents(t, theirs), 3)
				require.Equal(t, contents(t, theirs), contents(t, c))
				first := &ltx.FileInfo{Level: files[0].level, MinTXID: files[0].min, MaxTXID: files[0].max}
				require.NoError(t, c.DeleteLTXFiles(testContext(t), []*ltx.FileInfo{first}))
				require.Len(t, contents(t, theirs), 2)

				empty := newBucket(t, kind)
				write(t, empty.client(t, path, replica.Layout{}), files[0])
				require.Len(t, contents(t, empty.theirs(path)), 1)
			})
		}
	}
}

// A new replica's keys are Litestream's, whatever the path.
func TestRequestsOfPaths(t *testing.T) {
	for _, path := range oddPaths {
		t.Run(path, func(t *testing.T) {
			theirs := lss3.NewReplicaClient()
			theirs.Bucket, theirs.Path, theirs.Region = "bucket", path, "eu-west-1"
			theirs.AccessKeyID, theirs.SecretAccessKey = "AKIDEXAMPLE", "secret-of-the-example"
			cfg := config.Config{
				Bucket: theirs.Bucket, Path: path, Region: theirs.Region, Layout: replica.LitestreamS3,
				AccessKeyID: theirs.AccessKeyID, SecretAccessKey: config.Secret(theirs.SecretAccessKey),
				Retry: config.Retry{Attempts: 1}, Logger: slog.New(slog.DiscardHandler),
			}
			store, err := s3.New(cfg)
			require.NoError(t, err)
			ours := s3.NewReplicaClient(store)
			t.Cleanup(func() { require.NoError(t, ours.Close()) })
			require.Equal(t, requestsOf(t, theirs), requestsOf(t, ours))
		})
	}
}

// Servers that keep objects as files change such keys, or refuse them, so that
// Litestream finds nothing of what it wrote there. What ltxfs has written and
// verified, it lists, and so does one that starts later.
func TestPathsThatStoresChange(t *testing.T) {
	t.Parallel()
	f := ordersFiles(t)[0]
	for _, kind := range s3test.Servers {
		for _, path := range oddPaths {
			t.Run(kind.Name+" "+path, func(t *testing.T) {
				t.Parallel()
				b := newBucket(t, kind)
				c := b.client(t, path, replica.Layout{})
				require.Empty(t, list(t, c, false))
				write(t, c, f)
				require.Len(t, contents(t, c), 1)
				require.Equal(t, contents(t, c), contents(t, b.client(t, path, replica.Layout{})))
			})
		}
	}
}
